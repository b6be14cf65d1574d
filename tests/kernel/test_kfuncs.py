"""The table of kfuncs against the running kernel: which there are, who may call them, and how the verifier treats the calls."""

from __future__ import annotations

import pytest

from bpfcrypto.abi.kfuncs import KFUNCS, Kfunc, KfuncFlag
from bpfcrypto.abi.progs import ProgType
from bpfcrypto.embedded.engine import EmbeddedEngine
from bpfcrypto.isa.codec import encode
from bpfcrypto.isa.insn import Insn
from bpfcrypto.isa.opcode import CALL
from bpfcrypto.kernel import bpf
from bpfcrypto.kernel.bpf import LoadRequest
from bpfcrypto.kernel.btf import kernel_btf
from bpfcrypto.kernel.kfuncs import kernel_kfuncs
from bpfcrypto.kernel.probe import EXIT, MOV_R0_0, PROGRAM_TYPES
from support.need import skip_or_fail

F = KfuncFlag
STACK_TO_R1 = (Insn(0xBF, dst=1, src=10), Insn(0x07, dst=1, imm=-64))
ZEROS = tuple(Insn(0xB7, dst=register) for register in range(1, 6))
# The verifier stops at these before it looks at arguments.
BOUND_TO_DEVICES = frozenset(name for name in KFUNCS if "_metadata_rx_" in name)


def present() -> dict[str, Kfunc]:
    """The rows that this kernel has."""
    return {name: kfunc for name, kfunc in KFUNCS.items() if kernel_btf().func_id(name) is not None}


def log_of(kind: ProgType, name: str, *before: Insn) -> str:
    """What the verifier says of a program that makes one call; "" if it takes the program."""
    call = Insn(CALL, src=2, imm=kernel_btf().func_id(name) or 0)
    code = encode((*before, call, MOV_R0_0, EXIT))
    outcome = bpf.prog_load(LoadRequest(kind, code, flags=PROGRAM_TYPES[kind]), log_level=1)
    if outcome.fd is not None:
        outcome.fd.close()
        return ""
    return outcome.log


def test_every_row_is_there_or_has_a_reason() -> None:
    """A kfunc is implemented by the embedded engine, or its row says why not; never both."""
    embedded = EmbeddedEngine().capabilities.kfuncs

    assert {name for name, kfunc in KFUNCS.items() if kfunc.reason} == KFUNCS.keys() - embedded


@pytest.mark.kernel
def test_no_kfunc_of_the_kernel_is_forgotten() -> None:
    """What the kernel lets our programs call is in the table; newer kernels may have more."""
    found = kernel_kfuncs_once()
    newer = found.keys() & {"bpf_obj_new", "bpf_dynptr_from_file", "bpf_strcasestr"}  # what came after 6.18

    assert newer or {name for name, types in found.items() if types} <= KFUNCS.keys()


@pytest.mark.kernel
@pytest.mark.parametrize("name", [name for name, kfunc in KFUNCS.items() if kfunc.until is None])
def test_callers(name: str) -> None:
    """The types of a row may call it, and no others."""
    found = kernel_kfuncs_once().get(name)
    if found is None:
        skip_or_fail("this kernel does not have it")
    expected = KFUNCS[name].callers
    if name in BOUND_TO_DEVICES or name == "__bpf_trap":
        expected = frozenset()

    assert found == expected


_found: dict[str, frozenset[ProgType]] = {}


def kernel_kfuncs_once() -> dict[str, frozenset[ProgType]]:
    """The kernel's kfuncs, asked for once."""
    if not _found:
        _found.update(kernel_kfuncs())
    return _found


@pytest.mark.kernel
def test_sleeping() -> None:
    """Programs that cannot sleep are refused the calls that are marked, and those only."""
    wrong = [
        name
        for name, kfunc in present().items()
        for kind in kfunc.types - {ProgType.SYSCALL}
        if ("must be sleepable" in log_of(kind, name)) is not bool(kfunc.flags & F.SLEEPABLE)
    ]

    assert wrong == []


@pytest.mark.kernel
def test_trust() -> None:
    """A NULL is refused where pointers must be trusted, protected, or are given away, and nowhere else."""
    wrong = []
    for name, kfunc in present().items():
        pointers = [p for p in kfunc.params if p.type.endswith("*") and p.suffix not in ("__ign", "__nullable")]
        trusted = bool(pointers) and bool(kfunc.flags & (F.TRUSTED_ARGS | F.RCU | F.RELEASE))
        kind = ProgType.SYSCALL if ProgType.SYSCALL in kfunc.types else min(kfunc.types)
        if name not in BOUND_TO_DEVICES and ("passed to trusted" in log_of(kind, name, *ZEROS)) is not trusted:
            wrong.append(name)

    assert wrong == []


@pytest.mark.kernel
def test_references() -> None:
    """Calls without arguments whose result is owned leak it; a call with only numbers shows whether it may be NULL."""
    plain = {
        name: kfunc
        for name, kfunc in present().items()
        if not any(p.type.endswith("*") or p.suffix for p in kfunc.params) and "*" in kfunc.result
    }
    logs = {name: log_of(max(kfunc.callers), name, *ZEROS) for name, kfunc in plain.items()}

    assert {name for name, log in logs.items() if "Unreleased reference" in log} == {
        name for name, kfunc in plain.items() if kfunc.flags & F.ACQUIRE
    }
    assert {name for name, log in logs.items() if "or_null" in log} == {
        name for name, kfunc in plain.items() if kfunc.flags & F.RET_NULL and logs[name]
    }


@pytest.mark.kernel
def test_iterators() -> None:
    """Calls on iterators are known as such; some may only begin in an RCU section."""
    words = "expected pointer to an iterator on stack"
    marked = F.ITER_NEW | F.ITER_NEXT | F.ITER_DESTROY
    rows = present()

    assert {n for n in rows if words in log_of(ProgType.SYSCALL, n)} == {n for n in rows if rows[n].flags & marked}
    log = log_of(ProgType.SYSCALL, "bpf_iter_task_new", *STACK_TO_R1, *ZEROS[1:])
    assert "requires RCU critical section protection" in log


@pytest.mark.kernel
def test_fast_calls() -> None:
    """The marked rows are those that the kernel marks."""
    from bpfcrypto.btf.types import DeclTag, Func, Kind

    types = kernel_btf()
    marked = set()
    for tag in types.find_all("bpf_fastcall", Kind.DECL_TAG):
        record = types[tag]
        function = types[record.type_id] if isinstance(record, DeclTag) else None
        if isinstance(function, Func):
            marked.add(function.name)

    assert marked & KFUNCS.keys() == {name for name, kfunc in present().items() if kfunc.flags & F.FASTCALL}
