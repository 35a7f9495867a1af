"""python3.py METHOD COUNT: the mean time of a start and a join by that start method, in seconds."""
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
    context = multiprocessing.get_context(sys.argv[1])
    count = int(sys.argv[2])
    for _ in range(WARM_UP):
        start_join(context)
    start = time.monotonic()
    for _ in range(count):
        start_join(context)
    print(f"{(time.monotonic() - start) / count:.9f}")
