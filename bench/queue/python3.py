"""python3.py CLASS KIND PUTTERS GETTERS COUNT: the mean time, in seconds, of passing one.

CLASS is Queue, SimpleQueue or Pipe of multiprocessing; KIND an integer (`each`), a list of a
thousand of them of which each counts (`many`), a string of 1 MiB (`strings`; bytes), or an
integer there and back (`trip`). With BENCH_CPUS=A/B putters run on CPU A and getters on B.
"""
import multiprocessing
import os
import sys
import time

BATCH = 1000
STRINGS = 16

context = multiprocessing.get_context("fork")


class Connection:
    """A pipe by the names of a queue; bytes as such."""

    def __init__(self, is_bytes):
        reader, writer = context.Pipe(duplex=False)
        self.get = reader.recv_bytes if is_bytes else reader.recv
        self.put = writer.send_bytes if is_bytes else writer.send


def make(name, kind):
    if name == "Pipe":
        return Connection(kind == "strings")
    if name == "Queue":
        return context.Queue(STRINGS if kind == "strings" else 0)
    return context.SimpleQueue()


def put(kind, queue, back, n):
    if kind == "many":
        batch = list(range(BATCH))
        for _ in range(n // BATCH):
            queue.put(batch)
    elif kind == "trip":
        for i in range(n):
            queue.put(i)
            back.get()
    elif kind == "strings":
        string = b"x" * (1 << 20)
        for _ in range(n):
            queue.put(string)
    else:
        for i in range(n):
            queue.put(i)


def get(kind, queue, back, n):
    if kind == "trip":
        for _ in range(n):
            back.put(queue.get())
    else:
        for _ in range(n // BATCH if kind == "many" else n):
            queue.get()


def work(role, cpu, kind, queue, back, n, barrier, times):
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    role(kind, queue, back, n // 10)
    barrier.wait()
    start = time.monotonic()
    role(kind, queue, back, n)
    times.put((start, time.monotonic()))


def main(name, kind, n_putters, n_getters, count):
    cpus = [int(cpu) for cpu in os.environ.get("BENCH_CPUS", "").split("/") if cpu]
    if len(cpus) != 2:  # one for all, which they have from the beginning, or any
        cpus = [None, None]
    queue, back, times = make(name, kind), make(name, kind), context.SimpleQueue()
    n = n_putters + n_getters
    barrier = context.Barrier(n)
    share = max(10, count // (10 * n_putters * n_getters) * 10)
    jobs = [(put, cpus[0], share * n_getters)] * n_putters + [(get, cpus[1], share * n_putters)] * n_getters
    processes = [
        context.Process(target=work, args=(role, cpu, kind, queue, back, own, barrier, times))
        for role, cpu, own in jobs
    ]
    for p in processes:
        p.start()
    starts, ends = zip(*[times.get() for _ in processes])
    for p in processes:
        p.join()
        assert p.exitcode == 0
    print(f"{(max(ends) - min(starts)) / (share * n_putters * n_getters):.12f}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6]))
