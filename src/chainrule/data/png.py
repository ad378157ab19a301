"""PNG pictures, read without another package: 8 bits a channel, not interlaced."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np

from ..domain.errors import FileFormatError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # by the colour type: grey, RGB, grey with alpha, RGB with alpha
NONE, SUB, UP, AVERAGE, PAETH = range(5)


def read_png(data: bytes, name: object = "the data") -> Any:
    """The pixels of the bytes of a PNG file: uint8 (height, width, channels); ``name`` is for the errors.

    Lines coded by differences to their left or upper neighbours alone are quick, others take a second for some
    100,000 pixels. Errors: FileFormatError.
    """
    if not data.startswith(SIGNATURE):
        raise FileFormatError(f"[read_png] {name} is not a PNG file: it begins with {data[:8].hex(' ') or 'nothing'}")
    header, packed, at = b"", [], len(SIGNATURE)
    while at + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + size]
        if data[at + 8 + size : at + 12 + size] != zlib.crc32(kind + body).to_bytes(4, "big"):
            raise FileFormatError(f"[read_png] {name} is damaged or cut short in its part {kind!r}")
        if kind == b"IHDR":
            header = body
        elif kind == b"IDAT":
            packed.append(body)
        at += 12 + size
    if len(header) != 13:
        raise FileFormatError(f"[read_png] {name} has no header")
    width, height, bits, colour, *_, interlaced = struct.unpack(">IIBBBBB", header)
    if bits != 8 or colour not in CHANNELS or interlaced:
        raise FileFormatError(
            f"[read_png] {name} has {bits} bits, colour type {colour}: only 8 bits, no palette are read"
        )
    channels = CHANNELS[colour]
    expected = height * (1 + width * channels)
    try:
        most = 1100 * sum(map(len, packed))  # zlib makes no more of them, whatever size the header claims
        flat = zlib.decompressobj().decompress(b"".join(packed), min(expected, most) + 1)
    except zlib.error as error:
        raise FileFormatError(f"[read_png] {name} is damaged: {error}") from error
    if len(flat) != expected:
        raise FileFormatError(f"[read_png] {name} holds {len(flat)} bytes of pixels, expected {expected}")
    lines = np.frombuffer(flat, np.uint8).reshape(height, 1 + width * channels)
    if lines.size and lines[:, 0].max() > PAETH:
        raise FileFormatError(f"[read_png] {name} has a line of kind {lines[:, 0].max()}, which PNG has not")
    return _decoded(lines[:, 0], lines[:, 1:].reshape(height, width, channels))


def _decoded(kinds: Any, differences: Any) -> Any:
    """The pixels, from the kind of each line and its differences to its neighbours."""
    out = np.empty_like(differences)
    above = np.zeros_like(differences[0])
    for kind, line, target in zip(kinds.tolist(), differences, out, strict=True):
        if kind == NONE:
            target[:] = line
        elif kind == SUB:
            np.cumsum(line, axis=0, dtype=np.uint8, out=target)  # modulo 256, as it should be
        elif kind == UP:
            np.add(line, above, out=target)
        else:
            _one_by_one(kind, line, above, target)
        above = target
    return out


def _one_by_one(kind: int, line: Any, above: Any, target: Any) -> None:
    """A line in which a pixel depends on its left neighbour in ways that NumPy cannot do at once."""
    up, width = above.tolist(), len(line)
    pixels: list[list[int]] = []
    nothing = [0] * line.shape[1]
    for i, values in enumerate(line.tolist()):
        left, corner = (pixels[i - 1], up[i - 1]) if i else (nothing, nothing)
        near = map(_average if kind == AVERAGE else _paeth, left, up[i], corner)
        pixels.append([(v + n) & 255 for v, n in zip(values, near, strict=True)])
    target[:width] = pixels


def _average(left: int, up: int, corner: int) -> int:
    return (left + up) // 2


def _paeth(left: int, up: int, corner: int) -> int:
    """Which of the three is nearest to left + up - corner; the first of equals."""
    return min((left, up, corner), key=lambda near: abs(left + up - corner - near))
