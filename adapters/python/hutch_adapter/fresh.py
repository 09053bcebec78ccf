"""What must not be the same in two processes that go on from one snapshot.

The system's randomness is new at each call: os.urandom, secrets, uuid.uuid4 and random.SystemRandom
need nothing. The generators of the random module are sequences that a snapshot repeats: the one
behind random.random() gets a new seed, and so do those that the application makes without a seed of
its own. The order of sets of strings (the hash seed) stays what it was.

The environment is read again where the interpreter can (_hutch.environ): with
instaboot.secrets_at_resume its values are those of the process that goes on, not of the one that was
frozen. os.environ is changed; what an application has made of a value before is its own affair, and
that of functions registered with on_resume.

Where the interpreter counts resumes (_hutch.generation), this is done when the number has changed;
elsewhere before each request, which costs about 15 microseconds.
"""

import os
import sys

try:
    from _hutch import generation
except ImportError:
    generation = None

try:
    from _hutch import environ
except ImportError:
    environ = None

_callbacks = []
_environment = None  # as it was seen last
_seen = None
_generators = None


def on_resume(function):
    """Registers function, which is called without arguments. Returns it: a decorator."""
    _callbacks.append(function)
    return function


def _watch_generators():
    """Remembers the generators without a seed of their own, from now on."""
    import random
    import weakref

    global _generators
    _generators = weakref.WeakSet()
    seed = random.Random.seed

    def watched(self, a=None, version=2):
        if type(self) is not random.SystemRandom:
            (_generators.add if a is None else _generators.discard)(self)
        return seed(self, a, version)

    random.Random.seed = watched
    _generators.add(random._inst)

    def module_seed(a=None, version=2):
        watched(random._inst, a, version)

    random.seed = module_seed  # was a bound method, which goes past the class
    return seed


_plain_seed = None


def _reseed():
    for generator in list(_generators):
        _plain_seed(generator, int.from_bytes(os.urandom(16), "little"))
    uuid = sys.modules.get("uuid")
    if uuid is not None:
        uuid._node, uuid._last_timestamp = None, None
    tempfile = sys.modules.get("tempfile")
    if tempfile is not None:
        tempfile._name_sequence = None


def prepare():
    """Before the application is loaded. A process for one request alone needs nothing."""
    global _plain_seed
    if not os.environ.get("GATEWAY_INTERFACE"):
        _plain_seed = _watch_generators()
        if environ is not None:
            _read_environment()


def _read_environment():
    global _environment
    now = environ()
    before, _environment = _environment, now
    if before is None or now == before:
        return
    pairs = [pair.partition(b"=") for pair in now.split(b"\0") if b"=" in pair]
    were = [pair.partition(b"=")[0] for pair in before.split(b"\0") if b"=" in pair]
    names = {name for name, _, _ in pairs}
    for name in were:
        if name not in names:
            os.environb.pop(name, None)
    for name, _, value in pairs:
        os.environb[name] = value


def before_request():
    global _seen
    if _plain_seed is None:
        return
    if environ is not None:
        _read_environment()
    if generation is not None:
        now = generation()
        if now == _seen:
            return
        first, _seen = _seen is None, now
        _reseed()
        if not first:
            for function in _callbacks:
                function()
    else:
        _reseed()
        for function in _callbacks:
            function()
