"""python3.py KIND COUNT: as luamp.lua, over a list of ten million integers (read) or of as many lists of one."""
import multiprocessing
import os
import sys
import time

context = multiprocessing.get_context("fork")
kind, count = sys.argv[1], int(sys.argv[2])
n = 200000 if os.environ.get("BENCH_QUICK") else 10000000
things = list(range(n))


def shared():
    total = 0
    with open("/proc/self/smaps_rollup") as rollup:
        for line in rollup:
            if line.startswith("Shared_"):
                total += int(line.split()[1]) * 1024
    return total


def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def read():
    assert sum(i for i in things) == n * (n - 1) // 2


def allocate():
    for i in range(3 * n):
        [i]


def dirtied(work, size, answer):
    before = shared()
    work()
    answer.send(max(before - shared(), 4096) / size)


def nothing():
    pass


def start_join():
    p = context.Process(target=nothing)
    p.start()
    p.join()
    assert p.exitcode == 0


if kind in ("read", "allocate"):
    here, there = context.Pipe()
    p = context.Process(target=dirtied, args=(read if kind == "read" else allocate, resident(), there))
    p.start()
    print(f"{here.recv():.9f}")
    p.join()
else:
    start = time.monotonic()
    for _ in range(count):
        start_join()
    print(f"{(time.monotonic() - start) / count:.9f}")
