#!/usr/bin/python3
"""The last part of the demo: asks a running server, and prints what a request costs.

    serve.py HUTCH PORT ADMIN STATE-DIR

Three apps are served, of the same module and files: /guestbook keeps its process; /cold and /snapshot
have a new one for each request, without and with a snapshot.
"""

import http.client
import json
import statistics
import subprocess
import sys
import time

hutch, port, admin, state = sys.argv[1:]


class Client:
    """One connection with keep-alive."""

    def __init__(self):
        self.connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)
        self.connection.connect()

    def ask(self, path, body=None):
        """The answer, and microseconds from the request to its first byte."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
        start = time.perf_counter_ns()
        self.connection.request("POST" if body else "GET", path, body, headers)
        response = self.connection.getresponse()
        took = (time.perf_counter_ns() - start) / 1000
        text = response.read().decode()
        if response.status != 200:
            sys.exit(f"{path}: {response.status} {text}")
        return text, took


def run(*args):
    return json.loads(subprocess.run([hutch, *args], check=True, capture_output=True, text=True).stdout)


def app_memory(name):
    """Bytes of one tenant's own, and shared, by smaps."""
    for app in run("top", "--json", "--admin", admin)["apps"]:
        if app["name"] == name:
            tenants = app["tenants_idle"] + app["tenants_busy"]
            if tenants and "private_bytes" in app:
                return app["private_bytes"] / tenants, app["shared_bytes"]
    return None


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def microseconds(value):
    return f"{value / 1000:.2f} ms" if value >= 1000 else f"{value:.0f} us"


def main():
    client = Client()
    first, first_us = client.ask("/guestbook/")
    print(f"\n$ curl http://127.0.0.1:{port}/guestbook/")
    print(first.strip())
    print(f"\n$ curl -d text=hello http://127.0.0.1:{port}/guestbook/")
    print(client.ask("/guestbook/", "text=hello")[0].strip())

    warm = [client.ask("/guestbook/")[1] for _ in range(200)][20:]
    busy = app_memory("guestbook")
    cold = [client.ask("/cold/")[1] for _ in range(5)]
    resumed = [client.ask("/snapshot/")[1] for _ in range(60)][10:]
    time.sleep(1.5)  # records are written at the end of a turn, and idle tenants give memory back
    memory = app_memory("guestbook")
    used = {row["app"]: row for row in run("usage", "--json", "--state-dir", state)["usage"]}
    book = used["guestbook"]

    rows = [
        ("cold start: a new process, from its snapshot",
         f"{microseconds(statistics.median(resumed))} (p50), {microseconds(percentile(resumed, 0.99))} (p99)"),
        ("  without a snapshot: Python started, Flask imported", f"{microseconds(statistics.median(cold))} (p50)"),
        ("warm: a process that is there",
         f"{microseconds(statistics.median(warm))} (p50), {microseconds(percentile(warm, 0.99))} (p99)"),
        ("memory of one more tenant, its own, 200 requests old",
         f"{busy[0] / 2**20:.1f} MiB" if busy else "not to be seen"),
        ("  idle for a second",
         f"{memory[0] / 2**20:.1f} MiB, and {memory[1] / 2**20:.1f} MiB that all share" if memory else "not to be seen"),
        ("CPU time billed",
         f"{microseconds(book['cpu_ns'] / book['requests'] / 1000)} a request, {book['requests']} requests"),
    ]
    print("\nFlask on CPython under hutch serve, from the request to the answer's first byte")
    for name, value in rows:
        print(f"  {name:<56}{value}")


main()
