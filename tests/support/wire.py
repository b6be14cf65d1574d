"""Real packets for a program: a network namespace of its own, whose loopback interface has the program on its way out."""

from __future__ import annotations

import ctypes
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fcntl import ioctl
from typing import TYPE_CHECKING, TypeVar

from bpfcrypto.kernel import syscall
from bpfcrypto.kernel.fd import Fd

if TYPE_CHECKING:
    from bpfcrypto.kernel.program import KernelProgram

_CLONE_NEWNET = 0x40000000
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_LINK_CREATE = 28
_TCX_EGRESS = 47
_LOOPBACK = 1

_Result = TypeVar("_Result")


def in_namespace(function: Callable[[], _Result]) -> _Result:
    """Call ``function`` in a thread that has a network namespace of its own, where only the loopback interface is, and up."""
    results: list[_Result] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "unshare")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
                ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", _IFF_UP))
            results.append(function())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


@contextmanager
def attached(program: KernelProgram) -> Iterator[None]:
    """Have a TC program see what leaves the namespace's loopback interface."""
    attr = ctypes.create_string_buffer(
        struct.pack("=IIII", program.fd.fileno(), _LOOPBACK, _TCX_EGRESS, 0).ljust(64, b"\0")
    )
    number = syscall.bpf(_LINK_CREATE, attr)
    if number < 0:
        raise OSError(-number, "BPF_LINK_CREATE")
    link = Fd(number)
    try:
        yield
    finally:
        link.close()


def send_stream(data: bytes) -> None:
    """Send ``data`` over a new TCP connection from 127.0.0.1 to itself, without waiting for it to arrive."""
    abort = struct.pack("ii", 1, 0)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        accepted, _ = server.accept()
        with accepted:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, abort)
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, abort)
            client.sendall(data)
