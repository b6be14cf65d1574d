"""ESP that is up between two hosts of a network, as a configuration file says, with somebody on each side who looks after it."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bpfcrypto.kernel import netconf
from bpfcrypto.kernel.interfaces import netlink
from bpfcrypto.kernel.netns import within
from bpfcrypto.programs.esp.config import Config, load_config
from bpfcrypto.programs.esp.control import Event
from bpfcrypto.programs.esp.deployment import Deployment, pins
from bpfcrypto.programs.esp.program import Association
from bpfcrypto.programs.esp.suites import SUITES, Mode, largest_packet
from support.esp_lab import FAMILIES, HOSTS, OUTER, ROUTER, VERSIONS, EspLab, esp_lab
from support.traffic import Ends

SUITE_NAMES = ("aes-128-ccm-16", "chacha20-poly1305")
OTHER = dict(zip(HOSTS, HOSTS[::-1], strict=True))
NETWORKS = {"left": ("10.1.0.0/16", "fd00:1::/32"), "right": ("10.2.0.0/16", "fd00:2::/32")}
PEER = 1
_STEP = 0.05  # seconds between two looks of a tender

_CONFIG = """
[link]
name = "{name}"
interface = "eth0"
send = "{send}"
pins = "{pins}"
state = "state"

[policy]
local = [{local}]

[rotation]
grace = {grace}

[[peer]]
name = "{other}"
id = {peer}
local = "{source}"
remote = "{target}"
mode = "{mode}"
suite = "{suite}"
esn = {esn}
{prefixes}
secret = "shared.secret"
"""


@dataclass(frozen=True)
class Options:
    """What a link is like. ``version`` is that of the outer addresses."""

    suite: str = "chacha20-poly1305"
    mode: str = "tunnel"
    version: int = 4
    send: str = "routed"
    grace: float = 1.0
    esn: bool = True

    def __str__(self) -> str:
        return f"{self.suite}-{self.mode}-v{self.version}-{self.send}{'' if self.esn else '-no-esn'}"

    @property
    def inner(self) -> bool:
        """Whether those who talk have inner addresses."""
        return self.mode == "tunnel"

    @property
    def versions(self) -> tuple[int, ...]:
        """Of IP, that can be talked."""
        return VERSIONS if self.inner else (self.version,)

    @property
    def largest(self) -> int:
        """Bytes of the largest IP packet in the clear."""
        return largest_packet(SUITES[self.suite], Mode[self.mode.upper()], self.version, 1500)


def write_config(folder: Path, name: str, where: Path, secret: bytes, options: Options) -> Path:
    """The configuration of one host, its key beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "shared.secret").write_bytes(secret)
    (folder / "shared.secret").chmod(0o600)
    other = OTHER[name]
    path = folder / "esp.toml"
    path.write_text(
        _CONFIG.format(
            name=name,
            other=other,
            peer=PEER,
            send=options.send,
            pins=where,
            grace=options.grace,
            local=_quoted(NETWORKS[name]) if options.inner else "",
            source=OUTER[name][options.version],
            target=OUTER[other][options.version],
            mode=options.mode,
            suite=options.suite,
            esn=str(options.esn).lower(),
            prefixes=f"prefixes = [{_quoted(NETWORKS[other])}]" if options.inner else "",
        )
    )
    return path


def _quoted(texts: tuple[str, ...]) -> str:
    return ", ".join(f'"{text}"' for text in texts)


class Tender:
    """Looks after a deployment, in a thread of its own, until it is told to stop."""

    def __init__(self, deployment: Deployment) -> None:
        self.events: list[Event] = []
        self._deployment = deployment
        self._failure: BaseException | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._tend, daemon=True)
        self._thread.start()

    def _tend(self) -> None:
        try:
            while not self._done.wait(_STEP):
                self.events += self._deployment.control.tend()
        except BaseException as error:
            self._failure = error

    def stop(self) -> None:
        """Stop; what went wrong is an error here."""
        self._done.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure


