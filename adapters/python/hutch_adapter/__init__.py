"""Serves Python web applications under `hutch serve`: WSGI (python -m hutch_wsgi module:app) and
ASGI (python -m hutch_asgi module:app), without a change to the application.

    sockets.py   the next connection; bytes in, bytes out
    fastcgi.py   a connection that speaks FastCGI -> an exchange      (interface: fastcgi)
    http.py      a connection that speaks HTTP/1.1 -> an exchange     (interface: http)
    cgi.py       one request in environment and stdin -> an exchange  (interface: cgi)
    wsgi.py      an exchange -> a call of a WSGI application
    asgi.py      an exchange -> a call of an ASGI application, with an event loop
    fresh.py     what must be new in each process although it was initialised before a snapshot
    settled.py   what a snapshot holds, left alone by the garbage collector
    load.py      "module:app" -> the application

An exchange is one request and its answer:

    environ                      CGI's variables (RFC 3875, 4.1), as str in Latin-1 (PEP 3333)
    read(size) -> bytes          of the request's body; b"" at its end
    wait_closed -> descriptor    or None: readable once the client has gone
    start(status, headers)       "200 OK", [(name, value)]
    write(bytes)                 of the answer's body; sent with the next flush
    flush()
    finish()                     the answer is complete

`on_resume` registers a function that is called where a process goes on from a snapshot, before its
first request: for generators of random numbers and the like.
"""

from hutch_adapter.fresh import on_resume

__all__ = ["on_resume"]
