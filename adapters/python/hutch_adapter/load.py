""" "module:app" -> the application, and which interface its requests come by."""

import importlib
import os
import stat
import sys


def application(argv, usage):
    if len(argv) != 2 or argv[1].startswith("-"):
        sys.exit(f"usage: python -m {usage} MODULE[:NAME]")
    name, _, attribute = argv[1].partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    found = importlib.import_module(name)
    for part in (attribute or "application").split("."):
        call = part.endswith("()")  # a factory: module:create_app()
        try:
            found = getattr(found, part[:-2] if call else part)
        except AttributeError:
            sys.exit(f"{usage}: module {name} has no {attribute or 'application'}")
        if call:
            found = found()
    if not callable(found):
        sys.exit(f"{usage}: {argv[1]} is no application: it cannot be called")
    return found


def exchanges():
    """Request after request, by the interface that app.yaml names."""
    if os.environ.get("GATEWAY_INTERFACE"):
        from hutch_adapter import cgi as interface
    elif os.environ.get("LISTEN_FDS") or (_is_socket(3) and not _is_socket(0)):
        from hutch_adapter import http as interface
    else:
        from hutch_adapter import fastcgi as interface
    return interface.exchanges()


def _is_socket(fd):
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False
