"""What must hold between the keys of a configuration. Each check is a function that gives what is wrong; the first finding is the error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bpfcrypto.errors import ConfigError
from bpfcrypto.programs.esp.config_types import LEAST_MTU, MOST_MTU, Config, ExplicitKeys, Peer, Send
from bpfcrypto.programs.esp.policies import MOST_ROWS, rows
from bpfcrypto.programs.esp.suites import Mode, largest_packet
from bpfcrypto.programs.esp.wire import epoch_of, peer_of

_LAST_SHORT = (1 << 32) - 1  # the last sequence number without ESN (RFC 4303, section 3.3.3)
_LEAST_IPV6 = 1280  # bytes that every link of IPv6 takes (RFC 8200, section 5)


@dataclass(frozen=True, slots=True)
class _Finding:
    place: str
    message: str


def check(config: Config) -> None:
    """Raises ConfigError where a configuration contradicts itself."""
    for find in _CHECKS:
        for finding in find(config):
            raise ConfigError(finding.message, source=str(config.source), place=finding.place)


def _devices(config: Config) -> Iterator[_Finding]:
    link = config.link
    if link.send is Send.ROUTED and link.interface in {link.device, f"{link.device}-in"}:
        yield _Finding(
            "[link] device", f"'{link.device}' is the interface itself, or its second end '{link.device}-in' is"
        )


def _doubles(config: Config) -> Iterator[_Finding]:
    for key in ("id", "name"):
        taken: dict[object, Peer] = {}
        for peer in config.peers:
            value = getattr(peer, key)
            if value in taken:
                yield _Finding(f"{peer.place} {key}", f"{value!r} is the {key} of another peer: {taken[value].place}")
            taken[value] = peer


def _ends(config: Config) -> Iterator[_Finding]:
    for peer in config.peers:
        if peer.local.version != peer.remote.version:
            message = f"{peer.remote} is of another family than the local address {peer.local}"
            yield _Finding(f"{peer.place} remote", message)
        if peer.local == peer.remote:
            yield _Finding(f"{peer.place} remote", f"{peer.remote} is the local address, too")


def _prefixes(config: Config) -> Iterator[_Finding]:
    places: dict[object, str] = {}
    found = rows(config)
    for row in found:
        if row.network in places:
            yield _Finding(row.place, f"{row.network} is in {places[row.network]}, too: one prefix has one meaning")
        places[row.network] = row.place
    if len(found) > MOST_ROWS:
        yield _Finding("[policy]", f"{len(found)} prefixes in all, and {MOST_ROWS} are the most")
    tunnel = next((peer for peer in config.peers if peer.mode is Mode.TUNNEL), None)
    if tunnel and not config.policy.local:
        message = f"is missing or empty: {tunnel.place} is in tunnel mode, and needs to know what is on this side"
        yield _Finding("[policy] local", message)


def _mtu(config: Config) -> Iterator[_Finding]:
    mtu = config.link.mtu
    for peer in config.peers if mtu is not None else ():
        assert mtu is not None
        least, why = LEAST_MTU[peer.family], f"{peer.place} is reached by IPv{peer.family}"
        if any(network.version == 6 for network in peer.prefixes):
            sizes = range(LEAST_MTU[peer.family], MOST_MTU)
            least = next(n for n in sizes if largest_packet(peer.suite, peer.mode, peer.family, n) >= _LEAST_IPV6)
            why = f"{peer.place} is sent IPv6, whose packets of {_LEAST_IPV6} bytes have to fit with ESP"
        if mtu < least:
            yield _Finding("[link] mtu", f"{mtu} is not allowed: {why}, and needs at least {least}")


def _spis(config: Config) -> Iterator[_Finding]:
    explicit = [(peer, peer.keys) for peer in config.peers if isinstance(peer.keys, ExplicitKeys)]
    automatic = {peer.id: peer for peer in config.peers if not isinstance(peer.keys, ExplicitKeys)}
    inbound: dict[int, Peer] = {}
    outbound: dict[object, Peer] = {}
    for peer, keys in explicit:
        spi = keys.receive.spi
        place = f"[peer.receive] of '{peer.name}' spi"
        if spi in inbound:
            yield _Finding(place, f"{spi:#x} is also what is received from {inbound[spi].place}")
        if (other := automatic.get(peer_of(spi))) is not None:
            yield _Finding(place, f"{spi:#x} is that of {other.place} (id {other.id}) in epoch {epoch_of(spi)}")
        inbound[spi] = peer
        end = (peer.remote, keys.send.spi)
        if end in outbound:
            message = f"{keys.send.spi:#x} is also what is sent to {outbound[end].place}, at the same address"
            yield _Finding(f"[peer.send] of '{peer.name}' spi", message)
        outbound[end] = peer


def _key_files(config: Config) -> Iterator[_Finding]:
    taken: dict[object, str] = {}
    for peer in config.peers:
        if isinstance(peer.keys, ExplicitKeys):
            for table, file in (("send", peer.keys.send.key), ("receive", peer.keys.receive.key)):
                place = f"[peer.{table}] of '{peer.name}' key"
                if file in taken:
                    message = f"'{file}' is in {taken[file]}, too: two that send with one key use every nonce twice"
                    yield _Finding(place, message)
                taken[file] = place


def _sequences(config: Config) -> Iterator[_Finding]:
    for peer in config.peers:
        if peer.esn:
            continue
        if isinstance(peer.keys, ExplicitKeys) and peer.keys.send.sequence >= _LAST_SHORT:
            message = f"{peer.keys.send.sequence} is not allowed: without ESN the last number is {_LAST_SHORT}"
            yield _Finding(f"[peer.send] of '{peer.name}' sequence", message)
        if not isinstance(peer.keys, ExplicitKeys) and config.rotation.packets >= _LAST_SHORT:
            message = f"{config.rotation.packets} is never reached: {peer.place} has no ESN, and {_LAST_SHORT} numbers"
            yield _Finding("[rotation] packets", message)


def _rotation(config: Config) -> Iterator[_Finding]:
    rotation = config.rotation
    asked = [key for key in ("seconds", "packets") if getattr(rotation, key)]
    if asked and all(isinstance(peer.keys, ExplicitKeys) for peer in config.peers):
        yield _Finding(f"[rotation] {asked[0]}", "no peer has a secret, and explicit keys are not rotated")
    if 0 < rotation.seconds <= rotation.grace:
        message = f"{rotation.seconds:g} is not allowed: an epoch is longer than the grace period of {rotation.grace:g} seconds"
        yield _Finding("[rotation] seconds", message)


_CHECKS: tuple[Callable[[Config], Iterator[_Finding]], ...] = (
    _devices,
    _doubles,
    _ends,
    _prefixes,
    _mtu,
    _spis,
    _key_files,
    _sequences,
    _rotation,
)
