# python3.py COUNT: the mean time of an external program, in seconds.
import subprocess
import sys
import time

WARM_UP = 5


def run():
    subprocess.run(["/bin/true"], check=True)


count = int(sys.argv[1])
for _ in range(WARM_UP):
    run()
start = time.monotonic()
for _ in range(count):
    run()
print("%.9f" % ((time.monotonic() - start) / count))
