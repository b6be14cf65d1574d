"""Helpers whose results no two runs share, or that only a program with callbacks can show."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcrypto.abi.helpers import BY_NAME, HELPERS, name
from bpfcrypto.abi.progs import ProgType
from bpfcrypto.embedded import checksum
from bpfcrypto.embedded.helpers import HELPERS as NATIVES
from bpfcrypto.embedded.memory import AccessFault, Memory
from bpfcrypto.embedded.packet_xdp import XdpFrame
from bpfcrypto.embedded.state import RunState, error
from bpfcrypto.spec import ProgramSpec

EINVAL, E2BIG = 22, 7


def run(**options: object) -> RunState:
    return RunState(Memory(), ProgramSpec("p", "", ProgType.XDP, ()), **options)  # type: ignore[arg-type]


def test_numbers_and_names_are_those_of_the_kernel() -> None:
    """211 helpers, numbered without a gap."""
    assert list(HELPERS) == list(range(1, 212))
    assert (name(1), name(211), name(212)) == ("bpf_map_lookup_elem", "bpf_cgrp_storage_delete", "unknown#212")


def test_every_native_is_in_the_table() -> None:
    """No helper without a row."""
    assert NATIVES.keys() <= BY_NAME.keys()
    assert all(BY_NAME[native].types for native in NATIVES)


def test_the_clock_does_not_go_back_and_chance_is_32_bits() -> None:
    """ktime is the monotonic clock; random numbers fit and differ."""
    state = run(cpu=3)
    before = time.monotonic_ns()

    assert before <= NATIVES["bpf_ktime_get_ns"](state, 0, 0, 0, 0, 0) <= time.monotonic_ns()
    drawn = {NATIVES["bpf_get_prandom_u32"](state, 0, 0, 0, 0, 0) for _ in range(20)}
    assert len(drawn) > 1
    assert max(drawn) < 1 << 32
    assert NATIVES["bpf_get_smp_processor_id"](state, 0, 0, 0, 0, 0) == 3


@pytest.mark.parametrize(
    ("rounds", "flags", "result", "calls"),
    [(0, 0, 0, 0), (3, 0, 3, 3), (9, 0, 5, 5), (1 << 32 | 2, 0, 2, 2), (3, 1, error(EINVAL), 0), ((8 << 20) + 1, 0, error(E2BIG), 0)],
)  # fmt: skip
def test_loop_counts_its_calls(rounds: int, flags: int, result: int, calls: int) -> None:
    """A callback that stops at index 4 was called five times."""
    seen: list[tuple[int, ...]] = []

    def callback(*arguments: int) -> int:
        seen.append(arguments)
        return int(arguments[1] == 4)

    assert NATIVES["bpf_loop"](run(call=callback), rounds, 77, 55, flags, 0) == result
    assert seen == [(77, index, 55) for index in range(calls)]


@pytest.mark.parametrize(
    "helper", ["bpf_map_lookup_elem", "bpf_kptr_xchg", "bpf_skb_load_bytes", "bpf_xdp_adjust_head"]
)
def test_a_wrong_first_argument_faults(helper: str) -> None:
    """What is not a map, a slot or this run's packet is an AccessFault."""
    state = run()
    plain = state.memory.new(64, "plain")

    for wrong in (0, plain.base, 0x1000):
        with pytest.raises(AccessFault):
            NATIVES[helper](state, wrong, plain.base, plain.base, 4, 0)


def test_an_skb_helper_does_not_take_an_xdp_frame() -> None:
    """The kind of the packet counts, not only its handle."""
    state = run()
    frame = XdpFrame(state.memory, bytes(64))
    state.packet = frame

    with pytest.raises(AccessFault):
        NATIVES["bpf_skb_pull_data"](state, frame.handle, 0, 0, 0, 0)
    assert NATIVES["bpf_xdp_get_buff_len"](state, frame.handle, 0, 0, 0, 0) == 64


@pytest.mark.parametrize(
    ("text", "arguments", "printed"),
    [
        ("%d %u %x", (-5, 5, 255), "-5 5 ff"),
        ("%lld|%5d|%-5d|", (-(1 << 40), 42, 42), "-1099511627776|   42|42   |"),
        ("%05d %+d % d", (-42, 3, 3), "-0042 +3  3"),
        ("%pI4 %pi4 %pI6", ("10.0.0.1", "10.0.0.1", "fd00::1"), "10.0.0.1 010.000.000.001 fd00:0000:0000:0000:0000:0000:0000:0001"),
        ("%s, %c%%", ("key", 65), "key, A%"),
        ("%s", (0,), ""),
        ("grüße", (), "grüße"),
    ],
)  # fmt: skip
def test_trace_text(text: str, arguments: tuple[int | str, ...], printed: str) -> None:
    """Numbers, strings and addresses are written as printk writes them."""
    import ipaddress

    lines: list[str] = []
    state = run(trace=lines.append)
    memory = state.memory.new(256, "memory")

    def place(at: int, raw: bytes) -> int:
        state.memory.span(memory.base + at, len(raw), write=True)[:] = raw
        return memory.base + at

    values = []
    for at, value in enumerate(arguments):
        if isinstance(value, str):
            raw = value.encode() + b"\0" if value == "key" else ipaddress.ip_address(value).packed
            values.append(place(100 + 40 * at, raw))
        else:
            values.append(value & (1 << 64) - 1)
    raw = text.encode() + b"\0"
    size = NATIVES["bpf_trace_printk"](state, place(0, raw), len(raw), *values, *[0] * (3 - len(values)))

    assert lines == [printed]
    assert size == len(printed.encode())


def internet_checksum(data: bytes) -> int:
    """The plain definition (RFC 1071), as a checksum in memory order."""
    total = sum(int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "little") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@given(st.binary(min_size=1, max_size=200))
def test_sums_are_internet_checksums(data: bytes) -> None:
    """The fold of the partial sum is the checksum."""
    assert checksum.fold(checksum.partial(data)) == internet_checksum(data)


@given(
    st.binary(min_size=8, max_size=64).filter(lambda data: len(data) % 4 == 0),
    st.integers(0, 15),
    st.integers(0, 2**32 - 1),
    st.data(),
)
def test_replacing_a_word_is_summing_again(data: bytes, at: int, new: int, draw: st.DataObject) -> None:
    """A checksum that was adapted equals one computed anew, up to the two forms of zero."""
    at = at * 4 % len(data)
    size = draw.draw(st.sampled_from((2, 4)))
    new &= (1 << 8 * size) - 1
    old = int.from_bytes(data[at : at + size], "little")
    changed = data[:at] + new.to_bytes(size, "little") + data[at + size :]
    replace = checksum.replace2 if size == 2 else checksum.replace4
    adapted = replace(internet_checksum(data), old, new)

    assert adapted % 0xFFFF == internet_checksum(changed) % 0xFFFF
    diff = checksum.sub(checksum.partial(changed), checksum.partial(data))
    assert checksum.replace_by_diff(internet_checksum(data), diff) % 0xFFFF == internet_checksum(changed) % 0xFFFF
