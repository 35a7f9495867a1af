"""python3.py COUNT: the mean time of a start and a join under fork, in seconds."""
import multiprocessing
import sys
import time

WARM_UP = 5


def nothing():
    pass


def start_join(context):
    p = context.Process(target=nothing)
    p.start()
    p.join()
    assert p.exitcode == 0


if __name__ == "__main__":
    count = int(sys.argv[1])
    fork = multiprocessing.get_context("fork")
    for _ in range(WARM_UP):
        start_join(fork)
    start = time.monotonic()
    for _ in range(count):
        start_join(fork)
    print(f"{(time.monotonic() - start) / count:.9f}")
