import os

from flask import Flask, redirect, request, url_for

app = Flask(__name__)
app.secret_key = os.environ.get("SECRET_KEY", "for trying it out")
entries = os.environ.get("ENTRIES", "/data/entries.txt")


@app.get("/")
def show():
    try:
        with open(entries, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        lines = []
    return {"entries": lines}


@app.post("/")
def write():
    with open(entries, "a", encoding="utf-8") as file:
        file.write(request.form["text"].replace("\n", " ") + "\n")
    return redirect(url_for("show"))
