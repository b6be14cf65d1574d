"""One host that ESP is brought up on, without anybody at the other end: a namespace, and configurations that change."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bpfcrypto.errors import BpfCryptoError
from bpfcrypto.kernel import netconf
from bpfcrypto.kernel.interfaces import netlink
from bpfcrypto.kernel.netns import within
from bpfcrypto.programs.esp.config import Config, load_config
from bpfcrypto.programs.esp.control import Event
from bpfcrypto.programs.esp.deployment import Deployment
from bpfcrypto.programs.esp.monitor import watch
from bpfcrypto.programs.esp.report import Report
from support.lab import delete_interface, namespaces

EPOCHS = 'secret = "{name}.secret"'
EXPLICIT = """
[peer.send]
spi = 0x1001
key = "send.key"
{sequence}

[peer.receive]
spi = 0x2001
key = "receive.key"
"""

_LINK = """
[link]
name = "west"
interface = "{interface}"
send = "{send}"
{device}
pins = "{pins}"
state = "state"

[policy]
local = ["10.1.0.0/16"]
default = "{default}"
"""
_PEER = """
[[peer]]
name = "{name}"
id = {id}
local = "192.0.2.1"
remote = "192.0.2.{remote}"
mode = "tunnel"
suite = "aes-128-ccm-16"
prefixes = ["10.{remote}.0.0/16"]
{keys}
"""


@dataclass
class OneHost:
    """A namespace with interfaces ``eth0`` and ``eth1``, and a folder of configurations."""

    netns: str
    folder: Path
    pins: Path

    def config(
        self,
        *,
        interface: str = "eth0",
        send: str = "routed",
        device: str = "esp0",
        default: str = "discard",
        peers: tuple[str, ...] = ("right",),
        keys: str = EPOCHS,
    ) -> Config:
        """Write a configuration. Secrets are made once; the peer ``bad`` has none that can be used."""
        kind = f'device = "{device}"' if send == "routed" else ""
        text = _LINK.format(interface=interface, send=send, device=kind, pins=self.pins, default=default)
        for number, name in enumerate(peers, 1):
            text += _PEER.format(name=name, id=number, remote=number + 1, keys=keys.format(name=name, sequence=""))
            self._make(f"{name}.secret", 31 if name == "bad" else 32)
        for name in ("send.key", "receive.key"):
            self._make(name, 19)
        (self.folder / "west.toml").write_text(text)
        return self.read()

    def read(self) -> Config:
        """The configuration as it is."""
        return load_config(self.folder / "west.toml")

    def _make(self, name: str, size: int) -> None:
        path = self.folder / name
        if not path.exists():
            path.write_bytes(name.encode().ljust(size, b"."))
            path.chmod(0o600)

    def up(self, config: Config) -> Deployment:
        """Bring it up; whoever wants to know what happened calls ``Deployment.up``."""
        return Deployment.up(config, self.netns)[0]

    def interfaces(self) -> set[str]:
        """All but those that the host had before."""

        def names() -> set[str]:
            with netlink() as request:
                return {str(link.get_attr("IFLA_IFNAME")) for link in request.get_links()}

        return within(self.netns, names) - {"lo", "eth0", "eth1"}

    def replug(self) -> None:
        """Another interface of the same name."""
        delete_interface(self.netns, "eth0")
        within(self.netns, _plug)

    def filter_of(self, name: str, value: int | None = None) -> int:
        """The setting rp_filter of an interface; with a value, it is set before."""

        def ask() -> int:
            if value is not None:
                netconf.write(f"ipv4/conf/{name}/rp_filter", value)
            return int(netconf.read(f"ipv4/conf/{name}/rp_filter") or 0)

        return within(self.netns, ask)


class Watch:
    """A monitor in a thread."""

    def __init__(self, host: OneHost, config: Config) -> None:
        self.events: list[Event] = []
        self.reports: list[Report] = []
        self.failure: BpfCryptoError | None = None
        self._stop = threading.Event()
        self._deployment = Deployment.opened(config, host.netns)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            watch(self._deployment, self._stop, self._show)
        except BpfCryptoError as error:
            self.failure = error

    def _show(self, report: Report, events: list[Event]) -> None:
        self.events += events
        self.reports.append(report)

    def rounds(self, number: int) -> None:
        """Wait until it has reported some more times."""
        target = len(self.reports) + number
        self.until(lambda: len(self.reports) >= target)

    def until(self, true: Callable[[], bool]) -> None:
        end = time.monotonic() + 10
        while not true():
            assert time.monotonic() < end, (self.events, self.failure)
            time.sleep(0.02)

    @property
    def failed(self) -> list[str]:
        return [str(event) for event in self.events if event.failed]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._deployment.close()


@contextmanager
def one_host(folder: Path, pins: Path) -> Iterator[OneHost]:
    """Make the host; what is up on it in the end is taken down."""
    with namespaces("west") as (netns,):
        within(netns, _plug)
        host = OneHost(netns, folder, pins)
        yield host
        if (folder / "west.toml").exists():
            Deployment.down(load_config(folder / "west.toml"), netns)


def _plug() -> None:
    with netlink() as request:
        request.link("add", ifname="eth0", kind="veth", peer={"ifname": "eth1"})
        for name, address, length in (("lo", "10.1.0.1", 32), ("eth0", "192.0.2.1", 24), ("eth1", None, 0)):
            index = request.link_lookup(ifname=name)[0]
            request.link("set", index=index, state="up")
            if address and not list(request.get_addr(index=index, family=socket.AF_INET, local=address)):
                add_address(name, address, length)


def add_address(name: str, address: str, length: int) -> None:
    """One more address of an interface."""
    with netlink() as request:
        request.addr("add", index=request.link_lookup(ifname=name)[0], address=address, prefixlen=length)
