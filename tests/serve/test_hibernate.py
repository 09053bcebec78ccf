"""Idle instances with `reuse: keep` that are written out, and go on with their state."""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import time

from servelib import ROOT, Server, alive, check, descendants, test, wait_for
from test_tenants import WORK, ask, guest, hosted, serve

WARM = "instaboot: {requests: [{path: /count}]}\n"


def sleepy(interface, more="", idle="300ms", survives="restart", instances=1):
    """With one instance, so that each answer says what the app has answered before."""
    text = hosted(interface, "keep", f"hibernate: {{idle: {idle}, survives: {survives}}}\n" + more)
    return text.replace("instances: 8", f"instances: {instances}")


def count(s, name, **more):
    status, _, body = ask(s, name, "/count", **more)
    return int(body) if status == 200 else (status, body)


def files(s, app=""):
    place = s.state / "hibernated"
    return sorted(p.name for p in place.iterdir() if p.name.startswith(app) and p.name != "lock") \
        if place.exists() else []


def asleep(s, app, number=1, seconds=10):
    """Whether so many instances of the app become hibernated, and no process of it is left."""
    return wait_for(lambda: s.metric("hutch_app_hibernated", app=app) == number and
                    s.metric("hutch_app_tenants", app=app, state="idle") == 0, seconds)


@test
def there_and_back():
    """Each interface, with and without a snapshot: the state goes on, again and again."""
    apps = {}
    for i in ("fastcgi", "http"):
        apps[i] = sleepy(i)
        apps[f"{i}-warm"] = sleepy(i, WARM).replace(f"host: {i}", f"host: {i}-warm")
        apps[f"{i}-disk"] = sleepy(i, WARM, survives="reboot").replace(f"host: {i}",
                                                                       f"host: {i}-disk")
    with serve(**apps) as s:
        for turn in range(3):
            for name in apps:
                first = 1 if "-" not in name else 2
                got = [count(s, name) for _ in range(2)]
                check(got == [first + 2 * turn, first + 2 * turn + 1], f"{name}: it goes on", got)
            for name in apps:
                check(asleep(s, name), f"{name}: it sleeps", files(s), s.lines("log")[-5:])
        text = s.get("/metrics", port=s.admin)[2].decode()
        for name in apps:
            check(s.metric("hutch_app_hibernations_total", app=name) == 3 and
                  s.metric("hutch_app_resumes_total", app=name) == 2, f"{name}: counted", text)
            check(s.metric("hutch_app_hibernated_bytes", app=name)
                  == sum((s.state / "hibernated" / f).stat().st_size for f in files(s, name + ".")),
                  f"{name}: the bytes")
        check(len(files(s)) == len(apps), "a file each", files(s))
        small, whole = ((s.state / "hibernated" / files(s, f"http-{kind}.")[0]).stat().st_size
                        for kind in ("warm", "disk"))
        check(small < whole, "a difference is smaller than all of it", small, whole)
        modes = {p.stat().st_mode & 0o777 for p in (s.state / "hibernated").iterdir()}
        check(modes == {0o600} and (s.state / "hibernated").stat().st_mode & 0o777 == 0o700,
              "nobody else reads them", modes)
        lines = wait_for(lambda: len(x := [x for x in s.lines() if x["app"] == "http"]) == 6 and x)
        check([x["cold"] for x in lines or []] == [True, False] * 3, "who woke it up waited", lines)
        check(not s.lines("log"), "nothing to complain of", s.lines("log"))


@contextlib.contextmanager
def kept():
    """A state directory that outlives servers."""
    place = pathlib.Path(tempfile.mkdtemp(prefix="hutch-hibernated-"))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def serve_at(place, *arguments, **apps):
    s = serve("--state-dir", str(place), *arguments, **apps)
    s.state = place
    return s


