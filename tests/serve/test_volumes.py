"""Persistent volumes: files that outlive instances, held by a process that tenants ask."""

import os
import pathlib
import signal
import subprocess

from servelib import HUTCH, Server, alive, check, comm, descendants, test, wait_for
from test_tenants import WORK, guest

KEYS = "interface: http\nlimits: {memory: 32M, instances: 2, files: 20}\n"


def app(volume="size: 1M", host="a", reuse="keep", more=""):
    return (f"module: {guest('volume')}\nroutes: [{host}]\nreuse: {reuse}\n{KEYS}"
            f"volumes: [{{path: /data, {volume}}}]\n{more}")


def serve(**apps):
    return Server("-O", "fast", native=False, env={"HUTCH_CACHE_DIR": str(WORK / "cache")},
                  seconds=120, **apps)


def ask(s, path, host="a"):
    return s.get(path, headers={"Host": host})[2].decode()


def expect(s, path, wanted, host="a"):
    got = ask(s, path, host)
    check(got == wanted, f"{path}: {wanted}", got)


def files(s, name="a", volume="data"):
    return s.state / "volumes" / name / volume / "files"


def holders():
    found = []
    for place in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"--volume" in words[1:2] and alive(int(place.name)):
            found.append((int(place.name), words[5].decode()))
    return found


@test
def files_stay():
    with serve(a=app(reuse="fresh")) as s:
        expect(s, "/put/x/hello", "ok")
        expect(s, "/append/x/!you", "ok")
        expect(s, "/get/x", "hello/you")
        check((files(s) / "x").read_text() == "hello/you", "on the node's disk")
        check((files(s).stat().st_mode & 0o777, (files(s) / "x").stat().st_mode & 0o777)
              == (0o700, 0o600), "for nobody else")
        s.signal(signal.SIGHUP)
        wait_for(lambda: "read again" in s.stderr())
        expect(s, "/get/x", "hello/you")
        mine = [pid for pid, name in holders() if name == "a/data"]
        check(len(mine) == 1, "one process holds it, before and after a reload", mine)
        s.stop()
        check(wait_for(lambda: not any(alive(p) for p in mine)), "which ends with the server")


@test
def every_kind_of_reuse():
    for reuse in ("fresh", "reset", "keep"):
        with serve(a=app(reuse=reuse).replace("instances: 2", "instances: 1")) as s:
            check("no snapshot" not in s.stderr(), f"{reuse}: all is as it should be", s.stderr())
            for i in range(3):
                expect(s, f"/append/x/{i}", "ok")
            expect(s, "/get/x", "012")
            expect(s, "/keep/k", "ok")
            expect(s, "/open/x/15", "ok")
            expect(s, "/open/x/15", {"fresh": "ok", "reset": "ok", "keep":
                                     "No file descriptors available at 4"}[reuse])


@test
def instances_share_it():
    with serve(a=app(), b=app(host="b")) as s:
        expect(s, "/put/x/one", "ok")
        expect(s, "/get/x", "No such file or directory", "b")
        check("502" in ask(s, "/exit/x"), "its instance ends")
        expect(s, "/get/x", "one")
        check((files(s, "b") / "x").exists() is False, "another app's volume is another")


@test
def sizes_hold():
    with serve(a=app("size: 1M, files: 10").replace("instances: 2", "instances: 1")) as s:
        full = "No space left on device"
        expect(s, "/fill/x/1048576", "ok")
        expect(s, "/fill/y/1", full)
        expect(s, "/put/x/", "ok")
        expect(s, "/fill/y/600000", "ok")
        expect(s, "/fill/x/600000", full)
        check(ask(s, "/size/x") == "ok 446464", "as much as there was room for", ask(s, "/size/x"))
        expect(s, "/truncate/x/0", "ok")
        expect(s, "/truncate/x/500000", full)
        expect(s, "/allocate/x/500000", full)
        expect(s, "/truncate/x/400000", "ok")
        expect(s, "/unlink/x", "ok")
        # a file that is open keeps its room when its name goes
        expect(s, "/keep/y", "ok")
        expect(s, "/unlink/y", "ok")
        expect(s, "/fill/z/600000", full)
        check("502" in ask(s, "/exit/x"), "its instance ends")
        check(wait_for(lambda: ask(s, "/fill/z/1048576") == "ok"), "all of it is there again")
        expect(s, "/unlink/z", "ok")
        # names
        expect(s, "/many/f/20", full + " at 10")
        expect(s, "/mkdir/d", full)
        expect(s, "/symlink/s/f0", full)
        expect(s, "/link/l/f0", full)
        expect(s, "/rename/f1/f0", "ok")
        expect(s, "/mkdir/d", "ok")
        expect(s, "/mkdir/e", full)
        expect(s, "/mkdir/d", "File exists")
        expect(s, "/put/f1/there", "ok")
        expect(s, "/rmdir/d", "ok")
        expect(s, "/symlink/s/f1", "ok")
        expect(s, "/get/s", "there")
        expect(s, "/unlink/s", "ok")
        expect(s, "/link/l/f1", "ok")
        expect(s, "/unlink/f1", "ok")
        expect(s, "/get/l", "there")
        use = sum(1 for _ in files(s).rglob("*"))
        check(use == 9, "nine files", use)
        # more room after a reload; and what is there is counted anew by another process
        s.put_app("a", app("size: 2M, files: 12"))
        s.signal(signal.SIGHUP)
        wait_for(lambda: "read again" in s.stderr())
        expect(s, "/many/g/20", full + " at 3")
        expect(s, "/unlink/g0", "ok")
        expect(s, "/fill/l/2000000", "ok")
        expect(s, "/fill/g1/200000", full)


