"""Regions and address spaces."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcrypto.embedded.memory import AccessFault, Memory, Region, allocate


def test_load_and_store_are_little_endian_and_cut() -> None:
    """Numbers of 1, 2, 4 and 8 bytes lie in memory little-endian; a store takes the low bytes of its value."""
    memory = Memory()
    region = memory.new(8, "bytes")
    memory.store(region.base, 8, 0x1122334455667788)
    assert bytes(memory.span(region.base, 8)) == bytes.fromhex("8877665544332211")
    assert [memory.load(region.base + 1, size) for size in (1, 2, 4)] == [0x77, 0x6677, 0x44556677]
    memory.store(region.base, 1, -2)
    assert memory.load(region.base, 8) == 0x11223344556677FE


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 16)), min_size=1, max_size=8),
    st.integers(-8, 300),
    st.integers(1, 8),
)
def test_find_agrees_with_a_search(layout: list[tuple[int, int]], offset: int, size: int) -> None:
    """The region found is the one that holds the whole access, for any layout of regions and gaps, mapped in any order."""
    storage = allocate(600)[0]
    regions, at = [], 8
    for length, gap in layout:
        regions.append(Region(storage, name="r", offset=at, size=length))
        at += length + gap
    memory = Memory()
    for region in sorted(regions, key=lambda region: region.size):
        memory.map(region)
    address = regions[0].base + offset
    expected = [r for r in regions if r.base <= address and address + size <= r.base + r.size]
    try:
        assert [memory.find(address, size)] == expected
    except AccessFault:
        assert expected == []


def test_elements_of_a_strided_region() -> None:
    """An access stays within the accessible part of one element."""
    memory = Memory()
    region = memory.new(48, "map 'm' value", stride=16, chunk=12)
    assert memory.find(region.base + 16 + 4, 8) is region
    for at, size in ((4, 9), (12, 1), (8, 8), (28, 4)):
        with pytest.raises(AccessFault, match="beyond its 12 bytes"):
            memory.find(region.base + at, size)
        assert not region.holds(region.base + at, size)


def test_unmapped_regions_are_gone() -> None:
    """After unmap nothing finds the region, and what was remembered of it no longer holds."""
    memory = Memory()
    region = memory.new(16, "element")
    assert region.holds(region.base + 8, 8)
    assert (region.reach, region.extent) == (16, 0)
    memory.unmap(region)
    assert not region.holds(region.base, 1)
    assert (region.reach, region.extent) == (0, 0)
    with pytest.raises(AccessFault, match="is not in any memory"):
        memory.load(region.base, 1)
    with pytest.raises(ValueError, match="is not mapped"):
        memory.unmap(region)


def test_resting_regions_are_out_of_reach() -> None:
    """A mapped region that its owner lets rest cannot be found, and is back when it is woken."""
    memory = Memory()
    region = memory.new(16, "stack of frame 1")
    region.set_live(False)
    assert not region.holds(region.base, 1)
    for address, size in ((region.base, 8), (region.base + 12, 8)):
        with pytest.raises(AccessFault, match="is not in any memory"):
            memory.find(address, size)
    region.set_live(True)
    assert memory.find(region.base, 16) is region


def test_reach_is_for_plain_bytes_only() -> None:
    """What needs more than a comparison of bounds has no reach: elements have an extent, handles and virtual memory neither."""

    class Nothing:
        def load(self, offset: int, size: int) -> int:
            return offset

        def store(self, offset: int, size: int, value: int) -> None:
            raise AssertionError

    memory = Memory()
    kinds = {
        "plain": memory.new(16, "plain"),
        "constant": memory.new(16, "constant", writable=False),
        "elements": memory.new(16, "elements", stride=8, chunk=8),
        "handle": memory.new(16, "handle", readable=False),
        "virtual": memory.new(16, "virtual", access=Nothing()),
    }
    assert {name: (region.reach, region.extent) for name, region in kinds.items()} == {
        "plain": (16, 0),
        "constant": (16, 0),
        "elements": (0, 16),
        "handle": (0, 0),
        "virtual": (0, 0),
    }
    assert memory.load(kinds["virtual"].base + 3, 2) == 3


def test_a_run_sees_its_own_memory_and_its_parents() -> None:
    """A child finds its parent's regions; the parent does not see the child's."""
    parent = Memory()
    child = Memory(parent)
    shared, own = parent.new(8, "map"), child.new(8, "stack")
    child.store(shared.base, 4, 7)
    assert parent.load(shared.base, 4) == 7
    assert child.find(own.base) is own
    with pytest.raises(AccessFault):
        parent.find(own.base)


def test_permissions() -> None:
    """Read-only, opaque and unreadable memory is refused by name."""
    memory = Memory()
    constant, handle = memory.new(8, "map '.rodata' value", writable=False), memory.new(8, "map 'm'", readable=False)
    assert memory.load(constant.base, 8) == 0
    for action, message in (
        (lambda: memory.store(constant.base, 1, 0), r"map '.rodata' value cannot be written"),
        (lambda: memory.span(constant.base, 1, write=True), r"map '.rodata' value cannot be written"),
        (lambda: memory.load(handle.base, 8), "map 'm' cannot be read"),
        (lambda: memory.store(handle.base, 8, 0), "map 'm' cannot be written"),
        (lambda: memory.span(handle.base, 8), "map 'm' cannot be accessed as bytes"),
        (lambda: memory.string(handle.base, 8), "map 'm' cannot be accessed as bytes"),
    ):
        with pytest.raises(AccessFault, match=message):
            action()


def test_owners_are_found_by_their_exact_handle() -> None:
    """A handle's address, and no other, stands for its object."""
    parent, thing = Memory(), object()
    handle = parent.new(8, "map 'm'", readable=False, owner=thing)
    child = Memory(parent)
    assert child.owner(handle.base) is thing
    assert child.owner(handle.base + 1) is None


def test_strings_end_at_a_nul_the_limit_or_the_region() -> None:
    """A string is cut at whatever comes first."""
    memory = Memory()
    region = memory.new(8, "text")
    memory.span(region.base, 8, write=True)[:] = b"abc\0efgh"
    assert memory.string(region.base, 8) == b"abc"
    assert memory.string(region.base, 2) == b"ab"
    assert memory.string(region.base + 4, 100) == b"efgh"


def test_spans_are_live_and_empty_ones_need_no_memory() -> None:
    """A span is the memory itself; one of no bytes exists everywhere."""
    memory = Memory()
    region = memory.new(8, "bytes")
    memory.span(region.base + 2, 2, write=True)[0] = 9
    assert memory.load(region.base + 2, 1) == 9
    assert bytes(memory.span(0, 0)) == b""


def test_alignment_and_zeros() -> None:
    """New memory is zero and aligned as asked; clear makes it zero again."""
    memory = Memory()
    region = memory.new(24, "aligned", align=64)
    assert region.base % 64 == 0
    memory.store(region.base + 16, 8, -1)
    region.clear()
    assert bytes(memory.span(region.base, 24)) == bytes(24)


def test_readers_do_not_see_half_a_change() -> None:
    """While one thread maps and unmaps, another always finds the region that stays."""
    memory = Memory()
    stays = memory.new(8, "stays")
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            memory.unmap(memory.new(8, "comes and goes"))

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        assert all(memory.find(stays.base, 8) is stays for _ in range(5000))
    finally:
        stop.set()
        thread.join()
