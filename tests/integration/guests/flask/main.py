"""A Flask program and what its test client sees: routes, templates, forms, sessions, errors, uploads."""

import hashlib
import io
import sys

import flask
from werkzeug.security import check_password_hash, generate_password_hash

app = flask.Flask(__name__)
app.secret_key = "a test's"
NOTES = {}


@app.route("/")
def index():
    return flask.render_template_string(
        "<h1>{{ title }}</h1>{% for n in notes %}<p id={{ loop.index }}>{{ n|upper }}</p>{% endfor %}",
        title="Notes & <more>", notes=sorted(NOTES.values()))


@app.route("/notes/<int:number>", methods=["GET", "PUT", "DELETE"])
def note(number):
    if flask.request.method == "PUT":
        NOTES[number] = flask.request.get_json()["text"]
        return {"number": number, "count": len(NOTES)}, 201
    if number not in NOTES:
        flask.abort(404)
    return (NOTES.pop(number), 200) if flask.request.method == "DELETE" else NOTES[number]


@app.route("/login", methods=["POST"])
def login():
    flask.session["user"] = flask.request.form["user"]
    return flask.redirect(flask.url_for("who", _anchor="here"))


@app.route("/who")
def who():
    return f"{flask.session.get('user', 'nobody')} {flask.g.order}"


@app.route("/upload", methods=["POST"])
def upload():
    file = flask.request.files["file"]
    return f"{file.filename} {len(file.read())} {file.mimetype}"


@app.route("/lines")
def lines():
    return flask.Response((f"line {i}\n" for i in range(5)), mimetype="text/plain")


@app.route("/broken")
def broken():
    raise ValueError("meant")


@app.before_request
def before():
    flask.g.order = "before"


@app.after_request
def after(response):
    response.headers["X-Length"] = response.content_length or "unknown"
    return response


@app.errorhandler(404)
def missing(error):
    return f"nothing at {flask.request.path}: {error.code}", 404


@app.errorhandler(ValueError)
def wrong(error):
    return f"wrong: {error}", 500


def show(what, response):
    # A set of methods has the order of its hashes, which differ with the size of a word.
    headers = sorted((k, ", ".join(sorted(v.split(", "))) if k == "Allow" else v)
                     for k, v in response.headers if k != "Set-Cookie")
    print(what, response.status, headers, response.get_data(), sep="\n  ")


client = app.test_client()
for number, text in enumerate(["eins", "<zwei>", "drei ✓"]):
    show("put", client.put(f"/notes/{number}", json={"text": text}))
show("index", client.get("/"))
show("delete", client.delete("/notes/1"))
show("missing", client.get("/notes/1"))
show("who", client.get("/who"))
show("login", client.post("/login", data={"user": "Ada"}))
show("who", client.get("/who"))
show("upload", client.post("/upload", data={"file": (io.BytesIO(b"x" * 700_000), "a.txt")}))
show("lines", client.get("/lines"))
show("broken", client.get("/broken"))
show("method", client.post("/who"))
show("head", client.head("/"))
hashed = generate_password_hash("secret", method="pbkdf2:sha256:100")
print(check_password_hash(hashed, "secret"), check_password_hash(hashed, "wrong"))
for password, salt, count, length in [(b"secret", b"salt", 1, None), (b"", b"", 2, 1), (b"x" * 65, b"y" * 99, 300, 77)]:
    print(hashlib.pbkdf2_hmac("sha256", password, salt, count, length).hex())
print(sys.version_info[:2], len(list(app.url_map.iter_rules())))
