#!/usr/bin/python3
"""The sandbox of a tenant, from within: every system call, every route to the shared code, other
processes, descriptors; as root and, where that can be tried, as an ordinary user.

    tests/integration/test_sandbox.py

tests/serve/sandbox_probe is hutch-tenant with an attempt in the place of its loop.
"""

import errno
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "serve"))
from pool_test import BUILD, ROOT, Driver, Tests  # noqa: E402

LAYERS = re.findall(r'X\(SANDBOX_\w+,\s+"([^"]+)"\)',
                    (ROOT / "loader" / "tenant_protocol.h").read_text())
# With a plain kernel as an ordinary user: user namespaces, but one uid for all.
LOST_AS_USER = {"own uid"}
KILLED = "killed"
# uretprobe and uprobe: the kernel lets them past every filter, and they fail (ENXIO, SIGILL)
# where no probe was placed.
UPROBES = (335, 336)
# What an attempt must come to. A number of errno where the kernel itself says no.
ATTEMPTS = {
    "int80": KILLED, "x32": KILLED,
    "map-object": "allowed",  # the loader's own doing
    "write-object": errno.EACCES, "write-by-file": errno.EBADF, "read-into-code": errno.EFAULT,
    "map-anonymous-code": KILLED, "map-private-code": KILLED, "map-writable-code": KILLED,
    "map-other-code": KILLED, "protect-code": errno.EACCES, "protect-data": KILLED,
    "populate-code": errno.EINVAL, "write-config": errno.EPERM, "write-config-by-file": errno.EPERM,
    "run-data": "signal 11", "replace-code": "signal 11",
    "store-code": "signal 11", "move-code": errno.ENOMEM, "open-self": errno.EPERM,
    "trace": KILLED, "read-other": KILLED, "write-other": KILLED, "signal-all": KILLED,
    "signal-zygote": KILLED, "signal-thread": KILLED, "fork": KILLED, "thread": KILLED,
    "execute": KILLED, "socket": KILLED, "filter": KILLED, "dumpable": KILLED,
    "raise-limit": KILLED, "duplicate": KILLED, "signal-io": KILLED, "terminal": KILLED,
    "descriptors": "allowed",  # it looked, and there were none
    "memory": errno.ENOMEM, "stack": "signal 11",
    # the file of a tenant that is to hibernate: it can be written to, in order, and nothing else
    "hibernate-write": "allowed", "hibernate-read": errno.EBADF, "hibernate-pread": errno.EBADF,
    "hibernate-map": errno.EACCES, "hibernate-map-private": errno.EACCES, "hibernate-run": KILLED,
    "hibernate-cut": errno.EINVAL, "hibernate-reserve": errno.ESPIPE, "hibernate-as-object": KILLED,
    "send-descriptor": "allowed",  # and nobody took it
}


def probe(t, guests, *words, user=None):
    """What came of it by number, the layers, the calls that are allowed."""
    place = guests["cgi"].parent
    program = place / "sandbox_probe"
    if not program.exists():
        shutil.copy(BUILD / "tests" / "serve" / "sandbox_probe", program)
        program.chmod(0o755)
        guests["cgi"].chmod(0o644)
    more = {"user": user, "group": user, "extra_groups": []} if user else {}
    r = subprocess.run([program, guests["cgi"], *map(str, words)], capture_output=True, text=True,
                       timeout=120, **more)
    if r.returncode != 0:
        t.check(False, f"sandbox_probe {words}", r.returncode, r.stdout[-500:], r.stderr[-500:])
    results = {int(n): what for n, what in re.findall(r"^\S+ (\d+): (.*)$", r.stdout, re.M)}
    layers = re.search(r"^layers: (.*),$", r.stdout, re.M)
    allowed = re.search(r"^allowed: (.*)$", r.stdout, re.M)
    return (results, set(layers[1].split(", ")) if layers else set(),
            [int(n) for n in allowed[1].split()] if allowed else [])


def refused_errnos():
    """What seccomp.def answers with."""
    text = (ROOT / "loader" / "seccomp.def").read_text()
    return {getattr(errno, name) for name in re.findall(r"^ANSWER\(\w+, (E\w+)\)", text, re.M)}


def answered_with_success():
    """Calls that are not made and come back with 0, as seccomp.def lists them: by number."""
    text = (ROOT / "loader" / "seccomp.def").read_text()
    numbers = {"brk": 12, "sched_yield": 24}
    return [numbers[name] for name in re.findall(r"^ANSWER\((\w+), 0\)", text, re.M)]


