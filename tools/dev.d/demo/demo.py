"""The demo's script: a little of the standard library, to see CPython work."""

import hashlib
import json
import re
import statistics
import sys
import time
import urllib.parse

start = time.perf_counter()
print(f"hello from CPython {sys.version.split()[0]} on {sys.platform}, {sys.maxsize.bit_length() + 1} bit")

sieve = bytearray([1]) * 1_000_000
for i in range(2, 1000):
    if sieve[i]:
        sieve[i * i::i] = bytes(len(range(i * i, len(sieve), i)))
print("primes below a million:", sum(sieve) - 2)

text = "To be, or not to be, that is the question: whether 'tis nobler in the mind to suffer"
words = re.findall(r"[a-z']+", text.lower())
print(json.dumps({w: words.count(w) for w in sorted(set(words)) if words.count(w) > 1}))
print("median word length:", statistics.median(map(len, words)))
print("2**521 - 1 =", str(2**521 - 1)[:40] + "...", hashlib.sha256(text.encode()).hexdigest()[:16])
print(urllib.parse.urlencode({"q": "wasm & native", "n": 3}))
print(f"work done in {time.perf_counter() - start:.3f} s")
