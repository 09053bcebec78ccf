"""What an idle instance holds in memory: pages that are the snapshot's again are given back."""

import pathlib

from servelib import check, test, wait_for
from test_attacks import ask, attacker, serve, tenants

WARM = "instaboot: {requests: [{path: /size}]}\n"
WIPED_KIB = 1024  # what /wipe of guests/attack.c writes and clears


def private_kib(pid):
    rows = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return sum(int(row.split()[1]) for row in rows if row.startswith("Private_"))


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
