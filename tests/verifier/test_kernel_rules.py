"""The rules of ownership, context creation, kptrs and dynptrs: each message of the kernel, letter for letter, from both verifiers.

The programs are in tests/bpf/rules_*.bpf.c, one for each rule. A row gives the errno and the last lines of the log; a program without
a row in its object's table is one that both accept.
"""

from __future__ import annotations

from collections.abc import Mapping
from errno import EACCES, EINVAL
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from tests.support.verdicts import judge

from bpfcrypto.engine import Verdict
from bpfcrypto.kernel.engine import KernelEngine
from bpfcrypto.source import read_source
from bpfcrypto.spec import CollectionSpec

BPF = Path(__file__).parent.parent / "bpf"

Row = tuple[int, str]

_LEAK = "BPF_EXIT instruction in main prog would lead to reference leak"
_NO_CONTEXT = (EINVAL, "arg#0 pointer type STRUCT bpf_crypto_ctx must point to scalar, or struct with scalar")
_MAYBE_NULL = (EACCES, "Possibly NULL pointer passed to trusted arg0")
_UNTRUSTED = (EINVAL, "R1 must be a rcu pointer")
_BORROWED = (EINVAL, "R1 must be referenced or trusted")
_LOCKED = (EINVAL, "function calls are not allowed while holding a lock")
_PAIR = "arg#0 arg#1 memory, len pair leads to invalid memory access"
_STORE = (EACCES, "store to referenced kptr disallowed")
_INDIRECT = (EACCES, "kptr cannot be accessed indirectly by helper")
_UNCHECKED = (EACCES, "R0 invalid mem access 'map_value_or_null'")


def _leak(number: int, index: int) -> Row:
    return EINVAL, f"Unreleased reference id={number} alloc_insn={index}\n{_LEAK}"


def _no_dynptr(number: int) -> Row:
    return EINVAL, f"arg#{number} expected pointer to stack or const struct bpf_dynptr"


def _uninitialised(number: int) -> Row:
    return EINVAL, f"Expected an initialized dynptr as arg #{number}"


def _not_allowed(name: str) -> Row:
    return EACCES, f"calling kernel function {name} is not allowed"


OWNER: Final[Mapping[str, Row]] = {
    "drop_result": _leak(2, 5),
    "leave_without_release": _leak(2, 5),
    "acquire_without_release": _leak(4, 9),
    "forget_old": _leak(3, 10),
    "keep_record": _leak(2, 6),
    "leak_in_function": _leak(2, 7),
    "leak_in_loop": _leak(2, 12),
    "release_unchecked": _MAYBE_NULL,
    "release_null": _MAYBE_NULL,
    "acquire_unchecked": _MAYBE_NULL,
    "encrypt_unchecked": _MAYBE_NULL,
    "encrypt_null": _MAYBE_NULL,
    "load_twice": _MAYBE_NULL,
    "store_unchecked": (EACCES, "Possibly NULL pointer passed to helper arg2"),
    "read_unchecked": (EACCES, "R0 invalid mem access 'ptr_or_null_'"),
    "release_twice": _NO_CONTEXT,
    "acquire_released": _NO_CONTEXT,
    "release_stored": _NO_CONTEXT,
    "release_number": _NO_CONTEXT,
    "release_value": _NO_CONTEXT,
    "encrypt_with_number": _NO_CONTEXT,
    "encrypt_with_skb": _NO_CONTEXT,
    "encrypt_with_value": _NO_CONTEXT,
    "read_released": (EACCES, "R6 invalid mem access 'scalar'"),
    "read_stored": (EACCES, "R7 invalid mem access 'scalar'"),
    "release_borrowed": _BORROWED,
    "release_protected": _BORROWED,
    "acquire_untrusted": _UNTRUSTED,
    "encrypt_after_section": _UNTRUSTED,
    "acquire_after_second_lock": _UNTRUSTED,
    "release_inside": (EINVAL, "R1 must have zero offset when passed to release func or trusted arg to kfunc"),
    "encrypt_inside": (
        EINVAL,
        "cannot access ptr member tfm with moff 8 in struct bpf_crypto_ctx with off 8 size 1\n"
        "kernel function bpf_crypto_encrypt args#0 expected pointer to STRUCT bpf_crypto_ctx "
        "but R1 has a pointer to STRUCT bpf_crypto_ctx",
    ),
    "release_task": (
        EINVAL,
        "kernel function bpf_crypto_ctx_release args#0 expected pointer to STRUCT bpf_crypto_ctx "
        "but R1 has a pointer to STRUCT task_struct",
    ),
    "drop_context": (EINVAL, "arg#0 expected pointer to allocated object"),
    "write_member": (EACCES, "only read is supported"),
    "write_member_in_tc": (EACCES, "only read is supported"),
    "create_in_tc": _not_allowed("bpf_crypto_ctx_create"),
    "create_in_xdp": _not_allowed("bpf_crypto_ctx_create"),
    "move_in_xdp": _not_allowed("bpf_crypto_ctx_release"),
    "encrypt_in_syscall": _not_allowed("bpf_crypto_encrypt"),
    "move_in_tc": _leak(5, 15),
}

