"""Two hosts and a wire between them: three network namespaces of the tests' own, with traffic and a capture in the middle.

The wire is a bridge in a namespace of its own, so that a capture there sees what left one end and has not reached the other.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count

import pytest

from bpfcrypto.kernel.interfaces import netlink
from bpfcrypto.kernel.netns import within
from support.need import skip_or_fail

ETH_P_ALL = 3
ADDRESSES = {"left": "10.77.0.1", "right": "10.77.0.2"}
MARK = b"plain text"
TIMEOUT = 10.0
_NUMBERS = count()


@dataclass(frozen=True)
class Lab:
    """The network. ``left`` and ``right`` are namespaces with an interface ``eth``; ``wire`` is the one between them."""

    left: str
    wire: str
    right: str

    def end(self, side: str) -> str:
        return str(getattr(self, side))


@contextmanager
def lab() -> Iterator[Lab]:
    """Make the network, and take it away. TCP makes no super-packets in there."""
    pyroute2 = pytest.importorskip("pyroute2")
    number = next(_NUMBERS)
    names = Lab(*(f"bpfcrypto-{os.getpid()}-{number}-{part}" for part in ("left", "wire", "right")))
    with ExitStack() as undo:
        for name in (names.left, names.wire, names.right):
            pyroute2.netns.create(name)
            undo.callback(pyroute2.netns.remove, name)
        within(names.wire, lambda: _join(names))
        for side, address in ADDRESSES.items():
            within(names.end(side), lambda address=address: _address(address))
        yield names


@contextmanager
def veth() -> Iterator[str]:
    """A namespace with two interfaces ``a`` and ``b`` that are joined."""
    pyroute2 = pytest.importorskip("pyroute2")
    name = f"bpfcrypto-{os.getpid()}-{next(_NUMBERS)}"

    def make() -> None:
        with netlink() as request:
            request.link("add", ifname="a", kind="veth", peer={"ifname": "b"})
            for end in ("a", "b"):
                request.link("set", index=request.link_lookup(ifname=end)[0], state="up")

    pyroute2.netns.create(name)
    try:
        within(name, make)
        yield name
    finally:
        pyroute2.netns.remove(name)


def delete_interface(netns: str, name: str) -> None:
    """Take an interface away."""

    def delete() -> None:
        with netlink() as request:
            request.link("del", index=request.link_lookup(ifname=name)[0])

    within(netns, delete)


def in_own_mounts(call: Callable[[], None]) -> None:
    """Run something, and the processes it starts, where /sys/fs/bpf is a BPF file system and /run/netns is empty.

    Nobody else sees these, and they vanish with the thread, whatever was left in them.
    """
    failure: list[BaseException] = []

    def alone() -> None:
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(0x00020000):  # CLONE_NEWNS
                skip_or_fail(f"needs a mount namespace: {os.strerror(ctypes.get_errno())}")
            os.makedirs("/run/netns", exist_ok=True)
            for command in (
                "mount --make-rprivate /",
                "mount -t bpf bpf /sys/fs/bpf",
                "mount -t tmpfs tmpfs /run/netns",
            ):
                subprocess.run(command.split(), check=True)
            call()
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=alone)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]


def _join(names: Lab) -> None:
    with netlink() as wire:
        wire.link("add", ifname="bridge", kind="bridge")
        bridge = wire.link_lookup(ifname="bridge")[0]
        for side in ADDRESSES:
            wire.link("add", ifname=side, kind="veth", peer={"ifname": "eth", "net_ns_fd": names.end(side)})
            wire.link("set", index=wire.link_lookup(ifname=side)[0], master=bridge, state="up")
        wire.link("set", index=bridge, state="up")


def _address(address: str) -> None:
    with netlink() as end:
        index = end.link_lookup(ifname="eth")[0]
        end.addr("add", index=index, address=address, prefixlen=24)
        end.link("set", index=index, state="up", gso_max_segs=1)


def open_socket(
    netns: str, kind: int, protocol: int = 0, family: int = socket.AF_INET, *, timeout: float = TIMEOUT
) -> socket.socket:
    """A socket of a namespace; it stays there whoever uses it."""
    made = within(netns, lambda: socket.socket(family, kind, protocol))
    made.settimeout(timeout)
    return made


@dataclass
class Capture:
    """Frames that passed the wire."""

    frames: list[bytes] = field(default_factory=list)

    def shows(self, text: bytes = MARK) -> int:
        """How many frames have that text in them."""
        return sum(text in frame for frame in self.frames)

    def ip(self) -> list[bytes]:
        return [frame for frame in self.frames if frame[12:14] == b"\x08\0"]


@contextmanager
def captured(network: Lab) -> Iterator[Capture]:
    """Everything that the left end sends and gets, as it is in the middle."""
    capture, done = Capture(), threading.Event()
    with open_socket(network.wire, socket.SOCK_RAW, socket.htons(ETH_P_ALL), socket.AF_PACKET) as tap:
        tap.setsockopt(socket.SOL_SOCKET, 33, 1 << 26)  # SO_RCVBUFFORCE: nothing may be missed
        tap.bind(("left", ETH_P_ALL))
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


def ping(network: Lab, payload: bytes, *, number: int = 1, timeout: float = TIMEOUT) -> bytes:
    """What comes back for an ICMP echo from left to right; TimeoutError where nothing does."""
    with open_socket(network.left, socket.SOCK_RAW, socket.IPPROTO_ICMP, timeout=timeout) as icmp:
        icmp.connect((ADDRESSES["right"], 0))
        head = struct.pack("!BBHHH", 8, 0, 0, 77, number)
        icmp.send(head[:2] + struct.pack("!H", _checksum(head + payload)) + head[4:] + payload)
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            answer = icmp.recv(1 << 16)[20:]
            if answer[0] == 0 and answer[4:8] == head[4:8]:
                return answer[8:]
        raise TimeoutError


def udp(network: Lab, messages: list[bytes]) -> list[bytes]:
    """What right gets of UDP datagrams from left, which it sends back; what left gets of those."""
    with (
        open_socket(network.right, socket.SOCK_DGRAM) as server,
        open_socket(network.left, socket.SOCK_DGRAM) as client,
    ):
        server.bind((ADDRESSES["right"], 7777))
        client.connect((ADDRESSES["right"], 7777))
        back = []
        for message in messages:
            client.send(message)
            received, sender = server.recvfrom(1 << 16)
            assert received == message
            server.sendto(received, sender)
            back.append(client.recv(1 << 16))
        return back


def tcp(network: Lab, data: bytes) -> bytes:
    """What comes back of a TCP stream from left to right, where it is echoed after its end."""
    with (
        open_socket(network.right, socket.SOCK_STREAM) as server,
        open_socket(network.left, socket.SOCK_STREAM) as client,
    ):
        server.bind((ADDRESSES["right"], 7777))
        server.listen()

        def echo() -> None:
            with suppress(OSError):  # the client sees it, too
                connection, _ = server.accept()
                with connection:
                    connection.settimeout(TIMEOUT)
                    connection.sendall(_all(connection))

        echoing = threading.Thread(target=echo, daemon=True)
        echoing.start()
        try:
            client.connect((ADDRESSES["right"], 7777))
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            return _all(client)
        finally:
            echoing.join()


def _all(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)
