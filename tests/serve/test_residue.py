"""Nothing of a request is in the process that answers the next one: `reuse: reset` over both interfaces,
with files in memory and memory that grew; looked for in all of the process's memory."""

import json
import os
import pathlib

from servelib import check, descendants, test, wait_for
from test_tenants import ask, hosted, serve

VOLUME = "volumes: [{path: /tmp, kind: private, size: 1M}]\n"


def tenants(s, app):
    return [t["pid"] for t in json.loads(s.get("/status", port=s.admin)[2])["tenant_list"]
            if t.get("app") == app and t["state"] == "idle"]


def search(pid, word):
    """Mappings of the process that hold the word."""
    found = []
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights = line.split()[:2]
            start, end = (int(x, 16) for x in span.split("-"))
            if rights[0] != "r" or "[v" in line:
                continue
            while start < end:
                size = min(end - start, 1 << 24)
                try:
                    memory.seek(start)
                    data = memory.read(size)
                except OSError:
                    data = b""
                if word in data:
                    found.append(line)
                start += size
    return found


@test
def nothing_is_left():
    apps = {}
    for i in ("fastcgi", "http"):
        for reuse in ("reset", "keep"):
            text = hosted(i, reuse, VOLUME + "instaboot: {requests: [{path: /count}]}\n")
            apps[f"{i}-{reuse}"] = text.replace(f"host: {i}", f"host: {i}-{reuse}") \
                .replace("instances: 8", "instances: 1")
    with serve(**apps) as s:
        for name in apps:
            secret = "s3cr3t" + os.urandom(12).hex()
            check(ask(s, name, "/x")[0] == 200, f"{name} answers")
            pids = wait_for(lambda: tenants(s, name))
            links = len(os.listdir(f"/proc/{pids[0]}/fd"))
            got = [ask(s, name, path)[2] for path in (f"/plant/{secret}", "/left", "/count")]
            reset = name.endswith("reset")
            check(got == [b"planted\n", b"0 0\n" if reset else b"1 1\n", b"2\n" if reset else b"5\n"],
                  f"{name}: what the next ones see", got)
            check(wait_for(lambda: tenants(s, name)) == pids, f"{name}: all in one process", pids)
            try:
                found = search(pids[0], secret.encode())
            except PermissionError:
                print("     tenants' memory cannot be read here", flush=True)
                continue
            check(bool(found) != reset, f"{name}: in the process's memory", found)
            check(len(os.listdir(f"/proc/{pids[0]}/fd")) == links, f"{name}: its descriptors")
            for pid in descendants(s.process.pid):
                if pid not in pids and "tenant" in os.path.basename(os.readlink(f"/proc/{pid}/exe")):
                    check(not search(pid, secret.encode()), f"{name}: in another tenant", pid)
