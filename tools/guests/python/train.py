"""What CPython is trained on: those of its own tests that are about the language, and about types and
modules that programs use much, and that need no network, process or thread.

Some fail for want of what WASI lacks; that does not matter here.
"""

import bz2
import hashlib
import importlib
import io
import itertools
import lzma
import os
import sys
from test import support

TESTS = """
    array base64 binascii binop bisect builtin bytes class cmath codecs collections complex
    contains contextlib copy csv dataclasses datetime decimal decorators defaultdict deque descr
    dict dictcomps dictviews difflib dynamicclassattribute enum enumerate exceptions extcall float
    format fractions fstring functools generators genericalias genexps hashlib heapq html htmlparser
    int io isinstance iter itertools json keywordonlyarg list listcomps long math memoryio
    memoryview operator ordered_dict patma pickle pprint property range re richcmp scope set
    setcomps slice sort sqlite3 statistics string struct super textwrap tuple types typing unicode
    unpack unpack_ex urlparse userdict userlist weakref with xml_etree xml_etree_c yield_from
    zlib
""".split()

# Of these, which take long, one in so many.
SPARSE = {"bytes": 2, "datetime": 8, "decimal": 2, "io": 2, "itertools": 2, "long": 2, "math": 2,
          "pickle": 8, "set": 4, "statistics": 8, "tuple": 4, "weakref": 4}


class Nowhere(io.TextIOBase):
    def write(self, text: str) -> int:
        return len(text)


def train(name: str) -> str:
    one_in = itertools.cycle([True] + [False] * (SPARSE.get(name, 1) - 1))
    support.match_test = lambda test: next(one_in)
    try:
        module = importlib.import_module(f"test.test_{name}")
        if hasattr(module, "test_main"):
            module.test_main()
        else:
            support.run_unittest(module.__name__)
    except support.TestFailed as error:
        return str(error).split("\n")[0]
    except Exception as error:
        return repr(error)
    return "passed"


def library() -> None:
    """What no test of the list is about."""
    hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 3000)
    text = "".join(f"{i % 97} lines of {i}\n" for i in range(4000)).encode()
    for codec in bz2, lzma:
        assert codec.decompress(codec.compress(text)) == text


def main() -> None:
    names, log = sys.argv[1:] or TESTS, sys.stderr
    sys.argv[1:] = []
    sys.stdout = sys.stderr = Nowhere()
    os.chdir("/tmp")
    support.verbose = False
    support.use_resources = []  # nothing that asks for much time or memory
    for name in names:
        print(f"{name}: {train(name)}", file=log)
    library()


main()
