"""The kinds of values in a configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from math import isfinite
from pathlib import Path

from bpfcrypto.programs.esp.config_table import Kind, Refused, did_you_mean
from bpfcrypto.programs.esp.wire import MAPPED, Address, Network

_LOOKS_SECRET = re.compile(r"(?:0x)?[0-9a-fA-F]{32,}|[A-Za-z0-9+/_-]{22,}={1,2}")


def integer(low: int, high: int, *, zero: str = "") -> Kind:
    """An integer; ``zero`` says what 0 means, where that is below the range."""

    def parse(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not (low <= value <= high or (zero and value == 0)):
            raise Refused(value)
        return value

    return Kind(f"an integer from {low} to {high}" + (f", or 0 {zero}" if zero else ""), parse)


def duration(low: float, high: float, *, zero: str = "") -> Kind:
    """A time in seconds, with or without fraction; ``zero`` as of :func:`integer`."""

    def parse(value: object) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value):
            raise Refused(value)
        if not (low <= value <= high or (zero and value == 0)):
            raise Refused(value)
        return float(value)

    return Kind(f"seconds from {low:g} to {high:g}" + (f", or 0 {zero}" if zero else ""), parse)


def text(pattern: str, allowed: str) -> Kind:
    """Text that matches a regular expression as a whole."""

    def parse(value: object) -> str:
        if not isinstance(value, str) or re.fullmatch(pattern, value) is None:
            raise Refused(value)
        return value

    return Kind(allowed, parse)


def choice(choices: Mapping[str, object]) -> Kind:
    """One word of some, each with what it stands for."""

    def parse(value: object) -> object:
        if not isinstance(value, str) or value not in choices:
            raise Refused(value, hint=did_you_mean(value, choices) if isinstance(value, str) else None)
        return choices[value]

    *others, last = (f"'{word}'" for word in choices)
    return Kind(f"{', '.join(others)} or {last}", parse)


def file_path(*, secret: bool = False) -> Kind:
    """The path of a file or folder; with ``secret`` of one for keys, where a value that looks like a key itself is never shown."""

    def parse(value: object) -> Path:
        if not isinstance(value, str) or not value or "\0" in value:
            raise Refused(value)
        if secret and _LOOKS_SECRET.fullmatch(value):
            raise Refused(value, secret=True, hint="keys stand in files of their own; this one should be replaced")
        return Path(value)

    return Kind("a path", parse)


@dataclass(frozen=True, slots=True)
class Listen:
    """Where metrics are served: a loopback address, and a TCP port (0: the kernel chooses)."""

    host: str
    port: int


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise Refused(value)
    return value


def _address(value: object) -> Address:
    try:
        found = ip_address(value) if isinstance(value, str) and "%" not in value else None
    except ValueError:
        found = None
    if found is None or found.is_multicast or found.is_unspecified:
        raise Refused(value)
    if found.version == 6 and found in MAPPED:
        raise Refused(value, hint=f"it is the IPv4 address {found.ipv4_mapped}")
    return found


def _prefix(value: object) -> Network:
    if not isinstance(value, str) or "%" in value:
        raise Refused(value)
    try:
        loose = ip_network(value, strict=False)
    except ValueError:
        raise Refused(value) from None
    if loose.version == 6 and loose.subnet_of(MAPPED):
        raise Refused(value, hint="an IPv4 prefix is written as such")
    try:
        return ip_network(value)
    except ValueError:
        raise Refused(value, hint=f"bits behind the prefix are set: did you mean '{loose}'?") from None


def _prefixes(value: object) -> tuple[Network, ...]:
    if not isinstance(value, list):
        raise Refused(value)
    return tuple(_prefix(each) for each in value)


def _listen(value: object) -> Listen:
    host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) or int(port) > 65535:
        raise Refused(value)
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        address = ip_address(bare)
    except ValueError:
        raise Refused(value) from None
    if not address.is_loopback:
        raise Refused(value, hint="a proxy on this host can serve others, and ask them who they are")
    if (address.version == 6) is (bare == host):
        raise Refused(value, hint="an IPv6 address stands in brackets, and only such a one")
    return Listen(str(address), int(port))


FLAG = Kind("true or false", _flag)
ADDRESS = Kind("one IPv4 or IPv6 address of a host, without a zone", _address)
PREFIXES = Kind('an array of IPv4 and IPv6 prefixes, such as "10.1.0.0/16"', _prefixes)
LISTEN = Kind(
    'a loopback address and a port, such as "127.0.0.1:9464" or "[::1]:9464": metrics tell who talks to whom and how much, '
    "and whoever can connect can read them",
    _listen,
)
