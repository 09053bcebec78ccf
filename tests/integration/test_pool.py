#!/usr/bin/python3
"""The pool of tenants: each interface, each way a request can end, limits, reuse, queues, the
death of everyone involved, and what it all cost.

    tests/integration/test_pool.py

HUTCH_BUILD_DIR names the build. tests/serve/pool_driver stands in for the server.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "serve"))
from pool_test import BUILD, Driver, Tests  # noqa: E402

MS = 1_000_000


def cgi(t, guests):
    with Driver() as d:
        d.say(f"app hello {guests['cgi']} cgi fresh")
        r = d.ask("hello", 1)
        t.check(r["end"] == "done" and "hello from hello" in r["answer"], "cgi: hello", r)
        t.check(r["cold"] and r["cpu_ns"] > 10_000 and r["wall_ns"] > 10_000, "cgi: cost", r)
        r = d.ask("hello", 2, "env REQUEST_ID")
        t.check(r["answer"] == "2\n", "cgi: the request's environment", r)
        r = d.ask("hello", 3, "exit 3")
        t.check(r["end"] == "exited" and r["status"] == 3, "cgi: exit status", r)
        r = d.ask("hello", 4, "trap")
        t.check(r["end"] == "trapped" and "unreachable" in r["report"] and "main" in r["report"],
                "cgi: a trap has its backtrace", r)
        r = d.ask("hello", 5, "log 200")
        t.check(r["end"] == "done", "cgi: log", r)
        lines = [d.wait(event="log", request=5)["text"] for _ in range(3)]
        t.check(lines == ["x" * 79, "x" * 79, "x" * 40 + "line of log"], "stderr, as lines", lines)
        tenants = {d.ask("hello", n)["tenant"] for n in range(10, 14)}
        t.check(len(tenants) == 4, "cgi: a process for each request", tenants)


def accepting(t, guests):
    with Driver() as d:
        d.say(f"app fcgi {guests['accept']} fastcgi keep", "env LISTEN_FDS=1",
              f"app http {guests['accept']} http keep",
              f"app fresh {guests['accept']} http fresh",
              f"app few {guests['accept']} http keep requests=2")
        for app in "fcgi", "http":
            answers = [d.ask(app, n, "count") for n in (1, 2, 3)]
            t.check([r["answer"] for r in answers] == ["1", "2", "3"], f"{app}: kept", answers)
            t.check([r["cold"] for r in answers] == [True, False, False], f"{app}: cold once")
            r = d.ask(app, 4, "body of a request")
            t.check(r["answer"] == "body of a request", f"{app}: body", r)
            r = d.ask(app, 5, "leak")
            t.check(r["end"] == "done", f"{app}: a stream left open is ended for it", r)
            r = d.ask(app, 6, "trap")
            t.check(r["end"] == "trapped" and "unreachable" in r["report"], f"{app}: trap", r)
            r = d.ask(app, 7, "count")
            t.check(r["answer"] == "1" and r["cold"], f"{app}: another tenant after it", r)
            r = d.ask(app, 8, "exit 9")
            t.check(r["end"] == "exited" and r["status"] == 9, f"{app}: exit", r)
        answers = [d.ask("fresh", n, "count")["answer"] for n in (21, 22)]
        t.check(answers == ["1", "1"], "fresh: nothing remains", answers)
        answers = [d.ask("few", n, "count")["answer"] for n in (31, 32, 33)]
        t.check(answers == ["1", "2", "1"], "an instance is replaced after so many", answers)


def limits(t, guests):
    with Driver() as d:
        d.say(f"app cpu {guests['cgi']} cgi fresh cpu_ms=100 wall_ms=5000",
              f"app wall {guests['cgi']} cgi fresh cpu_ms=5000 wall_ms=300",
              f"app memory {guests['cgi']} cgi fresh memory=4194304",
              f"app stack {guests['cgi']} cgi fresh stack=65536",
              f"app log {guests['cgi']} cgi fresh log=1000",
              f"app start {guests['cgi']} cgi fresh start_ms=100 wall_ms=5000",
              f"app one {guests['cgi']} cgi fresh instances=1 queue=2 queue_ms=200",
              f"app neighbour {guests['accept']} fastcgi keep")
        d.ask("neighbour", 1, "count")
        r = d.ask("cpu", 2, "spin")
        t.check((r["end"], r["limit"]) == ("limit", "cpu"), "cpu limit", r)
        t.check(100 * MS <= r["cpu_ns"] < 200 * MS, "... ended within 100 ms of it", r)
        t.check("interrupt" in r["report"] and "main" in r["report"], "... with a backtrace", r)
        r = d.ask("wall", 3, "sleep 4000")
        t.check((r["end"], r["limit"]) == ("limit", "wall"), "wall limit", r)
        t.check(300 * MS <= r["wall_ns"] < 400 * MS, "... ended within 100 ms of it", r)
        t.check("usleep" in r["report"], "... with a backtrace", r)
        t.check(r["cpu_ns"] < 5 * MS, "waiting costs nothing", r)
        r = d.ask("start", 16, "sleep 400")
        t.check(r["end"] == "done", "the limit of a start is not that of its request", r)
        d.say("open wall 4 flood")
        d.say("close 4")
        r = d.done(4)
        t.check((r["end"], r["limit"]) == ("limit", "wall"), "a flood of output ends too", r)
        r = d.ask("memory", 5, "grow 3")
        t.check(r["end"] == "done" and r["answer"] == "grown\n", "memory within the limit", r)
        r = d.ask("memory", 6, "grow 8")
        t.check((r["end"], r["limit"]) == ("limit", "memory"), "memory limit", r)
        t.check(r["memory"] <= 4 << 20, "... high water", r)
        r = d.ask("log", 8, "log 5000")
        t.check(r["end"] == "done", "log limit does not end the request", r)
        e = d.wait(event="log", request=8, remark=True)
        t.check("limit" in e["text"], "... and is remarked on", e)
        got = sum(len(e["text"]) + 1 for e in d.events
                  if e["event"] == "log" and e.get("request") == 8)
        t.check(got <= 1001, "... cut where it says", got)
        # one instance, two may wait
        d.say("request one 11 sleep 400", "sleep 100", "request one 12", "request one 13",
              "request one 14")
        e = d.wait(event="refused", id=14)
        t.check(e["kind"] == "limit exceeded", "a full queue refuses", e)
        for n in 12, 13:
            r = d.done(n)
            t.check((r["end"], r["limit"]) == ("limit", "queue") and r["queue_ns"] >= 195 * MS,
                    "waiting in the queue is limited", r)
        t.check(d.done(11)["end"] == "done", "and the one that ran ended well")
        d.say("request wall 15 sleep 200", "sleep 50", "break 15")
        r = d.done(15)
        t.check((r["end"], r["limit"]) == ("limit", "output") and "usleep" in r["report"],
                "a limit that the caller watches", r)
        d.say("request wall 16 sleep 200", "sleep 50", "cancel 16")
        r = d.done(16)
        t.check(r["end"] == "cancelled" and r["wall_ns"] < 150 * MS, "cancelled", r)
        r = d.ask("neighbour", 17, "count")
        t.check(r["answer"] == "2" and not r["cold"], "and the neighbour noticed nothing", r)
        t.check(d.until(lambda: not d.tenants(state="busy")), "nothing is left running")


def starting(t, guests):
    with Driver() as d:
        d.say("env SLOW_START=500", f"app slow {guests['accept']} fastcgi keep start_ms=100",
              "env BAD_START=1", f"app bad {guests['accept']} fastcgi keep",
              f"app none {os.devnull} cgi fresh", "env BAD_START=",
              f"app warm {guests['cgi']} cgi fresh warm=3 instances=5")
        r = d.ask("slow", 1)
        t.check((r["end"], r["limit"]) == ("limit", "start"), "a start that takes too long", r)
        r = d.ask("bad", 2)
        t.check(r["end"] == "trapped" and "unreachable" in r["report"], "a start that traps", r)
        r = d.ask("none", 3)
        t.check(r["end"] == "died" and "not a code object" in r["report"], "no code object", r)
        t.check(d.until(lambda: len(d.tenants(app="warm", state="idle")) == 3), "kept warm")
        r = d.ask("warm", 4)
        t.check(r["end"] == "done" and not r["cold"], "a warm one is taken", r)
        t.check(d.until(lambda: len(d.tenants(app="warm", state="idle")) == 3), "and replaced")


def idle(t, guests):
    with Driver() as d:
        d.say(f"app a {guests['accept']} fastcgi keep idle_ms=300 instances=8")
        d.say(*(f"request a {n} sleep 100" for n in range(1, 9)))
        for n in range(1, 9):
            d.done(n)
        t.check(len(d.tenants(app="a", state="idle")) == 8, "idle tenants stay a while")
        t.check(d.until(lambda: not d.tenants(app="a"), 3), "and then end")
        d.say("request a 20 sleep 300", "request a 21 sleep 300", "remove a")
        time.sleep(0.1)
        d.say("request a 22")
        e = d.wait(event="refused", id=22)
        t.check("removed" in e["message"], "an app being removed takes no more", e)
        t.check(d.done(20)["end"] == "done" and d.done(21)["end"] == "done", "what it had ends")
        d.wait(event="drained", app="a")
        t.check(not d.tenants(app="a"), "then it is gone")


def deaths(t, guests):
    with Driver() as d:
        d.say(f"app a {guests['cgi']} cgi fresh", f"app k {guests['accept']} fastcgi keep",
              f"app w {guests['accept']} fastcgi keep warm=1")
        d.until(lambda: d.tenants(state="spare") and d.tenants(app="w", state="idle"))
        os.kill(d.tenants(state="spare")[0]["pid"], signal.SIGKILL)
        t.check(d.ask("a", 1)["end"] == "done", "a spare is killed")
        d.say("request a 2 sleep 2000", "sleep 200")
        d.until(lambda: d.tenants(app="a", state="busy"))
        os.kill(d.tenants(app="a", state="busy")[0]["pid"], signal.SIGKILL)
        r = d.done(2)
        t.check(r["end"] == "died" and "signal 9" in r["report"] and r["wall_ns"] < 1000 * MS,
                "a busy one is killed", r)
        d.ask("k", 3)
        victim = d.tenants(app="k", state="idle")[0]["pid"]
        os.kill(victim, signal.SIGSTOP)
        os.kill(victim, signal.SIGKILL)
        r = d.ask("k", 4, "count")
        t.check(r["end"] == "done" or r["end"] == "died", "an idle one is killed", r)
        # one that hangs: stopped, it cannot answer an interrupt
        d.say(f"app s {guests['cgi']} cgi fresh wall_ms=200", "request s 5 sleep 100")
        d.until(lambda: d.tenants(app="s", state="busy"))
        for tenant in d.tenants(app="s", state="busy"):
            os.kill(tenant["pid"], signal.SIGSTOP)
        r = d.done(5)
        t.check((r["end"], r["limit"]) == ("limit", "wall") and r["wall_ns"] < 320 * MS,
                "one that does not answer is killed within 100 ms", r)
        # the zygote
        d.say("request a 6 sleep 5000", "sleep 200")  # its guest has begun: no second try
        d.until(lambda: d.tenants(app="a", state="busy"))
        before = [x["pid"] for x in d.tenants()]
        zygotes = children(d.process.pid)
        for pid in children(zygotes[0]):
            os.kill(pid, signal.SIGKILL)
        r = d.done(6)
        t.check(r["end"] == "died" and "zygote" in r["report"], "the zygote is killed", r)
        t.check(d.ask("a", 7)["end"] == "done", "and another takes over")
        t.check(d.until(lambda: not any(alive(p) for p in before)), "no orphan is left")
        before = [x["pid"] for x in d.tenants()]
        os.kill(children(d.process.pid)[0], signal.SIGKILL)
        t.check(d.ask("a", 8)["end"] in ("done", "died"), "its guard is killed")
        t.check(d.ask("a", 9)["end"] == "done", "and another takes over")
        t.check(d.until(lambda: not any(alive(p) for p in before)), "no orphan is left")
        # the requests may have been answered before the last tenants had gone
        t.check(d.until(lambda: d.numbers()["restarts"] == 2), "two restarts are counted", d.numbers())
        # the server itself
        d.say("request a 10 sleep 5000")
        d.until(lambda: d.tenants(app="a", state="busy"))
        everyone = [x["pid"] for x in d.tenants()] + children(d.process.pid)
        everyone += [c for p in children(d.process.pid) for c in children(p)]
        d.process.kill()
        t.check(d.until(lambda: not any(alive(p) for p in everyone)),
                "the server is killed: nothing of it survives", everyone)


def stages(t, guests):
    """A tenant killed at each stage of its life that deaths() has not: on its way up, with and without
    a request, and when it is ending already."""
    def kill(**wanted):
        found = []
        d.until(lambda: found.extend(d.tenants(**wanted)) or found, 3)
        for tenant in found[:1]:
            os.kill(tenant["pid"], signal.SIGKILL)
        return found[0]["pid"] if found else None

    with Driver(spares=2) as d:
        d.say("env SLOW_START=400", f"app slow {guests['accept']} fastcgi keep",
              f"app warm {guests['accept']} fastcgi keep warm=1", "env SLOW_START=",
              f"app f {guests['accept']} fastcgi fresh", f"app other {guests['accept']} fastcgi keep")
        pid = kill(app="warm", state="warming")
        t.check(pid, "one that is warming is killed")
        t.check(d.until(lambda: [x for x in d.tenants(app="warm", state="idle") if x["pid"] != pid], 5),
                "another is warmed", d.tenants())
        d.say("request slow 1 count", "close 1")
        pid = kill(app="slow", state="busy")
        r = d.done(1)
        t.check(pid and r["end"] == "done" and r["answer"] == "1" and r["tenant"], "one that starts for a "
                "request is killed: the request goes to another", r)
        d.say(f"app slow2 {guests['accept']} fastcgi keep", "env SLOW_START=400",
              f"app slow3 {guests['accept']} fastcgi keep", "env SLOW_START=", "request slow3 2 count", "close 2")
        first = kill(app="slow3", state="busy")
        d.until(lambda: [x for x in d.tenants(app="slow3", state="busy") if x["pid"] != first], 3)
        second = kill(app="slow3", state="busy")
        r = d.done(2)
        t.check(second and r["end"] == "died" and "signal 9" in r["report"], "once, and not for ever", r)
        # One that has begun, which the pool has not heard yet when it hears of its death: the word of a
        # spare's end lies before it in the zygote's socket. Nobody else may be given the request.
        for what, victim in (("itself", lambda: began), ("with the zygote", lambda: zygote)):
            d.say("env SLOW_START=400", f"app began-{what.split()[-1]} {guests['accept']} fastcgi keep", "env SLOW_START=",
                  f"request began-{what.split()[-1]} {len(what)} sleep 3000")
            d.until(lambda: d.tenants(app=f"began-{what.split()[-1]}", state="busy"), 3)
            d.until(lambda: d.tenants(state="spare"), 3)
            began = d.tenants(app=f"began-{what.split()[-1]}", state="busy")[0]["pid"]
            spare = d.tenants(state="spare")[0]["pid"]
            zygote = children(children(d.process.pid)[0])[0]
            os.kill(d.process.pid, signal.SIGSTOP)
            os.kill(spare, signal.SIGKILL)
            time.sleep(0.7)
            os.kill(victim(), signal.SIGKILL)
            time.sleep(0.1)
            os.kill(d.process.pid, signal.SIGCONT)
            r = d.done(len(what))
            t.check(r["end"] == "died", f"one that has begun and is killed, {what}, is not begun again", r)
        d.say("request f 3 sleep 1", "close 3")
        d.done(3)
        for tenant in d.tenants(state="ending"):
            with contextlib.suppress(ProcessLookupError):  # it may be gone
                if tenant["pid"] > 0:
                    os.kill(tenant["pid"], signal.SIGKILL)
        t.check(d.ask("f", 4, "count")["answer"] == "1", "one that ends is killed")
        for n in range(20, 60):  # whatever it is doing just then
            d.say(f"request f {n} count", f"close {n}")
            for tenant in [x for x in d.tenants() if x["pid"]][:2]:  # 0: it is just starting
                with contextlib.suppress(ProcessLookupError):
                    if tenant["pid"] > 0:  # one that is being forked has none yet
                        os.kill(tenant["pid"], signal.SIGKILL)
        ends = {d.done(n)["end"] for n in range(20, 60)}
        t.check(ends <= {"done", "died"}, "any of them, at any time", ends)
        t.check(d.ask("other", 90, "count")["end"] == "done", "the others go on")
        t.check(d.numbers()["restarts"] == 1, "and so does the zygote")
        t.check(d.until(lambda: not d.tenants(state="ending")), "none is left dying", d.tenants())


def children(pid):
    try:
        return [int(c) for c in
                pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def costs(t, guests):
    """What requests and overhead come to is what the kernel counted for the processes."""
    with Driver() as d:
        d.say(f"app a {guests['accept']} fastcgi keep instances=1")
        total = 0
        for n in range(1, 21):
            r = d.ask("a", n, "burn 1000" if n % 2 else "count")
            total += r["cpu_ns"]
        d.say("app-numbers a")
        app = d.wait(event="app")
        t.check(app["cpu_ns"] == total, "an app's CPU time is that of its requests", app, total)
        (tenant,) = d.tenants(app="a", state="idle")
        t.check(0 <= tenant["cpu_ns"] - total - app["overhead_cpu_ns"] < 3 * MS,
                "requests and overhead are all there is", tenant, total, app)
        r = d.ask("a", 30, "sleep 1000")
        t.check(r["cpu_ns"] < 2 * MS and r["wall_ns"] > 1000 * MS, "sleep is free", r)
        d.say("open a 31", "sleep 700", "close 31")
        r = d.done(31)
        t.check(r["cpu_ns"] < 2 * MS and r["wall_ns"] > 650 * MS, "a slow client is free", r)


def spares(t, guests):
    """What takes the place of a spare is put off while a cold start is under way, not for as long as its request."""
    with Driver(spares=4) as d:
        t.check(d.until(lambda: d.numbers()["spares"] == 4, 20), "spares come up", d.numbers())
        d.say(f"app a {guests['accept']} fastcgi fresh")
        for n in range(1, 3):
            d.say(f"request a {n} sleep 1500")
            d.until(lambda: len(d.tenants(app="a", state="busy")) == n)
            t.check(d.until(lambda: d.numbers()["spares"] == 4, 1), f"request {n} runs, and there is a new spare", d.numbers())
        t.check(d.done(1)["end"] == d.done(2)["end"] == "done", "both end")
        d.say(*(f"request a {n} sleep 300" for n in range(3, 15)))
        ends = [d.done(n, 20) for n in range(3, 15)]
        t.check(all(r["end"] == "done" for r in ends), "more at once than there are spares", ends)


def prepared(t, guests):
    """Tenants that are ready for the next cold start of their app, and have run nothing of it."""
    with Driver(prepared=2, max_tenants=6) as d:
        d.say(f"app a {guests['accept']} fastcgi fresh instances=3", "env SLOW_START=400",
              f"app slow {guests['accept']} fastcgi fresh", "env SLOW_START=",
              f"app one {guests['cgi']} cgi fresh instances=1", f"app kept {guests['accept']} fastcgi keep")
        t.check(d.until(lambda: d.numbers()["spares"] == 2) and d.numbers()["prepared"] == 0, "at first there is none")
        d.ask("kept", 1)
        t.check(d.ask("a", 2)["cold"] and d.until(lambda: d.numbers()["prepared"] == 1)
                and not d.tenants(app="kept", state="prepared"), "one, once its app had a cold start", d.tenants())
        (ready,) = d.tenants(app="a", state="prepared")
        r = d.ask("a", 3)
        t.check(r["end"] == "done" and r["cold"] and r["tenant"] == ready["tenant"], "it takes the next request", r, ready)
        t.check(d.until(lambda: d.tenants(app="a", state="prepared")), "and there is another")
        r = d.ask("slow", 4)
        t.check(d.until(lambda: d.tenants(app="slow", state="prepared")), "of a slow one as well")
        time.sleep(0.6)
        (ready,) = d.tenants(app="slow", state="prepared")
        r = d.ask("slow", 5)
        t.check(r["tenant"] == ready["tenant"] and r["wall_ns"] >= 400 * MS, "a guest begins with its request", r)
        (ready,) = d.tenants(app="a", state="prepared")
        t.check(ready["requests"] == 0 and d.numbers()["prepared"] <= 2, "no more than were asked for", d.tenants())
        os.kill(ready["pid"], signal.SIGKILL)
        t.check(d.until(lambda: not d.tenants(app="a")) and d.ask("a", 6)["end"] == "done", "one that dies is not missed")
        t.check(d.until(lambda: d.tenants(app="a", state="prepared")), "and there is another after the next cold start")
        d.say("remove a")
        d.wait(event="drained", app="a")
        t.check(not d.tenants(app="a"), "it ends with its app")
        d.say("request one 7", "request one 8", "request one 9")
        t.check(all(d.done(n)["end"] == "done" for n in (7, 8, 9)), "it is one of the app's instances", d.tenants())
        t.check(d.until(lambda: len(d.tenants(app="one", state="prepared")) == 1), "where there is one alone", d.tenants())
        d.say(*(f"request kept {n} sleep 500" for n in range(20, 26)))
        ends = [d.done(n) for n in range(20, 26)]
        t.check(all(r["end"] == "done" and r["queue_ns"] < 300 * MS for r in ends), "it gives way to others", ends)
        d.say("app-numbers one")
        t.check(d.wait(event="app")["overhead_cpu_ns"] > 0, "what it takes is its app's overhead")
    with Driver(prepared=2) as d:
        d.say(f"app a {guests['accept']} fastcgi fresh")
        d.ask("a", 1)
        t.check(d.until(lambda: d.tenants(app="a", state="prepared")), "one is ready")
        t.check(d.until(lambda: not d.tenants(app="a"), 13) and d.numbers()["spares"] == 2, "and goes after a while")
        d.say("request a 2 sleep 300", "request a 3 sleep 300")
        t.check(d.done(2)["end"] == d.done(3)["end"] == "done"
                and d.until(lambda: len(d.tenants(app="a", state="prepared")) == 2), "two are ready", d.tenants())
        os.kill(d.tenants(app="a", state="prepared")[0]["pid"], signal.SIGKILL)
        t.check(d.until(lambda: not d.tenants(app="a"), 13), "one is killed, and the other goes as well", d.tenants())


def crowd(t, guests):
    with Driver(spares=4) as d:
        d.say(*(f"app a{i} {guests['accept']} fastcgi {reuse} instances=3"
                for i, reuse in enumerate(("keep", "fresh", "keep", "fresh"))))
        d.say(*(f"request a{n % 4} {n} burn 10" for n in range(1, 401)))
        ends = [d.done(n, 60) for n in range(1, 401)]
        t.check(all(r["end"] == "done" and r["answer"] == "burn 10" for r in ends),
                "400 requests for four apps", [r for r in ends if r["end"] != "done"][:3])
        for app in range(4):
            living = [x for x in d.tenants(app=f"a{app}") if x["state"] != "ending"]
            t.check(len(living) <= 3, "instances are limited", living)


def hostile_when_hibernating(t, guests):
    """Tenants that write without end, or nothing, or lie about it (tests/serve/hostile_tenant.c)."""
    place = guests["cgi"].parent / "hibernated"
    program = guests["cgi"].parent / "hostile_tenant"
    shutil.copy(BUILD / "tests" / "serve" / "hostile_tenant", program)
    program.chmod(0o755)

    def files():
        return sorted(p.name for p in place.iterdir() if p.name != "lock")

    with Driver(tenant=str(program), hibernate=str(place)) as d:
        def numbers(app):
            d.say(f"app-numbers {app}")
            return d.wait(event="app")

        names = ("flood", "empty", "twice", "mute", "early", "damaged", "dies", "well", "late", "later")
        d.say(*(f"app {name} {guests['accept']} fastcgi keep hibernates=1 idle_ms=100 memory=4194304 stack=65536 "
                "instances=1" for name in names))
        number = 0

        def ask(app):
            nonlocal number
            number += 1
            return d.ask(app, number)

        r = ask("flood")
        most = (4 << 20) + 65536 + (128 << 20)  # what it may have in memory, tables and the like (pool_hibernate.c)
        t.check(r["end"] == "done" and d.until(lambda: not d.tenants(app="flood"), 30)
                and all((place / f).stat().st_size <= most for f in files()),
                "one that writes without end is held to what it may have", r, files())
        t.check(ask("flood")["end"] == "done", "and its app is served")
        d.say("remove flood")
        ask("empty")
        t.check(d.until(lambda: numbers("empty")["failures"] == 1) and d.tenants(app="empty", state="idle"),
                "one that writes nothing stays", numbers("empty"))
        for name in "twice", "well":
            ask(name)
            t.check(d.until(lambda: numbers(name)["hibernated"] == 1), f"{name}: it sleeps", files())
            r = ask(name)
            t.check(r["end"] == "done" and r["cold"] and numbers(name)["resumes"] == 1, f"{name}: and goes on", r)
        ask("mute")
        t.check(d.until(lambda: any(f.startswith("tmp") for f in files())) and ask("mute")["end"] == "done",
                "one that says nothing answers all the same")
        r = ask("early")
        t.check(d.until(lambda: any("odd" in e.get("text", "") for e in d.events)), "one that was not asked is ended", r)
        r = ask("late")
        t.check(r["end"] == "done", "late: its READY comes when it is seen to have begun: it may", r)
        r = ask("later")
        t.check(r["end"] == "died", "later: one that is ready twice is ended", r)
        ask("damaged")
        t.check(d.until(lambda: numbers("damaged")["hibernated"] == 1), "damaged: it sleeps")
        r = ask("damaged")
        t.check(r["end"] == "done" and numbers("damaged")["given_up"] == 1 and numbers("damaged")["resumes"] == 0,
                "a file that is refused is given up, the request is answered", r, numbers("damaged"))
        ask("dies")
        t.check(d.until(lambda: numbers("dies")["hibernated"] == 1), "dies: it sleeps")
        r = ask("dies")
        t.check(r["end"] == "done" and any(f.startswith("lost.dies.") for f in files())
                and numbers("dies")["hibernated"] == 0, "a file that kills three is set aside, the request is answered",
                r, files())
        modes = {p.stat().st_mode & 0o777 for p in place.iterdir()}
        t.check(modes <= {0o600}, "nobody else reads them", modes)


sys.exit(Tests().run([hostile_when_hibernating, cgi, accepting, limits, starting, idle, deaths, stages, costs, spares, prepared, crowd]))
