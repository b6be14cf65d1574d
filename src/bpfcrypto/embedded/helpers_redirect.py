"""Helpers that send packets elsewhere (net/core/filter.c), and bpf_tail_call (kernel/bpf/core.c).

A redirect helper notes the target in the run and gives the verdict that the program should return; the last note counts. Targets are
not looked at, but for those in maps and of bpf_clone_redirect, which sends at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from errno import EINVAL
from typing import TYPE_CHECKING

from bpfcrypto.abi.maps import RedirectFlag
from bpfcrypto.abi.progs import ProgType
from bpfcrypto.abi.verdicts import TcAction, XdpAction
from bpfcrypto.embedded.helpers_map import map_of
from bpfcrypto.embedded.interp import MAX_TAIL_CALLS, TailCall
from bpfcrypto.embedded.map_progs import ProgArrayMap
from bpfcrypto.embedded.map_targets import DevMap, RedirectMap
from bpfcrypto.embedded.memory import AccessFault
from bpfcrypto.embedded.state import Native, error
from bpfcrypto.engine import Redirect

if TYPE_CHECKING:
    from bpfcrypto.embedded.state import RunState

_U32 = 0xFFFFFFFF
_ACTIONS = 3  # the fallback action in the flags of bpf_redirect_map
_NEIGHBOUR_SIZE = 20  # struct bpf_redir_neigh


def redirect(run: RunState, ifindex: int, flags: int, *_: int) -> int:
    """Send the packet to an interface; TC programs may choose its ingress side."""
    if run.program.type is ProgType.XDP:
        if flags:
            return XdpAction.ABORTED
        verdict: int = XdpAction.REDIRECT
    else:
        if flags & ~int(RedirectFlag.INGRESS):
            return TcAction.SHOT
        verdict = TcAction.REDIRECT
    run.redirect = Redirect("bpf_redirect", ifindex & _U32, flags)
    return verdict


def redirect_peer(run: RunState, ifindex: int, flags: int, *_: int) -> int:
    """Send the packet to the peer of a virtual interface, in its network namespace."""
    if flags:
        return TcAction.SHOT
    run.redirect = Redirect("bpf_redirect_peer", ifindex & _U32)
    return TcAction.REDIRECT


def redirect_neigh(run: RunState, ifindex: int, params: int, size: int, flags: int, *_: int) -> int:
    """Send the packet to an interface with the link-layer address of its next hop."""
    size &= _U32
    if flags or 0 < size < _NEIGHBOUR_SIZE:
        return TcAction.SHOT
    run.memory.span(params, size)
    run.redirect = Redirect("bpf_redirect_neigh", ifindex & _U32)
    return TcAction.REDIRECT


def clone_redirect(run: RunState, skb: int, ifindex: int, flags: int, *_: int) -> int:
    """Send a copy of the packet at once. Interfaces here are up and take everything."""
    packet = run.packet
    if packet is None or packet.handle != skb:
        raise AccessFault(f"{skb:#x} is not the skb of this run")
    ifindex &= _U32
    if flags & ~int(RedirectFlag.INGRESS) or ifindex not in run.interfaces:
        return error(EINVAL)
    run.effects.append(Redirect("bpf_clone_redirect", ifindex, flags, data=packet.to_bytes()))
    return 0


def redirect_map(run: RunState, handle: int, index: int, flags: int, *_: int) -> int:
    """Send the packet to an element of a map; without it, the low bits of the flags are the verdict."""
    target = map_of(run, handle, RedirectMap)  # type: ignore[type-abstract]
    if flags & ~(_ACTIONS | int(target.flags)):
        return XdpAction.ABORTED
    index &= _U32
    number = target.number(index)
    everywhere = bool(flags & RedirectFlag.BROADCAST)
    if number is None and not everywhere:
        run.redirect = None
        return flags & _ACTIONS
    ifindex = number or 0 if isinstance(target, DevMap) and not everywhere else 0
    run.redirect = Redirect("bpf_redirect_map", ifindex, flags, target.name, index)
    return XdpAction.REDIRECT


def tail_call(run: RunState, _ctx: int, handle: int, index: int, *_: int) -> int:
    """Go on with another program; without one, or after too many, the call does nothing."""
    program = map_of(run, handle, ProgArrayMap).at(index & _U32)
    if program is None or run.tail_calls >= MAX_TAIL_CALLS:
        return 0
    run.tail_calls += 1
    raise TailCall(program)


NATIVES: Mapping[str, Native] = {
    "bpf_redirect": redirect,
    "bpf_redirect_peer": redirect_peer,
    "bpf_redirect_neigh": redirect_neigh,
    "bpf_clone_redirect": clone_redirect,
    "bpf_redirect_map": redirect_map,
    "bpf_tail_call": tail_call,
}
