"""Which packets share a flow hash; that the kernel's do is in tests/parity/test_flow_hash.py."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bpfcrypto.embedded.flow import flow_hash
from support.packets import ipv4, payload, udp

PACKET = ipv4(udp(payload(30)), 17)[14:]


def swapped(data: bytes, at: int, size: int) -> bytes:
    return data[:at] + data[at + size : at + 2 * size] + data[at : at + size] + data[at + 2 * size :]


@given(st.binary(max_size=120), st.sampled_from([0x0800, 0x86DD, 0x8100, 0x88A8, 0x0806]))
def test_any_bytes_have_a_hash(data: bytes, ethertype: int) -> None:
    """Never 0, never the same for another protocol, always the same for the same bytes."""
    found = flow_hash(data, ethertype)

    assert 0 < found < 1 << 32
    assert found == flow_hash(data, ethertype)
    assert found != flow_hash(data, ethertype, (0x8100, 5))


def test_both_directions_of_a_flow_share_it() -> None:
    """Addresses and ports can be exchanged; another address or port, or a tag, is another flow."""
    hash_ = flow_hash(PACKET, 0x0800)

    assert hash_ == flow_hash(swapped(swapped(PACKET, 12, 4), 20, 2), 0x0800)
    assert hash_ == flow_hash(PACKET[:28] + b"other payload", 0x0800)
    others = [PACKET[:at] + b"\xee" + PACKET[at + 1 :] for at in (12, 19, 20, 23)]
    assert len({hash_, *(flow_hash(data, 0x0800) for data in others), flow_hash(PACKET, 0x0800, (0x8100, 1))}) == 6
