"""``bpfcrypto esp``: packets encrypted and authenticated between hosts, by standard ESP."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bpfcrypto.cli.attach import NETNS_HELP
from bpfcrypto.cli.esp_captures import open_, seal
from bpfcrypto.cli.main import REJECTED
from bpfcrypto.cli.render import note

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bpfcrypto.programs.esp.config_types import Config
    from bpfcrypto.programs.esp.control import Control, Event
    from bpfcrypto.programs.esp.deployment import Deployment

_CONFIG = click.argument("config", metavar="CONFIG", type=click.Path(path_type=Path))
_NETNS = click.option("--netns", metavar="NETNS", help=NETNS_HELP)


@click.group()
def esp() -> None:
    """Encrypt and authenticate packets between hosts, by standard ESP.

    With AES-CCM or ChaCha20-Poly1305, in tunnel or transport mode, for IPv4 and IPv6. CONFIG is a TOML file: the interface, the policies and the peers. 'up' puts programs onto the interface, where they stay when the
    command has ended; 'monitor' is the service that looks after them.
    """


@esp.command()
@_CONFIG
@_NETNS
@click.option(
    "--wait", default=2.0, show_default=True, metavar="SECONDS", help="How long to wait for the peers' answers."
)
def up(config: Path, netns: str | None, wait: float) -> int | None:
    """Bring ESP up as CONFIG says, or what is up to what CONFIG says now.

    What is up already is taken over: its security associations and their sequence numbers go on. After a reboot every peer begins in a new
    epoch, so that no sequence number comes twice. Ends with 1 if a peer cannot be brought up: what is for it is dropped.
    """
    from bpfcrypto.programs.esp.deployment import Deployment

    loaded = _load(config)
    deployment, events = Deployment.up(loaded, netns)
    with deployment:
        _tell(events)
        _warn_of_default(loaded)
        failed = {event.peer for event in events if event.failed}
        # A peer with keys of its own has no epochs.
        awaited = {name: min(peer.epoch, 1) for name, peer in deployment.control.peers.items() if name not in failed}
        answered = deployment.control.wait(awaited, wait)
        for name, heard in answered.items():
            note(f"{name}: {_state(deployment, name, heard)}")
    return REJECTED if failed else None


@esp.command()
@_CONFIG
@_NETNS
def down(config: Path, netns: str | None) -> None:
    """Take everything away; what was protected goes in the clear from then on.

    Epochs that were used stay on disk, so that the next 'up' begins with others.
    """
    from bpfcrypto.programs.esp.deployment import Deployment

    Deployment.down(_load(config), netns)


@esp.command()
@_CONFIG
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def status(config: Path, as_json: bool) -> int | None:
    """Show peers, security associations and what was dropped, with the reasons.

    Ends with 1 if a program is not on its interface any more, or something else is up than CONFIG says.
    """
    from bpfcrypto.cli.esp_view import print_status
    from bpfcrypto.programs.esp.deployment import Deployment
    from bpfcrypto.programs.esp.report import take_report

    loaded = _load(config)
    with Deployment.looked_at(loaded) as (program, health):
        print_status(take_report(program, loaded, health), as_json)
    return REJECTED if health.problems else None


@esp.command()
@_CONFIG
@click.argument("peers", metavar="[PEER]...", nargs=-1)
@_NETNS
@click.option(
    "--timeout", type=float, metavar="SECONDS", help="How long to wait for answers; by default as CONFIG says."
)
def rotate(config: Path, peers: tuple[str, ...], netns: str | None, timeout: float | None) -> int | None:
    """Take peers, by default all that have a secret, to their next epochs: new keys, and no packet is lost.

    The other end follows by itself where 'monitor' runs there; else call 'rotate' there, too. Ends with 1 if a peer has not answered.
    """
    from bpfcrypto.errors import ConfigError
    from bpfcrypto.programs.esp.config_types import ExplicitKeys
    from bpfcrypto.programs.esp.deployment import Deployment

    loaded = _load(config)
    chosen = [loaded.peer(name) for name in peers] or [
        peer for peer in loaded.peers if not isinstance(peer.keys, ExplicitKeys)
    ]
    if not chosen:
        raise ConfigError(
            "no peer has a secret, so there are no epochs to go to",
            source=str(config),
            hint="put new keys and SPIs into the configuration, and call 'bpfcrypto esp up' again",
        )
    with Deployment.opened(loaded, netns) as deployment:
        seconds = loaded.rotation.timeout if timeout is None else timeout
        answered = deployment.control.rotate([peer.name for peer in chosen], seconds)
        for name, heard in answered.items():
            note(f"{name}: {_state(deployment, name, heard)}")
    return None if all(answered.values()) else REJECTED


@esp.command()
@_CONFIG
@_NETNS
def monitor(config: Path, netns: str | None) -> None:
    """Look after what is up, until interrupted: a live table of it, and metrics where CONFIG says.

    It follows peers to new epochs, ends epochs when it is time, and looks at folders of secrets. What is up stays up when it ends, and is
    taken over when it is started again. It ends by itself where what it looks after was taken down.
    """
    from bpfcrypto.cli.esp_view import Live
    from bpfcrypto.programs.esp.deployment import Deployment
    from bpfcrypto.programs.esp.monitor import watch

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with Deployment.opened(_load(config), netns) as deployment, Live() as live:
        watch(deployment, stop, live.update)


esp.add_command(seal)
esp.add_command(open_)


def _load(path: Path) -> Config:
    from bpfcrypto.programs.esp.config import load_config

    return load_config(path)


def _tell(events: Iterable[Event]) -> None:
    from bpfcrypto.cli.esp_view import in_words

    for event in events:
        note(in_words(event))


def _state(deployment: Deployment, name: str, heard: bool) -> str:
    control: Control = deployment.control
    epoch = control.peers[name].epoch
    where = f" in epoch {epoch}" if epoch else ""
    if heard:
        return f"has answered{where}"
    return f"has not answered{where} yet: bring it up, or look at 'bpfcrypto esp status' there"


def _warn_of_default(config: Config) -> None:
    from bpfcrypto.programs.esp.policies import Action

    if config.policy.default is Action.DISCARD:
        note(
            f"on '{config.link.interface}' packets of other prefixes are dropped ('bypass' and 'default' in [policy] let them pass)"
        )