@dataclass
class Side:
    """One host, where ESP is up."""

    name: str
    netns: str
    config: Config
    deployment: Deployment
    events: list[Event] = field(default_factory=list)

    @property
    def peer(self) -> str:
        return OTHER[self.name]

    def sending(self) -> tuple[int, Association]:
        """The slot that is sent with, and what is in it."""
        slot = self.deployment.program.sender(PEER)
        found = self.deployment.program.association(slot)
        assert found is not None
        return slot, found

    def receiving(self, spi: int) -> int:
        """The slot that an SPI is received with."""
        return self.deployment.program.receiving()[spi]

    def verdicts(self, slot: int | None = None) -> Counter[str]:
        """What has become of packets: of a slot, or of all together."""
        program = self.deployment.program
        slots = (0, *program.associations()) if slot is None else (slot,)
        total: Counter[str] = Counter()
        for each in slots:
            total.update(program.tally(each).packets)
        return total


@dataclass
class EspLink:
    """The network, and ESP on both hosts."""

    network: EspLab
    options: Options
    left: Side
    right: Side

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.left, self.right

    def ends(self, version: int | None = None) -> Ends:
        """From left to right, by addresses that are protected."""
        return self.network.ends(version or self.options.versions[0], inner=self.options.inner)

    def back(self, version: int | None = None) -> Ends:
        """From right to left."""
        there = self.ends(version)
        assert there.source is not None
        return Ends(there.server, there.client, there.source, there.target)


@contextmanager
def esp_link(folder: Path, where: Path, options: Options, *, tended: Iterable[str] = HOSTS) -> Iterator[EspLink]:
    """Bring ESP up between two hosts, wait until both know that of each other, and take everything away.

    Args:
        folder: for configurations and state.
        where: a BPF file system.
        options: what the link is like.
        tended: the sides that have a tender.
    """
    secret = os.urandom(32)
    with esp_lab() as network, ExitStack() as stack:
        if options.send == "egress":
            for name in HOSTS:
                within(network.host(name), lambda name=name: cut(name, options.largest))
        sides = []
        for name in HOSTS:
            config = load_config(write_config(folder / name, name, where, secret, options))
            netns = network.host(name)
            stack.callback(Deployment.down, config, netns)
            deployment, _ = Deployment.up(config, netns)
            stack.callback(deployment.close)
            sides.append(Side(name, netns, config, deployment))
        tenders = {side.name: Tender(side.deployment) for side in sides}
        try:
            for side in sides:
                seen = Deployment.opened(side.config, side.netns)
                with seen:
                    assert all(seen.control.wait({side.peer: 1}, 5.0).values()), f"{side.name} does not hear the other"
            for name in set(HOSTS) - set(tended):
                tenders.pop(name).stop()
            yield EspLink(network, options, *sides)
        finally:
            for tender in tenders.values():
                tender.stop()


def cut(side: str, mtu: int) -> None:
    """What ``send = "egress"`` wants of a host: no super-packets, routes that leave room for ESP, and ARP by outer addresses.

    The kernel would ask for the router in the name of the inner address that it has a packet of, whom the router does not answer.
    """
    netconf.write("ipv4/conf/all/arp_announce", 2)
    with netlink() as host:
        host.link("set", index=host.link_lookup(ifname="eth0")[0], gso_max_segs=1)
        for version in VERSIONS:
            host.route(
                "replace",
                family=FAMILIES[version],
                dst="default",
                gateway=ROUTER[side][version],
                metrics={"mtu": mtu},
            )


def what_is_left(config: Config, netns: str) -> list[Any]:
    """Pins, devices, rules and routes of a link that was taken away."""

    def ask() -> list[Any]:
        with netlink() as host:
            devices = [link.get_attr("IFLA_IFNAME") for link in host.get_links()]
            rules = [rule.get_attr("FRA_TABLE") for rule in host.get_rules()]
            return [
                *(name for name in devices if name not in ("lo", "eth0")),
                *(table for table in rules if table not in (253, 254, 255)),
                *(route.get_attr("RTA_TABLE") for route in host.get_routes() if _is_foreign(route)),
            ]

    return [*pins(config).parent.glob(f"*{pins(config).name}*"), *within(netns, ask)]


def _is_foreign(route: Any) -> bool:
    return route.get_attr("RTA_TABLE") not in (254, 255)