@test
def survives_the_server():
    """SIGTERM: what is in memory is written out; what sleeps sleeps on."""
    apps = {"http": sleepy("http", WARM, idle="1h"), "asleep": sleepy("http").replace(
        "host: http", "host: asleep"), "fastcgi": sleepy("fastcgi", idle="0s", survives="reboot")}
    with kept() as place:
        for turn in range(3):
            with serve_at(place, **apps) as s:
                got = {name: [count(s, name) for _ in range(2)] for name in apps}
                wanted = {name: [n + 2 * turn for n in (2, 3)] if name == "http" else
                          [n + 2 * turn for n in (1, 2)] for name in apps}
                check(got == wanted, f"turn {turn}: goes on", got, wanted, s.lines("log"))
                check(asleep(s, "asleep"), "one sleeps already")
                check(s.stop() == 0, "it ends", s.stderr())
                check(len(files(s)) == 3, "all are on the disk", files(s), s.lines("log"))
        # another boot: only what was to survive one
        boot = re.compile(r"\.[0-9a-f]{8}$")
        for name in files(s):
            (place / "hibernated" / name).rename(
                place / "hibernated" / boot.sub(".00000000", name))
        with serve_at(place, **apps) as s:
            check((count(s, "http"), count(s, "asleep"), count(s, "fastcgi")) == (2, 1, 7),
                  "after another boot", files(s))


@test
def survives_kill():
    """The front is killed: what slept goes on, what was awake begins anew, nothing goes back."""
    apps = {"http": sleepy("http", WARM), "awake": sleepy("http", idle="1h").replace(
        "host: http", "host: awake")}
    with serve(**apps) as s:
        check((count(s, "http"), count(s, "awake")) == (2, 1), "counts")
        check(asleep(s, "http"), "one sleeps")
        front = s.child("front")
        os.kill(front, signal.SIGKILL)
        check(wait_for(lambda: s.child("front") not in (None, front)), "another front")
        wait_for(lambda: ask_quietly(s, "http", "/x"))
        check(asleep(s, "http"), "and again it sleeps")
        check((count(s, "http"), count(s, "awake")) == (4, 1), "one goes on, one begins",
              s.lines("log"))
        front = s.child("front")
        os.kill(front, signal.SIGKILL)  # while both are awake: no file of before is used again
        check(wait_for(lambda: s.child("front") not in (None, front), 10), "another front")
        wait_for(lambda: ask_quietly(s, "awake", "/x"))
        check(count(s, "http") == 2, "what went on and was awake is gone", files(s))


def ask_quietly(s, name, path):
    try:
        return ask(s, name, path, seconds=5)
    except OSError:
        return None


@test
def killed_at_any_moment():
    """Whenever the front dies: never two answers from one state, never an old one again."""
    with serve(http=sleepy("http", WARM, idle="5ms")) as s:
        last, lost, kills, went_on = None, 0, 0, 0
        end = time.monotonic() + 20
        delay = 0.0
        while time.monotonic() < end and kills < 60:
            delay = (delay + 0.0013) % 0.03
            got = ask_quietly(s, "http", "/count")
            if got and got[0] == 200:
                n = int(got[2])
                good = n == 2 or last is None or n == last + 1
                check(good, "an old state went on", n, last)
                went_on += n != 2
                lost += n == 2
                last = n
            else:
                # given to a guest whose answer nobody saw: it may have counted
                last = None
            sleeps = delay > 0.015
            if sleeps and not asleep(s, "http", seconds=2):
                sleeps = False
            front = s.child("front")
            if kills % 3 or sleeps:
                time.sleep(0 if sleeps else delay)
                if front:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(front, signal.SIGKILL)
                    kills += 1
                    wait_for(lambda: s.child("front") not in (None, front), 10)
                if sleeps:
                    got = wait_for(lambda: ask_quietly(s, "http", "/count"), 10)
                    check(got and got[0] == 200 and (last is None or int(got[2]) == last + 1),
                          "what was asleep before the kill goes on", got, last)
                    last = int(got[2]) if got and got[0] == 200 else None
                    went_on += 1
            else:
                kills += 1
        check(went_on > 5 and kills >= 8, "it was tried often enough", went_on, lost, kills)


