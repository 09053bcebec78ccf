"""What an app without an instance costs the server: descriptors of what it alone has."""

import os
import signal

from servelib import check, test, wait_for
from test_attacks import ask, tenants
from test_tenants import WORK, guest, hosted, serve

COUNT = 40


def descriptors(s, name):
    return len(os.listdir(f"/proc/{s.child(name)}/fd"))


def reload(s):
    before = s.stderr().count("were read again")
    s.signal(signal.SIGHUP)
    return wait_for(lambda: s.stderr().count("were read again") > before, 30)


@test
def apps_share_descriptors():
    tree = WORK / "sleeping-tree"
    tree.mkdir(exist_ok=True)
    (tree / "file").write_text("x")
    more = (f"mounts: [{{source: {tree}, path: /tree}}, {{source: {tree}, path: /again}}]\n"
            "instaboot: {requests: [{path: /x}]}\nhibernate: {idle: 1s}\n")
    apps = {f"app{i}": hosted("http", more=more).replace("host: http", f"host: app{i}")
            for i in range(COUNT)}
    first = {name: apps[name] for name in ("app0", "app1")}
    with serve(**first) as s:
        few = {name: descriptors(s, name) for name in ("front", "broker")}
    with serve(**apps) as s:
        many = {name: descriptors(s, name) for name in ("front", "broker")}
        for name in few:
            # a snapshot each, and what is opened now and then
            check(many[name] - few[name] <= (COUNT - 2) * 1.1 + 4,
                  f"{name}: module and images are there once for all", few, many)
        for name in list(apps)[:8]:
            check(ask(s, name, "/x")[0] == 200, f"{name} answers")
        check(descriptors(s, "front") > many["front"], "an app that runs has more")
        check(wait_for(lambda: not any(t.get("app") for t in tenants(s)), 20), "they sleep again")
        # a file each: of the sleeping instance
        check(wait_for(lambda: descriptors(s, "front") <= many["front"] + 8 + 4, 20),
              "and have given back what they had", many, descriptors(s, "front"))
        check(all(ask(s, name, "/x")[0] == 200 for name in list(apps)[:3]), "and go on")

        # what is the same file must not stay so: another module, and another directory
        module = WORK / "sleeping.wasm"
        module.write_bytes(guest("attack").read_bytes())
        s.put_app("app1", apps["app1"].replace(str(guest("http")), str(module)))
        (tree / "file").write_text("another")
        check(reload(s), "read again")
        check(wait_for(lambda: ask(s, "app1", "/size")[2].isdigit()), "an upgraded app is upgraded")
        check(ask(s, "app2", "/x")[0] == 200, "its neighbour goes on")
        for name in list(apps)[COUNT // 4:]:
            (s.apps / f"{name}.yaml").unlink()
        check(reload(s) and reload(s), "with fewer apps")
        for name in few:
            check(wait_for(lambda: descriptors(s, name) <= few[name] + COUNT // 4 * 3 + 16, 20),
                  f"{name}: what the others had is closed", few, descriptors(s, name))
        check(ask(s, "app3", "/x")[0] == 200 and ask(s, f"app{COUNT - 1}", "/x")[0] == 404,
              "those that stay are served")
