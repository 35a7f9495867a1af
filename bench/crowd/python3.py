# python3.py COUNT: the mean time of one of COUNT processes that live at once, in seconds.
import multiprocessing
import sys
import time

if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    count = int(sys.argv[1])
    start = time.monotonic()
    processes = [context.Process(target=time.sleep, args=(1000,)) for _ in range(count)]
    for p in processes:
        p.start()
    for p in processes:
        p.kill()
    for p in processes:
        p.join()
    print("%.9f" % ((time.monotonic() - start) / count))
