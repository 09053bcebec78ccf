#!/usr/bin/python3
"""How many tenants a machine holds, and what one more costs.

    tests/bench/density.py [--tenants N,N...] [--apps N] [--guest accept]

Brings up tenants of one app, and of many apps on one module, keeps them all alive, each waiting
for its next request (a C program that accepts HTTP connections), for longer than an idle tenant
takes to give back what it no longer needs, and reads what the kernel says:

  tenants, apps        alive at the same time
  uss_kib, pss_kib     unique and proportional memory of a tenant's process (smaps_rollup, mean)
  guest_dirty_kib      of the unique: pages of the guest itself, which it has written
  code_shared_clean_kib, code_private_kib   of the mapped code object (smaps)
  kernel_kib           page tables, stacks, slab and per-CPU memory for a tenant (/proc/meminfo,
                       the difference to before, divided)
  beyond_kib           uss + kernel - guest_dirty: what the product itself takes for a tenant
  bringup_us           from nothing to waiting for a request, a tenant, all at once
  requests_per_s       2,000 requests at once to all the apps, all the tenants alive

Before a row is begun, and before it is read, caches of names and inodes are dropped and slabs
that hold nothing are given back (/proc/sys/vm/drop_caches, /sys/kernel/slab/*/shrink), where
the machine allows it: else a row would use, unseen, what the one before it left behind, and
caches that the kernel drops when it likes would count as a tenant's. The first line says
whether it was done. The rest of the machine had better be quiet: its kernel memory counts, too.

Writes build/bench/density.json. As root it reads everything; an ordinary user may not look into
tenants (they cannot be dumped), so uss and pss are missing then.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "serve"))
from pool_test import BUILD, Driver, build_guests  # noqa: E402

GUEST_FROM, GUEST_TO = 0x3F000000, 0x500000000  # instance block, memory, stack (abi/abi.h)
CODE_FROM, CODE_TO = 0x1000000, 0x3F000000
SAMPLE = 200
IDLE_SECONDS = 2.5  # loader/tenant.c gives memory back after one
COLUMNS = ("tenants", "apps", "uss_kib", "pss_kib", "guest_dirty_kib", "code_shared_clean_kib",
           "code_private_kib", "kernel_kib", "beyond_kib", "bringup_us", "requests_per_s")


def meminfo():
    rows = (line.split() for line in pathlib.Path("/proc/meminfo").read_text().splitlines())
    return {row[0].rstrip(":"): int(row[1]) for row in rows}


def kernel_kib():
    m = meminfo()
    parts = ("PageTables", "KernelStack", "Slab", "Percpu")
    return sum(m[p] for p in parts)


def settle_kernel():
    """Whether the kernel's caches were emptied."""
    try:
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("2")
        shrinks = list(pathlib.Path("/sys/kernel/slab").glob("*/shrink"))
        for shrink in shrinks:
            shrink.write_text("1")
        return bool(shrinks)
    except OSError:
        return False


def smaps(pid):
    """Sums over the mappings of a process, in KiB."""
    sums = {"guest": 0, "shared_clean": 0, "private": 0}
    start = end = 0
    perms = ""
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        head = line.split()
        if "-" in head[0] and not head[0].endswith(":"):
            start, end = (int(x, 16) for x in head[0].split("-"))
            perms = head[1]
            continue
        value = int(head[1]) if len(head) > 1 and head[1].isdigit() else 0
        if GUEST_FROM <= start < GUEST_TO and head[0] == "Private_Dirty:":
            sums["guest"] += value
        if CODE_FROM <= start < CODE_TO and end <= CODE_TO and "w" not in perms:
            if head[0] == "Shared_Clean:":
                sums["shared_clean"] += value
            if head[0] in ("Private_Clean:", "Private_Dirty:"):
                sums["private"] += value
    return sums


def rollup(pid):
    sums = {}
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        words = line.split()
        sums[words[0].rstrip(":")] = int(words[1])
    return sums["Private_Clean"] + sums["Private_Dirty"], sums["Pss"]


