"""python3.py KIND COUNT: the mean time, in seconds, of acquiring and releasing a lock.

KIND: `free`, by one process, or `contended`, by two at once. With BENCH_CPUS=A/B the one runs on
CPU A and the other on B.
"""
import multiprocessing
import os
import sys
import time

context = multiprocessing.get_context("fork")


def run(lock, n):
    for _ in range(n):
        lock.acquire()
        lock.release()


def work(i, lock, ready, go, share, times):
    cpus = os.environ.get("BENCH_CPUS", "").split("/")
    if len(cpus) == 2:
        os.sched_setaffinity(0, {int(cpus[i])})
    run(lock, share // 10)
    ready.put(True)
    go.get()
    start = time.monotonic()
    run(lock, share)
    times.put((start, time.monotonic()))


def main():
    n = 1 if sys.argv[1] == "free" else 2
    share = int(sys.argv[2]) // n + 10
    lock = context.Lock()
    ready, go, times = (context.SimpleQueue() for _ in range(3))
    for i in range(n):
        context.Process(target=work, args=(i, lock, ready, go, share, times), daemon=True).start()
    for _ in range(n):
        ready.get()
    for _ in range(n):
        go.put(True)
    spans = [times.get() for _ in range(n)]
    first, last = min(s[0] for s in spans), max(s[1] for s in spans)
    print("%.12f" % ((last - first) / (share * n)))


main()
