"""The configuration of a link: a TOML file into records, or an error that says what is wrong where, and what is allowed.

Key files are only named in it, and read when they are needed.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

from bpfcrypto.errors import ConfigError
from bpfcrypto.programs.esp.config_checks import check
from bpfcrypto.programs.esp.config_kinds import Listen, file_path
from bpfcrypto.programs.esp.config_table import Place, as_table, check_keys, kinds_of, read_record, shown
from bpfcrypto.programs.esp.config_types import (
    Config,
    ExplicitKeys,
    Keys,
    Link,
    Metrics,
    Peer,
    Policy,
    ReceiveKey,
    Rotation,
    SecretFile,
    SecretFolder,
    Send,
    SendKey,
)
from bpfcrypto.programs.esp.suites import Mode

__all__ = [
    "Config",
    "ExplicitKeys",
    "Keys",
    "Link",
    "Listen",
    "Metrics",
    "Peer",
    "Policy",
    "ReceiveKey",
    "Rotation",
    "SecretFile",
    "SecretFolder",
    "Send",
    "SendKey",
    "load_config",
]

_KEYS = ("secret", "secrets", "send", "receive")
_ONE_OF = "one of 'secret', 'secrets', or both tables [peer.send] and [peer.receive]"
_TABLES = ("link", "policy", "rotation", "metrics", "peer")


def load_config(path: str | os.PathLike[str]) -> Config:
    """Read a configuration and check that it holds together.

    Args:
        path: the file; paths in it are relative to its folder.

    Raises:
        ConfigError: the file cannot be read or is not TOML; a key is unknown, missing, or has a value that is not allowed; or two keys
            contradict each other.
    """
    source = os.fspath(path)
    folder = Path(os.path.abspath(source)).parent
    table = _parsed(source)
    check_keys(table, _TABLES, Place(source, folder, ""))
    link, policy, rotation, metrics = (
        _section(table, name, Place(source, folder, f"[{name}]")) for name in ("link", "policy", "rotation", "metrics")
    )
    config = Config(
        source=Path(source),
        link=read_record(Link, {"name": Path(source).stem, **link}, Place(source, folder, "[link]")),
        policy=read_record(Policy, policy, Place(source, folder, "[policy]")),
        rotation=read_record(Rotation, rotation, Place(source, folder, "[rotation]")),
        metrics=read_record(Metrics, metrics, Place(source, folder, "[metrics]")),
        peers=_peers(table, source, folder),
    )
    config = replace(config, policy=_with_transport(config))
    if config.link.send is Send.EGRESS and "device" in link:
        raise Place(source, folder, "[link]").error("device", "not with send = 'egress', which has no device")
    check(config)
    return config


def _parsed(source: str) -> Mapping[str, object]:
    try:
        with open(source, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", source=source) from None
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        raise ConfigError(f"not TOML: {message[:1].lower()}{message[1:]}", source=source) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"not TOML: byte {error.start} is not UTF-8", source=source) from None
    except RecursionError:
        raise ConfigError("tables or arrays are nested too deeply", source=source) from None


def _section(table: Mapping[str, object], name: str, place: Place) -> Mapping[str, object]:
    return as_table(table.get(name, {}), place)


def _peers(table: Mapping[str, object], source: str, folder: Path) -> tuple[Peer, ...]:
    found = table.get("peer", [])
    place = Place(source, folder, "[[peer]]")
    if not isinstance(found, list):
        raise place.error("", "each peer is a table in double brackets", hint="write [[peer]] instead of [peer]")
    if not found:
        raise place.error("", "there is none: a link has at least one peer")
    return tuple(_peer(value, number, place) for number, value in enumerate(found, 1))


def _peer(value: object, number: int, place: Place) -> Peer:
    table = as_table(value, replace(place, table=f"{place.table} {number}"))
    name = table.get("name")
    place = replace(place, table=f"{place.table} {shown(name) if isinstance(name, str) else number}")
    check_keys(table, [*kinds_of(Peer), *_KEYS], place)
    rest = {key: each for key, each in table.items() if key not in _KEYS}
    peer = read_record(Peer, rest, place, keys=_keys(table, place))
    if peer.mode is Mode.TUNNEL:
        if not peer.prefixes:
            raise place.error("prefixes", "is missing or empty: in tunnel mode, what is behind the peer")
        return peer
    if "prefixes" in table:
        raise place.error("prefixes", "not in transport mode, where it is the remote address itself")
    return replace(peer, prefixes=(ip_network(peer.remote),))


def _keys(table: Mapping[str, object], place: Place) -> Keys:
    given = tuple(key for key in _KEYS if key in table)
    match given:
        case ("secret",):
            return SecretFile(_secret_path(table, "secret", place))
        case ("secrets",):
            return SecretFolder(_secret_path(table, "secrets", place))
        case ("send", "receive"):
            inner = {key: replace(place, table=place.table.replace("[[peer]]", f"[peer.{key}] of")) for key in given}
            return ExplicitKeys(
                read_record(SendKey, as_table(table["send"], inner["send"]), inner["send"]),
                read_record(ReceiveKey, as_table(table["receive"], inner["receive"]), inner["receive"]),
            )
        case ():
            raise place.error("", f"no key is given: {_ONE_OF}")
    named = " and ".join(f"'{key}'" for key in given)
    raise place.error("", f"{named} {'are' if len(given) > 1 else 'is'} given: {_ONE_OF}")


def _secret_path(table: Mapping[str, object], key: str, place: Place) -> Path:
    found: Path = place.read(file_path(secret=True), table[key], key)
    return found


def _with_transport(config: Config) -> Policy:
    """The policy with the local addresses of peers in transport mode."""
    own = [ip_network(peer.local) for peer in config.peers if peer.mode is Mode.TRANSPORT]
    added = dict.fromkeys(network for network in own if network not in config.policy.local)
    return replace(config.policy, local=(*config.policy.local, *added))