@test
def requests_meanwhile():
    """Requests that come while an instance is being written: each is the next one."""
    apps = {name: sleepy("http", more, idle="2ms").replace(
        "host: http", f"host: {name}") for name, more in (("cold", ""), ("warm", WARM))}
    with serve(**apps) as s:
        for name in apps:
            got = []
            for n in range(400):
                got.append(count(s, name))
                time.sleep((n % 40) * 0.0003)
            check(got == list(range(got[0], got[0] + 400)), f"{name}: in order", got)
            check(s.metric("hutch_app_resumes_total", app=name) > 5, f"{name}: it slept now and then",
                  s.get("/metrics", port=s.admin)[2].decode())
        check(not s.lines("log"), "nothing to complain of", s.lines("log")[-5:])
        wait_for(lambda: not [f for f in files(s) if f.startswith("tmp")])
        check(len(files(s)) <= 2, "no file is left behind", files(s))


@test
def instances_of_an_app():
    """Several instances: each has its own state, and each is continued once."""
    with serve(http=sleepy("http", idle="1s", instances=3)) as s:
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda _: ask(s, "http", "/sleep"), range(3)))
        got = [count(s, "http") for _ in range(4)]  # the one used last is used again
        check(sorted(got) == [2, 3, 4, 5], "one of three counts on", got)
        check(asleep(s, "http", 3), "three sleep", files(s))
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda _: ask(s, "http", "/sleep"), range(3)))
        check(s.metric("hutch_app_resumes_total", app="http") == 3, "three were woken")
        check(files(s) == [], "their files are gone", files(s))
        check(asleep(s, "http", 3), "and sleep again")
        check(count(s, "http") in (3, 7), "each goes on from its own")


@test
def another_version():
    """What an app kept belongs to what it was: another module, snapshot or configuration begins
    anew, and the log says why; another route or time limit changes nothing for the guest."""
    other = WORK / "other.wasm"
    if not other.exists():
        subprocess.run(["clang-22", "--target=wasm32-wasi", "-Wno-deprecated", "-O2", "-o", other,
                        ROOT / "tests/serve/guests/http.c"], check=True)
    base = sleepy("http", WARM)
    changes = (
        (base.replace(str(guest("http")), str(other)), "another code object", 2),
        (sleepy("http", "instaboot: {requests: [{path: /x}, {path: /count}]}\n"),
         "another snapshot", 3),
        (base + "args: [more]\n", "another snapshot|another configuration", 2),
        (base + "env: {A: '1'}\n", "another snapshot|another configuration", 2),
        (base.replace("32M", "31M"), "another snapshot|another configuration", 2),
        (base.replace("reuse: keep", "reuse: fresh"), "not reuse: keep", 2),
        (base.replace("wall: 10s", "wall: 11s"), None, 3),
        (base + "debug: true\n", None, 3),
    )
    for text, reason, wanted in changes:
        with kept() as place:
            with serve_at(place, http=base) as s:
                check(count(s, "http") == 2 and asleep(s, "http"), "it sleeps")
                s.put_app("http", text)
                s.signal(signal.SIGHUP)
                check(wait_for(lambda: "read again" in s.stderr(), 60), "read again", s.stderr())
                got = count(s, "http")
                log = str(s.lines("log"))
                check(got == wanted and (bool(re.search(f"given up: .*({reason})", log)) if reason
                                         else "given up" not in log),
                      f"reload: {reason}", got, wanted, log)
    with kept() as place:
        with serve_at(place, http=base) as s:
            check(count(s, "http") == 2, "counts")
        with serve_at(place, http=changes[0][0]) as s:
            check(count(s, "http") == 2 and "another code object" in str(s.lines("log")),
                  "a restart: another module", s.lines("log"))


def processes(s):
    return {t["pid"] for t in json.loads(s.get("/status", port=s.admin)[2])["tenant_list"]
            if t.get("app") == "http"}


def reload(s, name, text):
    """Begun, not waited for."""
    s.put_app(name, text)
    s.signal(signal.SIGHUP)


