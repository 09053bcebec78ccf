"""What app.yaml says of snapshots: which answers to warm-up requests are right, how old one may be,
and secrets that come with each resume and are never in it."""

import json
import os
import signal
import subprocess
import time

from servelib import HUTCH, Server, check, descendants, test, wait_for
from test_tenants import WORK, guest

CACHE = WORK / "instaboot-cache"


def serve(text, **more):
    s = Server("-O", "fast", native=False, env={"HUTCH_CACHE_DIR": str(CACHE)}, seconds=120,
               a=f"module: {guest('environ')}\ninterface: http\n{text}\n", **more)
    return s


def snapshots():
    listed = subprocess.run([HUTCH, "cache", "list", "--cache-dir", CACHE, "--json"],
                            capture_output=True, text=True, check=True).stdout
    return sorted(e["digest"] for e in json.loads(listed)["entries"] if e["kind"] == "snapshot")


def answer(s, path="/"):
    return s.get(path)[2].decode()


@test
def right_answers():
    cases = (
        ("{path: /one}", None),
        ("{path: /fail}", "/fail: it answered 500, which is not expected"),
        ("{path: /fail, expect: {status_codes: [500]}}", None),
        ("{path: /one, expect: {status_codes: [204, 301]}}", "/one: it answered 200"),
        ("{path: /one, expect: {body_includes: 'first /one'}}", None),
        ("{path: /one, expect: {body_includes: 'first /two'}}",
         "/one: the answer does not include 'first /two'"),
        ("{path: /one, expect: {body_regex: '^start .*/o(n|x)e$'}}", None),
        ("{path: /one, expect: {body_regex: '^now'}}", "/one: the answer does not match '^now'"),
        # the first of two is looked at as well
        ("{path: /fail}, {path: /two}", "/fail: it answered 500"),
    )
    for requests, wrong in cases:
        with serve(f"instaboot: {{requests: [{requests}]}}") as s:
            said = s.stderr()
            if wrong is None:
                check("no snapshot" not in said, requests, said)
                first = requests.split("path: ")[1].split(",")[0].split("}")[0]
                check(answer(s, "/later").endswith("first " + first), requests, answer(s))
            else:
                check("no snapshot" in said and wrong in said, requests, said)
                check(answer(s, "/later").endswith("first /later"), "it is served all the same")


@test
def right_answers_of_cgi():
    text = f"module: {guest('cgi')}\ninterface: cgi\nreuse: fresh\n"
    for expect, wrong in (("{status_codes: [200]}", None),
                          ("{status_codes: [404]}", "/x: it answered 200, which is not expected"),
                          ("{body_regex: '^nobody$'}", "does not match '^nobody$'")):
        with Server("-O", "fast", native=False, env={"HUTCH_CACHE_DIR": str(CACHE)}, seconds=120,
                    a=f"{text}instaboot: {{requests: [{{path: /x, expect: {expect}}}]}}\n") as s:
            check(wrong in s.stderr() if wrong else "no snapshot" not in s.stderr(), expect,
                  s.stderr())


@test
def how_old():
    with serve("instaboot: {max_age: 1h, requests: [{path: /aged}]}"):
        before = snapshots()
    with serve("instaboot: {max_age: 1h, requests: [{path: /aged}]}"):
        check(snapshots() == before, "one that is young is used again")
    time.sleep(0.05)
    with serve("instaboot: {max_age: 50ms, requests: [{path: /aged}]}") as s:
        check(len(set(snapshots()) - set(before)) == 1, "an old one is made anew", s.stderr())
        check(answer(s).endswith("first /aged"), "and used", answer(s))


@test
def secrets_at_resume():
    for reuse in ("keep", "reset", "fresh"):
        place = WORK / ("secret-" + reuse)
        place.write_text("hunter2-is-no-secret\n")
        place.chmod(0o600)
        with serve(f"env: {{PLAIN: one}}\nsecrets: {{SECRET: {place}}}\nreuse: {reuse}\n"
                   "instaboot: {secrets_at_resume: true, requests: [{path: /warm}]}") as s:
            check("no snapshot" not in s.stderr(), f"{reuse}: a snapshot", s.stderr())
            for _ in range(2):
                check(answer(s) == "start , now hunter2-is-no-secret, plain one, first /warm",
                      f"{reuse}: empty when it was frozen, there now", answer(s))
            kept = snapshots()
            check(len(kept) > 0, "it is kept in the store")
            bytes_of = [p.read_bytes() for p in CACHE.rglob("*") if p.is_file()]
            check(not any(b"hunter2" in b for b in bytes_of), "nothing in the store knows it")
            # Another value: no new snapshot.
            place.write_text("correct-horse\n")
            text = (s.apps / "a.yaml").read_text().replace("PLAIN: one", "PLAIN: two")
            (s.apps / "a.yaml").write_text(text)
            s.signal(signal.SIGHUP)
            wait_for(lambda: "read again" in s.stderr())
            check(answer(s) == "start , now correct-horse, plain two, first /warm",
                  f"{reuse}: new values", answer(s))
            check(snapshots() == kept, "from the same snapshot")


@test
def a_snapshot_of_yesterday():
    """The store notes when an entry was last used; the snapshot is the same for that."""
    with serve("instaboot: {requests: [{path: /yesterday}]}") as s:
        check("no snapshot" not in s.stderr(), "a snapshot", s.stderr())
    before = snapshots()
    for path in (CACHE / "objects").iterdir():
        st = path.stat()
        os.utime(path, ns=(st.st_atime_ns - 86_400 * 10**9, st.st_mtime_ns))
    with serve("instaboot: {requests: [{path: /yesterday}]}") as s:
        check("no snapshot" not in s.stderr(), "and the next day", s.stderr())
    check(snapshots() == before, "no other was made", before, snapshots())


@test
def secrets_are_nowhere():
    secret = "xyzzy-plugh-4711"
    place = WORK / "nowhere"
    place.write_text(secret)
    place.chmod(0o600)
    with serve(f"secrets: {{SECRET: {place}}}\nreuse: reset") as s:
        check(f"now {secret}" in answer(s), "the app has it", answer(s))
        bound = subprocess.run([HUTCH, "top", "--once", "--admin", f"127.0.0.1:{s.admin}"],
                               capture_output=True).stdout
        for path in ("/status", "/metrics", "/healthz"):
            bound += s.get(path, port=s.admin)[2]
        for pid in [s.process.pid, *descendants(s.process.pid)]:
            for file in ("environ", "cmdline"):
                try:
                    with open(f"/proc/{pid}/{file}", "rb") as f:
                        bound += f.read()
                except OSError:
                    pass
        check(len(bound) > 1000 and secret.encode() not in bound, "not in what can be asked for")
        s.stop()
        for place in (s.dir, CACHE):
            for path in place.rglob("*"):
                if path.is_file():
                    check(secret.encode() not in path.read_bytes(), f"not in {path.name}")
