"""What the tests of the server share: a server that is started and stopped, raw requests, and
reading its records. run.py runs the tests of all the files beside it."""

import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import tempfile
import textwrap
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("HUTCH_BUILD_DIR", ROOT / "build")).resolve()
HUTCH = pathlib.Path(os.environ.get("HUTCH", BUILD / "tools" / "hutch")).resolve()
NATIVE = BUILD / "tests" / "serve" / "serve-native"
TESTS = []
passed = failed = 0


def test(function):
    TESTS.append(function)
    return function


def check(condition, what, *details):
    global passed, failed
    if condition:
        passed += 1
        return True
    failed += 1
    print(f"FAIL {what}", flush=True)
    for detail in details:
        print("     " + str(detail)[-2500:].replace("\n", "\n     "), flush=True)
    return False


@contextlib.contextmanager
def meanwhile(stop, *functions):
    """Each function runs in a thread of its own until it ends, or sees `stop`, which is set at the end
    of the with block whatever ended that."""
    threads = [threading.Thread(target=f) for f in functions]
    for t in threads:
        t.start()
    try:
        yield threads
    finally:
        stop.set()
        for t in threads:
            t.join()


def wait_for(condition, seconds=5.0):
    """Polls until condition() is true; its last value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value or time.monotonic() > end:
            return value
        time.sleep(0.02)


def children_of(pid):
    found = []
    for other in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, ValueError, IndexError):
            status = pathlib.Path("/proc", other, "stat").read_text()
            if int(status.rsplit(")", 1)[1].split()[1]) == pid:
                found.append(int(other))
    return found


def descendants(pid):
    found = []
    for child in children_of(pid):
        found += [child] + descendants(child)
    return found


def comm(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def alive(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in "ZX"


class Server:
    """A server with apps: NAME=text of app.yaml without its name. With native=True the tenants
    are native programs (native.c), else the real thing."""

    def __init__(self, *arguments, native=True, env=None, listen=True, pass_fds=(), command=None,
                 seconds=60, **apps):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="hutch-serve-test-"))
        self.apps = self.dir / "apps"
        self.state = self.dir / "state"
        self.apps.mkdir()
        self.state.mkdir()
        (self.dir / "x.wasm").write_bytes(b"\0asm\1\0\0\0")
        self.access = self.dir / "access.log"
        self.log = self.dir / "app.log"
        for name, text in apps.items():
            self.put_app(name, text)
        words = [str(NATIVE)] if native else [str(HUTCH), "serve"]
        if listen:
            words += ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
        words += ["--state-dir", str(self.state), "--access-log", str(self.access),
                  "--log", str(self.log), *map(str, arguments), str(self.apps)]
        self.errors = open(self.dir / "stderr", "wb")
        self.process = subprocess.Popen((command or []) + words, stderr=self.errors, cwd=self.dir,
                                        stdin=subprocess.DEVNULL, stdout=self.errors,
                                        env={**os.environ, **(env or {})}, pass_fds=pass_fds)
        self.port = self.admin = None
        if not wait_for(lambda: "ready" in self.stderr() or self.process.poll() is not None,
                        seconds) or self.process.poll() is not None:
            raise AssertionError("the server does not start: " + self.stderr())
        for address, port, kind in re.findall(r"listening on (\S+):(\d+) \((\w+)\)",
                                              self.stderr()):
            if kind == "HTTP":
                self.port = int(port)
            if kind == "admin":
                self.admin = int(port)

    def put_app(self, name, text):
        text = textwrap.dedent(text)
        if "module:" not in text:
            text = f"module: {self.dir}/x.wasm\n" + text
        (self.apps / f"{name}.yaml").write_text(f"name: {name}\n" + text)

    def stderr(self):
        return (self.dir / "stderr").read_text(errors="replace")

    def lines(self, which="access"):
        path = self.access if which == "access" else self.log
        return [json.loads(line) for line in path.read_text().splitlines()] \
            if path.exists() else []

    def child(self, name):
        """The pid of the server's process of that name."""
        for pid in children_of(self.process.pid):
            if comm(pid) == "hutch-" + name:
                return pid
        return None

    def get(self, path="/", method="GET", body=None, headers=None, port=None, seconds=20):
        """(status, headers, body) of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=seconds)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def connect(self, port=None, seconds=10):
        return socket.create_connection(("127.0.0.1", port or self.port), timeout=seconds)

    def raw(self, data, seconds=10, finish=False):
        """Sends bytes; all that comes until the server closes."""
        with self.connect(seconds=seconds) as s:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                s.sendall(data)
            if finish:
                s.shutdown(socket.SHUT_WR)
            return read_all(s)

    def metric(self, name, **labels):
        text = self.get("/metrics", port=self.admin)[2].decode()
        wanted = ",".join(f'{k}="{v}"' for k, v in labels.items())
        for line in text.splitlines():
            left, _, value = line.rpartition(" ")
            if left == (f"{name}{{{wanted}}}" if labels else name):
                return float(value)
        return None

    def records(self):
        """All usage records of all files, in order; a torn end is left out."""
        found = []
        for path in sorted((self.state / "usage").glob("*.usage")):
            found += usage_records(path.read_bytes())
        return found

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self, seconds=15):
        """Its exit status, after SIGTERM."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                return "hangs"
        return self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.stop()
        self.errors.close()
        subprocess.run(["rm", "-rf", self.dir], check=False)


def read_all(s):
    data = b""
    with contextlib.suppress(ConnectionResetError, socket.timeout):
        while piece := s.recv(65536):
            data += piece
    return data


def status_of(answer):
    m = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
    return int(m[1]) if m else None


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc


def usage_records(data):
    """docs/usage.md, read anew."""
    records, names = [], {}
    for at in range(0, len(data) - len(data) % 128, 128):
        b = data[at:at + 128]
        if struct.unpack_from("<I", b)[0] != crc32c(b[4:]):
            continue
        kind, version = b[4], b[5]
        assert version == 1
        sequence, = struct.unpack_from("<Q", b, 8)
        assert sequence == at // 128, (sequence, at)
        if kind == 2:
            number, length = struct.unpack_from("<II", b, 16)
            names[number] = b[24:24 + length].decode()
        if kind in (3, 4):
            app, status, trouble, flags = struct.unpack_from("<IHBB", b, 16)
            keys = ("request", "began_unix_ns", "wall_ns", "queue_ns", "cpu_ns", "received_bytes",
                    "sent_bytes", "memory_peak_bytes", "tenant")
            records.append({"kind": kind, "app": names[app], "status": status,
                            "trouble": trouble, "flags": flags,
                            **dict(zip(keys, struct.unpack_from("<9Q", b, 24)))})
    return records


def sh(script):
    """An app of a shell script, as lines of app.yaml."""
    return "args: " + json.dumps(["/bin/sh", "-c", script]) + "\n"


def py(script):
    return "args: " + json.dumps(["/usr/bin/python3", "-S", "-c", textwrap.dedent(script)]) + "\n"