@test
def awake_over_a_reload():
    """A reload that changes nothing for the guest leaves its instances as they are."""
    base = sleepy("http", WARM, idle="1h")
    with serve(http=base) as s:
        check(count(s, "http") == 2, "counts")
        for turn, text in enumerate((base + "debug: true\n", base.replace("cpu: 2s", "cpu: 3s"))):
            s.put_app("http", text)
            s.signal(signal.SIGHUP)
            wait_for(lambda: s.stderr().count("read again") == turn + 1, 60)
            check(count(s, "http") == 3 + turn, "it counts on", s.stderr())
        check(s.metric("hutch_forks_total") < 8, "in the same process")
    # with a volume, while the same process holds it
    base = sleepy("http", "volumes: [{path: /data}]\n", idle="1h")
    with serve(http=base) as s:
        check(count(s, "http") == 1, "counts")
        before = processes(s)
        reload(s, "http", base + "debug: true\n")
        wait_for(lambda: "read again" in s.stderr(), 60)
        check((count(s, "http"), processes(s)) == (2, before), "it has a volume, and goes on", s.stderr())
    # a secret that comes at resume is another one from the reload on, also to what is awake
    secret = WORK / "at-resume"
    secret.write_text("one\n")
    secret.chmod(0o600)
    more = f"secrets: {{SECRET: {secret}}}\n"
    text = sleepy("http", more + WARM.replace("{req", "{secrets_at_resume: true, req"), idle="1h")
    with serve(http=text) as s:
        check(count(s, "http") == 2, "counts")
        before = processes(s)
        secret.write_text("another\n")
        s.signal(signal.SIGHUP)
        wait_for(lambda: "read again" in s.stderr(), 60)
        check(count(s, "http") == 2 and processes(s) - before, "another process", s.stderr())


@test
def busy_over_a_reload():
    """Whoever is busy, waits or wakes up meanwhile stays the app's, and the only one it has."""
    texts = [sleepy("http", WARM, idle="1h") + f"debug: {value}\n" for value in ("true", "false")]
    with serve(http=texts[0]) as s, concurrent.futures.ThreadPoolExecutor(4) as pool:
        expected = 2
        check(count(s, "http") == expected, "counts")
        before = processes(s)
        for turn in range(6):
            # it has answered, and is not back yet when the reload is over
            ask(s, "http", "/linger/700000")
            expected += 1
            waits = [pool.submit(count, s, "http") for _ in range(turn % 3)]
            if waits:
                wait_for(lambda: s.metric("hutch_app_queue_length", app="http") == len(waits))
            generation = s.stderr().count("read again")
            reload(s, "http", texts[(turn + 1) % 2])
            wait_for(lambda: s.stderr().count("read again") > generation, 60)
            got = sorted([count(s, "http")] + [x.result() for x in waits])
            wanted = list(range(expected + 1, expected + 2 + len(waits)))
            check(got == wanted, f"turn {turn}: it goes on", got, wanted, s.stderr())
            expected = wanted[-1]
        check(processes(s) == before, "in the same process", processes(s), before)
    texts = [x.replace("idle: 1h", "idle: 10ms") for x in texts]
    with serve(http=texts[0]) as s:
        got = []
        for turn in range(60):
            if turn % 3:
                asleep(s, "http")
            if turn % 4 < 2:
                time.sleep(turn % 5 * 0.004)
                reload(s, "http", texts[turn % 2])
                time.sleep(turn % 7 * 0.004)
            got.append(count(s, "http"))
        check(got == list(range(2, 62)), "awake, asleep or between the two", got, s.stderr())


