"""What an idle instance holds in memory: pages that are the snapshot's again are given back, and
its own process takes few, which lie together."""

import pathlib
import re

from servelib import check, test, wait_for
from test_attacks import ask, attacker, serve, tenants

WARM = "instaboot: {requests: [{path: /size}]}\n"
WIPED_KIB = 1024  # what /wipe of guests/attack.c writes and clears


def private_kib(pid):
    """Memory of its own; files' pages that no other process has mapped just now are not that."""
    rows = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return sum(int(row.split()[1]) for row in rows if row.startswith("Anonymous:"))


@test
def memory_is_given_back():
    apps = {name: attacker(name, name, WARM).replace("instances: 8", "instances: 1")
            for name in ("keep", "reset")}
    with serve(**apps) as s:
        for name in apps:
            answers = [ask(s, name, "/wipe")[2] for _ in range(3)]
            check(answers == ([b"0", b"1", b"2"] if name == "keep" else [b"0"] * 3),
                  f"{name}: what requests left", answers)
            [tenant] = tenants(s, app=name)
            before = private_kib(tenant["pid"])
            check(before > (WIPED_KIB if name == "keep" else 0), f"{name}: its memory", before)
            less = WIPED_KIB - 16 if name == "keep" else 1
            check(wait_for(lambda: private_kib(tenant["pid"]) <= before - less),
                  f"{name}: less of it, a while later", before, private_kib(tenant["pid"]))
            answers = [ask(s, name, "/wipe")[2] for _ in range(2)]
            check(answers == ([b"3", b"4"] if name == "keep" else [b"0"] * 2),
                  f"{name}: nothing else has changed", answers)
            check(tenants(s, app=name)[0]["pid"] == tenant["pid"], f"{name}: the same process")
        check(not any(x.get("trouble") for x in s.lines("log")), "no complaint", s.lines("log"))


GUEST_FROM, GUEST_TO = 0x1000000, 0x2000000000  # abi.h, from code objects to files in memory


@test
def a_tenant_lies_together():
    starts = set()
    for _ in range(3):
        apps = {"plain": attacker("plain", "keep"), "warm": attacker("warm", "keep", WARM)}
        with serve(**apps) as s:
            for name in apps:
                check(ask(s, name, "/size")[0] == 200, f"{name}: answers")
                [tenant] = tenants(s, app=name)
                proc = pathlib.Path(f"/proc/{tenant['pid']}")
                maps = [(*(int(x, 16) for x in line.split()[0].split("-")), line)
                        for line in (proc / "maps").read_text().splitlines()
                        if "[vsyscall]" not in line]
                far = [line for _, to, line in maps if to > GUEST_TO]
                check(not far, f"{name}: nothing lies far from the guest", far)
                low = [(start, to) for start, to, _ in maps if start < GUEST_FROM]
                check(low and max(to for _, to in low) - low[0][0] < 4 << 20,
                      f"{name}: the program lies in one place", maps)
                starts.add(low[0][0])
                # one of 512 GiB, 3 of 1 GiB, 5 of 2 MiB, and one that this guest takes
                tables = int(re.search(r"VmPTE:\s*(\d+)", (proc / "status").read_text())[1])
                check(tables <= 44, f"{name}: few page tables", tables, maps)
                check(wait_for(lambda: own_kib(proc) <= 36), f"{name}: few pages of its own",
                      own_kib(proc))
                check(ask(s, name, "/size")[0] == 200, f"{name}: answers without them")
    check(len(starts) > 1, "a place that cannot be told in advance", starts)


def own_kib(proc):
    """Private memory of what is no guest's: below the code."""
    sizes, own = 0, False
    for line in (proc / "smaps").read_text().splitlines():
        if line[0] in "0123456789abcdef":
            own = int(line.split("-")[0], 16) < GUEST_FROM
        elif own and line.startswith(("Private_Clean:", "Private_Dirty:")):
            sizes += int(line.split()[1])
    return sizes