CLOSED: Final[Mapping[str, Row]] = {
    "read_member": (EINVAL, "Cannot access kernel 'struct bpf_crypto_ctx' from non-GPL compatible program"),
    "call_kfunc": (EINVAL, "cannot call kernel function from non-GPL compatible program"),
    "call_helper": (EINVAL, "cannot call GPL-restricted function from non-GPL compatible program"),
}

CREATE: Final[Mapping[str, Row]] = {
    "in_section": (EACCES, "kernel func bpf_crypto_ctx_create is sleepable within rcu_read_lock region"),
    "under_lock": _LOCKED,
    "release_under_lock": _LOCKED,
    "exchange_under_lock": _LOCKED,
    "encrypt_under_lock": _LOCKED,
    "params_null": (EACCES, f"R1 type=scalar expected=fp\n{_PAIR}"),
    "params_number": (EACCES, f"R1 type=scalar expected=fp\n{_PAIR}"),
    "params_too_large": (
        EACCES,
        "invalid access to map value, value_size=408 off=0 size=4505\n"
        f"R1 min value is outside of the allowed memory range\n{_PAIR}",
    ),
    "params_unbounded": (
        EACCES,
        f"R2 unbounded memory access, use 'var &= const' or 'if (var < const)'\n{_PAIR}",
    ),
    "params_on_small_stack": (EINVAL, f"invalid read from stack R1 off=-104 size=408\n{_PAIR}"),
    "params_on_stack_beyond_end": (EINVAL, f"invalid read from stack R1 off=-16 size=408\n{_PAIR}"),
    "params_over_kptr": (EACCES, f"kptr cannot be accessed indirectly by helper\n{_PAIR}"),
    "err_in_rodata": (EACCES, "write into map forbidden, value_size=4 off=0 size=4"),
    "err_number": (EACCES, "R3 type=scalar expected=fp"),
}

KPTR: Final[Mapping[str, Row]] = {
    "store_null": _STORE,
    "store_pointer": _STORE,
    "store_number": _STORE,
    "load_half": (EACCES, "kptr access size must be BPF_DW"),
    "load_inside": (EACCES, "kptr access misaligned expected=8 off=12"),
    "add_atomically": (EACCES, "kptr in map can only be accessed using BPF_MEM instruction mode"),
    "load_somewhere": (EACCES, "kptr access cannot have variable offset"),
    "exchange_somewhere": (EINVAL, "R1 doesn't have constant offset. kptr has to be at the constant offset"),
    "load_bytes_over": _INDIRECT,
    "store_bytes_from": _INDIRECT,
    "update_from_value": _INDIRECT,
    "dynptr_over": _INDIRECT,
    "exchange_plain": (EINVAL, "R1 has no valid kptr"),
    "exchange_variable": (EINVAL, "R1 has no valid kptr"),
    "exchange_elsewhere": (EACCES, "off=0 doesn't point to kptr"),
    "exchange_loose": (EACCES, "off=16 kptr isn't referenced kptr"),
    "exchange_task": (EACCES, "invalid kptr access, R2 type=ptr_task_struct expected=ptr_bpf_crypto_ctx"),
    "exchange_borrowed": (EINVAL, "R2 must be referenced when passed to release function"),
    "exchange_untrusted": (EACCES, "R2 type=untrusted_ptr_ expected=ptr_, trusted_ptr_, rcu_ptr_"),
    "exchange_twice": (EACCES, "R2 type=scalar expected=ptr_, trusted_ptr_, rcu_ptr_"),
    "exchange_on_stack": (EACCES, "R1 type=fp expected=map_value, ptr_"),
    "update_owned_leaks": _leak(2, 12),
    "loose_encrypt": _UNTRUSTED,
    "zero_key_hash": _UNCHECKED,
    "zero_key_lru": _UNCHECKED,
    "one_key_array": _UNCHECKED,
    "variable_key_array": _UNCHECKED,
    "tail_call": (EINVAL, "Sleepable programs can only use array, hash, ringbuf and local storage maps"),
}