@test
def nothing_leads_out():
    with serve(a=app()) as s:
        secret = s.dir / "secret"
        secret.write_text("secret")
        up = "../" * (len(files(s).resolve().parts) - 1)
        inside = str(secret.resolve())[1:]
        (files(s) / "planted").symlink_to(secret)
        for name in (f"{up}{inside}", "../../../../apps/a.yaml", "planted", "..", "../.."):
            got = ask(s, "/get/" + name.replace("/", "!").replace("..", "%2e%2e"))
            check(got in ("Operation not permitted", "Permission denied", "Is a directory",
                          "No such file or directory", "Capabilities insufficient"), name, got)
        expect(s, "/symlink/out/" + (up + inside).replace("/", "!"), "ok")
        expect(s, "/get/out", "Operation not permitted")
        expect(s, "/put/out/changed", "Operation not permitted")
        expect(s, "/symlink/abs/!etc", "Operation not permitted")
        expect(s, "/mkdir/d", "ok")
        expect(s, "/rename/d!x/out", "ok")
        expect(s, "/get/d!x", "Operation not permitted")
        check(secret.read_text() == "secret", "the file outside is as it was")


@test
def deep_and_long():
    with serve(a=app("size: 16M")) as s:
        # deeper than a path can be long: made in two halves, one moved beneath the other
        name = "d" * 60
        for top in "uv":
            path = top
            for _ in range(8):
                ask(s, f"/mkdir/{path}")
                path += "!" + name
        expect(s, "/rename/u!" + "!".join([name] * 7) + "!v/v", "ok")
        check(ask(s, "/put/" + "n" * 255 + "/x") == "ok", "a name of 255 bytes")
        expect(s, "/put/" + "n" * 256 + "/x", "Filename too long")
        for pid, held in holders():
            if held == "a/data":
                os.kill(pid, signal.SIGKILL)
        check(wait_for(lambda: ask(s, "/get/" + "n" * 255) == "x"), "scanned, and served again",
              s.stderr(), s.log.read_text())


@test
def its_process_dies():
    with serve(a=app(), b=app(host="b")) as s:
        expect(s, "/put/x/kept", "ok")
        expect(s, "/put/x/kept", "ok", "b")
        pid = next(p for p, name in holders() if name == "a/data")
        os.kill(pid, signal.SIGKILL)
        check(wait_for(lambda: ask(s, "/get/x") == "kept"), "another one, and other instances")
        expect(s, "/get/x", "kept", "b")
        check(wait_for(lambda: "the process of a volume has ended" in s.log.read_text()),
              "the log says so")


@test
def the_broker_dies():
    with serve(a=app()) as s:
        expect(s, "/put/x/kept", "ok")
        before = [pid for pid, name in holders() if name == "a/data"]
        broker = next(p for p in descendants(s.process.pid) if comm(p) == "hutch-broker")
        os.kill(broker, signal.SIGKILL)
        check(wait_for(lambda: "read again" in s.stderr(), 20), "the new broker has read the apps")
        expect(s, "/get/x", "kept")
        after = [pid for pid, name in holders() if name == "a/data"]
        check(before == after, "the process is the same", before, after)


@test
def from_a_shell():
    place = WORK / "shell"
    place.mkdir()
    run = [str(HUTCH), "run", "--volume", f"{place}::/data:size=64K"]
    held = subprocess.Popen([*run, "--listen", f"unix:{WORK}/sock", str(guest("volume"))],
                            stderr=subprocess.PIPE)
    check(wait_for(lambda: any(n == str(place) for _, n in holders()), 60), "it is held")
    second = subprocess.run([*run, str(guest("cgi"))], capture_output=True)
    check(b"in use by another process" in second.stderr and second.returncode == 1,
          "a directory has one process", second.stderr)
    held.kill()
    held.wait()
    check(wait_for(lambda: not any(n == str(place) for _, n in holders())), "and it ends")
