"""The replay window and sequence numbers, against a model that keeps every number it has seen."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from support.esp import DROP, IN, NEXT, OUT, Link
from support.esp_by_hand import sealed
from support.esp_frames import udp

if TYPE_CHECKING:
    from support.esp import Bench

WINDOW = 1984  # numbers that the ring can tell apart: 31 words of 64
PLAIN, EXTENDED = Link("transport4"), Link("transport4", esn=True)
FRAME = udp(PLAIN, 3)
HALF = 2**32


class Model:
    """What RFC 4303 says of numbers, in the plainest way."""

    def __init__(self, *, extended: bool) -> None:
        self.extended = extended
        self.highest = 0
        self.seen: set[int] = set()

    def guess(self, low: int) -> int:
        """The number behind its lower half (appendix A2): the only one from the window's left edge on, within 2^32."""
        left = max(0, self.highest - WINDOW + 1)
        return left + (low - left) % HALF

    def receive(self, sequence: int) -> str:
        """The verdict on an authentic packet."""
        found = self.guess(sequence % HALF) if self.extended else sequence
        if found == 0 or found <= self.highest - WINDOW:
            return "TOO_OLD"
        if found in self.seen:
            return "REPLAY"
        if found != sequence:
            return "BAD_TAG"
        self.seen.add(found)
        self.highest = max(self.highest, found)
        return "OPENED"


@cache
def received(sequence: int, extended: bool) -> bytes:
    """A packet with this number."""
    return sealed(EXTENDED if extended else PLAIN, FRAME, sequence)


def check(esp: Bench, sequences: list[int], *, extended: bool) -> list[str]:
    """Receive them in this order, on an SA of their own: verdicts are the model's, and so are the counters."""
    model = Model(extended=extended)
    expected = [model.receive(sequence) for sequence in sequences]
    esp.start(EXTENDED if extended else PLAIN)
    esp.be_receiver()
    results = esp.run_many("open", [received(sequence, extended) for sequence in sequences])

    assert [*results.retvals] == [NEXT if verdict == "OPENED" else DROP for verdict in expected]
    assert esp.counts()[IN] == Counter(expected)
    association = esp.program.association(IN)
    assert association is not None
    assert association.highest == model.highest
    return expected


steps = st.one_of(
    st.integers(1, 3),
    st.integers(-1100, 1100),
    st.sampled_from(
        [0, -1, -WINDOW, -WINDOW + 1, -WINDOW - 1, WINDOW, WINDOW - 1, 63, 64, 65, 2047, 2048, 2049, -63, -64]
    ),
    st.integers(-(2**33), 2**33),
)


def walk(start: int, by: list[int], most: int) -> list[int]:
    """Numbers, each so far from the highest one before it."""
    sequences = [start]
    for step in by:
        sequences.append(min(max(0, max(sequences) + step), most))
    return sequences


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2000), st.lists(steps, max_size=60))
def test_any_order(esp: Bench, start: int, by: list[int]) -> None:
    """Whatever the order: a number is accepted once, if it is not left of the window."""
    check(esp, walk(start, by, HALF - 1), extended=False)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(-1200, 1200), st.lists(steps, max_size=60))
@example(-1, [1, -1, 1, -1984, -1983, 2])
@example(-WINDOW, [WINDOW, -WINDOW + 1, -WINDOW, 1])
def test_extended_numbers_over_the_boundary(esp: Bench, start: int, by: list[int]) -> None:
    """Around 2^32 the upper half is inferred (RFC 4303, appendix A2); what is inferred wrongly is not authentic."""
    check(esp, [HALF - 2000, *walk(HALF + start, by, 3 * HALF)], extended=True)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.permutations(range(1, 130)), st.integers(0, 10))
def test_any_order_of_what_fits_the_window(esp: Bench, order: list[int], again: int) -> None:
    """Within the window nothing is lost by its order, and what comes again is dropped."""
    assert check(esp, order + order[:again], extended=False) == ["OPENED"] * len(order) + ["REPLAY"] * again


def test_the_whole_window_and_no_more(esp: Bench) -> None:
    """1984 numbers can come late, each once; the next one is too old."""
    top = 5000
    late = [*range(top - 1, top - WINDOW, -1)]
    assert check(esp, [top, *late], extended=False) == ["OPENED"] * WINDOW
    assert check(esp, [top, top - WINDOW, top - WINDOW - 1, *late, *late], extended=False) == [
        "OPENED", *["TOO_OLD"] * 2, *["OPENED"] * len(late), *["REPLAY"] * len(late)
    ]  # fmt: skip


@pytest.mark.parametrize("jump", [64 * 15 - 1, 64 * 15, 64 * 16 - 1, 64 * 16, 64 * 16 + 1, 64 * 32, 2**31])
def test_jumps_clear_what_the_ring_held(esp: Bench, jump: int) -> None:
    """After a jump over the window the words that are used again know nothing of the numbers before."""
    first = [*range(1, 1100)]
    top = first[-1] + jump
    check(esp, [*first, top, *range(top - WINDOW - 2, top + 1)], extended=False)


@pytest.mark.parametrize("extended", [False, True])
def test_zero_is_no_number(esp: Bench, extended: bool) -> None:
    """Sequence number 0 is never valid, and with extended numbers it is the first one after 2^32 - 1."""
    assert check(esp, [0, 1, 0], extended=extended) == ["TOO_OLD", "OPENED", "TOO_OLD"]
    if extended:
        assert check(esp, [HALF - 1, HALF, HALF], extended=True) == ["OPENED", "OPENED", "REPLAY"]


def test_a_forged_packet_does_not_move_the_window(esp: Bench) -> None:
    """A number counts as seen only when its packet is authentic."""
    esp.start(PLAIN)
    esp.be_receiver()
    good = received(5, False)
    forged = bytearray(received(100000, False))
    forged[-1] ^= 1

    assert [esp.judge("open", frame).verdict for frame in (bytes(forged), good, good)] == [
        "BAD_TAG",
        "OPENED",
        "REPLAY",
    ]


def test_the_last_number_is_the_last(esp: Bench) -> None:
    """Without extended numbers an SA sends 2^32 - 1 and then nothing more (RFC 4303, section 3.3.3)."""
    esp.start(PLAIN, sequence=HALF - 3)
    frames = [FRAME] * 5
    results = esp.run_many("seal", frames)

    assert [*results.retvals] == [NEXT, NEXT, DROP, DROP, DROP]
    assert [bytes(packet) for packet in results.packets] == [
        received(HALF - 2, False),
        received(HALF - 1, False),
        *[FRAME] * 3,
    ]
    assert esp.counts()[OUT] == {"SEALED": 2, "EXHAUSTED": 3}


def test_extended_numbers_go_on(esp: Bench) -> None:
    """With them the upper half becomes part of what is authenticated and of the IV."""
    esp.start(EXTENDED, sequence=HALF - 3)

    sequences = [*range(HALF - 2, HALF + 3)]
    assert esp.sealed([FRAME] * 5) == [received(sequence, True) for sequence in sequences]
    assert esp.opened([received(sequence, True) for sequence in sequences]) == [FRAME] * 5


def test_numbers_are_given_out_once(esp: Bench) -> None:
    """Both ways of sending take them from one SA, and a packet that is refused for its size takes none."""
    esp.start(PLAIN)
    for program in ("seal", "seal_routed") * 3:
        esp.run(program, FRAME)
        assert esp.judge(program, udp(PLAIN, 1500)).verdict == "TOO_BIG"

    association = esp.program.association(OUT)
    assert association is not None
    assert association.sequence == 6
