#!/usr/bin/python3
"""The server, tested by real clients and by raw bytes. Closes with `N passed, N failed`.

    tests/serve/run.py [WORD...]

WORD picks the tests whose names (file and function) contain it.
"""

import importlib
import pathlib
import sys
import time
import traceback

import servelib

HERE = pathlib.Path(__file__).resolve().parent


def main():
    words = sys.argv[1:]
    for path in sorted(HERE.glob("test_*.py")):
        importlib.import_module(path.stem)
    for function in servelib.TESTS:
        name = f"{function.__module__}.{function.__name__}"
        if words and not any(word in name for word in words):
            continue
        before, start = servelib.failed, time.time()
        try:
            function()
        except Exception:  # a test that breaks off is a failure like any other
            servelib.check(False, name, traceback.format_exc())
        state = "ok" if servelib.failed == before else "FAILED"
        print(f"{state} {name} ({time.time() - start:.1f} s)", flush=True)
    print(f"{servelib.passed} passed, {servelib.failed} failed")
    return 1 if servelib.failed else 0


sys.exit(main())
