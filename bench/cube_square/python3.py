"""The example of two processes that print."""
import multiprocessing


def print_cube(n):
    print("Cube:", n * n * n)


def print_square(n):
    print("Square:", n * n)


if __name__ == "__main__":
    fork = multiprocessing.get_context("fork")
    cube = fork.Process(target=print_cube, args=(10,))
    square = fork.Process(target=print_square, args=(10,))
    cube.start()
    square.start()
    cube.join()
    square.join()
    print("DONE")
