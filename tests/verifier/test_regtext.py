"""The log's text of registers, stack slots and frames."""

from __future__ import annotations

import pytest

from bpfcrypto.abi.maps import MapType
from bpfcrypto.btf.reader import read_btf
from bpfcrypto.btf.types import Btf, Composite, Kind
from bpfcrypto.btf.writer import BtfWriter
from bpfcrypto.spec import MapSpec
from bpfcrypto.verifier import bounds
from bpfcrypto.verifier.bounds import UNKNOWN
from bpfcrypto.verifier.regtext import format_reg, format_slots, format_state, signed_text, unsigned_text
from bpfcrypto.verifier.state import (
    ADD_CONST32,
    ADD_CONST64,
    NOT_INIT,
    SCALAR_UNKNOWN,
    BtfTarget,
    DynptrKind,
    DynptrTarget,
    Flag,
    Frame,
    FuncTarget,
    IterState,
    IterTarget,
    MapTarget,
    MemTarget,
    Reference,
    RefKind,
    Reg,
    RegType,
    Slot,
    SlotKind,
    State,
    scalar,
    scalar_const,
)


def _types() -> tuple[int, int, Btf]:
    writer = BtfWriter()
    ctx = writer.add(Composite(Kind.STRUCT, "bpf_crypto_ctx", 0, ()))
    number = writer.add(Composite(Kind.STRUCT, "bpf_iter_num", 8, ()))
    return ctx, number, read_btf(writer.to_bytes(), source="test")


CTX_ID, ITER_ID, BTF = _types()
MAP = MapTarget(MapSpec("a_name_longer_than_the_kernels", MapType.HASH, 4, 48, 4))
BYTE = bounds.from_unsigned(0, 255)


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0xFFFF, "65535"), (0x10000, "0x10000"), ((1 << 64) - 1, "0xffffffffffffffff")]
)
def test_unsigned_numbers(value: int, text: str) -> None:
    """Decimal up to 16 bits, hexadecimal beyond."""
    assert unsigned_text(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(-1, "-1"), (32767, "32767"), (32768, "0x8000"), (-32768, "-32768"), (-32769, "0xffffffffffff7fff")],
)
def test_signed_numbers(value: int, text: str) -> None:
    """Decimal where 16 bits suffice, else all 64 bits in hexadecimal."""
    assert signed_text(value) == text


REGISTERS = [
    (scalar_const(-5), "-5"),
    (scalar_const(0x12345), "0x12345"),
    (scalar_const(7)._replace(precise=True), "P7"),
    (SCALAR_UNKNOWN, "scalar()"),
    (SCALAR_UNKNOWN._replace(precise=True, id=3), "Pscalar(id=3)"),
    (Reg(RegType.SCALAR, num=UNKNOWN, id=3 | ADD_CONST64, off=5), "scalar(id=3+5)"),
    (Reg(RegType.SCALAR, num=UNKNOWN, id=3 | ADD_CONST32, off=-5), "scalar(id=3-5)"),
    (scalar(BYTE), "scalar(smin=smin32=0,smax=umax=smax32=umax32=255,var_off=(0x0; 0xff))"),
    (scalar(UNKNOWN._replace(smin=-2, s32_min=-2)), "scalar(smin=smin32=-2)"),
    (scalar(UNKNOWN._replace(smin=-70000, s32_min=-70000)), "scalar(smin=0xfffffffffffeee90,smin32=0xfffeee90)"),
    (scalar(UNKNOWN._replace(umin=9, smin=9, u32_min=9)), "scalar(smin=umin=umin32=9)"),
    (Reg(RegType.CTX), "ctx()"),
    (Reg(RegType.CTX, off=8), "ctx(off=8)"),
    (Reg(RegType.STACK, off=-16), "fp-16"),
    (Reg(RegType.STACK, off=-16, frameno=1), "fp[1]-16"),
    (
        Reg(RegType.STACK, off=-16, num=BYTE),
        "fp(off=-16,smin=smin32=0,smax=umax=smax32=umax32=255,var_off=(0x0; 0xff))",
    ),
    (Reg(RegType.PACKET, off=14, range=34, id=2), "pkt(id=2,off=14,r=34)"),
    (Reg(RegType.PACKET, range=-1), "pkt(r=0xffffffffffffffff)"),
    (Reg(RegType.PACKET_END), "pkt_end()"),
    (Reg(RegType.CONST_MAP, target=MAP), "map_ptr(map=a_name_longer_t,ks=4,vs=48)"),
    (Reg(RegType.MAP_VALUE, off=8, target=MAP), "map_value(map=a_name_longer_t,ks=4,vs=48,off=8)"),
    (
        Reg(RegType.MAP_VALUE, Flag.MAYBE_NULL, id=4, target=MAP),
        "map_value_or_null(id=4,map=a_name_longer_t,ks=4,vs=48)",
    ),
    (
        Reg(RegType.BTF_ID, Flag.MAYBE_NULL, id=2, ref_obj_id=2, target=BtfTarget(BTF, CTX_ID)),
        "ptr_or_null_bpf_crypto_ctx(id=2,ref_obj_id=2)",
    ),
    (
        Reg(RegType.BTF_ID, Flag.TRUSTED | Flag.RCU, target=BtfTarget(BTF, CTX_ID)),
        "rcu_trusted_ptr_bpf_crypto_ctx()",
    ),
    (
        Reg(RegType.BTF_ID, Flag.ALLOC | Flag.NON_OWN_REF, target=BtfTarget(BTF, CTX_ID)),
        "ptr_bpf_crypto_ctx(non_own_ref)",
    ),
    (
        Reg(RegType.MEM, Flag.RINGBUF | Flag.MAYBE_NULL, id=1, ref_obj_id=1, target=MemTarget(8)),
        "ringbuf_mem_or_null(id=1,ref_obj_id=1,sz=8)",
    ),
    (Reg(RegType.MEM, Flag.RDONLY, num=bounds.const(0x20000), target=MemTarget(16)), "rdonly_mem(sz=16,imm=0x20000)"),
    (Reg(RegType.DYNPTR, id=1, target=DynptrTarget(DynptrKind.SKB, True)), "dynptr_ptr(id=1,type=skb)"),
    (Reg(RegType.FUNC, target=FuncTarget(1)), "func()"),
    (Reg(RegType.ARENA), "arena"),
]


