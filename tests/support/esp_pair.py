"""Two hosts that speak ESP without a network: each has its own programs and control plane, and frames are carried by hand."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

from bpfcrypto.engine import Collection, Engine
from bpfcrypto.programs.esp.config import load_config
from bpfcrypto.programs.esp.config_types import Peer
from bpfcrypto.programs.esp.control import Control, Event
from bpfcrypto.programs.esp.dummy import dummy_frame
from bpfcrypto.programs.esp.epochs import EpochStore
from bpfcrypto.programs.esp.program import CONTROL_PROGRAMS, EspProgram, spec

ADDRESSES = {"left": "192.0.2.1", "right": "198.51.100.1"}
INNER = {"left": "10.1.0.1", "right": "10.2.0.1"}
OTHER = {"left": "right", "right": "left"}
PASSED = (1 << 32) - 1  # TCX_NEXT

CONFIG = """
[link]
name = "{name}"
interface = "eth0"
send = "egress"
state = "state"
[policy]
local = ["{local}/32"]
[rotation]
grace = {grace}
{rotation}
[[peer]]
name = "{other}"
id = 7
local = "{source}"
remote = "{target}"
mode = "tunnel"
suite = "aes-128-ccm-16"
esn = {esn}
prefixes = ["{remote}/32"]
{keys}
"""


def frame(source: str, target: str, payload: bytes, protocol: int = 17) -> bytes:
    """An Ethernet frame with an IPv4 packet."""
    length = 20 + len(payload)
    head = struct.pack("!BBHHHBBH", 0x45, 0, length, 1, 0, 64, protocol, 0)
    head += IPv4Address(source).packed + IPv4Address(target).packed
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    check = ~(total + (total >> 16)) & 0xFFFF
    return b"\2\0\0\0\0\2\2\0\0\0\0\1\x08\0" + head[:10] + struct.pack("!H", check) + head[12:] + payload


@dataclass
class Host:
    """One side. What it sends waits in ``sent``."""

    name: str
    folder: Path
    program: EspProgram
    control: Control
    sent: list[bytes] = field(default_factory=list)

    def say(self, payload: bytes = b"something in the clear") -> None:
        """Send a packet to the other side's network."""
        result = self.program.collection.programs["seal"].run(frame(INNER[self.name], INNER[OTHER[self.name]], payload))
        assert result.retval == PASSED, self.program.tally(0)
        self.sent.append(result.data)

    def hear(self, data: bytes) -> bool:
        """Take a frame in; whether it was opened."""
        return self.program.collection.programs["open"].run(data).retval == PASSED

    @property
    def peer(self) -> object:
        return self.control.peers[OTHER[self.name]]

    @property
    def epoch(self) -> int:
        return self.control.peers[OTHER[self.name]].epoch

    @property
    def acknowledged(self) -> bool:
        return self.control.peers[OTHER[self.name]].acknowledged


def carry(one: Host, other: Host) -> int:
    """What both have sent to each other, dummies included; how many frames were opened and went on."""
    heard = 0
    for source, target in ((one, other), (other, one)):
        frames, source.sent = source.sent, []
        heard += sum(target.hear(data) for data in frames)
    return heard


def write_secret(path: Path, data: bytes | None = None) -> None:
    path.write_bytes(os.urandom(32) if data is None else data)
    path.chmod(0o600)


class Site:
    """Where hosts are made, and made again."""

    def __init__(self, engine: Engine, folder: Path, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._folder = folder
        self._clock = clock
        self._collections: list[Collection] = []
        self.secret = os.urandom(32)

    def folder(self, name: str) -> Path:
        path = self._folder / name
        path.mkdir(exist_ok=True)
        return path

    def boot(
        self, name: str, *, keys: str = 'secret = "shared.secret"', rotation: str = "", grace: float = 0.0
    ) -> Host:
        """A host whose maps are empty."""
        collection = self._engine.load(spec(), programs=(*CONTROL_PROGRAMS, "seal", "open"))
        self._collections.append(collection)
        return self.control(name, EspProgram(self._engine, collection), keys=keys, rotation=rotation, grace=grace)

    def control(
        self,
        name: str,
        program: EspProgram,
        *,
        keys: str = 'secret = "shared.secret"',
        rotation: str = "",
        grace: float = 0.0,
        esn: bool = True,
    ) -> Host:
        """A control plane for programs that are there already."""
        folder = self.folder(name)
        if not (folder / "shared.secret").exists():
            write_secret(folder / "shared.secret", self.secret)
        other = OTHER[name]
        text = CONFIG.format(
            name=name,
            other=other,
            local=INNER[name],
            remote=INNER[other],
            source=ADDRESSES[name],
            target=ADDRESSES[other],
            grace=grace,
            rotation=rotation,
            keys=keys,
            esn=str(esn).lower(),
        )
        (folder / "esp.toml").write_text(text)
        config = load_config(folder / "esp.toml")
        host: Host

        def dummy(peer: Peer, slot: int) -> None:
            result = program.collection.programs["seal"].run(
                dummy_frame(peer.local, peer.remote, slot, program.settings.token)
            )
            assert result.retval == PASSED
            host.sent.append(result.data)

        store = EpochStore(config.link.state, config.link.name)
        host = Host(name, folder, program, Control(config, program, store, mtu=1500, dummy=dummy, clock=self._clock))
        return host

    def close(self) -> None:
        for collection in self._collections:
            collection.close()


def start(*hosts: Host) -> list[Event]:
    return [event for host in hosts for event in host.control.start()]


def tend(*hosts: Host) -> list[Event]:
    return [event for host in hosts for event in host.control.tend()]


@contextmanager
def site(engine: Engine, folder: Path, clock: Callable[[], float]) -> Iterator[Site]:
    """A place for hosts."""
    made = Site(engine, folder, clock)
    try:
        yield made
    finally:
        made.close()
