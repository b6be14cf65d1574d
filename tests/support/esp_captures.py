"""Two sites for captures of ESP: their configurations, frames between them, and the same SAs in scapy, which knows nothing of this package."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpfcrypto.programs.esp.config import load_config
from bpfcrypto.programs.esp.suites import SUITES
from support.esp_pair import frame, write_secret

if TYPE_CHECKING:
    from bpfcrypto.programs.esp.config_types import Config

OUTER = {"left": "192.0.2.1", "right": "198.51.100.1"}
INNER = {"left": "10.1.0.1", "right": "10.2.0.1"}
OTHER = {"left": "right", "right": "left"}
SPIS = {"left": 0x1001, "right": 0x2002}
"""Explicit ones, by who receives with them."""

ID = 7


@dataclass
class Sites:
    """Configurations of both sides in one folder, with one secret, or with a key for each direction.

    Attributes:
        folder: where everything is.
        suite, mode, esn: of the only peer.
        explicit: whether keys are given themselves.
        inner: what is protected, by side; addresses of hosts.
        policy: more lines of ``[policy]``.
        sequence: of explicit keys, the last number that counts as used.
    """

    folder: Path
    suite: str = "aes-256-ccm-16"
    mode: str = "tunnel"
    esn: bool = True
    explicit: bool = False
    inner: Mapping[str, list[str]] = field(default_factory=lambda: {side: [each] for side, each in INNER.items()})
    policy: str = ""
    sequence: int = 0
    keys: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.mode == "transport":
            self.inner = {side: [each] for side, each in OUTER.items()}
        write_secret(self.folder / "secret")
        for receiver in OUTER:
            self.keys[receiver] = os.urandom(SUITES[self.suite].material_size)
            write_secret(self.folder / f"{receiver}.key", self.keys[receiver])

    def path(self, side: str) -> Path:
        """The configuration of a side."""
        path, other = self.folder / f"{side}.toml", OTHER[side]
        prefixes = "" if self.mode == "transport" else f"prefixes = {_prefixes(self.inner[other])}"
        local = "" if self.mode == "transport" else f"local = {_prefixes(self.inner[side])}"
        path.write_text(
            f"""
[link]
interface = "eth0"
[policy]
{local}
{self.policy}
[[peer]]
name = "{other}"
id = {ID}
local = "{OUTER[side]}"
remote = "{OUTER[other]}"
mode = "{self.mode}"
suite = "{self.suite}"
esn = {str(self.esn).lower()}
{prefixes}
{self._keys(side) if self.explicit else 'secret = "secret"'}
"""
        )
        return path

    def config(self, side: str) -> Config:
        return load_config(self.path(side))

    def frame(self, source: str, payload: bytes = b"something in the clear") -> bytes:
        """A packet from a side to the other one."""
        return frame(self.inner[source][0], self.inner[OTHER[source]][0], payload)

    def in_scapy(self, source: str, **options: Any) -> ScapySa:
        """What a side sends with, by explicit keys."""
        return ScapySa(self, source, **options)

    def _keys(self, side: str) -> str:
        return f"""
[peer.send]
spi = {SPIS[OTHER[side]]}
key = "{OTHER[side]}.key"
sequence = {self.sequence}
[peer.receive]
spi = {SPIS[side]}
key = "{side}.key"
"""


class ScapySa:
    """A security association of scapy, for whole frames."""

    def __init__(self, sites: Sites, source: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from scapy.layers.inet import IP
            from scapy.layers.ipsec import ESP, SecurityAssociation

        target, suite = OTHER[source], SUITES[sites.suite]
        options: dict[str, Any] = {} if suite.icv_size == 16 else {"crypt_icv_size": suite.icv_size}
        if sites.mode == "tunnel":
            options["tunnel_header"] = IP(src=OUTER[source], dst=OUTER[target])
        self._ip = IP
        self._esn = {"esn_en": sites.esn, "esn": 0}
        self._sa = SecurityAssociation(
            ESP,
            spi=SPIS[target],
            crypt_algo="CHACHA20-POLY1305" if "chacha" in sites.suite else "AES-CCM",
            crypt_key=sites.keys[target],
            **self._esn,
            **options,
        )

    def seal(self, data: bytes) -> bytes:
        """A frame in the clear as ESP, with the next number."""
        return data[:14] + bytes(self._sa.encrypt(self._ip(data[14:]), **self._esn))

    def open(self, data: bytes) -> bytes:
        """A frame of ESP in the clear."""
        return data[:14] + bytes(self._sa.decrypt(self._ip(data[14:]), **self._esn))


def _prefixes(addresses: list[str]) -> list[str]:
    return [f"{each}/{ip_address(each).max_prefixlen}" for each in addresses]