@pytest.mark.parametrize(("reg", "text"), REGISTERS, ids=[text for _, text in REGISTERS])
def test_registers(reg: Reg, text: str) -> None:
    """Each kind of register has the kernel's text."""
    assert format_reg(reg, 0) == text


S, M, Z, E = SlotKind.SPILL, SlotKind.MISC, SlotKind.ZERO, SlotKind.INVALID
DYNPTR = Reg(RegType.DYNPTR, id=3, ref_obj_id=4, target=DynptrTarget(DynptrKind.RINGBUF, True))
ITER = Reg(
    RegType.STACK,
    ref_obj_id=2,
    target=IterTarget(BTF, ITER_ID, IterState.ACTIVE, 1),
)

STACK = [
    Slot(bytes([S] * 8), scalar_const(7)),
    Slot(bytes([E] * 4 + [S] * 4), scalar(BYTE)),
    Slot(bytes([M] * 4 + [E] * 4), NOT_INIT),
    Slot(bytes(8), NOT_INIT),
    Slot(bytes([E] * 7 + [Z]), NOT_INIT),
    Slot(bytes([SlotKind.DYNPTR] * 8), DYNPTR._replace(target=DynptrTarget(DynptrKind.RINGBUF, False))),
    Slot(bytes([SlotKind.DYNPTR] * 8), DYNPTR),
    Slot(bytes([SlotKind.ITER] * 8), ITER),
    Slot(bytes([SlotKind.IRQ_FLAG] * 8), NOT_INIT),
]


def test_slots() -> None:
    """Each kind of slot has the kernel's text; a dynptr is shown once, at its lower slot, and an empty slot not at all."""
    assert format_slots(Frame(0, 0, stack=STACK), -1) == [
        "fp-8=7",
        "fp-16=????scalar(smin=smin32=0,smax=umax=smax32=umax32=255,var_off=(0x0; 0xff))",
        "fp-24=mmmm????",
        "fp-40=???????0",
        "fp-56=dynptr_ringbuf(id=3,ref_id=4,dynptr_id=1)",
        "fp-64=iter_num(ref_id=2,state=active,depth=1)",
        "fp-72=ffffffff",
    ]
    assert format_slots(Frame(0, 0, stack=STACK), 0b101) == ["fp-8=7", "fp-24=mmmm????"]


def test_states() -> None:
    """A frame's line has its number (but for the first), its registers, its stack, what is owned, and how it was entered."""
    outer, inner = Frame(0, 0, stack=STACK[:1]), Frame(1, 1, in_callback=True)
    outer.regs[1] = Reg(RegType.CTX)
    inner.regs[1] = Reg(RegType.STACK, off=-8)
    state = State(
        [outer, inner], refs=[Reference(RefKind.PTR, 2, 5), Reference(RefKind.LOCK, 0, 6), Reference(RefKind.PTR, 4, 7)]
    )
    assert format_state(state, 0) == " R1=ctx() fp-8=7 refs=2,4"
    assert format_state(state, 1) == " frame1: R1=fp[0]-8 refs=2,4 cb"
    assert format_state(state, 0, regs=(), slots=0) == " refs=2,4"