def measure(guests, tenants, apps):
    per_app = tenants // apps
    with Driver(spares=1, max_tenants=tenants + 40) as d:
        d.until(lambda: d.numbers()["spares"] == 1, 20)
        time.sleep(IDLE_SECONDS)
        settle_kernel()
        before = kernel_kib()
        start = time.monotonic()
        d.say("env LISTEN_FDS=1",
              *(f"app a{i} {guests['accept']} http keep warm={per_app} instances={per_app} "
                "idle_ms=600000 queue=100000" for i in range(apps)))
        alive = 0
        while alive < per_app * apps and time.monotonic() - start < 600:
            time.sleep(0.02)
            numbers = d.numbers()
            if numbers["tenants"] >= per_app * apps:
                alive = len(d.tenants(state="idle"))
                time.sleep(0.1)
            if not numbers["up"]:
                break
        alive = len(d.tenants(state="idle"))
        seconds = time.monotonic() - start
        time.sleep(IDLE_SECONDS)
        settle_kernel()
        kernel = (kernel_kib() - before) / max(alive, 1)
        pids = [t["pid"] for t in d.tenants(state="idle")]
        sample = pids[:: max(1, len(pids) // SAMPLE)][:SAMPLE]
        row = dict.fromkeys(COLUMNS)
        row.update(tenants=alive, apps=apps, kernel_kib=round(kernel, 1),
                   bringup_us=round(seconds * 1e6 / max(alive, 1)))
        try:
            parts = [smaps(pid) for pid in sample]
            whole = [rollup(pid) for pid in sample]
            mean = {k: statistics.fmean(p[k] for p in parts) for k in parts[0]}
            uss, pss = (statistics.fmean(column) for column in zip(*whole))
            row.update(uss_kib=round(uss, 1), pss_kib=round(pss, 1),
                       guest_dirty_kib=round(mean["guest"], 1),
                       code_shared_clean_kib=round(mean["shared_clean"], 1),
                       code_private_kib=round(mean["private"], 1),
                       beyond_kib=round(uss + kernel - mean["guest"], 1))
        except OSError as e:
            print(f"density: {e}: no figures of single processes", file=sys.stderr)
        # with all of them alive
        count = 2000
        d.numbers()
        start = time.monotonic()
        d.say(*(f"request a{n % apps} {n + 1} x" for n in range(count)), f"wait {count}",
              "numbers")
        d.wait(120, event="numbers")
        row["requests_per_s"] = round(count / (time.monotonic() - start))
        trouble = [e["text"] for e in d.events if e["event"] == "pool"]
        if alive < per_app * apps:
            print(f"density: stopped at {alive}: {trouble[-3:]}", file=sys.stderr)
        if os.environ.get("DENSITY_MAPS"):
            print(pathlib.Path(f"/proc/{pids[len(pids) // 2]}/smaps").read_text())
            print(pathlib.Path(f"/proc/{pids[len(pids) // 2]}/status").read_text())
        return row


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tenants", default="100,1000,5000", help="numbers of tenants")
    parser.add_argument("--apps", type=int, default=100, help="apps on one module, beside one app")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="hutch-density-") as name:
        os.chmod(name, 0o755)
        os.environ["HUTCH_CACHE_DIR"] = str(pathlib.Path(name) / "cache")
        guests = build_guests(pathlib.Path(name))
        print("caches of the kernel:", "emptied for each row" if settle_kernel() else "as they are")
        print("  ".join(f"{c:>9}"[: max(9, len(c))] for c in COLUMNS), flush=True)
        for tenants in map(int, options.tenants.split(",")):
            for apps in (1, options.apps):
                row = measure(guests, tenants, apps)
                rows.append(row)
                print("  ".join(f"{'-' if row[c] is None else row[c]:>{max(9, len(c))}}"
                                for c in COLUMNS), flush=True)
    out = BUILD / "bench"
    out.mkdir(parents=True, exist_ok=True)
    (out / "density.json").write_text(json.dumps({"bench": "density", "rows": rows}, indent=1))
    print(f"written: {out / 'density.json'}")
    return 0 if all(r["code_private_kib"] in (0, None) for r in rows) else 1


sys.exit(main())
