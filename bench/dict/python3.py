"""python3.py KIND PROCESSES COUNT: the mean time, in seconds, of one call of a Manager's dict.

KIND is `set` or `get` of a number by a thousand keys, or `update`, by 1, of one of them: of a
dict two calls, and a lock around them, without which some would be lost.
"""
import multiprocessing
import sys
import time

KEYS = 1000

context = multiprocessing.get_context("fork")


def call(kind, shared, lock, first, n):
    if kind == "set":
        for i in range(first, first + n):
            shared[i % KEYS] = i
    elif kind == "get":
        for i in range(first, first + n):
            shared[i % KEYS]
    else:
        for i in range(first, first + n):
            with lock:
                shared[i % KEYS] += 1


def work(kind, shared, lock, first, n, barrier, times):
    call(kind, shared, lock, first, n // 10)
    barrier.wait()
    start = time.monotonic()
    call(kind, shared, lock, first, n)
    times.put((start, time.monotonic()))


def main(kind, n_processes, count):
    with context.Manager() as manager:
        shared, lock, times = manager.dict({i: 0 for i in range(KEYS)}), context.Lock(), context.SimpleQueue()
        barrier = context.Barrier(n_processes)
        share = max(10, count // (10 * n_processes) * 10)
        processes = [
            context.Process(target=work, args=(kind, shared, lock, i * KEYS // n_processes, share, barrier, times))
            for i in range(n_processes)
        ]
        for p in processes:
            p.start()
        starts, ends = zip(*[times.get() for _ in processes])
        for p in processes:
            p.join()
            assert p.exitcode == 0
        print(f"{(max(ends) - min(starts)) / (share * n_processes):.12f}")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:4]))
