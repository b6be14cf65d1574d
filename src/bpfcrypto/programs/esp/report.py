"""What operators see of a link: peers, security associations and counters at one moment.

Everything is read from the maps, without the control plane's lock and without its memory, so that a report disturbs nobody. It has
fingerprints of keys, never keys.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bpfcrypto.programs.esp.config_types import ExplicitKeys
from bpfcrypto.programs.esp.health import WELL, Health
from bpfcrypto.programs.esp.report_types import Direction, PeerReport, Report, SaReport, State
from bpfcrypto.programs.esp.wire import epoch_of

if TYPE_CHECKING:
    from bpfcrypto.programs.esp.config_types import Config, Peer
    from bpfcrypto.programs.esp.program import Association, EspProgram, Tally

__all__ = ["Direction", "PeerReport", "Report", "SaReport", "State", "take_report"]

_ATTEMPTS = 3


def take_report(program: EspProgram, config: Config, health: Health = WELL, *, now_ns: int | None = None) -> Report:
    """Read the maps.

    Args:
        program: the loaded programs.
        config: the configuration, which names the peers.
        health: whether the programs are on their interfaces.
        now_ns: the time on CLOCK_MONOTONIC, for tests.
    """
    senders = {peer.id: program.sender(peer.id) for peer in config.peers}  # first: an SA outlasts being sent with
    held, tallies = _read(program)
    receiving = program.receiving()
    now = time.monotonic_ns() if now_ns is None else now_ns
    by_id = {peer.id: peer for peer in config.peers}
    found = []
    for slot, association in held.items():
        peer, tally = by_id.get(association.peer), tallies[slot]
        sender = senders[association.peer] if peer else program.sender(association.peer)
        found.append(
            SaReport(
                slot=slot,
                peer=peer.name if peer else None,
                direction=Direction.OUT if association.outbound else Direction.IN,
                state=_state(slot, held, sender, peer, receiving),
                epoch=epoch_of(association.spi) if _has_epochs(peer) else None,
                association=association,
                packets=tally.packets,
                bytes=tally.bytes,
                age=_seconds(association.installed_ns, now),
                last=_seconds(tally.last_ns, now) if tally.last_ns else None,
            )
        )
    order = {peer.id: number for number, peer in enumerate(config.peers)}
    found.sort(key=lambda each: (order.get(each.association.peer, 256 + each.association.peer), _order(each)))
    return Report(
        link=config.link.name,
        interface=config.link.interface,
        taken_ns=now,
        peers=tuple(_peer(peer, [each for each in found if each.peer == peer.name]) for peer in config.peers),
        associations=tuple(found),
        unmatched=program.tally(0).packets,
        health=health,
    )


def _read(program: EspProgram) -> tuple[dict[int, Association], dict[int, Tally]]:
    """SAs and their counters; a slot that is filled anew in between would have those of another SA, and is left out."""
    for _ in range(_ATTEMPTS):
        before = program.associations()
        tallies = {slot: program.tally(slot) for slot in before}
        after = program.associations()
        held = {slot: after[slot] for slot in before if slot in after and _is_same(before[slot], after[slot])}
        if len(held) == len(before) == len(after):
            break
    return held, tallies


def _is_same(a: Association, b: Association) -> bool:
    return (a.spi, a.outbound, a.installed_ns) == (b.spi, b.outbound, b.installed_ns)


def _has_epochs(peer: Peer | None) -> bool:
    return peer is not None and not isinstance(peer.keys, ExplicitKeys)


def _state(
    slot: int, held: Mapping[int, Association], sender: int, peer: Peer | None, receiving: Mapping[int, int]
) -> State:
    one = held[slot]
    if one.outbound and slot == sender:
        return State.SENDING
    if peer is None or isinstance(peer.keys, ExplicitKeys):
        current = not one.outbound and receiving.get(one.spi) == slot
        if peer is not None and isinstance(peer.keys, ExplicitKeys):
            current = current and one.spi == peer.keys.receive.spi
        return State.RECEIVING if current else State.FORMER
    epoch, sent = epoch_of(one.spi), epoch_of(held[sender].spi) if sender in held else 0
    if epoch <= sent:
        return State.FORMER if one.outbound or epoch < sent else State.RECEIVING
    # A later epoch than the next is one to go to where there is an SA to send in it, and else one that only a hint speaks of.
    expected = one.outbound or epoch == sent + 1 or not sent
    return State.NEXT if expected or _is_prepared(one, held) else State.CANDIDATE


def _is_prepared(inbound: Association, held: Mapping[int, Association]) -> bool:
    return any(each.outbound and (each.peer, each.spi) == (inbound.peer, inbound.spi) for each in held.values())


def _peer(peer: Peer, associations: list[SaReport]) -> PeerReport:
    sending = next((each for each in associations if each.state is State.SENDING), None)
    inbound = [each for each in associations if each.direction is Direction.IN]
    return PeerReport(
        peer=peer,
        sending=sending is not None,
        epoch=sending.epoch if sending else None,
        acknowledged=sending is not None
        and any(each.state is State.RECEIVING and each.last is not None for each in inbound),
        heard=min((each.last for each in inbound if each.last is not None), default=None),
    )


def _order(each: SaReport) -> tuple[bool, int, int]:
    return not each.association.outbound, -each.association.spi, each.slot


def _seconds(since_ns: int, now_ns: int) -> float:
    return max(now_ns - since_ns, 0) / 1e9
