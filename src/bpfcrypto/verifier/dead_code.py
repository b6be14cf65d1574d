"""What becomes of function addresses when the kernel takes out the instructions that no path reaches.

A function whose address is loaded but that nothing calls is dead, and its instructions are removed. The ``lddw`` keeps its distance, so
that it then points at whatever has moved there. The JIT wants the start of a function; where there is none, loading fails although the
program was found to be safe. A program that is left with one function is not asked.

Source: kernel/bpf/verifier.c of 6.18 (opt_remove_dead_code, bpf_adj_delta_to_imm, jit_subprogs).
"""

from __future__ import annotations

from errno import EFAULT
from typing import TYPE_CHECKING

from bpfcrypto.verifier import cfg
from bpfcrypto.verifier.state import Rejected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bpfcrypto.verifier.cfg import Flow
    from bpfcrypto.verifier.env import Environment
    from bpfcrypto.verifier.facts import Facts


def check(env: Environment, flow: Flow, facts: Facts) -> None:
    """That each address of a function in the code that is left is one still.

    The kernel names the instruction by its place in the code that it has rewritten; here it is the place in the program.

    Raises:
        Rejected: EFAULT.
    """
    loads = [at for at, insn in enumerate(env.insns) if cfg.is_function_address(insn) and facts.is_reached(at)]
    starts = [each.start for each in flow.subprograms if facts.is_reached(each.start)]
    if not loads or len(starts) < 2:
        return
    gaps = tuple(_gaps(env, facts))
    left = {start - sum(size for at, size in gaps if at < start) for start in starts}
    for index in loads:
        target, removed = index + env.insns[index].imm + 1, 0
        for at, size in gaps:
            if target >= at - removed + size:
                target -= size
            removed += size
        if target not in left:
            text = f"verifier bug: No program to jit at insn {index} (subprog < 0)"
            raise Rejected(EFAULT, text, id="callback-unused")


def _gaps(env: Environment, facts: Facts) -> Iterator[tuple[int, int]]:
    """Runs of instructions that no path reaches: where, and how many."""
    start, index, end = -1, 0, len(env.insns)
    while index < end:
        if facts.is_reached(index):
            if start >= 0:
                yield start, index - start
                start = -1
            index += 2 if env.rows[index] is not None and env.rows[index].slots == 2 else 1  # type: ignore[union-attr]
            continue
        start = index if start < 0 else start
        index += 1
    if start >= 0:
        yield start, end - start
