"""python3.py CLASS KIND COUNT: the mean time, in seconds, of what is done with numbers in shared memory.

CLASS is Value, Array (both with a lock of their own), RawArray, or SharedMemory of multiprocessing; KIND the
addition to a counter under its lock (`add`), an element read (`element`) or written (`assign`), the
copying of 1 MiB (`copy`).
"""
import multiprocessing
import sys
import time
from multiprocessing import shared_memory

SIZE = 1 << 20


def add(value, n):
    for _ in range(n):
        with value.get_lock():
            value.value += 1


def element(array, n):
    for _ in range(n):
        array[1]


def assign(array, n):
    for _ in range(n):
        array[1] = 1


def copy(blocks, n):
    source, target = blocks
    for _ in range(n):
        target[:] = source


def measure(run, thing, count):
    run(thing, count // 10 + 1)
    start = time.monotonic()
    run(thing, count)
    print(f"{(time.monotonic() - start) / count:.12f}")


def main(name, kind, count):
    if kind == "copy":
        blocks = [shared_memory.SharedMemory(create=True, size=SIZE) for _ in range(2)]
        views = [block.buf[:SIZE] for block in blocks]
        try:
            measure(copy, views, count)
        finally:
            for view, block in zip(views, blocks):
                view.release()
                block.close()
                block.unlink()
    elif kind == "add":
        measure(add, multiprocessing.Value("q", 0), count)
    else:
        make = {"Array": multiprocessing.Array, "RawArray": multiprocessing.RawArray}[name]
        measure({"element": element, "assign": assign}[kind], make("d", 3), count)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
