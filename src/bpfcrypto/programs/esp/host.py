"""What ESP needs of a host's network, in the calling thread's namespace: devices and routes, made and taken away as often as one likes."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from bpfcrypto.errors import ConfigError, LinkError
from bpfcrypto.kernel.devices import describe, make_pair, remove_pair
from bpfcrypto.kernel.interfaces import netlink
from bpfcrypto.kernel.steering import (
    Route,
    add_route,
    has_neighbours,
    loosen,
    remove_all,
    remove_route,
    routes,
    strict,
    tighten,
)
from bpfcrypto.programs.esp.config_types import Send
from bpfcrypto.programs.esp.program import Settings
from bpfcrypto.programs.esp.state_file import replace_file
from bpfcrypto.programs.esp.suites import Mode, largest_packet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bpfcrypto.kernel.devices import Device
    from bpfcrypto.programs.esp.config_types import Config, Peer
    from bpfcrypto.programs.esp.wire import Address, Network

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """What tells this run of the kernel from others."""
    return _BOOT_ID.read_text().strip()


class Host:
    """The host's side of a configuration.

    Args:
        config: what is wanted.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._link = config.link
        self._loosened = config.link.state / f"rp_filter.{config.link.name}"

    @property
    def routed(self) -> bool:
        """Whether packets are routed to a device of ours."""
        return self._link.send is Send.ROUTED

    @property
    def entrance(self) -> str:
        """Where packets in the clear meet the programs."""
        return self._link.device if self.routed else self._link.interface

    def outer_mtu(self) -> int:
        """Bytes of the largest packet that may leave by the interface.

        Raises:
            LinkError: there is no such interface.
            ConfigError: it takes less than the configuration says.
        """
        actual = describe(self._link.interface).mtu
        wanted = self._link.mtu or actual
        if wanted > actual:
            raise ConfigError(
                f"[link] mtu: {wanted} is more than the {actual} of '{self._link.interface}'",
                source=str(self._config.source),
                hint="leave it out, or set the interface's: ip link set DEV mtu N",
            )
        return wanted

    def make_device(self, outer_mtu: int) -> Device | None:
        """The device that packets are routed to, as large as the largest packet of any peer; None where nothing is routed."""
        if not self.routed:
            return None
        return make_pair(self._link.device, max(self._room(peer, outer_mtu) for peer in self._config.peers))

    def settings(self, device: Device | None) -> Settings:
        """What the programs have to know of this host."""
        output = describe(self._link.interface).index
        if device is None:
            return Settings(output=output, default=self._config.policy.default)
        return Settings(output, device.index, device.mac, self._config.policy.default)

    def route(self, outer_mtu: int) -> None:
        """Route what is protected to the device, and nothing else."""
        if not self.routed:
            return
        wanted = {route.prefix: route for route in self._routes(outer_mtu)}
        for route in wanted.values():
            add_route(route, self._link.device, self._link.interface)
            # A strict interface does not answer ARP requests of a neighbour that is routed elsewhere.
            if route.prefix.version == 4 and has_neighbours(route.prefix, self._link.interface):
                self._loosen()
        for former in routes(self._link.device):
            if former.prefix not in wanted:
                remove_route(former.prefix, self._link.device)

    def restore(self) -> None:
        """Take devices and routes away."""
        if self.routed:
            remove_all(self._link.device)
            remove_pair(self._link.device)
        if self._was_loosened():
            tighten(self._link.interface)
        self._loosened.unlink(missing_ok=True)

    def _loosen(self) -> None:
        """The record comes first: whoever is killed in between leaves an interface that is made strict again."""
        if strict(self._link.interface):
            replace_file(self._loosened, self._this_interface())
            loosen(self._link.interface)

    def _was_loosened(self) -> bool:
        try:
            return self._loosened.read_bytes() == self._this_interface()
        except (FileNotFoundError, LinkError):  # it was not, or is gone
            return False

    def _this_interface(self) -> bytes:
        """What tells the interface from others of its name: settings go with it, and with a reboot, and the file does not."""
        return f"{boot_id()} {describe(self._link.interface).index}\n".encode()

    def _room(self, peer: Peer, outer_mtu: int) -> int:
        return largest_packet(peer.suite, peer.mode, peer.family, outer_mtu)

    def _routes(self, outer_mtu: int) -> Iterator[Route]:
        for peer in self._config.peers:
            for prefix in peer.prefixes:
                source = peer.local if peer.mode is Mode.TRANSPORT else self._own_address(prefix.version)
                yield Route(prefix, source, self._room(peer, outer_mtu))

    def _own_address(self, version: int) -> Address | None:
        """An address of this host that is on the protected side, so that its own packets are protected, too."""
        local: tuple[Network, ...] = self._config.policy.local
        with netlink() as request:
            for message in request.get_addr(family=socket.AF_INET if version == 4 else socket.AF_INET6):
                text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
                address = ip_address(text)
                if any(address in network for network in local if network.version == version):
                    return address
        return None
