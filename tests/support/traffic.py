"""Traffic between two network namespaces, and captures of it."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256

from bpfcrypto.kernel.netns import within

ETH_P_ALL = 3
MARK = b"plain text"
TIMEOUT = 10.0
_ECHO = {  # protocol, request, reply, bytes of the IP header that a raw socket shows
    socket.AF_INET: (socket.IPPROTO_ICMP, 8, 0, 20),
    socket.AF_INET6: (socket.IPPROTO_ICMPV6, 128, 129, 0),
}


@dataclass(frozen=True)
class Ends:
    """Who talks to whom.

    Attributes:
        client, server: namespaces.
        target: the server's address.
        source: the client's address; None: which the kernel chooses.
    """

    client: str
    server: str
    target: str
    source: str | None = None

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if ":" in self.target else socket.AF_INET


def open_socket(
    netns: str, kind: int, protocol: int = 0, family: int = socket.AF_INET, *, timeout: float = TIMEOUT
) -> socket.socket:
    """A socket of a namespace; it stays there whoever uses it."""
    made = within(netns, lambda: socket.socket(family, kind, protocol))
    made.settimeout(timeout)
    return made


@dataclass
class Capture:
    """Frames that passed an interface."""

    frames: list[bytes] = field(default_factory=list)

    def shows(self, text: bytes = MARK) -> int:
        """How many frames have that text in them."""
        return sum(text in frame for frame in self.frames)

    def ip(self) -> list[bytes]:
        return [frame for frame in self.frames if frame[12:14] == b"\x08\0"]


@contextmanager
def captured(netns: str, interface: str) -> Iterator[Capture]:
    """Everything that an interface sends and gets."""
    capture, done = Capture(), threading.Event()
    with open_socket(netns, socket.SOCK_RAW, socket.htons(ETH_P_ALL), socket.AF_PACKET) as tap:
        tap.setsockopt(socket.SOL_SOCKET, 33, 1 << 26)  # SO_RCVBUFFORCE: nothing may be missed
        tap.bind((interface, ETH_P_ALL))
        tap.settimeout(0.05)

        def read() -> None:
            while not done.is_set():
                try:
                    while True:
                        capture.frames.append(tap.recv(1 << 16))
                except TimeoutError:
                    continue

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            yield capture
            time.sleep(0.1)
        finally:
            done.set()
            reader.join()


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ping(ends: Ends, payload: bytes, *, number: int = 1, timeout: float = TIMEOUT, whole: bool = False) -> bytes:
    """What comes back for an ICMP echo; TimeoutError where nothing does.

    Where it is to stay in one piece (``whole``), OSError with EMSGSIZE says that it is too large for this host, or for one on the way.
    """
    protocol, request, reply, skipped = _ECHO[ends.family]
    with _client(ends, socket.SOCK_RAW, protocol, timeout) as icmp:
        if whole:
            keep_whole(icmp)
        icmp.connect((ends.target, 0))
        head = struct.pack("!BBHHH", request, 0, 0, 77, number)
        # of ICMPv6, the kernel computes the checksum itself
        icmp.send(head[:2] + struct.pack("!H", _checksum(head + payload)) + head[4:] + payload)
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            answer = icmp.recv(1 << 16)[skipped:]
            if answer[0] == reply and answer[4:8] == head[4:8]:
                return answer[8:]
        raise TimeoutError


def keep_whole(sock: socket.socket) -> None:
    """Let nothing that this socket sends be cut into fragments, here or on the way."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, 23, 2)  # IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_DONTFRAG, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO


def udp(ends: Ends, messages: Iterable[bytes], *, timeout: float = TIMEOUT) -> list[bytes]:
    """What the server gets of UDP datagrams, which it sends back; what the client gets of those."""
    with (
        open_socket(ends.server, socket.SOCK_DGRAM, family=ends.family, timeout=timeout) as server,
        _client(ends, socket.SOCK_DGRAM, 0, timeout) as client,
    ):
        server.bind((ends.target, 7777))
        client.connect((ends.target, 7777))
        back = []
        for message in messages:
            client.send(message)
            received, sender = server.recvfrom(1 << 16)
            assert received == message
            server.sendto(received, sender)
            back.append(client.recv(1 << 16))
        return back


def tcp(ends: Ends, data: bytes, *, timeout: float = TIMEOUT) -> bytes:
    """What comes back of a TCP stream, which is echoed after its end."""
    return _exchange(ends, data, lambda received: received, timeout)


def transfer(ends: Ends, size: int, *, timeout: float = TIMEOUT) -> float:
    """Send that many random bytes by TCP in one direction, and compare checksums; the seconds that it took."""
    data = os.urandom(size)
    begin = time.monotonic()
    assert _exchange(ends, data, lambda received: sha256(received).digest(), timeout) == sha256(data).digest()
    return time.monotonic() - begin


def _exchange(ends: Ends, data: bytes, answer: Callable[[bytes], bytes], timeout: float) -> bytes:
    with (
        open_socket(ends.server, socket.SOCK_STREAM, family=ends.family, timeout=timeout) as server,
        _client(ends, socket.SOCK_STREAM, 0, timeout) as client,
    ):
        server.bind((ends.target, 7777))
        server.listen()

        def serve() -> None:
            with suppress(OSError):  # the client sees it, too
                connection, _ = server.accept()
                with connection:
                    connection.settimeout(timeout)
                    connection.sendall(answer(_all(connection)))

        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        try:
            client.connect((ends.target, 7777))
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            return _all(client)
        finally:
            serving.join()


def send_frames(netns: str, interface: str, frames: Iterable[bytes]) -> None:
    """Send frames as they are, Ethernet header included, out of an interface."""
    with open_socket(netns, socket.SOCK_RAW, 0, socket.AF_PACKET) as wire:
        wire.bind((interface, 0))
        for frame in frames:
            wire.send(frame)


def _client(ends: Ends, kind: int, protocol: int, timeout: float) -> socket.socket:
    client = open_socket(ends.client, kind, protocol, ends.family, timeout=timeout)
    if ends.source is not None:
        client.bind((ends.source, 0))
    return client


def _all(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)
