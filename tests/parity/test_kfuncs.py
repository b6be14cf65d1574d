"""kfuncs whose arguments take some making, on both engines: frames in pieces, the memory of the process."""

from __future__ import annotations

import ctypes
import random
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bpfcrypto.embedded.engine import EmbeddedEngine
from support.packets import ethernet, payload
from support.parity import Step, play

if TYPE_CHECKING:
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


@pytest.mark.kernel
def test_pulling_frames_together(embedded_engine: EmbeddedEngine, kernel_engine: KernelEngine) -> None:
    """Frames with metadata and borders anywhere, of one page and of several, pulled, cut and grown."""
    draw = random.Random("pull")
    sizes = (14, 64, 300, 814, 3520, 5000, 9000)
    steps = []
    for size in sizes * 12:
        meta = draw.choice((0, 0, 4, 32, 216))
        linear = draw.choice((meta, meta + 14, min(size, meta + 100), size, min(size, 3000)))
        limits = (0, 1, linear, linear + 1, 300, 3400, 3520, 3521, 3735, 3736, 3737, size, size + 1, 2**31)
        variables = {
            "first": draw.choice(limits),
            "second": draw.choice(limits),
            "delta": draw.choice((0, -1, -20, -300, -4000, 40, 5000)),
        }
        if meta + 14 <= size and linear <= size:
            frame = ethernet(payload(size - 14), 0x88B5)
            steps.append(Step("pull", frame, struct.pack("<6I", meta, linear, 0, 0, 0, 0), variables=variables))
    path = ROOT / "tests/bpf/pull_data.bpf.o"
    here, there = play(embedded_engine, path, steps), play(kernel_engine, path, steps)

    assert here.differences(there) == []


@pytest.mark.kernel
@pytest.mark.parametrize("program", ["copy", "probe_read"])
def test_memory_of_the_process(kernel_engine: KernelEngine, program: str) -> None:
    """Bytes and text of a buffer, cut, empty and whole."""
    draw = random.Random(program)
    texts = (b"", b"a", b"text", b"x" * 254, b"y" * 255, b"z" * 300, bytes(range(1, 200)))
    buffer = ctypes.create_string_buffer(b"\0".join(texts) + b"\0", 4096)
    starts = [0]
    for text in texts[:-1]:
        starts.append(starts[-1] + len(text) + 1)
    steps = [
        Step(
            program,
            b"" if program == "copy" else FRAME,
            variables={
                "address": ctypes.addressof(buffer) + start,
                "length": draw.choice((0, 1, 2, 3, 5, 100, 199, 255, 256, 257)),
                "offset": draw.choice((0, 1, 2, 3, 5, 100, 199, 255, 256, 257)),
                "flags": draw.choice((0, 1, 1, 2)),
                "memory": draw.randbytes(256),
            },
        )
        for start in starts
        for _ in range(12)
    ]
    path = ROOT / "tests/bpf/user_memory.bpf.o"
    with EmbeddedEngine(user_memory=[buffer]) as engine:
        here, there = play(engine, path, steps), play(kernel_engine, path, steps)

    assert here.differences(there) == []


@pytest.mark.kernel
def test_the_kernels_frame(embedded_engine: EmbeddedEngine, kernel_engine: KernelEngine) -> None:
    """struct xdp_buff of frames with metadata and in pieces."""
    draw = random.Random("frame")
    steps = [
        Step(
            "look_into_xdp",
            FRAME,
            struct.pack("<6I", meta, linear, 0, 1, 0, 0),
            variables={"room": draw.randrange(64)},
        )
        for meta in (0, 4, 208)
        for linear in (meta, meta + 20, 814)
    ]
    path = ROOT / "tests/bpf/kernel_context.bpf.o"
    here, there = play(embedded_engine, path, steps), play(kernel_engine, path, steps)

    assert here.differences(there) == []
