"""The reference of the random kernels: Philox4x32-10 (Salmon et al., 2011) in NumPy; every backend draws the same bits.

A stream is a function of its seed and a counter of blocks; a block is four 32-bit words. ``state`` holds both as int64,
``[seed, offset]``; a draw of n words uses the ceil(n / 4) blocks from ``offset`` on, and moves it past them.
Key: the low and the high half of the seed. Counter: the low and the high half of the block's number, 0, 0.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

# multipliers, and what is added to the key after each round
M0, M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
W0, W1 = 0x9E3779B9, 0xBB67AE85
LOW, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)

# exact multiples that a mantissa holds: (shift of a word, scale)
FRACTION = {"float32": (8, 2.0**-24), "float16": (21, 2.0**-11), "bfloat16": (24, 2.0**-8)}

# Wichura, Algorithm AS 241 (PPND16): numerators and denominators, highest power first, for the centre, the tails, and
# the far tails of the normal distribution.
CENTRE = (
    (2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4, 4.5921953931549871457e4,
     1.3731693765509461125e4, 1.9715909503065514427e3, 1.3314166789178437745e2, 3.3871328727963666080e0),
    (5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4, 2.1213794301586595867e4,
     5.3941960214247511077e3, 6.8718700749205790830e2, 4.2313330701600911252e1, 1.0),
)  # fmt: skip
TAIL = (
    (7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1, 1.27045825245236838258e0,
     3.64784832476320460504e0, 5.76949722146069140550e0, 4.63033784615654529590e0, 1.42343711074968357734e0),
    (1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2, 1.48103976427480074590e-1,
     6.89767334985100004550e-1, 1.67638483018380384940e0, 2.05319162663775882187e0, 1.0),
)  # fmt: skip
FAR = (
    (2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3, 2.65321895265761230930e-2,
     2.96560571828504891230e-1, 1.78482653991729133580e0, 5.46378491116411436990e0, 6.65790464350110377720e0),
    (2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5, 7.86869131145613259100e-4,
     1.48753612908506148525e-2, 1.36929880922735805310e-1, 5.99832206555887937690e-1, 1.0),
)  # fmt: skip
LOG_SERIES = tuple(1.0 / (2 * k + 1) for k in range(11, -1, -1))  # atanh(s) / s in powers of s**2
LN2, SQRT_HALF = 0.6931471805599453, 0.7071067811865476


def philox(c0: Any, c1: Any, c2: Any, c3: Any, k0: int, k1: int) -> Any:
    """Ten rounds on counters of four words, uint64 arrays of 32-bit numbers, with a key of two. Words on the last axis."""
    for _ in range(10):
        p, q = M0 * c0, M1 * c2
        c0, c2 = q >> HALF ^ c1 ^ np.uint64(k0), p >> HALF ^ c3 ^ np.uint64(k1)
        c1, c3 = q & LOW, p & LOW
        k0, k1 = k0 + W0 & 0xFFFFFFFF, k1 + W1 & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def blocks(seed: int, offset: int, count: int) -> Any:
    """The words of ``count`` blocks from ``offset`` on, uint32 of shape (count, 4).

    >>> [hex(w) for w in blocks(0, 0, 1)[0]]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    number = np.arange(count, dtype=np.uint64) + np.uint64(offset)
    zero = np.zeros_like(number)
    return philox(number & LOW, number >> HALF, zero, zero, seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF)


