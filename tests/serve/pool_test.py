"""What the tests of the pool share: guests compiled once, the driver with its commands."""

import json
import os
import pathlib
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("HUTCH_BUILD_DIR", ROOT / "build")).resolve()
HUTCH = os.environ.get("HUTCH", str(BUILD / "tools" / "hutch"))
TENANT = str(BUILD / "tools" / "hutch-tenant")
DRIVER = str(BUILD / "tests" / "serve" / "pool_driver")
GUESTS = ROOT / "tests" / "serve" / "pool_guests"
CLANG = os.environ.get("WASM_CLANG", "clang-22")


def build_guests(directory: pathlib.Path) -> dict[str, pathlib.Path]:
    """Every C file of pool_guests/ as a code object."""
    objects = {}
    for source in sorted(GUESTS.glob("*.c")):
        wasm, made = directory / f"{source.stem}.wasm", directory / f"{source.stem}.hutch"
        subprocess.run([CLANG, "--target=wasm32-wasi", "-Wno-deprecated", "-O1", source, "-o", wasm], check=True,
                       timeout=120)
        subprocess.run([HUTCH, "compile", wasm, "-o", made], check=True, timeout=120)
        objects[source.stem] = made
    return objects


class Driver:
    """pool_driver with its output read as it comes."""

    def __init__(self, spares=2, max_tenants=0, wrapper=(), tenant=TENANT, hibernate=None, prepared=0):
        self.events = []
        self.changed = threading.Condition()
        self.process = subprocess.Popen(
            [*wrapper, DRIVER, tenant, str(spares), str(max_tenants), *([hibernate] if hibernate else [])], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
            env={**os.environ, "POOL_PREPARED": str(prepared)})
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            with self.changed:
                self.events.append(json.loads(line))
                self.changed.notify_all()
        with self.changed:
            self.events.append({"event": "over"})
            self.changed.notify_all()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def say(self, *lines):
        self.process.stdin.write("".join(line + "\n" for line in lines))
        self.process.stdin.flush()

    def wait(self, seconds=20, **wanted):
        """The first event from now on or before that has all of these; it is taken out."""
        end = time.monotonic() + seconds
        seen = 0
        with self.changed:
            while True:
                for at in range(seen, len(self.events)):
                    e = self.events[at]
                    if all(e.get(k) == v for k, v in wanted.items()):
                        del self.events[at]
                        return e
                seen = len(self.events)
                left = end - time.monotonic()
                if left <= 0 or (self.events and self.events[-1]["event"] == "over"):
                    raise TimeoutError(f"no {wanted} among {self.events[-20:]}")
                self.changed.wait(left)

    def done(self, number, seconds=20):
        return self.wait(seconds, event="done", id=number)

    def ask(self, app, number, text="", seconds=20):
        self.say(f"request {app} {number} {text}")
        return self.done(number, seconds)

    def numbers(self):
        self.say("numbers")
        return self.wait(event="numbers")

    def tenants(self, **wanted):
        self.say("tenants")
        return [t for t in self.wait(event="tenants")["list"]
                if all(t[k] == v for k, v in wanted.items())]

    def until(self, condition, seconds=10):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        return True

    def close(self):
        """Status and stderr."""
        try:
            self.process.stdin.close()
            self.process.stderr_text = self.process.stderr.read()
            return self.process.wait(20)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self.process.kill()
            return self.process.wait(20)


class Tests:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def check(self, condition, what, *details):
        if condition:
            self.passed += 1
            return
        self.failed += 1
        print(f"FAIL {what}", flush=True)
        for detail in details:
            print("     " + str(detail)[-2000:].replace("\n", "\n     "), flush=True)

    def run(self, functions):
        with tempfile.TemporaryDirectory(prefix="hutch-pool-") as name:
            os.chmod(name, 0o755)
            directory = pathlib.Path(name)
            os.environ["HUTCH_CACHE_DIR"] = str(directory / "cache")
            objects = build_guests(directory)
            for function in functions:
                started = time.monotonic()
                try:
                    function(self, objects)
                except Exception as e:  # one test's trouble is not the next one's
                    self.check(False, function.__name__, type(e).__name__, e)
                print(f"{function.__name__}: {time.monotonic() - started:.1f} s", flush=True)
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        print(f"{self.passed} passed, {self.failed} failed{skipped}")
        return 1 if self.failed else 0
