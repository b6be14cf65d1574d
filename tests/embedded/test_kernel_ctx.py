"""What is behind a context: members that are answered, members that are not, and casts."""

from __future__ import annotations

import pytest

from bpfcrypto.abi.progs import ProgType
from bpfcrypto.btf.types import Kind
from bpfcrypto.embedded.kernel_ctx import kernel_ctx
from bpfcrypto.embedded.kernel_object import KernelObject
from bpfcrypto.embedded.kernel_types import kernel_types
from bpfcrypto.embedded.kfuncs_cast import NATIVES
from bpfcrypto.embedded.memory import AccessFault, Memory
from bpfcrypto.embedded.packet_skb import SkBuff
from bpfcrypto.embedded.packet_xdp import XdpFrame
from bpfcrypto.embedded.state import RunState
from bpfcrypto.spec import ProgramSpec


def offset(struct: str, member: str) -> int:
    """Where a member is, by our own types."""
    types = kernel_types()
    type_id = types.find(struct, Kind.STRUCT)
    assert type_id is not None
    return next(each.bit_offset // 8 for each in types[type_id].members if each.name == member)  # type: ignore[union-attr]


def run_with(packet: str) -> RunState:
    memory = Memory()
    run = RunState(memory, ProgramSpec("test", "tc", ProgType.SCHED_CLS, ()))
    run.packet = SkBuff(memory, bytes(range(64)), linear=40) if packet == "skb" else XdpFrame(memory, bytes(64), meta=8)
    return run


def look(run: RunState, address: int, struct: str, member: str, size: int) -> int:
    return run.memory.load(address + offset(struct, member), size)


def test_an_skb_in_pieces() -> None:
    """Lengths, and addresses that lead into the packet."""
    run = run_with("skb")
    assert run.packet is not None
    skb = NATIVES["bpf_cast_to_kern_ctx"](run, run.packet.handle, 0, 0, 0, 0)

    assert (look(run, skb, "sk_buff", "len", 4), look(run, skb, "sk_buff", "data_len", 4)) == (64, 24)
    assert run.memory.load(look(run, skb, "sk_buff", "data", 8) + 5, 1) == 5
    assert look(run, look(run, skb, "sk_buff", "dev", 8), "net_device", "ifindex", 4) == 1


def test_a_part_of_a_member() -> None:
    """The second byte of four."""
    run = run_with("skb")
    assert isinstance(run.packet, SkBuff)
    run.packet.set("mark", 0x11223344)

    assert run.memory.load(kernel_ctx(run.memory, run.packet).address + offset("sk_buff", "mark") + 1, 1) == 0x33


@pytest.mark.parametrize(
    ("packet", "struct", "member", "size"),
    [("skb", "sk_buff", "truesize", 4), ("skb", "sk_buff", "sk", 8), ("skb", "sk_buff", "cb", 4)],
)
def test_what_is_not_known_is_refused_by_name(packet: str, struct: str, member: str, size: int) -> None:
    """The message has the member and the struct."""
    run = run_with(packet)
    assert run.packet is not None
    address = kernel_ctx(run.memory, run.packet).address

    with pytest.raises(AccessFault, match=f"no '{member}' of struct {struct}"):
        look(run, address, struct, member, size)


def test_nothing_is_between_members_and_nothing_is_written() -> None:
    """A load across two members, and a store."""
    run = run_with("xdp")
    assert run.packet is not None
    frame = kernel_ctx(run.memory, run.packet)

    with pytest.raises(AccessFault, match="no member of struct xdp_buff"):
        run.memory.load(frame.address + 4, 8)
    with pytest.raises(AccessFault, match="cannot be written"):
        run.memory.store(frame.address, 8, 0)


def test_casts() -> None:
    """A kernel object is what it is; other memory is what the program says; only the context is a context."""
    run = run_with("xdp")
    assert run.packet is not None
    cast, context = NATIVES["bpf_rdonly_cast"], NATIVES["bpf_cast_to_kern_ctx"]
    frame = context(run, run.packet.handle, 0, 0, 0, 0)
    right, wrong = (kernel_types().find(name, Kind.STRUCT) for name in ("xdp_buff", "sk_buff"))
    assert right is not None
    assert wrong is not None
    plain = run.memory.new(16, "plain").base

    assert cast(run, frame, right, 0, 0, 0) == cast(run, frame, 0, 0, 0, 0) == frame
    assert cast(run, plain, wrong, 0, 0, 0) == plain
    assert isinstance(run.memory.owner(frame), KernelObject)
    with pytest.raises(AccessFault, match="cannot be looked at"):
        cast(run, frame, wrong, 0, 0, 0)
    with pytest.raises(AccessFault, match="not the context"):
        context(run, plain, 0, 0, 0, 0)
