"""Where one context is at home: the programs and the map of ``programs/context``, loaded."""

from __future__ import annotations

import functools
from errno import ENOENT
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from bpfcrypto.abi.errno import text
from bpfcrypto.errors import ContextError
from bpfcrypto.loader.load import load_spec

if TYPE_CHECKING:
    from bpfcrypto.engine import Engine, Map
    from bpfcrypto.spec import CollectionSpec

OBJECT = Path(__file__).resolve().parent.parent / "programs" / "context" / "context.bpf.o"
MAP = "home"

_PROGRAMS = ("create", "inspect", "forget")
_REPORT = Struct("<II")
_FRAME = bytes(14 + 2 * 16)  # header, a block, an IV


class Report(NamedTuple):
    """What a program sees of a context: its reference count, and the bytes of the IV that it takes."""

    references: int
    iv_size: int


@functools.cache
def _spec() -> CollectionSpec:
    return load_spec(OBJECT.read_bytes(), OBJECT.name)


def signed(retval: int) -> int:
    """What a program returned, as C's int."""
    return retval - (1 << 32) if retval >> 31 else retval


class Home:
    """A map with room for one context, and the programs that look after it.

    Args:
        engine: where it is.

    Raises:
        NotSupportedError: the engine has no crypto kfuncs here.
        PrivilegeError: a capability is missing.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._collection = engine.load(_spec(), programs=_PROGRAMS)

    @property
    def map(self) -> Map:
        """The map, whose only element begins with the context."""
        return self._collection.maps[MAP]

    def create(self, request: bytearray) -> int:
        """Make a context, in place of the one that is here.

        Args:
            request: struct bpf_crypto_params; the key in it is zero afterwards.

        Returns:
            0, or the positive errno of bpf_crypto_ctx_create.
        """
        return -signed(self._collection.programs["create"].run(ctx=request).retval)

    def inspect(self) -> Report | None:
        """What can be seen of the context; None where there is none."""
        report = bytearray(_REPORT.size)
        if signed(self._collection.programs["inspect"].run(ctx=report).retval):
            return None
        return Report(*_REPORT.unpack(report))

    def check_value(self) -> str:
        """The key check value, 6 hexadecimal digits.

        Raises:
            ContextError: there is no context, or its cipher does not encrypt single blocks with an IV of zeros or none.
        """
        with self._engine.load(_spec(), programs=["check"], maps={MAP: self.map}) as checking:
            value = signed(checking.programs["check"].run(_FRAME).retval)
        if value >= 0:
            return f"{value:06x}"
        what = "there is no context" if -value == ENOENT else f"encrypting a block failed: {text(-value)}"
        raise ContextError(f"no key check value: {what}", errno=-value)

    def forget(self) -> None:
        """Give up the reference to the context."""
        self._collection.programs["forget"].run()

    def close(self) -> None:
        """Drop programs and map; the context as well, unless it is elsewhere."""
        self._collection.close()
