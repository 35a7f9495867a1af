"""python3.py CLASS KIND WORKERS COUNT: the mean time, in seconds, of one of what a pool does.

CLASS is Pool of multiprocessing or ProcessPoolExecutor of concurrent.futures; KIND is what
luamp.lua says. The executor has no chunks of its own accord: for `map` it is given Pool's.
With BENCH_CPUS=A/B the pool's owner runs on CPU A and its workers on B.
"""
import concurrent.futures
import multiprocessing
import os
import sys
import time

context = multiprocessing.get_context("fork")


def twice(x):
    return 2 * x


def same(x):
    return x


def nothing():
    pass


def strings(size):
    return lambda n: [b"%08d" % i + b"x" * (size - 8) for i in range(n)]


class Pool:
    def __init__(self, n_workers, initializer, initargs):
        self.pool = context.Pool(n_workers, initializer, initargs)

    def map(self, f, items):
        return self.pool.map(f, items)

    def map1(self, f, items):
        return self.pool.map(f, items, 1)

    def imap(self, f, items):
        return self.pool.imap(f, items)

    def imap_unordered(self, f, items):
        return self.pool.imap_unordered(f, items)

    def submit(self, f, items):
        return [r.get() for r in [self.pool.apply_async(f, (i,)) for i in items]]

    def apply(self, f, items):
        return [self.pool.apply(f, (i,)) for i in items]

    def close(self):
        self.pool.close()
        self.pool.join()


class ProcessPoolExecutor:
    def __init__(self, n_workers, initializer, initargs):
        self.n_workers = n_workers
        self.pool = concurrent.futures.ProcessPoolExecutor(n_workers, context, initializer, initargs)

    def map(self, f, items):
        return list(self.pool.map(f, items, chunksize=-(-len(items) // (4 * self.n_workers))))

    def map1(self, f, items):
        return list(self.pool.map(f, items))

    def submit(self, f, items):
        return [r.result() for r in [self.pool.submit(f, i) for i in items]]

    def apply(self, f, items):
        return [self.pool.submit(f, i).result() for i in items]

    def close(self):
        self.pool.shutdown()


def run(pool, kind, items):
    payload = kind in ("kib", "mib")
    call = getattr(pool, "map" if payload else kind)
    if payload:
        assert call(same, items) == items
    else:
        assert sum(call(twice, items)) == 2 * sum(items)


def time_open(make, count):
    for i in range(-4, count + 1):
        if i == 1:
            start = time.monotonic()
        make().close()
    return (time.monotonic() - start) / count


def time_tasks(make, kind, count):
    n = min(count, 20000 if kind == "submit" else 100000)
    items = {"kib": strings(1 << 10), "mib": strings(1 << 20)}.get(kind, range)
    pool, little, many = make(), items(max(1, n // 10)), items(n)
    run(pool, kind, little)
    start = time.monotonic()
    for _ in range(count // n):
        run(pool, kind, many)
    seconds = time.monotonic() - start
    pool.close()
    return seconds / (count // n * n)


def main(name, kind, n_workers, count):
    cpus = os.environ.get("BENCH_CPUS", "").split("/")
    initializer, initargs = nothing, ()
    if len(cpus) == 2:
        os.sched_setaffinity(0, {int(cpus[0])})
        initializer, initargs = os.sched_setaffinity, (0, {int(cpus[1])})

    def make():
        return globals()[name](n_workers, initializer, initargs)

    print(f"{time_open(make, count) if kind == 'open' else time_tasks(make, kind, count):.12f}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:5]))
