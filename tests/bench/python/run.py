"""Runs one program of this directory and prints "SECONDS CHECKSUM" for each repetition.

    run.py PROGRAM [REPETITIONS [SCALE [wall]]]

A program is a module with work(), whose result does not depend on version, platform or hash seed,
and is compared as CRC-32 of its repr. The time is the processor's for SCALE calls of work() (1), without
starting the interpreter and importing the program; with "wall" it is the clock's on the wall, for an interpreter
whose process_time() is wrong.
"""

import binascii
import sys
import time


def main() -> None:
    # -I and -P keep the script's directory away; a guest and the native interpreter are to agree.
    sys.path.insert(0, sys.argv[0].rpartition("/")[0] or ".")
    work = __import__(sys.argv[1]).work
    repetitions, scale = (int(a) for a in (sys.argv[2:] + ["3", "1"][len(sys.argv) - 2:])[:2])
    clock = time.perf_counter if "wall" in sys.argv[4:] else time.process_time
    for _ in range(repetitions):
        start = clock()
        for _ in range(scale):
            result = work()
        seconds = clock() - start
        print(f"{seconds:.6f} {binascii.crc32(repr(result).encode()):08x}", flush=True)


main()
