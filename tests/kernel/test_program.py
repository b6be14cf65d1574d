"""Test runs through the program protocol: what comes back, and what is refused."""

from __future__ import annotations

import errno
import signal
import struct
import threading

import pytest

from bpfcrypto.errors import SyscallError
from bpfcrypto.kernel.collection import KernelCollection

pytestmark = pytest.mark.kernel

PACKET = bytes(12) + b"\x88\xb5" + bytes(32)
ZEROS_ENCRYPTED = bytes.fromhex("66e94bd4ef8a2c3b884cfa59ca342b2e")  # AES-128 of zeros under a key of zeros


@pytest.fixture
def ready(cipher: KernelCollection) -> KernelCollection:
    """The object with a context under a key of zeros."""
    assert cipher.programs["setup"].run(ctx=bytes(8)).retval == 0
    return cipher


def test_encrypts(ready: KernelCollection) -> None:
    """The packet comes back with its payload encrypted."""
    result = ready.programs["encrypt"].run(PACKET)

    assert (result.retval, result.data) == (0, PACKET[:14] + ZEROS_ENCRYPTED * 2)
    assert result.ctx == b""
    assert result.duration_ns > 0


def test_repetitions_accumulate(ready: KernelCollection) -> None:
    """The packet is not reset between repetitions: twice is encrypted twice."""
    once = ready.programs["encrypt"].run(PACKET)
    twice = ready.programs["encrypt"].run(once.data)

    assert ready.programs["encrypt"].run(PACKET, repeat=2).data == twice.data
    assert ready.programs["encrypt"].run(PACKET, repeat=0).data == once.data


def test_context_comes_back(ready: KernelCollection) -> None:
    """A given __sk_buff is returned whole, as the program left it."""
    result = ready.programs["encrypt"].run(PACKET, ctx=bytes(8) + struct.pack("<I", 41))

    assert len(result.ctx) == 192
    assert struct.unpack_from("<I", result.ctx, 8)[0] == 42


def test_syscall_context_comes_back(cipher: KernelCollection) -> None:
    """A syscall program's changes to its context are in the result; there is no packet and no duration."""
    result = cipher.programs["setup"].run(ctx=struct.pack("<Q", 4))

    assert (result.retval, result.ctx, result.data, result.duration_ns) == (0, struct.pack("<Q", 7), b"", 0)


@pytest.mark.parametrize("size", [14, 3520, 65536, 73152])
def test_large_frames_come_back_whole(ready: KernelCollection, size: int) -> None:
    """Whatever XDP takes comes back, grown by the program where there was room."""
    result = ready.programs["grow"].run(b"\1" * size)

    assert result.retval == 2
    assert (len(result.data), result.data[-size:]) == (size + 16, b"\1" * size)


@pytest.mark.parametrize(
    ("program", "arguments", "number"),
    [
        ("encrypt", {"data": bytes(13)}, errno.EINVAL),
        ("encrypt", {"data": bytes(12) + b"\x08\x00" + bytes(19)}, errno.EINVAL),
        ("encrypt", {"data": bytes(3713)}, errno.EINVAL),
        ("encrypt", {}, errno.EINVAL),
        ("encrypt", {"data": PACKET, "ctx": b"\1"}, errno.EINVAL),
        ("encrypt", {"data": PACKET, "ctx": bytes(40) + struct.pack("<I", 12345)}, errno.ENODEV),
        ("encrypt", {"data": PACKET, "ctx": bytes(4097)}, errno.E2BIG),
        ("grow", {"data": bytes(73153)}, errno.ENOMEM),
        ("setup", {"data": b"x", "ctx": bytes(8)}, errno.EINVAL),
        ("setup", {"ctx": bytes(8), "repeat": 2}, errno.EINVAL),
        ("setup", {"ctx": bytes(4)}, errno.EINVAL),
        ("setup", {"ctx": bytes(65536)}, errno.EINVAL),
    ],
)
def test_refused_arguments(cipher: KernelCollection, program: str, arguments: dict[str, bytes], number: int) -> None:
    """The kernel's errno comes with the program's name and the rules."""
    with pytest.raises(SyscallError, match=f"BPF_PROG_TEST_RUN: .*program '{program}'") as caught:
        cipher.programs[program].run(**arguments)  # type: ignore[arg-type]

    assert caught.value.errno == number
    assert number == errno.E2BIG or caught.value.hint is not None


def test_threads_do_not_share_buffers(ready: KernelCollection) -> None:
    """Two threads that run one program each see their own packets."""
    wrong: list[bytes] = []

    def work(mark: int) -> None:
        packet = PACKET[:14] + bytes([mark] * 48)
        expected = ready.programs["encrypt"].run(packet).data
        for _ in range(300):
            result = ready.programs["encrypt"].run(packet).data
            if result != expected:
                wrong.append(result)

    threads = [threading.Thread(target=work, args=(mark,)) for mark in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_signal_during_a_long_run(ready: KernelCollection) -> None:
    """A signal ends a run with EINTR, and its handler runs."""
    seen: list[int] = []
    old = signal.signal(signal.SIGALRM, lambda number, _: seen.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(SyscallError) as caught:
            ready.programs["encrypt"].run(PACKET, repeat=50_000_000)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)

    assert caught.value.errno == errno.EINTR
    assert seen == [signal.SIGALRM]


def test_information(ready: KernelCollection) -> None:
    """The kernel's own words about a program."""
    info = ready.programs["encrypt"].info

    assert (info.name, info.gpl_compatible) == ("encrypt", True)
    assert ready.maps["contexts"].info.id in info.map_ids
    assert info.xlated_bytes > 0
    assert info.verified_insns > 0
    assert len(info.tag) == 8


def test_after_close(ready: KernelCollection) -> None:
    """A closed program is an error that names EBADF."""
    program = ready.programs["encrypt"]
    ready.close()

    with pytest.raises(SyscallError) as caught:
        program.run(PACKET)
    assert caught.value.errno == errno.EBADF