@test
def reloads_under_load():
    """One reload after the other while clients ask: each request is counted, once, by the same state."""
    for interface, idle in (("http", "1h"), ("fastcgi", "5ms")):
        texts = [sleepy(interface, WARM, idle=idle) + f"debug: {value}\n" for value in ("true", "false")]
        with serve(**{interface: texts[0]}) as s, concurrent.futures.ThreadPoolExecutor(4) as pool:
            end = time.monotonic() + 2.5

            def client():
                got = []
                while time.monotonic() < end:
                    got.append(count(s, interface))
                    time.sleep(len(got) % 8 // 7 * 0.02)  # long enough to fall asleep, now and then
                return got

            clients = [pool.submit(client) for _ in range(4)]
            for turn in range(1000):
                if time.monotonic() > end:
                    break
                reload(s, interface, texts[turn % 2])
                time.sleep(0.05)
            got = [n for c in clients for n in c.result()]
            check(sorted(map(str, got)) == sorted(map(str, range(2, 2 + len(got)))) and len(got) > 50,
                  f"{interface}: none lost, none twice", len(got), got[:20], s.stderr())
            check(s.stderr().count("read again") > 5, "it was reloaded", s.stderr())


@test
def damaged_files():
    """Cut or altered: refused with a reason, and the app begins anew."""
    with serve(http=sleepy("http", WARM, idle="20ms")) as s:
        count(s, "http")
        refused = 0
        for n in range(24):
            if not check(asleep(s, "http"), "it sleeps", s.lines("log")[-3:]):
                break
            path = s.state / "hibernated" / files(s, "http")[0]
            data = bytearray(path.read_bytes())
            at = (n * len(data)) // 12 % len(data)
            if n < 12:
                data[at] ^= 0x40
            else:
                del data[at:]
            path.write_bytes(data)
            got = count(s, "http")
            refused += 1
            check(got == 2, f"altered at {at} of {len(data)}" if n < 12 else f"cut at {at}", got)
            log = s.lines("log")
            check(len(log) == refused and "cannot go on" in str(log[-1]) and
                  "begins anew" in str(log[-1]) or "starts anew" in str(log[-1]), "the log", log[-2:])
        check(s.metric("hutch_app_hibernated_refused_total", app="http") == refused, "counted")


@test
def no_room():
    """A full disk, and a limit: the instance stays in memory with its state."""
    with serve("--max-hibernated", "1", http=sleepy("http"), other=sleepy("http").replace(
            "host: http", "host: other")) as s:
        check(count(s, "http") == 1 and asleep(s, "http"), "one is within the limit")
        check(count(s, "other") == 1, "counts")
        check(wait_for(lambda: "as much as they may" in str(s.lines("log"))), "another is not",
              s.lines("log"))
        check(count(s, "other") == 2 and files(s, "other") == [], "it counts on")
    full = ["unshare", "-rm", "sh", "-c",
            'd=$(pwd)/state/hibernated; mkdir "$d" && mount -t tmpfs -o size=16k none "$d" && exec "$@"',
            "sh"]
    if subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"],
                      capture_output=True, check=False).returncode:
        print("     no full disk here: unshare may not mount", flush=True)
        return
    with serve(command=full, http=sleepy("http")) as s:
        check([count(s, "http") for _ in range(2)] == [1, 2], "counts")
        check(wait_for(lambda: "No space left" in str(s.lines("log"))), "the disk is full",
              s.lines("log"))
        check([count(s, "http") for _ in range(2)] == [3, 4], "nothing is lost")
        check(s.metric("hutch_app_hibernation_failures_total", app="http") >= 1 and
              s.metric("hutch_app_hibernations_total", app="http") == 0, "counted")
        place = pathlib.Path(f"/proc/{s.process.pid}/root{s.state}/hibernated")
        check([p.name for p in place.iterdir()] == ["lock"], "and no file", list(place.iterdir()))


@test
def memory_is_short():
    """With less memory left than is to be free, idle instances are written out at once."""
    apps = {f"a{i}": sleepy("http", idle="1h").replace("host: http", f"host: a{i}")
            for i in range(4)}
    with serve("--keep-free", "1000G", **apps) as s:
        check([count(s, name) for name in apps] == [1] * 4, "counts")
        check(all(asleep(s, name) for name in apps), "all sleep", s.lines("log"))
        check([count(s, name) for name in apps] == [2] * 4, "and go on")
    with serve("--keep-free", "0", **apps) as s:
        count(s, "a0")
        time.sleep(2)
        check(files(s) == [], "without it they stay")


@test
def memory_of_a_control_group():
    """The limit of a control group counts (version 2; files with what the kernel would say stand in for it)."""
    for current, sleeps in ((99_000_000, True), (80_000_000, False)):
        group = ["unshare", "-rm", "sh", "-c",
                 "mount -t tmpfs none /sys/fs/cgroup && cd /sys/fs/cgroup && echo 100000000 >memory.max && "
                 f"echo max >memory.high && echo {current} >memory.current && "
                 "printf 'anon 1\\ninactive_file 500000\\n' >memory.stat && cd - >/dev/null && exec \"$@\"", "sh"]
        if subprocess.run([*group, "true"], capture_output=True, check=False).returncode or \
                "0::/\n" not in pathlib.Path("/proc/self/cgroup").read_text():
            print("     not here: unshare may not mount, or another control group", flush=True)
            return
        with serve(command=group, http=sleepy("http", idle="1h")) as s:
            check(count(s, "http") == 1, "counts")
            if sleeps:
                check(asleep(s, "http"), "with less than a twentieth of the limit left it sleeps")
            else:
                time.sleep(2.5)
                check(s.metric("hutch_app_hibernated", app="http") == 0, "with more it stays")


