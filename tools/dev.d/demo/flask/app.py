"""A small Flask application, as anyone would write it: nothing here knows of hutch."""

from flask import Flask, render_template_string, request

app = Flask(__name__)
entries = ["Hello from the first visitor"]

PAGE = """<!doctype html>
<title>Guestbook</title>
<ul>{% for entry in entries %}<li>{{ entry }}</li>{% endfor %}</ul>
<form method=post><input name=text><button>Write</button></form>
"""


@app.get("/")
def show():
    return render_template_string(PAGE, entries=entries)


@app.post("/")
def write():
    entries.append(request.form["text"])
    return {"entries": len(entries)}
