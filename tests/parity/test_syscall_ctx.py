"""A syscall program's context: with fewer bytes than the program accesses on any path, both engines refuse the run."""

from __future__ import annotations

from errno import EINVAL
from typing import TYPE_CHECKING

import pytest

from bpfcrypto.embedded.engine import EmbeddedEngine
from bpfcrypto.errors import SyscallError
from support.progtext import assembled

if TYPE_CHECKING:
    from bpfcrypto.engine import Engine
    from bpfcrypto.kernel.engine import KernelEngine

CREATE = """
*(u64 *)(r10 -8) = 0
{size}
r3 = r10
r3 += -8
call bpf_crypto_ctx_create
if r0 == 0 goto out
r1 = r0
call bpf_crypto_ctx_release
out:
r0 = 0
exit"""

PROGRAMS = {
    "nothing": ("r0 = 0\nexit", 0),
    "a byte": ("r0 = *(u8 *)(r1 +5)\nexit", 6),
    "eight bytes": ("r0 = *(u64 *)(r1 +8)\nexit", 16),
    "the last of several": ("r2 = *(u32 *)(r1 +40)\nr0 = *(u16 *)(r1 +2)\nexit", 44),
    "a store": ("*(u32 *)(r1 +12) = 7\nr0 = 0\nexit", 16),
    "a path that is not taken": (
        "r6 = r1\ncall bpf_get_prandom_u32\nw0 = w0\nif r0 == 0x12345678 goto more\nr0 = 0\nexit\nmore:\n*(u8 *)(r6 +99) = 1\nr0 = 1\nexit",
        100,
    ),
    "code that no path reaches": ("r2 = 1\nif r2 == 1 goto out\nr2 = *(u64 *)(r1 +64)\nout:\nr0 = 0\nexit", 0),
    "a function": ("call f1\nr0 = 0\nexit\nfunc f1 static\nr0 = *(u32 *)(r1 +20)\nexit", 24),
    "memory of a call": (CREATE.format(size="r2 = 408"), 408),
    "memory of a call, at most": (CREATE.format(size="r2 = *(u32 *)(r1 +0)\nr2 &= 511"), 511),
}


def run(engine: Engine, text: str, size: int) -> str | tuple[int, int, bytes]:
    """What a run on so many bytes gives."""
    with engine.load(assembled(f"type syscall\n{text.strip()}\n")) as collection:
        try:
            result = collection.programs["main"].run(ctx=bytes(size))
        except SyscallError as error:
            return f"errno {error.errno}"
        return result.retval, len(result.ctx), result.ctx


@pytest.mark.kernel
@pytest.mark.parametrize(("text", "least"), PROGRAMS.values(), ids=PROGRAMS)
def test_short_context(kernel_engine: KernelEngine, text: str, least: int) -> None:
    """One byte less is refused, as many as are accessed are enough, and more do no harm."""
    with EmbeddedEngine() as embedded:
        for size in {max(least - 1, 0), least, least + 1, 0}:
            here = run(embedded, text, size)
            assert here == run(kernel_engine, text, size)
            assert (here == f"errno {EINVAL}") is (size < least)
