"""Texts for functions on text: short words over few letters, so that they match often, in buffers of 64 bytes."""

from __future__ import annotations

import random

_LETTERS = (b"ab", b"abc", b"aAbB", bytes([0x41, 0x61, 0xC0, 0xE0, 0xD7, 0xF7, 0xFF]), bytes(range(1, 256)))


def texts(size: int = 64, count: int = 200) -> tuple[bytes, ...]:
    """Buffers with a NUL somewhere, often early, and rest of the letters behind it."""
    draw = random.Random("texts")
    found = [b"".ljust(size, b"\0"), b"a" * (size - 1) + b"\0"]
    while len(found) < count:
        letters = draw.choice(_LETTERS)
        text = bytearray(draw.choice(letters) for _ in range(size))
        text[draw.choice((0, 1, 2, 3, 4, 8, draw.randrange(size)))] = text[-1] = 0
        found.append(bytes(text))
    return tuple(found)
