"""What only the running kernel can fill in: kfunc ids, absent kfuncs, descriptors, CO-RE, and records of functions and lines."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

import pytest

from bpfcrypto.errors import NotSupportedError, VerifierError
from bpfcrypto.isa.asm import assemble
from bpfcrypto.kernel import prepare as module
from bpfcrypto.kernel.engine import KernelEngine
from bpfcrypto.kernel.objbtf import ObjectBtf
from bpfcrypto.kernel.prepare import Infos, find_kfuncs, pack_infos
from bpfcrypto.loader.load import load_spec
from bpfcrypto.spec import KfuncRef

WEAK = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "bpf_kfuncs.h"

extern int bpf_no_such_kfunc(int x) __ksym __weak;
extern int bpf_no_such_kfunc_either(int x) __ksym __weak;

SEC("tc") int asks(struct __sk_buff *skb)
{
	if (bpf_no_such_kfunc)
		return bpf_no_such_kfunc(1);
	return bpf_dynptr_from_skb ? 5 : 6;
}
SEC("tc") int dares(struct __sk_buff *skb) { return bpf_no_such_kfunc_either(1); }
char _license[] SEC("license") = "GPL";
"""
STRONG = WEAK.replace(" __weak;", ";").replace("if (bpf_no_such_kfunc)", "if (skb->len)")

CORE = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

struct bpf_crypto_ctx___mine { u32 siv_len; int no_such_member; } __attribute__((preserve_access_index));
struct nobody___has_this { int x; } __attribute__((preserve_access_index));

int offset;
SEC("syscall") int ask(void *ctx)
{
	offset = bpf_core_field_offset(struct bpf_crypto_ctx___mine, siv_len);
	return bpf_core_field_exists(struct bpf_crypto_ctx___mine, no_such_member) * 1
		+ bpf_core_type_exists(struct nobody___has_this) * 2
		+ bpf_core_field_exists(struct bpf_crypto_ctx___mine, siv_len) * 4;
}
char _license[] SEC("license") = "GPL";
"""


class _Types:
    def __init__(self, **known: int) -> None:
        self.known = known

    def func_id(self, name: str) -> int | None:
        return self.known.get(name)


def test_missing_kfunc_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kfunc that is not weak has to be there; a weak one has not."""
    monkeypatch.setattr(module, "kernel_btf", lambda: _Types(there=77))

    found = find_kfuncs([KfuncRef("there"), KfuncRef("absent", weak=True), KfuncRef("there", weak=True)])
    assert found == {"absent": None, "there": 77}
    with pytest.raises(NotSupportedError, match="kfunc 'absent'"):
        find_kfuncs([KfuncRef("absent")])


def test_records_refer_to_the_types(cipher_object: bytes) -> None:
    """Function and line records have the object's type ids and string offsets."""
    spec = load_spec(cipher_object)
    assert spec.btf is not None
    program = spec.programs["setup"]
    types = ObjectBtf(spec.btf.raw)
    infos = pack_infos(program, types)

    assert infos.func == struct.pack("<II", 0, program.funcs[0].type_id)
    index, file, text, place = struct.unpack_from("<IIII", infos.line)
    first = program.lines[0]
    assert (index, types.string(first.file), types.string(first.text)) == (first.index, file, text)
    assert (place >> 10, place & 1023) == (first.line, first.column)


def test_records_are_left_out_when_incomplete(cipher_object: bytes) -> None:
    """Without a type for each function there are no records, without a first line no lines: the kernel wants all or none."""
    spec = load_spec(cipher_object)
    assert spec.btf is not None
    types = ObjectBtf(spec.btf.raw)
    program = spec.programs["setup"]
    untyped = replace(program, funcs=(replace(program.funcs[0], type_id=0),))

    assert pack_infos(untyped, types) == Infos()
    assert pack_infos(replace(program, lines=program.lines[1:]), types).line == b""
    assert pack_infos(replace(program, funcs=()), types) == Infos()


@pytest.mark.kernel
def test_absent_weak_kfunc(kernel_engine: KernelEngine, compile_bpf: Callable[..., bytes]) -> None:
    """A program that asks first runs; one that does not is rejected, and the message names the kfunc."""
    data = compile_bpf(WEAK)
    with kernel_engine.load(data, programs=["asks"]) as collection:
        assert collection.programs["asks"].run(bytes(64)).retval == 5
    with pytest.raises(VerifierError) as caught:
        kernel_engine.load(data, programs=["dares"])

    assert caught.value.message == "call of kfunc 'bpf_no_such_kfunc_either', which this kernel does not have"
    assert caught.value.program == "dares"


@pytest.mark.kernel
def test_absent_kfunc(kernel_engine: KernelEngine, compile_bpf: Callable[..., bytes]) -> None:
    """A kfunc that is not weak stops the load before the verifier; a check reports it as ESRCH."""
    data = compile_bpf(STRONG)
    with pytest.raises(NotSupportedError, match="bpf_no_such_kfunc"):
        kernel_engine.load(data)

    verdicts = kernel_engine.check(data)
    assert [(v.accepted, v.errno) for v in verdicts] == [(False, 3), (False, 3)]


@pytest.mark.kernel
def test_core_against_the_running_kernel(kernel_engine: KernelEngine, compile_bpf: Callable[..., bytes]) -> None:
    """Offsets and existence are those of the kernel's own structures."""
    with kernel_engine.load(compile_bpf(CORE)) as collection:
        assert collection.programs["ask"].run().retval == 4
        assert collection.variables["offset"].value == 16


@pytest.mark.kernel
def test_object_without_types(kernel_engine: KernelEngine, compile_bpf: Callable[..., bytes]) -> None:
    """A spec without BTF loads: nothing is described, nothing refers to types."""
    spec = load_spec(compile_bpf(WEAK))
    insns = assemble("r0 = 3\nexit")
    bare = replace(spec.programs["asks"], refs={}, insns=insns, funcs=(), lines=(), core=())
    with kernel_engine.load(replace(spec, btf=None, programs={"asks": bare}, maps={}, variables={})) as collection:
        assert collection.programs["asks"].run(bytes(64)).retval == 3
        assert collection.programs["asks"].info.btf_id == 0
