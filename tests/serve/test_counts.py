"""hutch serve --profile-dir: what an app's instances count together, kept as a profile."""

import json
import pathlib
import signal
import subprocess
import tempfile

from servelib import HUTCH, check, test, wait_for
from test_tenants import ask, guest, hosted, serve


def calls(profile, interface, function):
    """How often a function of the app's program was called, by its profile."""
    out = subprocess.run([HUTCH, "profile", "show", "--top", "1000", "--json", profile, guest(interface)],
                         capture_output=True, text=True, check=True, timeout=60).stdout
    rows = {row["name"].split("[")[0]: row["calls"] for row in json.loads(out)["functions"]}
    return rows[function]


@test
def instances_count_together():
    with tempfile.TemporaryDirectory() as place:
        apps = {"cgi": hosted("cgi"), "fastcgi": hosted("fastcgi", "reset"), "http": hosted("http")}
        for asked in (3, 2):
            with serve("--profile-dir", place, **apps) as s:
                for interface in apps:
                    for _ in range(asked):
                        check(ask(s, interface, "/x")[0] == 200, f"{interface} answers")
                # Whatever becomes of the instance, it has counted.
                check(ask(s, "cgi", "/trap")[0] >= 500, "one that traps")
                check(s.stop() == 0, "it ends")
            profiles = {p.name.split("-")[0]: p for p in pathlib.Path(place).glob("*.prof")}
            check(set(profiles) == set(apps), "a profile for each app", profiles)
        for interface, profile in profiles.items():
            wanted = 5 + 2 * (interface == "cgi")
            got = calls(profile, interface, "serve")
            check(got == wanted, f"{interface}: {wanted} requests of two servers", got)
        out = pathlib.Path(place) / "cgi.hutch"
        r = subprocess.run([HUTCH, "compile", "--no-cache", "--profile", profiles["cgi"], "-o", out,
                            guest("cgi")], capture_output=True, text=True, timeout=120)
        check(r.returncode == 0 and not r.stderr, "the compiler takes it", r.stderr)


@test
def counts_outlive_a_reload():
    with tempfile.TemporaryDirectory() as place:
        with serve("--profile-dir", place, http=hosted("http")) as s:
            for _ in range(2):
                check(ask(s, "http", "/x")[0] == 200, "it answers")
            s.put_app("cgi", hosted("cgi"))
            s.signal(signal.SIGHUP)
            check(wait_for(lambda: "read again" in s.stderr(), 60), "it is read again", s.stderr())
            for _ in range(3):
                check(ask(s, "http", "/x")[0] == 200, "and after a reload")
            check(s.stop() == 0, "it ends")
        got = calls(next(pathlib.Path(place).glob("http-*.prof")), "http", "serve")
        check(got == 5, "both count", got)


@test
def a_damaged_profile_is_left_alone():
    with tempfile.TemporaryDirectory() as place:
        with serve("--profile-dir", place, http=hosted("http")) as s:
            s.stop()
        profile = next(pathlib.Path(place).glob("*.prof"))
        bytes_ = bytearray(profile.read_bytes())
        bytes_[len(bytes_) // 2] ^= 1
        profile.write_bytes(bytes_)
        try:
            with serve("--profile-dir", place, http=hosted("http")):
                check(False, "it starts")
        except AssertionError as e:
            check("--profile-dir" in str(e) and "damaged or of another program" in str(e),
                  "it says so", e)
        check(profile.read_bytes() == bytes(bytes_), "and nothing is written")
