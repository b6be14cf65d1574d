"""bpf_copy_from_user reads the same buffers on both engines, and refuses the same addresses."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import pytest

from bpfcrypto.abi.progs import ProgType
from bpfcrypto.embedded.engine import EmbeddedEngine
from bpfcrypto.errors import NotSupportedError
from support.calls import Mem, Row, call, play, spec
from support.packets import payload

if TYPE_CHECKING:
    from bpfcrypto.kernel.engine import KernelEngine

BUFFER = ctypes.create_string_buffer(payload(200), 200)
START = ctypes.addressof(BUFFER)


def copy(size: int, address: int, kind: ProgType = ProgType.SYSCALL) -> Row:
    """A program that copies ``size`` bytes from ``address``."""
    return Row(f"copy-{size}", kind, (call("bpf_copy_from_user", Mem(), size, address),))


@pytest.mark.kernel
@pytest.mark.parametrize("size", [0, 1, 8, 100, 200])
@pytest.mark.parametrize("address", [START, START + 7, 0, 1, 4095, 1 << 47, (1 << 64) - 4096, (1 << 64) - 1])
def test_the_same_bytes(kernel_engine: KernelEngine, address: int, size: int) -> None:
    """What is read, and zeros with EFAULT where nothing is mapped."""
    size -= min(size, 7) if address == START + 7 else 0
    with EmbeddedEngine(user_memory=[BUFFER]) as embedded:
        here = play(embedded, copy(size, address))

    assert here == play(kernel_engine, copy(size, address))


def test_only_the_given_buffers() -> None:
    """A byte outside, or a buffer that was not given, is EFAULT and leaves zeros."""
    for engine, address, size in (
        (EmbeddedEngine(user_memory=[BUFFER]), START - 1, 8),
        (EmbeddedEngine(user_memory=[BUFFER]), START + 193, 8),
        (EmbeddedEngine(), START, 8),
    ):
        result = play(engine, copy(size, address))
        assert result["results"] == [-14]
        assert result["memory"] == "0:" + "00" * 8


def test_every_kind_of_buffer_and_changes() -> None:
    """A bytearray, a view and an array are read as they are at the time of the run."""
    array = (ctypes.c_uint32 * 4)(1, 2, 3, 4)
    raw = bytearray(16)
    views = (array, raw, memoryview(bytearray(16)))
    engine = EmbeddedEngine(user_memory=views)
    for view in views:
        memoryview(view).cast("B")[:4] = b"\xaa\xbb\xcc\xdd"
        address = ctypes.addressof((ctypes.c_char * 16).from_buffer(view))
        assert str(play(engine, copy(4, address))["memory"]) == "0:aabbccdd"


def test_only_sleepable_programs() -> None:
    """A TC program that calls it is refused by name, even unverified."""
    with pytest.raises(NotSupportedError, match="bpf_copy_from_user"):
        EmbeddedEngine(verify=False).load(spec(copy(4, START, ProgType.SCHED_CLS)))