def words(state: Any, count: int) -> Any:
    """The next ``count`` 32-bit words of the stream; the state moves on."""
    seed, offset = (int(v) for v in state)
    used = -(-count // 4)
    drawn = blocks(seed, offset, used).reshape(-1)[:count]
    state[1] = offset + used
    return drawn


def long_words(state: Any, count: int) -> Any:
    """The next ``count`` 64-bit words: pairs of 32-bit words, the first is the low half."""
    pairs = words(state, 2 * count).reshape(-1, 2).astype(np.uint64)
    return pairs[:, 0] | pairs[:, 1] << HALF


def uniform(state: Any, *, shape: tuple[int, ...], dtype: str) -> Any:
    """Multiples of 2**-24 (float32: one word) or 2**-53 (float64: two words) in [0, 1)."""
    n = math.prod(shape)
    if dtype == "float64":
        pairs = words(state, 2 * n).reshape(-1, 2)
        u = ((pairs[:, 0] >> 5) * 2.0**26 + (pairs[:, 1] >> 6)) * 2.0**-53
    else:
        shift, scale = FRACTION[dtype]
        u = (words(state, n) >> np.uint32(shift)) * scale
    return u.astype(np.dtype(dtype)).reshape(shape)


def normal(state: Any, *, shape: tuple[int, ...], dtype: str) -> Any:
    """Standard normal numbers: the inverse distribution function of 52-bit fractions in (0, 1), two words each."""
    p = ((long_words(state, math.prod(shape)) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    return normal_quantile(p).astype(np.dtype(dtype)).reshape(shape)


def integers(state: Any, *, low: int, high: int, shape: tuple[int, ...]) -> Any:
    """Integers from ``low`` to ``high - 1``: the high half of a 64-bit word times their number (Lemire, 2019).

    No word is rejected: with less than 2**32 integers, probabilities differ by less than 2**-32 of themselves.
    """
    if not 0 < high - low < 2**32:
        raise ValueError(f"[integers] low {low} to high {high} is {high - low} integers; give 1 to 2**32 - 1")
    w, span = long_words(state, math.prod(shape)), np.uint64(high - low)
    above = (w >> HALF) * span + ((w & LOW) * span >> HALF) >> HALF
    return (above.astype(np.int64) + low).reshape(shape)


def bernoulli(state: Any, *, p: float, shape: tuple[int, ...]) -> Any:
    """True with probability ``p``, to 2**-32: where a word is below floor(p * 2**32)."""
    return (words(state, math.prod(shape)) < np.uint64(math.floor(p * 2.0**32))).reshape(shape)


def permutation(state: Any, *, n: int) -> Any:
    """0 to ``n - 1`` in the order of as many 64-bit words."""
    return np.argsort(long_words(state, n), kind="stable").astype(np.int64)


def dropout(x: Any, state: Any, *, p: float) -> Any:
    """``x / (1 - p)`` where kept, elsewhere 0; and the mask of what is kept: a word at least round(p * 2**32)."""
    mask = (words(state, x.size) >= np.uint64(round(p * 2.0**32))).reshape(x.shape)
    scale = x.dtype.type(1.0 / (1.0 - p) if p < 1.0 else 0.0)
    return np.where(mask, x * scale, x.dtype.type(0)), mask


# the quantile, in double precision of + - * / and sqrt only: then every machine gives the same bits


def normal_quantile(p: Any) -> Any:
    """The inverse of the normal distribution function for ``p`` in (0, 1), to about 1e-16 (Wichura, 1988).

    >>> round(float(normal_quantile(np.array([0.975]))[0]), 12)
    1.95996398454
    """
    q = p - 0.5
    r = 0.180625 - q * q
    centre = q * horner(CENTRE[0], r) / horner(CENTRE[1], r)
    r = np.sqrt(-log(np.where(q < 0, p, 1.0 - p)))
    near, far = r - 1.6, r - 5.0
    tail = np.where(r <= 5.0, horner(TAIL[0], near) / horner(TAIL[1], near), horner(FAR[0], far) / horner(FAR[1], far))
    return np.where(np.abs(q) <= 0.425, centre, np.where(q < 0, -tail, tail))


def log(x: Any) -> Any:
    """The logarithm of normal numbers below 1: x = 2**e m with m in [sqrt(1/2), sqrt(2)), by the series of atanh."""
    m, e = np.frexp(x)
    small = m < SQRT_HALF
    m, e = np.where(small, m + m, m), (e - small).astype(np.float64)
    s = (m - 1.0) / (m + 1.0)
    return e * LN2 + (s + s) * horner(LOG_SERIES, s * s)


def horner(coefficients: tuple[float, ...], x: Any) -> Any:
    """A polynomial, its highest coefficient first."""
    y = coefficients[0] * x + coefficients[1]
    for c in coefficients[2:]:
        y = y * x + c
    return y
