"""What compiled code refers to by number: a table in its own data, filled in after it was linked.

Code that is kept on disk may hold no address of one process. So every map, every function of ours and every way into Python is an entry
of the table ``@links``, which each collection fills for itself.
"""

from __future__ import annotations

from typing import NamedTuple


class Link(NamedTuple):
    """One entry.

    Attributes:
        kind: ``map`` (address of the handle), ``value`` (of the value at index 0), ``python`` (the way back into Python),
            ``native`` (a helper or kfunc of :mod:`bpfcrypto.embedded.jit.runtime`), or ``aes``.
        name: which; "" where there is only one.
    """

    kind: str
    name: str = ""


PYTHON = Link("python")
AES = Link("aes", "aes_crypt")
SYMBOL = "links"


class Links:
    """The entries that a module uses, in the order of their first use."""

    def __init__(self) -> None:
        self._numbers: dict[Link, int] = {}

    def operand(self, link: Link) -> str:
        """The address of the entry, as an IR constant."""
        number = self._numbers.setdefault(link, len(self._numbers))
        return f"getelementptr inbounds (i64, ptr @{SYMBOL}, i64 {number})" if number else f"@{SYMBOL}"

    @property
    def entries(self) -> tuple[Link, ...]:
        """All of them."""
        return tuple(self._numbers)

    def definition(self) -> str:
        """The table's definition."""
        return f"@{SYMBOL} = dso_local global [{max(len(self._numbers), 1)} x i64] zeroinitializer, align 8"
