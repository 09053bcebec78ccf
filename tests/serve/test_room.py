"""Limits of the machine, met for real: what clients are told, what is said, and what helps."""

import json
import threading

from servelib import check, test, wait_for
from test_attacks import ask, tenants
from test_tenants import hosted, serve

ONE = "hibernate: {idle: 600s}\n"


def apps_of(count, reuse="keep"):
    text = hosted("http", reuse, ONE if reuse == "keep" else "").replace("instances: 8",
                                                                       "instances: 1")
    return {f"app{i}": text.replace("host: http", f"host: app{i}") for i in range(count)}


def limited(descriptors):
    """A command that starts another with that limit, soft and hard."""
    return ["prlimit", f"--nofile={descriptors}:{descriptors}"]


def said(s, text):
    return [x for x in s.lines("log") if text in x.get("message", "")]


def ask_all(s, apps):
    """(status, body) of one request to each, four at a time."""
    answers, names = {}, list(apps)

    def some(mine):
        for name in mine:
            answers[name] = ask(s, name, "/x", seconds=60)[::2]

    threads = [threading.Thread(target=some, args=(names[i::4],)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return answers


@test
def descriptors_for_tenants():
    """More apps are asked than there are descriptors for instances: others sleep for them."""
    apps = apps_of(60)
    with serve(command=limited(160), **apps) as s:
        zygotes = s.metric("hutch_zygote_restarts_total")
        for turn in range(2):
            answers = ask_all(s, apps)
            bad = {n: a for n, a in answers.items() if a[0] not in (200, 503)}
            check(not bad, f"turn {turn}: an answer or 503", bad)
            good = sum(a[0] == 200 for a in answers.values())
            check(good == len(apps), f"turn {turn}: room is made for all", good, s.lines("log")[-3:])
        check(said(s, "raise LimitNOFILE="), "what would help is said", s.lines("log"))
        check(s.metric("hutch_zygote_restarts_total") == zygotes, "no tenant was lost with the zygote",
              s.lines("log"))
        check(not any(x.get("trouble") for x in s.lines("log")), "none died", s.lines("log"))
    # what is documented to help does
    with serve(command=limited(1024), **apps) as s:
        check(all(a[0] == 200 for a in ask_all(s, apps).values()), "with more of them")
        check(not said(s, "out of file descriptors"), "nothing is to be said", s.lines("log"))
        check(len([t for t in tenants(s) if t.get("app")]) == len(apps), "all instances stay",
              len(tenants(s)))


@test
def descriptors_for_clients():
    """Connections take what there is: the rest waits in the sockets, and what runs goes on."""
    apps = apps_of(4)
    with serve(command=limited(160), **apps) as s:
        check(all(a[0] == 200 for a in ask_all(s, apps).values()), "they run")
        clients = [s.connect() for _ in range(200)]
        check(wait_for(lambda: said(s, "raise LimitNOFILE=")), "it is said", s.lines("log"))
        clients[0].sendall(b"GET /x HTTP/1.1\r\nHost: app1\r\nConnection: close\r\n\r\n")
        check(clients[0].recv(100).startswith(b"HTTP/1.1 200 "), "who is in is served")
        for client in clients:
            client.close()
        check(wait_for(lambda: ask(s, "app2", "/x")[0] == 200), "and then all others")
        check(not any(x.get("trouble") for x in s.lines("log")), "none died", s.lines("log"))


@test
def descriptors_for_apps():
    """A reload that brings more apps than there are descriptors takes none away."""
    snapshot = "instaboot: {requests: [{path: /x}]}\n"  # a file for each
    apps = {n: t + snapshot for n, t in apps_of(20).items()}
    with serve(command=limited(160), **apps) as s:
        check(ask(s, "app3", "/x")[0] == 200, "they are served")
        ask_all(s, apps)
        for name, text in apps_of(110).items():
            s.put_app(name, text + snapshot)
        s.signal(1)
        check(wait_for(lambda: said(s, "stay as they were"), 60), "it is said", s.lines("log")[-3:])
        check(said(s, "an app is missing: out of file descriptors"), "and why")
        check(ask(s, "app3", "/x")[0] == 200 and ask(s, "app19", "/x")[0] == 200,
              "those that were there still are")


@test
def the_number_of_tenants():
    """All instances that may be are there, and idle: those of others give way."""
    apps = apps_of(12) | {f"new{i}": t.replace("host: app", "host: new")
                          for i, t in enumerate(apps_of(4, "fresh").values())}
    with serve("--max-tenants", "8", "--spares", "2", **apps) as s:
        for turn in range(2):
            answers = ask_all(s, apps)
            check(all(a[0] == 200 for a in answers.values()), f"turn {turn}: all are answered",
                  answers)
        state = json.loads(s.get("/status", port=s.admin)[2])
        check(len(state["tenant_list"]) <= 8, "no more than may be", len(state["tenant_list"]))
        check(not any(x.get("trouble") for x in s.lines("log")), "none died", s.lines("log"))
