"""What was put up, on disk: where it is, so that it is found and taken down whatever the configuration says by then.

The record is there before anything that it speaks of, and goes after it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from bpfcrypto.errors import ConfigError
from bpfcrypto.programs.esp.config_types import ExplicitKeys, Send
from bpfcrypto.programs.esp.state_file import replace_file

if TYPE_CHECKING:
    from bpfcrypto.programs.esp.config_types import Config

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Record:
    """What of a configuration cannot change while it is up, and which peers have keys of their own.

    Attributes:
        interface, send, device, pins: as in ``[link]``; without a device of ours, ``device`` is empty.
        explicit: the numbers of the peers whose keys are given themselves.
    """

    interface: str
    send: Send
    device: str
    pins: Path
    explicit: frozenset[int]

    @classmethod
    def of(cls, config: Config) -> Self:
        """What a configuration wants."""
        link = config.link
        return cls(
            link.interface,
            link.send,
            link.device if link.send is Send.ROUTED else "",
            link.pins,
            frozenset(peer.id for peer in config.peers if isinstance(peer.keys, ExplicitKeys)),
        )

    @classmethod
    def read(cls, config: Config) -> Self | None:
        """What was put up of the link with this name; None for nothing.

        Raises:
            ConfigError: the file is damaged or cannot be read.
        """
        path = _path(config)
        try:
            return cls._decoded(json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"cannot be read: {error.strerror}", source=str(path)) from None
        except (ValueError, TypeError, KeyError, AttributeError):
            hint = "take it away: then 'bpfcrypto esp down' goes by the configuration"
            raise ConfigError("is no record of what was put up, or damaged", source=str(path), hint=hint) from None

    @classmethod
    def _decoded(cls, table: dict[str, Any]) -> Self:
        if table["format"] != _FORMAT:
            raise ValueError("of another version")
        interface, device, pins = (str(table[name]) for name in ("interface", "device", "pins"))
        return cls(interface, Send(table["send"]), device, Path(pins), frozenset(map(int, table["explicit"])))

    def write(self, config: Config) -> None:
        """Keep it; the folder of the state is there.

        Raises:
            ConfigError: it cannot be written.
        """
        table = {
            "format": _FORMAT,
            "interface": self.interface,
            "send": self.send.value,
            "device": self.device,
            "pins": str(self.pins),
            "explicit": sorted(self.explicit),
        }
        replace_file(_path(config), json.dumps(table, indent=1).encode() + b"\n")

    @staticmethod
    def forget(config: Config) -> None:
        """Nothing is up any more."""
        _path(config).unlink(missing_ok=True)

    def applied(self, config: Config) -> Config:
        """The configuration as it would be for what was put up."""
        link = replace(config.link, interface=self.interface, send=self.send, pins=self.pins)
        return replace(config, link=replace(link, device=self.device or link.device))

    def differences(self, config: Config) -> tuple[str, ...]:
        """What the configuration says otherwise, in words."""
        wanted = Record.of(config)
        found = []
        for name in ("interface", "send", "device", "pins"):
            here, there = getattr(self, name), getattr(wanted, name)
            if here != there and here and there:
                found.append(f"[link] {name} is '{there}', but what is up has '{here}'")
        return tuple(found)


def _path(config: Config) -> Path:
    return config.link.state / f"deployment.{config.link.name}.json"
