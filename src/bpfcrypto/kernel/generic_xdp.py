"""What must not run in generic XDP.

Behind bpf_xdp_adjust_tail in that mode, Linux sets the end of the skb's linear part 14 bytes too far (seen on 6.18, in 20 of 20 packets):
packets look whole, checksums are right, and TCP then merges segments with 14 foreign bytes between them. Nothing reports it, so programs
that move the end of a packet are refused there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfcrypto.abi.helpers import HELPERS
from bpfcrypto.errors import NotSupportedError
from bpfcrypto.isa.opcode import CALL
from bpfcrypto.spec import KfuncRef

if TYPE_CHECKING:
    from bpfcrypto.kernel.program import KernelProgram

MOVERS = {
    "bpf_xdp_adjust_tail": "moves the end of the packet",
    "bpf_xdp_pull_data": "moves the end of the packet's linear part",
    "bpf_tail_call": "goes on in programs that may move the end of the packet",
}
"""Helpers and kfuncs -> what a program does with them."""


def require_safe(program: KernelProgram) -> None:
    """Refuse a program that would corrupt packets in generic XDP, or whose instructions are not known.

    Raises:
        NotSupportedError: with the reason.
    """
    if not program.spec.insns:
        raise NotSupportedError(
            f"program '{program.name}' at hook 'xdp-generic'",
            requires="its object: what a pinned program calls is not known",
            hint="load the object and attach from there, or use hook 'xdp'",
        )
    calls = {
        HELPERS[insn.imm].name
        for insn in program.spec.insns
        if insn.code == CALL and not insn.src and insn.imm in HELPERS
    }
    calls |= {ref.name for ref in program.spec.refs.values() if isinstance(ref, KfuncRef)}
    for name, what in MOVERS.items():
        if name in calls:
            raise NotSupportedError(
                f"program '{program.name}' at hook 'xdp-generic'",
                requires=f"it calls {name} and so {what}, where the kernel then corrupts TCP",
                hint="use hook 'xdp', which is not affected, or leave the length of packets alone",
            )
