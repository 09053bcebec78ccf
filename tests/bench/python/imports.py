"""Imports: finding, reading, unmarshalling and running modules of the standard library."""

import importlib
import sys

NAMES = ("argparse", "ast", "base64", "calendar", "configparser", "copy", "csv", "dataclasses",
         "difflib", "dis", "email.message", "email.parser", "enum", "fractions", "gettext",
         "html.parser", "http.cookies", "inspect", "json", "logging", "optparse", "pickle", "pprint",
         "queue", "random", "shlex", "statistics", "string", "tarfile", "textwrap", "tokenize",
         "traceback", "typing", "urllib.parse", "uuid", "zipfile")
before = set(sys.modules)


def work():
    for name in set(sys.modules) - before:
        del sys.modules[name]
    importlib.invalidate_caches()
    modules = [importlib.import_module(name) for name in NAMES]
    # No more than names: revisions of one release differ in the rest.
    return [m.__name__ for m in modules]
