"""What a web application does: routes, queries, templates, escaping, cookies, dates."""

import datetime
import html
import io
import re
import string
import urllib.parse

ROW = string.Template("<tr class=$kind><td>$id</td><td>$name</td><td>$when</td></tr>\n")
ROUTES = [(re.compile(p), n) for p, n in ((r"^/$", "home"), (r"^/item/(?P<id>\d+)$", "item"),
                                          (r"^/list/(?P<tag>[\w-]+)/(?P<page>\d+)$", "list"))]


class Request:
    def __init__(self, environ):
        self.environ = environ
        self.path = environ["PATH_INFO"]
        self.query = urllib.parse.parse_qs(environ["QUERY_STRING"])
        self.cookies = dict(c.strip().split("=", 1) for c in environ["HTTP_COOKIE"].split(";"))

    def get(self, name, default=""):
        return self.query.get(name, [default])[0]


def render(request, name, values):
    out = io.StringIO()
    out.write(f"<h1>{html.escape(request.get('title', 'none'))}</h1>\n<table>\n")
    day = datetime.datetime(2024, 1, 31, 12)
    for i in range(int(values.get("page") or values.get("id") or 1) % 12 + 3):
        when = day + datetime.timedelta(days=i, minutes=i * 7)
        out.write(ROW.substitute(kind="odd" if i % 2 else "even", id=i, when=when.isoformat(),
                                 name=html.escape(f"<{name} & {request.cookies['user']}>")))
    out.write("</table>\n")
    return out.getvalue()


def application(environ):
    request = Request(environ)
    for pattern, name in ROUTES:
        match = pattern.match(request.path)
        if match:
            return "200 OK", render(request, name, match.groupdict())
    return "404 Not Found", urllib.parse.quote(request.path)


def work():
    sizes, body = {}, ""
    for i in range(350):
        path = ("/", f"/item/{i}", f"/list/tag-{i % 9}/{i}", f"/no/{i}ä")[i % 4]
        status, body = application({
            "PATH_INFO": path, "HTTP_COOKIE": f"user=name{i % 5}; session={i:x}",
            "QUERY_STRING": urllib.parse.urlencode({"title": f"a & <b> {i}", "q": "ü"})})
        sizes[status] = sizes.get(status, 0) + len(body)
    return sorted(sizes.items()), body
