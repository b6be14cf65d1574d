"""kfuncs on frames in pieces, on both engines: where a copy is not contiguous it goes piece by piece."""

from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.packets import ethernet, payload
from support.parity import Step, play

if TYPE_CHECKING:
    from bpfcrypto.embedded.engine import EmbeddedEngine
    from bpfcrypto.kernel.engine import KernelEngine

ROOT = Path(__file__).parents[2]
FRAME = ethernet(payload(800), 0x88B5)


def ranges(draw: random.Random, linear: int) -> tuple[int, int, int]:
    """Two places and a length. If the ranges overlap, both are contiguous or neither is: the kernel copies between one that is and
    one that is not fragment by fragment with memcpy, which promises nothing for overlapping memory."""
    while True:
        first = draw.choice((0, linear, max(linear - 8, 0), draw.randrange(600)))
        second = draw.choice((0, linear, max(linear - 20, 0), draw.randrange(600)))
        length = draw.choice((0, 1, 16, 255, 256, 257, 400, 600, draw.randrange(900)))
        apart = length <= abs(first - second)
        if apart or len({at < linear < at + length for at in (first, second)}) == 1:
            return first, second, length


@pytest.mark.kernel
@pytest.mark.parametrize("program", ["copy_xdp", "fill_xdp", "probe_read_xdp"])
def test_frames_in_pieces(embedded_engine: EmbeddedEngine, kernel_engine: KernelEngine, program: str) -> None:
    """Ranges on, across and around the border of the linear part."""
    draw = random.Random(program)
    steps = []
    for linear in (0, 1, 14, 20, 64, 100, 256, 300, 500, 813) * 6:
        first, second, length = ranges(draw, linear)
        given = bytes(draw.choice(range(256)) if draw.random() > 0.005 else 0 for _ in range(640))
        inputs = {"dst_offset": first, "src_offset": second, "length": length, "cut": draw.randrange(300)}
        variables = {**inputs, "value": draw.randrange(256), "given": given, "memory": draw.randbytes(640)}
        steps.append(Step(program, FRAME, struct.pack("<6I", 0, linear, 0, 0, 0, 0), variables=variables))
    path = ROOT / "tests/bpf/dynptr_copy.bpf.o"
    here, there = play(embedded_engine, path, steps), play(kernel_engine, path, steps)

    assert here.differences(there) == []
