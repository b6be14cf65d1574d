"""Instructions to handlers: what the interpreter does once, before the first run.

Every instruction becomes a function of the registers and the machine, with its operands bound. Straight-line handlers are strung
into *blocks*: a block starts at the program's entry or at a jump's target, and ends with the instruction that decides where to go on,
whose handler returns the next slot. Malformed code is refused here, so that a run meets nothing but whole instructions with valid
registers and targets; what remains to be checked while running are addresses, frames and the number of steps.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from bpfcrypto.embedded.interp_ops import ARITHMETIC, TESTS, UNARY, UPDATE, compare_exchange
from bpfcrypto.embedded.memory import MASK64, AccessFault, Region
from bpfcrypto.embedded.state import Native, RunState, signed
from bpfcrypto.isa.codec import imm64
from bpfcrypto.isa.insn import Insn
from bpfcrypto.isa.opcode import FETCH, GOTOL, Kind, Op, Opcode, PseudoCall, PseudoImm, is_known, lookup

MASK32 = (1 << 32) - 1
FRAME_POINTER = 10
LOOPS_LEFT = 11
"""Register-file index of the frame's may_goto budget; programs cannot name it."""

_SKB = 6  # where packet loads expect the context

DONE = -1
"""The next slot after ``exit``."""


class Machine(Protocol):
    """What handlers need of the run in progress, besides the registers."""

    state: RunState
    recent: list[Region]

    def locate(self, slot: int, address: int, size: int) -> Region: ...

    def enter(self, slot: int, arguments: Sequence[int]) -> int: ...


Step = Callable[[list[int], Machine], None]
End = Callable[[list[int], Machine], int]


@dataclass(frozen=True, slots=True)
class Block:
    """Instructions that run one after another.

    Attributes:
        slot: the first one's.
        body: (slot, handler) of each that does not decide where to go on.
        end: gives the next slot, or DONE.
        last: slot of the last one.
        length: how many instructions it has, the last one included.
    """

    slot: int
    body: tuple[tuple[int, Step], ...]
    end: End
    last: int
    length: int


