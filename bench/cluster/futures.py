"""futures.py KIND COUNT: the tasks of luamp.lua by mpi4py.futures, of which rank 0 gives them out and two
others work. Started by itself it runs mpirun."""
import os
import sys
import time


def twice(x):
    return 2 * x


def same(x):
    return x


def run(pool, kind, n):
    if kind == "trip":
        for i in range(n):
            assert pool.submit(twice, i).result() == 2 * i
    elif kind == "rate":
        assert list(pool.map(twice, range(n)))[-1] == 2 * (n - 1)
    else:
        text = "x" * ((16 if kind == "mib16" else 1) << 20)
        results = pool.map(same, (text for _ in range(n)), unordered=True)
        assert sum(len(result) for result in results) == n * len(text)


def main(kind, n):
    from mpi4py.futures import MPIPoolExecutor  # which begins MPI: not before mpirun
    with MPIPoolExecutor() as pool:
        run(pool, kind, 20)
        start = time.perf_counter()
        run(pool, kind, n)
        print("%.9f" % ((time.perf_counter() - start) / n))


if __name__ == "__main__":
    if "OMPI_COMM_WORLD_RANK" not in os.environ:
        os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
        os.execlp("mpirun", "mpirun", "--oversubscribe", "--bind-to", "none", "-np", "3",
                  sys.executable, "-m", "mpi4py.futures", *sys.argv)
    main(sys.argv[1], int(sys.argv[2]))
