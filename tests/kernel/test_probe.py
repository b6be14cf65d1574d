"""Probes: what is there is found, what is not is not."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from bpfcrypto.abi.helpers import BY_NAME
from bpfcrypto.abi.maps import MapType
from bpfcrypto.abi.progs import ProgType
from bpfcrypto.isa.insn import Insn
from bpfcrypto.kernel import probe

pytestmark = pytest.mark.kernel


def test_this_kernel() -> None:
    """The capabilities name the package's program types, maps, helpers and the five crypto kfuncs."""
    able = probe.capabilities()

    assert able.prog_types == {"SYSCALL", "SCHED_CLS", "SCHED_ACT", "XDP"}
    assert {"HASH", "ARRAY", "PERCPU_HASH", "RINGBUF", "ARRAY_OF_MAPS"} <= able.map_types
    assert {"bpf_map_lookup_elem", "bpf_kptr_xchg", "bpf_xdp_adjust_head"} <= able.helpers
    assert {
        "bpf_crypto_ctx_create",
        "bpf_crypto_ctx_acquire",
        "bpf_crypto_ctx_release",
        "bpf_crypto_encrypt",
        "bpf_crypto_decrypt",
    } <= able.kfuncs
    assert able.why_not is not None
    assert set(able.why_not) == (set() if able.can_attach else {"attaching"})
    assert able.can_attach == (find_spec("pyroute2") is not None)


def test_calls() -> None:
    """A call is there for the types that may make it, whatever its arguments."""
    lookup, adjust = BY_NAME["bpf_map_lookup_elem"].id, BY_NAME["bpf_xdp_adjust_head"].id

    assert probe.can_call(ProgType.XDP, Insn(0x85, imm=lookup))
    assert probe.can_call(ProgType.XDP, Insn(0x85, imm=adjust))
    assert not probe.can_call(ProgType.SCHED_CLS, Insn(0x85, imm=adjust))
    assert not probe.can_call(ProgType.XDP, Insn(0x85, imm=9999))
    assert not probe.has_helper(9999)


def test_kfuncs() -> None:
    """A function of the kernel that is no kfunc, and one that does not exist, cannot be called."""
    assert probe.has_kfunc("bpf_crypto_encrypt")
    assert not probe.has_kfunc("bpf_prog_load")
    assert not probe.has_kfunc("bpf_no_such_kfunc")


def test_maps_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """A map type whose smallest map is refused is not there."""
    monkeypatch.setattr(probe, "MAP_TYPES", {MapType.HASH: probe._Smallest(key_size=0)})

    assert not probe.has_map_type(MapType.HASH)


def test_tokens_are_known() -> None:
    """BPF_TOKEN_CREATE is asked with a descriptor that cannot be one."""
    assert probe.has_token() in (True, False)
