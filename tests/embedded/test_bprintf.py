"""The kernel's printf on any format and arguments: a text or a refusal. (What it prints is in the recorded rows of calls.)"""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfcrypto.embedded.bprintf import BUFFER, Refused, prepare, render
from bpfcrypto.embedded.memory import Memory

MEMORY = Memory()
REGION = MEMORY.new(600, "text")
MEMORY.span(REGION.base, 600, write=True)[:] = b"abc\0" + b"x" * 595 + b"y"

CONVERSIONS = st.sampled_from(
    [
        "%d",
        "%5d",
        "%-05lld",
        "%x",
        "%c",
        "%s",
        "%10s",
        "%p",
        "%px",
        "%pI4",
        "%pi6",
        "%pI6c",
        "%pB",
        "%pks",
        "%ps",
        "%%",
        "%",
        "%y",
    ]
)
FORMATS = st.lists(CONVERSIONS | st.text(st.characters(max_codepoint=255), max_size=4), max_size=12).map(
    lambda parts: " ".join(parts).encode("latin-1") + b"\0"
)
ARGUMENTS = st.lists(st.integers(0, (1 << 64) - 1) | st.integers(0, 700).map(lambda at: REGION.base + at), max_size=12)


@given(FORMATS, ARGUMENTS, st.integers(0, 600))
@settings(max_examples=300, deadline=None)
def test_any_format_is_printed_or_refused(text: bytes, arguments: list[int], size: int) -> None:
    """The output fits; what fits is the beginning of what a larger output gets; the refusals are the kernel's two.

    Text behind the end of the output is not stepped over (bstr_printf), so that numbers after it come out otherwise.
    """
    try:
        prepared = prepare(text, arguments, MEMORY)
    except Refused as refused:
        assert refused.errno in (22, 28)
        return
    shown, count = render(prepared, size)
    whole, most = render(prepared, 1 << 20)

    assert len(prepared.packed) <= BUFFER + 40 * len(arguments)
    assert len(shown) <= max(size - 1, 0)
    assert count <= most or any(isinstance(part, re.Match) and part["text"] for part in prepared.parts)
    assert whole.startswith(shown)


@pytest.mark.parametrize("digits", ["9", "99999999", "9" * 5000])
def test_a_width_has_a_limit(digits: str) -> None:
    """However many digits it has, what is printed stays below 8 MiB."""
    _, count = render(prepare(f"%{digits}d\0".encode(), [1], MEMORY), 8)

    assert count == min(int(digits[:8]), (1 << 23) - 1)


def test_pointers_are_not_shown() -> None:
    """%p prints the same hash for the same pointer and another for another; %px the address."""
    one, two, again = (render(prepare(b"%p\0", [value], MEMORY), 64)[0] for value in (REGION.base, 5, REGION.base))

    assert one == again != two
    assert one != b"%016x" % REGION.base
    assert render(prepare(b"%px\0", [REGION.base], MEMORY), 64)[0] == b"%016x" % REGION.base
