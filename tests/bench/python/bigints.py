"""Integers of many digits: digits of pi, powers modulo, factorials, conversion to text."""

import math


def pi_digits(count):
    digits, q, r, t, k, n, l = [], 1, 0, 1, 1, 3, 3
    while len(digits) < count:
        if 4 * q + r - t < n * t:
            digits.append(n)
            q, r, n = 10 * q, 10 * (r - n * t), 10 * (3 * q + r) // t - 10 * n
        else:
            q, r, t, k, n, l = (q * k, (2 * q + r) * l, t * l, k + 1,
                                (q * (7 * k + 2) + r * l) // (t * l), l + 2)
    return "".join(map(str, digits))


def is_prime(n):
    d, s = n - 1, 0
    while d % 2 == 0:
        d, s = d // 2, s + 1
    for base in (2, 3, 5, 7, 11, 13):
        x = pow(base, d, n)
        if x in (1, n - 1):
            continue
        for _ in range(s - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True


def work():
    a, b = 1, 1
    for _ in range(4_000):
        a, b = b, a + b
    prime = next(n for n in range(2 ** 255 + 1, 2 ** 256, 2) if is_prime(n))
    factorial = math.factorial(900)
    return (pi_digits(450), str(a), prime, str(factorial), int(str(factorial)) >> 3000,
            math.gcd(a * b, factorial), math.isqrt(factorial), (3 ** 2000 ^ a) & (b | 5 ** 900))