DYNPTR: Final[Mapping[str, Row]] = {
    "src_is_value": _no_dynptr(1),
    "dst_is_value": _no_dynptr(2),
    "siv_is_value": _no_dynptr(3),
    "siv_may_be_null": _no_dynptr(3),
    "src_is_number": _no_dynptr(1),
    "src_is_skb": _no_dynptr(1),
    "src_is_record": _no_dynptr(1),
    "src_may_be_null": (EACCES, "Possibly NULL pointer passed to trusted arg1"),
    "src_null": (EACCES, "Possibly NULL pointer passed to trusted arg1"),
    "dst_null": (EACCES, "Possibly NULL pointer passed to trusted arg2"),
    "src_uninitialised": _uninitialised(1),
    "dst_uninitialised": _uninitialised(2),
    "siv_uninitialised": _uninitialised(3),
    "src_zeroes": _uninitialised(1),
    "src_bytes": _uninitialised(1),
    "src_on_one_branch": _uninitialised(1),
    "src_partly_overwritten": _uninitialised(1),
    "src_inside": _uninitialised(1),
    "src_unaligned": (EINVAL, f"cannot pass in dynptr at an offset=-12\n{_uninitialised(1)[1]}"),
    "src_submitted": _uninitialised(1),
    "remake_record": (EINVAL, "cannot overwrite referenced dynptr"),
    "overwrite_record": (EINVAL, "cannot overwrite referenced dynptr"),
    "in_map_memory": (EACCES, "R4 type=map_value expected=fp, dynptr_ptr"),
    "submit_twice": (EINVAL, "arg 1 is an unacquired reference"),
    "submit_memory": (EINVAL, "arg 1 is an unacquired reference"),
    "over_stack": (EACCES, "Unsupported reg type fp for bpf_dynptr_from_mem data"),
    "over_record": (EACCES, "Unsupported reg type ringbuf_mem for bpf_dynptr_from_mem data"),
    "over_packet": (EACCES, "helper access to the packet is not allowed"),
    "over_rodata": (EACCES, "write into map forbidden, value_size=32 off=0 size=16"),
    "over_readable_map": (EACCES, "write into map forbidden, value_size=8 off=0 size=8"),
    "unbounded": (EACCES, "R2 unbounded memory access, use 'var &= const' or 'if (var < const)'"),
    "skb_from_value": (EINVAL, "arg#0 expected pointer to ctx, but got map_value"),
    "skb_in_xdp": _not_allowed("bpf_dynptr_from_skb"),
    "xdp_in_tc": _not_allowed("bpf_dynptr_from_xdp"),
    "packet_after_pull": (EACCES, "R6 invalid mem access 'scalar'"),
    "slice_after_write": (EACCES, "R7 invalid mem access 'scalar'"),
    "slice_after_remake": (EACCES, "R6 invalid mem access 'scalar'"),
    "slice_beyond": (
        EACCES,
        "invalid access to memory, mem_size=8 off=8 size=1\nR0 min value is outside of the allowed memory range",
    ),
    "slice_written": (EACCES, "R0 cannot write into rdonly_mem"),
}

CALLS: Final[Mapping[str, Row]] = {
    "pop_into_packet": (EACCES, "helper access to the packet is not allowed"),
    "update_device": (EACCES, "write into map forbidden"),
    "write_device": (EACCES, "write into map forbidden, value_size=4 off=0 size=4"),
    "mtu_is_no_pointer": (
        EACCES,
        "R3 type=scalar expected=fp, pkt, pkt_meta, map_key, map_value, mem, ringbuf_mem, buf, trusted_ptr_",
    ),
    "task_on_stack": (EINVAL, "arg#0 pointer type STRUCT task_struct must point to scalar, or struct with scalar"),
    "iterator_at_frame_pointer": (EACCES, "invalid write to stack R1 off=0 size=8"),
    "third_of_some": _UNCHECKED,
}

TABLES: Final = {"owner": OWNER, "closed": CLOSED, "create": CREATE, "kptr": KPTR, "dynptr": DYNPTR, "calls": CALLS}


@cache
def _spec(name: str) -> CollectionSpec:
    return read_source(BPF / f"rules_{name}.bpf.o")


@cache
def _verdicts(name: str) -> dict[str, Verdict]:
    """The kernel's verdicts on all programs of an object, by one load each."""
    spec = _spec(name)
    return {verdict.program: verdict for verdict in KernelEngine().check(spec, programs=list(spec.programs))}


CASES: Final = [(name, program) for name in TABLES for program in _spec(name).programs]


def _last_lines(log: str, count: int) -> str:
    """The last lines before the counts."""
    lines = [line for line in log.splitlines() if line and not line.startswith("processed ")]
    return "\n".join(lines[-count:])


@pytest.mark.parametrize(("name", "program"), CASES)
def test_rule(name: str, program: str) -> None:
    """Our verifier gives the errno and the last lines of the log that the table has."""
    spec = _spec(name)
    found = judge(spec.programs[program], spec)
    errno, text = TABLES[name].get(program, (0, ""))
    assert (found.accepted, found.errno, found.message) == (not errno, errno, text.rpartition("\n")[2])
    if errno:
        assert _last_lines(found.log, text.count("\n") + 1) == text


@pytest.mark.kernel
@pytest.mark.parametrize(("name", "program"), CASES)
def test_kernel_agrees(name: str, program: str) -> None:
    """The kernel gives them, too."""
    found = _verdicts(name)[program]
    errno, text = TABLES[name].get(program, (0, ""))
    assert (found.accepted, found.errno) == (not errno, errno)
    if errno:
        assert _last_lines(found.log, text.count("\n") + 1) == text


@pytest.mark.parametrize("name", TABLES)
def test_tables_name_programs(name: str) -> None:
    """Every row is of a program that exists."""
    assert TABLES[name].keys() <= _spec(name).programs.keys()
