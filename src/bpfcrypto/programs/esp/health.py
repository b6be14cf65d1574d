"""Whether what was put up is still there: programs are off when their interface was made again, or somebody has detached them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bpfcrypto.abi.hooks import Hook
from bpfcrypto.errors import BpfCryptoError
from bpfcrypto.link import Order
from bpfcrypto.programs.esp.config_types import Send

if TYPE_CHECKING:
    from pathlib import Path

    from bpfcrypto.kernel.engine import KernelEngine
    from bpfcrypto.kernel.netns import Netns
    from bpfcrypto.programs.esp.config_types import Config


@dataclass(frozen=True, slots=True)
class Health:
    """What there is to worry about.

    Attributes:
        attached: whether a program is on its interface, by name.
        problems: in words.
    """

    attached: Mapping[str, bool] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


WELL = Health()
"""Nothing, as far as is known."""


def hooks(config: Config) -> Iterable[tuple[str, str, Hook, Order | None]]:
    """Programs and where they go: receiving first of all, sending behind all others."""
    interface = config.link.interface
    yield "open", interface, Hook.INGRESS, Order()
    if config.link.send is Send.ROUTED:
        yield "seal_routed", f"{config.link.device}-in", Hook.INGRESS, None
    yield "seal", interface, Hook.EGRESS, None


def look(engine: KernelEngine, config: Config, folder: Path, netns: Netns = None) -> Health:
    """Ask the kernel.

    Args:
        engine: of the kernel.
        config: what was put up.
        folder: where it is pinned.
        netns: where the interface is; on kernels without TCX, links are looked for there.
    """
    places = {name: interface for name, interface, _, _ in hooks(config)}
    attached = {name: _is_attached(engine, folder / name, netns) for name in places}
    problems = (
        f"program '{name}' is not on interface '{places[name]}': it was detached, or the interface was made again"
        for name, there in attached.items()
        if not there
    )
    return Health(attached, tuple(problems))


def _is_attached(engine: KernelEngine, pin: Path, netns: Netns) -> bool:
    try:
        with engine.open_link(pin, netns) as link:
            return link.attached
    except BpfCryptoError:
        return False