@test
def files_in_memory():
    """What is in a private volume is state, too."""
    more = "volumes: [{path: /tmp, kind: private, size: 1M}]\n"
    with serve(http=sleepy("http", more), warm=sleepy("http", more + WARM).replace(
            "host: http", "host: warm")) as s:
        for turn in range(3):
            for name in "http", "warm":
                got = [int(ask(s, name, "/write")[2]) for _ in range(2)]
                check(got == [2 * turn + 1, 2 * turn + 2], f"{name}: the file grows on", got)
            check(asleep(s, "http") and asleep(s, "warm"), "both sleep", s.lines("log"))


@test
def tokens():
    """A guest in C: randomness, clock and hutch.generation are new in each process it goes on in."""
    frozen = WORK / "frozen.wasm"
    if not frozen.exists():
        subprocess.run(["clang-22", "--target=wasm32-wasi", "-Wno-deprecated", "-msimd128", "-O2", "-o",
                        frozen, ROOT / "tests/integration/guests/frozen.c"], check=True)
    boot = "instaboot: {requests: [{path: /token}]}\n"
    apps = {"keep": sleepy("http", boot, idle="50ms"),
            "twin": sleepy("http", boot, idle="50ms", survives="reboot"),
            "fresh": hosted("http", "fresh", boot), "reset": hosted("http", "reset", boot)}
    apps = {name: text.replace(str(guest("http")), str(frozen)).replace("host: http", f"host: {name}")
            for name, text in apps.items()}
    with serve(**apps) as s:
        seen, generations = [], []
        for _ in range(4):
            for name in apps:
                got = [ask(s, name, "/token")[2].split() for _ in range(2)]
                seen += got
                generations += {g[1] for g in got}
                if name in ("keep", "twin"):
                    check(got[0][1] == got[1][1], f"{name}: one generation while it is awake", got)
                    check(asleep(s, name), f"{name} sleeps")
        check(len({x[0] for x in seen}) == len(seen), "random bytes", seen)
        check(len(set(generations)) == len(generations) == 4 * (1 + 1 + 2 + 2)
              and b"0" not in generations, "generations", generations)
        now = time.time()
        check(all(abs(int(x[2]) - now) < 60 for x in seen), "the clock", seen)


@test
def two_servers():
    """One directory, two servers: the second keeps its instances in memory."""
    with kept() as place:
        with serve_at(place, http=sleepy("http")) as s, \
                serve_at(place, http=sleepy("http")) as other:
            check(wait_for(lambda: "another server's" in str(other.lines("log"))), "says so",
                  other.lines("log"))
            check((count(s, "http"), count(other, "http")) == (1, 1), "each has its own")
            check(asleep(s, "http"), "the first sleeps")
            time.sleep(1)
            check(count(other, "http") == 2 and count(s, "http") == 2, "both count on")


@test
def nothing_is_held():
    """Asleep, an app has no process, and neither zygote nor other tenants have its files."""
    with serve(http=sleepy("http", WARM), other=sleepy("fastcgi", idle="1h").replace(
            "host: fastcgi", "host: other")) as s:
        before = len(descendants(s.process.pid))
        count(s, "http")
        count(s, "other")
        check(asleep(s, "http"), "it sleeps")
        check(wait_for(lambda: len(descendants(s.process.pid)) == before + 1), "one process is left")
        name = files(s, "http")[0]
        holders = []
        for pid in descendants(s.process.pid):
            with contextlib.suppress(OSError):
                holders += [(pid, os.readlink(p)) for p in pathlib.Path(f"/proc/{pid}/fd").iterdir()
                            if name in os.readlink(p)]
        check(not holders, "nobody has its file open", holders)
