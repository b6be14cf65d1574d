"""Tables of a TOML file into records: the fields of a dataclass are the keys, and each field's annotation says what is allowed.

    mtu: Annotated[int | None, integer(576, 9216)] = None

A field without a default is a key that must be there. Paths are relative to the file's folder.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from bpfcrypto.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    _Record = TypeVar("_Record", bound=DataclassInstance)
else:
    _Record = TypeVar("_Record")

_MOST_SHOWN = 60  # characters of a value in a message


class Refused(Exception):
    """A value that is not allowed.

    Args:
        value: the value, or the part of it that is wrong.
        hint: what was probably meant.
        secret: the value may be a key, and is not to be shown.
    """

    def __init__(self, value: object, *, hint: str | None = None, secret: bool = False) -> None:
        super().__init__()
        self.value = value
        self.hint = hint
        self.secret = secret


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of value: what is allowed, in words, and how a value is read."""

    allowed: str
    parse: Callable[[object], object]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a table is: the file as it was named, its folder, and the table as it stands in the file."""

    source: str
    folder: Path
    table: str

    def error(self, key: str, message: str, *, hint: str | None = None) -> ConfigError:
        """An error about a key of this table, or about the table itself where the key is empty."""
        return ConfigError(message, source=self.source, place=f"{self.table} {key}".strip(), hint=hint)

    def read(self, kind: Kind, value: object, key: str) -> Any:
        """The value of a key.

        Raises:
            ConfigError: it is not allowed.
        """
        try:
            found = kind.parse(value)
        except Refused as refused:
            what = "what stands there" if refused.secret else shown(refused.value)
            raise self.error(key, f"{what} is not allowed: {kind.allowed}", hint=refused.hint) from None
        return self.folder / found if isinstance(found, Path) else found


def read_record(record: type[_Record], table: Mapping[str, object], place: Place, **given: object) -> _Record:
    """A record of a table.

    Args:
        record: a dataclass whose fields are annotated with kinds.
        table: the table.
        place: where it is.
        given: fields that are not read, with their values.

    Raises:
        ConfigError: a key is unknown or missing, or a value is not allowed.
    """
    kinds = {name: kind for name, kind in kinds_of(record).items() if name not in given}
    check_keys(table, kinds, place)
    values = dict(given)
    for field in fields(record):
        name = field.name
        if name in table:
            values[name] = place.read(kinds[name], table[name], name)
        elif name not in given and field.default is MISSING:
            raise place.error(name, f"is missing: {kinds[name].allowed}")
    return record(**values)


def kinds_of(record: type[DataclassInstance]) -> dict[str, Kind]:
    """The keys of a record, in order, with their kinds; fields without one are no keys."""
    hints = get_type_hints(record, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items() if hasattr(hint, "__metadata__")}


def check_keys(table: Mapping[str, object], known: Collection[str], place: Place) -> None:
    """Raises ConfigError for a key that is not known."""
    for key in table:
        if key not in known:
            message = f"there is no such key; there are: {', '.join(known)}"
            raise place.error(_short(key), message, hint=did_you_mean(key, known))


def as_table(value: object, place: Place) -> Mapping[str, object]:
    """A value that must be a table."""
    if not isinstance(value, Mapping):
        raise place.error("", f"{shown(value)} is not a table")
    return value


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A hint with the known word that is most like this one, if one is."""
    found = get_close_matches(word, list(known), n=1)
    return f"did you mean '{found[0]}'?" if found else None


def shown(value: object) -> str:
    """A value in a message: text in quotes, other values as TOML writes them, tables and arrays by their kind."""
    words: tuple[tuple[type[Any], Callable[[Any], str]], ...] = (
        (bool, lambda flag: str(flag).lower()),
        (str, lambda text: f"'{_short(text)}'"),
        (Mapping, lambda _: "a table"),
        (list, lambda _: "an array"),
        (object, lambda other: _short(str(other))),
    )
    return next(show(value) for kind, show in words if isinstance(value, kind))


def _short(text: str) -> str:
    printable = text if text.isprintable() else ascii(text)[1:-1]
    return printable if len(printable) <= _MOST_SHOWN else printable[:_MOST_SHOWN] + "..."
