"""A WSGI application that keeps what it is told in a volume, and a secret nowhere."""

import os
import pathlib
import sqlite3

DATA = pathlib.Path("/data")
AT_START = os.environ.get("TOKEN", "missing")


def rows(text):
    with sqlite3.connect(DATA / "rows.db") as base:
        base.execute("create table if not exists rows (text)")
        if text:
            base.execute("insert into rows values (?)", (text,))
        return [row[0] for row in base.execute("select text from rows")]


def lines(text):
    path = DATA / "deep" / "er" / "lines"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as file:
        if text:
            print(text, file=file)
        file.seek(0)
        return file.read().split()


def application(environ, start_response):
    text = environ["QUERY_STRING"]
    if environ["PATH_INFO"] == "/rows":
        body = " ".join(rows(text))
    elif environ["PATH_INFO"] == "/lines":
        body = " ".join(lines(text))
    else:
        body = f"{AT_START or 'empty'} {os.environ.get('TOKEN')} {os.getenv('PLAIN')}"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body.encode()]