class Malformed(Exception):
    """Code that cannot be run. ``index`` is the offending slot."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index


@dataclass(frozen=True, slots=True)
class _Site:
    """One instruction with everything known about it."""

    slot: int
    insn: Insn
    row: Opcode
    value: int = 0  # the operand that is known beforehand, as an unsigned 64-bit integer
    native: Native | None = None
    target: int = 0

    @property
    def follow(self) -> int:
        return self.slot + self.row.slots


def _alu(site: _Site) -> Step:
    dst, src, row = site.insn.dst, site.insn.src, site.row
    compute = ARITHMETIC[row.bits][row.op]
    if row.bits == 64:
        value = site.value
        if row.reg:

            def step(r: list[int], _: Machine) -> None:
                r[dst] = compute(r[dst], r[src]) & MASK64

        else:

            def step(r: list[int], _: Machine) -> None:
                r[dst] = compute(r[dst], value) & MASK64

    else:
        value = site.value & MASK32
        if row.reg:

            def step(r: list[int], _: Machine) -> None:
                r[dst] = compute(r[dst] & MASK32, r[src] & MASK32) & MASK32

        else:

            def step(r: list[int], _: Machine) -> None:
                r[dst] = compute(r[dst] & MASK32, value) & MASK32

    return step


def _mov(site: _Site) -> Step:
    dst, src, row = site.insn.dst, site.insn.src, site.row
    mask = (1 << row.bits) - 1
    if row.size:
        cut, sign = (1 << row.size * 8) - 1, 1 << row.size * 8 - 1

        def step(r: list[int], _: Machine) -> None:
            r[dst] = ((r[src] & cut) ^ sign) - sign & mask

    elif row.reg:

        def step(r: list[int], _: Machine) -> None:
            r[dst] = r[src] & mask

    else:
        return _constant(dst, site.value & mask)
    return step


def _constant(dst: int, value: int) -> Step:
    def step(r: list[int], _: Machine) -> None:
        r[dst] = value

    return step


def _lddw(site: _Site) -> Step:
    return _constant(site.insn.dst, site.target if site.insn.src == PseudoImm.FUNC else site.value)


def _unary(site: _Site) -> Step:
    dst, compute = site.insn.dst, UNARY[site.row.op](site.row.bits)

    def step(r: list[int], _: Machine) -> None:
        r[dst] = compute(r[dst])

    return step


_UNPACK = {size: struct.Struct(code).unpack_from for size, code in ((1, "<B"), (2, "<H"), (4, "<I"), (8, "<Q"))}
_PACK = {size: struct.Struct(code).pack_into for size, code in ((1, "<B"), (2, "<H"), (4, "<I"), (8, "<Q"))}


def _load(site: _Site) -> Step:
    slot, dst, src, off, size = site.slot, site.insn.dst, site.insn.src, site.insn.off, site.row.size
    unpack: Callable[[Any, int], tuple[int, ...]] = _UNPACK[size]

    def step(r: list[int], m: Machine) -> None:
        address = r[src] + off & MASK64
        region = m.recent[slot]
        at = address - region.base
        # Most accesses lie in the region that the same instruction met last, in its one range or in one of its elements.
        if 0 <= at <= region.reach - size or (0 <= at < region.extent and at % region.stride <= region.chunk - size):
            r[dst] = unpack(region.view, at)[0]
        else:
            region = m.locate(slot, address, size)
            r[dst] = region.load(address - region.base, size)

    if site.row.op is Op.LOAD:
        return step
    sign = 1 << size * 8 - 1

    def extend(r: list[int], m: Machine) -> None:
        step(r, m)
        r[dst] = (r[dst] ^ sign) - sign & MASK64

    return extend


def _store(site: _Site) -> Step:
    slot, dst, src, off, size = site.slot, site.insn.dst, site.insn.src, site.insn.off, site.row.size
    reg, mask = site.row.reg, (1 << size * 8) - 1
    constant = site.value & mask
    pack: Callable[[Any, int, int], None] = _PACK[size]

    def step(r: list[int], m: Machine) -> None:
        address = r[dst] + off & MASK64
        value = r[src] & mask if reg else constant
        region = m.recent[slot]
        at = address - region.base
        if region.writable and (
            0 <= at <= region.reach - size or (0 <= at < region.extent and at % region.stride <= region.chunk - size)
        ):
            pack(region.view, at, value)
        else:
            region = m.locate(slot, address, size)
            region.store(address - region.base, size, value)

    return step


_ATOMIC = threading.Lock()  # one for all memory: programs in several threads share maps
_CELLS: Mapping[int, Literal["B", "H", "I", "Q"]] = {1: "B", 2: "H", 4: "I", 8: "Q"}


def _atomic(site: _Site) -> Step:
    slot, dst, src, off, size = site.slot, site.insn.dst, site.insn.src, site.insn.off, site.row.size
    op, mask, fetch, code = site.row.op, (1 << size * 8) - 1, site.insn.imm & FETCH, _CELLS[size]

    def place(m: Machine, pointer: int) -> tuple[Region, int]:
        address = pointer + off & MASK64
        if address % size:
            raise AccessFault(f"address {address:#x} is not aligned for an atomic access of {size} bytes")
        region = m.recent[slot]
        if not 0 <= address - region.base <= region.reach - size:
            region = m.locate(slot, address, size)
        return region, address - region.base

    def cell(m: Machine, pointer: int) -> memoryview:
        region, at = place(m, pointer)
        if region.view is None or not region.writable:
            raise AccessFault(f"{region.name} cannot be {'written' if region.view is not None else 'read and written'}")
        return region.view[at : at + size].cast(code)

    if op is Op.LOAD_ACQUIRE:

        def step(r: list[int], m: Machine) -> None:
            region, at = place(m, r[src])
            r[dst] = region.load(at, size)

    elif op is Op.STORE_RELEASE:

        def step(r: list[int], m: Machine) -> None:
            region, at = place(m, r[dst])
            region.store(at, size, r[src])

    elif op is Op.CMPXCHG:

        def step(r: list[int], m: Machine) -> None:
            target = cell(m, r[dst])
            with _ATOMIC:
                r[0] = compare_exchange(target, r[0] & mask, r[src] & mask)

    else:
        update = UPDATE[op]

        def step(r: list[int], m: Machine) -> None:
            target = cell(m, r[dst])
            with _ATOMIC:
                old = update(target, r[src], mask)
            if fetch:
                r[src] = old

    return step


def _call(site: _Site) -> Step:
    target, native = site.target, site.native
    if native is None:

        def step(r: list[int], m: Machine) -> None:
            r[0] = m.enter(target, r[1:6])

    else:

        def step(r: list[int], m: Machine) -> None:
            r[0] = native(m.state, r[1], r[2], r[3], r[4], r[5]) & MASK64

    return step


def _branch(site: _Site) -> End:
    dst, src, row, follow, target = site.insn.dst, site.insn.src, site.row, site.follow, site.target
    test, mask = TESTS[row.bits][row.op], (1 << row.bits) - 1
    if row.reg:

        def end(r: list[int], _: Machine) -> int:
            return target if test(r[dst] & mask, r[src] & mask) else follow

    else:
        value = site.value & mask

        def end(r: list[int], _: Machine) -> int:
            return target if test(r[dst] & mask, value) else follow

    return end


def _goto(site: _Site) -> End:
    target = site.target
    return lambda _r, _m: target


def _go_on(site: _Site) -> End:
    follow = site.follow
    return lambda _r, _m: follow


def _may_goto(site: _Site) -> End:
    target, follow = site.target, site.follow

    def end(r: list[int], _: Machine) -> int:
        if r[LOOPS_LEFT] == 0:
            return target
        r[LOOPS_LEFT] -= 1
        return follow

    return end


def _legacy(site: _Site) -> End:
    """A load from the packet in network byte order. Where the packet has no such bytes, the frame ends with r0 = 0."""
    src, imm, reg, size, follow = site.insn.src, site.insn.imm, site.row.reg, site.row.size, site.follow

    def end(r: list[int], m: Machine) -> int:
        packet = m.state.packet
        if packet is None or r[_SKB] != packet.handle:
            raise AccessFault("a packet load needs the context in r6")
        offset = signed(imm + r[src] if reg else imm, 32)
        if offset < 0:
            raise AccessFault(f"packet loads at special offsets ({offset}) are not supported by the embedded engine")
        data = packet.load(offset, size)
        r[0] = int.from_bytes(data or b"", "big")
        return DONE if data is None else follow

    return end


def _exit(_: _Site) -> End:
    return lambda _r, _m: DONE


_STEPS: Mapping[Kind, Callable[[_Site], Step]] = {
    Kind.ALU: _alu,
    Kind.MOV: _mov,
    Kind.UNARY: _unary,
    Kind.LDDW: _lddw,
    Kind.LOAD: _load,
    Kind.STORE: _store,
    Kind.ATOMIC: _atomic,
    Kind.CALL: _call,
}
_ENDS: Mapping[Kind, Callable[[_Site], End]] = {
    Kind.BRANCH: _branch,
    Kind.GOTO: _goto,
    Kind.MAY_GOTO: _may_goto,
    Kind.LEGACY: _legacy,
    Kind.EXIT: _exit,
}


def _row(insns: Sequence[Insn], slot: int) -> Opcode:
    insn = insns[slot]
    row = lookup(insn)
    if row is None:
        raise Malformed(slot, "reserved field in use" if is_known(insn.code) else f"unknown opcode {insn.code:#04x}")
    if row.kind not in _STEPS and row.kind not in _ENDS:
        raise Malformed(slot, f"{row.op} is not supported by the embedded engine")
    for name, number in (("dst", insn.dst), ("src", insn.src)):
        if name not in row.fixed and number > FRAME_POINTER:
            raise Malformed(slot, f"there is no register r{number}")
    if row.writes(insn) == FRAME_POINTER:
        raise Malformed(slot, "r10, the frame pointer, is read-only")
    if row.slots == 2:
        if slot + 1 == len(insns) or insns[slot + 1] != Insn(0, imm=insns[slot + 1].imm):
            raise Malformed(slot, "lddw without its second half")
        if insn.src not in (PseudoImm.VALUE, PseudoImm.FUNC):
            raise Malformed(slot, f"lddw of {PseudoImm(insn.src).name} has not been resolved")
    return row


def _target(site: _Site) -> int | None:
    """The slot that an instruction refers to, if it refers to one."""
    insn, kind = site.insn, site.row.kind
    if kind in (Kind.BRANCH, Kind.MAY_GOTO) or (kind is Kind.GOTO and insn.code != GOTOL):
        return site.slot + 1 + insn.off
    code = kind is Kind.LDDW and insn.src == PseudoImm.FUNC
    if code or kind is Kind.GOTO or (kind is Kind.CALL and insn.src == PseudoCall.BPF):
        return site.slot + 1 + insn.imm
    return None


def _sites(insns: Sequence[Insn], natives: Mapping[int, Native]) -> Iterator[_Site]:
    slot = 0
    while slot < len(insns):
        insn = insns[slot]
        row = _row(insns, slot)
        value = imm64(insns, slot) if row.kind is Kind.LDDW else insn.imm & MASK64
        native = None
        if row.kind is Kind.CALL and insn.src != PseudoCall.BPF:
            native = natives.get(slot)
            if native is None:
                raise Malformed(
                    slot, f"call of {PseudoCall(insn.src).name.lower()} {insn.imm}, which does not exist here"
                )
        site = _Site(slot, insn, row, value, native)
        target = _target(site)
        yield site if target is None else _Site(slot, insn, row, value, native, target)
        slot += row.slots


def translate(insns: Sequence[Insn], natives: Mapping[int, Native]) -> tuple[dict[int, Block], frozenset[int]]:
    """The blocks of a program by their first slot, and the slots where subprograms start.

    Raises:
        Malformed: an instruction that cannot be run, wherever it is, reachable or not.
    """
    sites = {site.slot: site for site in _sites(insns, natives)}
    if not sites:
        raise Malformed(0, "the program is empty")
    final = sites[max(sites)]
    if final.row.kind not in (Kind.EXIT, Kind.GOTO):
        raise Malformed(final.slot, "the last instruction is not an exit or a jump")
    leaders, subprograms = {0}, set[int]()
    for site in sites.values():
        target = _target(site)
        if target is not None:
            if target not in sites:
                raise Malformed(site.slot, f"instruction {target} is not one of this program")
            leaders.add(target)
            if site.row.kind in (Kind.CALL, Kind.LDDW):
                subprograms.add(target)
        if site.row.kind in _ENDS:
            leaders.add(site.follow)
    return {block.slot: block for block in _blocks(sites, leaders)}, frozenset(subprograms)


def _blocks(sites: Mapping[int, _Site], leaders: set[int]) -> Iterator[Block]:
    body: list[tuple[int, Step]] = []
    for site in sites.values():
        if site.slot in leaders:
            body, start = [], site.slot
        if site.row.kind in _ENDS:
            yield Block(start, tuple(body), _ENDS[site.row.kind](site), site.slot, len(body) + 1)
            continue
        body.append((site.slot, _STEPS[site.row.kind](site)))
        if site.follow in leaders:
            yield Block(start, tuple(body), _go_on(site), site.slot, len(body))
