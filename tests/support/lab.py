"""Two hosts and a wire between them: three network namespaces of the tests' own.

The wire is a bridge in a namespace of its own, so that a capture there sees what left one end and has not reached the other.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count

import pytest

from bpfcrypto.kernel.interfaces import netlink
from bpfcrypto.kernel.netns import within
from support.need import skip_or_fail
from support.traffic import Ends

ADDRESSES = {"left": "10.77.0.1", "right": "10.77.0.2"}
_NUMBERS = count()


@dataclass(frozen=True)
class Lab:
    """The network. ``left`` and ``right`` are namespaces with an interface ``eth``; ``wire`` is the one between them."""

    left: str
    wire: str
    right: str

    def end(self, side: str) -> str:
        return str(getattr(self, side))

    @property
    def ends(self) -> Ends:
        """From left to right."""
        return Ends(self.left, self.right, ADDRESSES["right"])


@contextmanager
def namespaces(*parts: str) -> Iterator[tuple[str, ...]]:
    """Network namespaces of names that nobody else has, one for each part; they are gone afterwards."""
    pyroute2 = pytest.importorskip("pyroute2")
    if os.geteuid() != 0:
        skip_or_fail("network namespaces need root")
    number = next(_NUMBERS)
    names = tuple(f"bpfcrypto-{os.getpid()}-{number}-{part}" for part in parts)
    with ExitStack() as undo:
        for name in names:
            try:
                pyroute2.netns.create(name)
            except PermissionError as error:
                skip_or_fail(f"needs network namespaces: {error}")
            undo.callback(pyroute2.netns.remove, name)
        yield names


@contextmanager
def lab() -> Iterator[Lab]:
    """Make the network, and take it away. TCP makes no super-packets in there."""
    with namespaces("left", "wire", "right") as made:
        names = Lab(*made)
        within(names.wire, lambda: _join(names))
        for side, address in ADDRESSES.items():
            within(names.end(side), lambda address=address: _address(address))
        yield names


@contextmanager
def veth() -> Iterator[str]:
    """A namespace with two interfaces ``a`` and ``b`` that are joined."""

    def make() -> None:
        with netlink() as request:
            request.link("add", ifname="a", kind="veth", peer={"ifname": "b"})
            for end in ("a", "b"):
                request.link("set", index=request.link_lookup(ifname=end)[0], state="up")

    with namespaces("veth") as (name,):
        within(name, make)
        yield name


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
