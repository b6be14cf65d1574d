"""The committed objects: each is what its source gives, carries its expectation, and nothing of the machine that built it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bpfcrypto.abi.kfuncs import KFUNCS
from bpfcrypto.btf.reader import read_btf
from bpfcrypto.btf.types import Btf, Fwd, Kind, Member
from bpfcrypto.loader.load import load_spec

ROOT = Path(__file__).resolve().parents[1]
OBJECTS = sorted([*(ROOT / "tests/bpf").glob("*.o"), *(ROOT / "examples").glob("*.o")])
KERNEL_BTF = ROOT / "src/bpfcrypto/abi/kernel.btf"

# Sizes in bytes and offsets of members that the kernel's user-space interface fixes (include/uapi, Linux 6.18).
LAYOUTS = {
    "__sk_buff": (192, {"len": 0, "mark": 8, "protocol": 16, "priority": 32, "cb": 48, "data": 76, "data_end": 80, "data_meta": 140,
                        "tstamp": 152, "wire_len": 160, "gso_segs": 164, "gso_size": 176, "tstamp_type": 180, "hwtstamp": 184}),
    "xdp_md": (24, {"data": 0, "data_end": 4, "data_meta": 8, "ingress_ifindex": 12, "rx_queue_index": 16, "egress_ifindex": 20}),
    "bpf_crypto_params": (408, {"type": 0, "reserved": 14, "algo": 16, "key": 144, "key_len": 400, "authsize": 404}),
    "bpf_crypto_ctx": (48, {"type": 0, "tfm": 8, "siv_len": 16, "rcu": 24, "usage": 40}),
    "bpf_dynptr": (16, {}),
    "bpf_fib_lookup": (64, {"ifindex": 8, "ipv4_src": 16}),
    "bpf_sock_tuple": (36, {}),
    "bpf_tunnel_key": (44, {"tunnel_tos": 20, "tunnel_label": 24}),
    "ethhdr": (14, {"h_proto": 12}),
    "vlan_hdr": (4, {"h_vlan_encapsulated_proto": 2}),
    "iphdr": (20, {"tot_len": 2, "frag_off": 6, "protocol": 9, "check": 10}),
    "ipv6hdr": (40, {"payload_len": 4, "nexthdr": 6, "hop_limit": 7}),
    "udphdr": (8, {"check": 6}),
    "tcphdr": (20, {"seq": 4, "window": 14, "check": 16}),
}  # fmt: skip


def test_objects_are_what_their_sources_give() -> None:
    """Rebuilding with the pinned compiler gives the committed bytes, kernel.btf included."""
    pytest.importorskip("ziglang")
    result = subprocess.run(
        [sys.executable, ROOT / "tools/build_objects.py", "--check"],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_every_object_has_its_source() -> None:
    """No object is left from a source that is gone."""
    assert OBJECTS
    assert [path for path in OBJECTS if not path.with_suffix(".c").exists()] == []


@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.name)
def test_object_loads_and_is_annotated(path: Path) -> None:
    """Every object gives a spec; every test program says whether a verifier must accept it."""
    spec = load_spec(path.read_bytes(), source=path.name)

    assert spec.programs
    if path.parent.name == "bpf":
        for program in spec.programs.values():
            expected = {tag for tag in program.tags if tag.startswith("comment:test_expect_") and "=" not in tag}
            assert len(expected) == 1, program.name


@pytest.mark.parametrize("path", [*OBJECTS, KERNEL_BTF], ids=lambda path: path.name)
def test_no_path_of_a_machine(path: Path) -> None:
    """No absolute path is in a committed object."""
    data = path.read_bytes()
    places = ("/home/", "/root/", "/tmp/", "/usr/", "/Users/", str(ROOT))

    assert [place for place in places if place.encode() in data] == []


@pytest.mark.parametrize("path", [*OBJECTS, KERNEL_BTF], ids=lambda path: path.name)
def test_reproducible_by_construction(path: Path) -> None:
    """At most one forward declaration: clang emits several of them in an order that depends on memory addresses."""
    data = path.read_bytes()
    btf = read_btf(data, source=path.name) if path == KERNEL_BTF else load_spec(data, source=path.name).btf

    assert btf is not None
    assert sum(isinstance(btf[type_id], Fwd) for type_id in range(1, len(btf))) <= 1


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout(name: str) -> None:
    """Types of the user-space interface have exactly the kernel's layout."""
    btf = read_btf(KERNEL_BTF.read_bytes(), source="kernel.btf")
    size, offsets = LAYOUTS[name]
    type_id = btf.find(name)

    assert type_id is not None
    assert btf.size_of(type_id) == size
    members = {member.name: member.bit_offset // 8 for member in flat(btf, type_id)}
    assert {member: members[member] for member in offsets} == offsets


def flat(btf: Btf, type_id: int, base: int = 0) -> Iterator[Member]:
    """Members of a record, those of anonymous records within included."""
    for member in btf[type_id].members:
        member = replace(member, bit_offset=member.bit_offset + base)
        if member.name:
            yield member
        else:
            yield from flat(btf, btf.resolve(member.type_id), member.bit_offset)


def test_kernel_btf_has_every_kfunc() -> None:
    """Each kfunc of the table is a FUNC with the table's argument names."""
    btf = read_btf(KERNEL_BTF.read_bytes(), source="kernel.btf")
    for name, kfunc in KFUNCS.items():
        func = btf.find(name, Kind.FUNC)
        assert func is not None, name
        prototype = btf[btf[func].type_id]
        assert [param.name for param in prototype.params] == [param.name + param.suffix for param in kfunc.params]