def every_call(t, guests, user=None):
    results, layers, allowed = probe(t, guests, "call", 0, 599, user=user)
    who = "root" if user is None else "an ordinary user"
    t.check(0 < len(allowed) <= 20, "at most 20 calls are allowed", allowed)
    t.check(len(results) == 600, f"{who}: every number was tried", len(results))
    answers = {f"errno {e}" for e in refused_errnos()} | {"allowed"}  # see done below
    stray = {n: what for n, what in results.items()
             if n not in allowed and what != KILLED and what not in answers
             and n not in UPROBES}
    t.check(not stray, f"{who}: a call that is not allowed came to something", stray)
    done = [n for n, what in results.items() if what == "allowed" and n not in allowed]
    t.check(done == answered_with_success(), f"{who}: nothing else is done", done)
    killed = sum(what == KILLED for what in results.values())
    t.check(killed > 500, f"{who}: nearly all end the process", killed)
    lost = set(LAYERS) - layers
    t.check(lost <= (LOST_AS_USER if user else set()), f"{who}: layers that do not hold", lost)


def every_attempt(t, guests, user=None):
    who = "root" if user is None else "an ordinary user"
    before = hashlib.sha256(guests["cgi"].read_bytes()).digest()
    for attempt, wanted in ATTEMPTS.items():
        results, _, _ = probe(t, guests, attempt, 0, user=user)
        wanted = f"errno {wanted}" if isinstance(wanted, int) else wanted
        t.check(results.get(0) == wanted, f"{who}: {attempt}", results, wanted)
    t.check(hashlib.sha256(guests["cgi"].read_bytes()).digest() == before, f"{who}: the shared code is what it was")
    source = (ROOT / "tests" / "serve" / "sandbox_probe.c").read_text()
    known = set(re.findall(r'\{"([a-z0-9-]+)", \w+\}', source)) - {"call"}
    t.check(known == set(ATTEMPTS), "every attempt has an expectation", known ^ set(ATTEMPTS))


def as_root(t, guests):
    if os.geteuid() != 0:
        t.skipped += 1
        return
    every_call(t, guests)
    every_attempt(t, guests)


def as_user(t, guests):
    user = 65534 if os.geteuid() == 0 else None
    if not user:
        every_call(t, guests, os.geteuid())
        every_attempt(t, guests, os.geteuid())
        return
    every_call(t, guests, user)
    every_attempt(t, guests, user)


def processes(t, guests):
    """Living tenants as the kernel describes them."""
    if os.geteuid() != 0:
        t.skipped += 1
        return
    with Driver(spares=2) as d:
        d.say(f"app a {guests['accept']} fastcgi keep", f"app b {guests['accept']} fastcgi keep")
        d.ask("a", 1, "x")
        d.ask("b", 2, "x")
        uids = set()
        end = time.monotonic() + 5  # spares in the place of those two are started a little later
        while len(living := d.tenants(state="idle") + d.tenants(state="spare")) < 4 and time.monotonic() < end:
            time.sleep(0.01)
        for tenant in living:
            proc = pathlib.Path("/proc") / str(tenant["pid"])
            status = dict(line.split(":\t", 1) for line in
                          (proc / "status").read_text().splitlines() if ":\t" in line)
            who = f"{tenant['state']} tenant"
            ids = set(status["Uid"].split() + status["Gid"].split())
            t.check(len(ids) == 1 and int(min(ids)) > 2_000_000_000, f"{who}: uid", ids)
            uids |= ids
            for name in "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb":
                t.check(int(status[name], 16) == 0, f"{who}: {name}", status[name])
            t.check(status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", f"{who}: filter")
            t.check(status["Groups"].strip() == "", f"{who}: no groups", status["Groups"])
            t.check(status["Threads"] == "1", f"{who}: one thread")
            for line in (proc / "maps").read_text().splitlines():
                t.check("wx" not in line.split()[1], f"{who}: writable and executable", line)
            for name in "user", "pid", "mnt", "net", "ipc", "uts":
                t.check(os.readlink(proc / "ns" / name) != os.readlink(f"/proc/self/ns/{name}"),
                        f"{who}: namespace {name}")
            t.check(os.listdir(proc / "root") == [], f"{who}: nothing in its root")
            fds = {int(f): os.readlink(proc / "fd" / f) for f in os.listdir(proc / "fd")}
            kinds = [x for x in fds.values() if not x.startswith(("socket:", "pipe:"))]
            t.check(all("/null" in x or "pagemap" in x or x.endswith(".hutch")
                        for x in kinds), f"{who}: descriptors", fds)
            limits = (proc / "limits").read_text()
            t.check(re.search(r"Max processes\s+0\s+0", limits), f"{who}: no processes", limits)
            t.check(re.search(r"Max core file size\s+0\s+0", limits), f"{who}: no core", limits)
        t.check(len(uids) == 4, "each has a uid of its own", uids)


sys.exit(Tests().run([as_root, as_user, processes]))
