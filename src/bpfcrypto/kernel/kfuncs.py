"""The kfuncs of the running kernel, and which program types may call each: read off its types and found by trying.

A kernel since 6.10 marks its kfuncs by decl tags; of an older one only those are found that the table knows. A call can be made when the
verifier, shown it without arguments, complains of the arguments.
"""

from __future__ import annotations

from collections.abc import Mapping

from bpfcrypto.abi.kfuncs import KFUNCS
from bpfcrypto.abi.progs import ProgType
from bpfcrypto.btf.types import DeclTag, Func, Kind
from bpfcrypto.isa.codec import encode
from bpfcrypto.isa.insn import Insn
from bpfcrypto.isa.opcode import CALL
from bpfcrypto.kernel import bpf
from bpfcrypto.kernel.bpf import LoadRequest
from bpfcrypto.kernel.btf import kernel_btf
from bpfcrypto.kernel.prepare import PSEUDO_KFUNC_CALL
from bpfcrypto.kernel.probe import EXIT, MOV_R0_0, NO_SUCH_CALL, PROGRAM_TYPES

TAG = "bpf_kfunc"

# What the verifier says of a call that no program of the type can make, whatever its arguments, besides NO_SUCH_CALL.
_NEVER = (
    "program must be sleepable to call sleepable kfunc",
    "metadata kfuncs require device-bound program",
    "css_task_iter is only allowed in",
    "kern ctx type id",
    "unexpected __bpf_trap()",
)


def kernel_kfuncs() -> Mapping[str, frozenset[ProgType]]:
    """Every kfunc of this kernel by name, with the types of our programs that may call it; many have none.

    Raises:
        NotSupportedError: the kernel does not show its types.
        PrivilegeError: a capability is missing.
    """
    types = kernel_btf()
    found: dict[str, int] = {}
    for tag in types.find_all(TAG, Kind.DECL_TAG):
        record = types[tag]
        function = types[record.type_id] if isinstance(record, DeclTag) else None
        if isinstance(record, DeclTag) and isinstance(function, Func):
            found[function.name] = record.type_id
    for name in sorted(KFUNCS):
        number = types.func_id(name) if name not in found else None
        if number is not None:
            found[name] = number
    return {name: _callers(number) for name, number in sorted(found.items())}


def _callers(number: int) -> frozenset[ProgType]:
    return frozenset(kind for kind in PROGRAM_TYPES if _can_call(kind, number))


def _can_call(kind: ProgType, number: int) -> bool:
    code = encode((Insn(CALL, src=PSEUDO_KFUNC_CALL, imm=number), MOV_R0_0, EXIT))
    outcome = bpf.prog_load(LoadRequest(kind, code, flags=PROGRAM_TYPES[kind]), log_level=1)
    if outcome.fd is not None:
        outcome.fd.close()
        return True
    return bool(outcome.log) and not any(text in outcome.log for text in (*NO_SUCH_CALL, *_NEVER))
