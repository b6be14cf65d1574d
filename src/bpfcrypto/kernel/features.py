"""Which kinds of type records this kernel knows, found by loading a table of a few types for each.

Nothing is asked before a load has failed: on a current kernel the first attempt succeeds and no probe runs.
"""

from __future__ import annotations

import errno
import functools
import struct
from collections.abc import Mapping

from bpfcrypto.btf.types import Kind, Linkage
from bpfcrypto.errors import SyscallError
from bpfcrypto.kernel import bpf
from bpfcrypto.kernel.btf import HEADER, MAGIC
from bpfcrypto.kernel.fd import Fd
from bpfcrypto.kernel.objbtf import Feature, ObjectBtf, Record

_STRINGS = b"\0a\0"
_NAME = 1
_INT = Record(Kind.INT, name=_NAME, extra=4, rest=(0x01000020,))
_PROTO = Record(Kind.FUNC_PROTO)

# A table for each feature that is valid exactly where the feature is known; record 1 is an int.
PROBES: Mapping[Feature, tuple[Record, ...]] = {
    Feature.DATASEC: (
        _INT,
        Record(Kind.VAR, name=_NAME, extra=1, rest=(Linkage.STATIC,)),
        Record(Kind.DATASEC, 1, name=_NAME, extra=4, rest=(2, 0, 4)),
    ),
    Feature.FUNC_LINKAGE: (_INT, _PROTO, Record(Kind.FUNC, Linkage.GLOBAL, name=_NAME, extra=2)),
    Feature.FLOAT: (Record(Kind.FLOAT, name=_NAME, extra=4),),
    Feature.DECL_TAG: (
        _INT,
        Record(Kind.VAR, name=_NAME, extra=1, rest=(Linkage.STATIC,)),
        Record(Kind.DECL_TAG, name=_NAME, extra=2, rest=(0xFFFFFFFF,)),
    ),
    Feature.TYPE_TAG: (_INT, Record(Kind.TYPE_TAG, name=_NAME, extra=1), Record(Kind.PTR, extra=2)),
    Feature.ENUM64: (Record(Kind.ENUM64, 1, name=_NAME, extra=8, rest=(_NAME, 0, 0)),),
    Feature.TAG_ATTRIBUTES: (_INT, Record(Kind.TYPE_TAG, kflag=True, name=_NAME, extra=1), Record(Kind.PTR, extra=2)),
}


def table(records: tuple[Record, ...]) -> bytes:
    """BTF bytes of a few records over one name."""
    words = [word for record in records for word in record.words()]
    types = struct.pack(f"<{len(words)}I", *words)
    return HEADER.pack(MAGIC, 1, 0, HEADER.size, 0, len(types), len(types), len(_STRINGS)) + types + _STRINGS


@functools.cache
def missing_features() -> frozenset[Feature]:
    """The features that this kernel does not know."""
    return frozenset(feature for feature, records in PROBES.items() if not _loads(table(records)))


def _loads(data: bytes) -> bool:
    try:
        bpf.btf_load(data).close()
    except SyscallError:
        return False
    return True


def load_btf(types: ObjectBtf) -> Fd:
    """Load an object's types, without what the kernel does not know.

    Raises:
        SyscallError: the kernel refuses them for another reason.
        PrivilegeError: a capability is missing.
    """
    try:
        return bpf.btf_load(types.to_bytes())
    except SyscallError as error:
        missing = missing_features() if error.errno == errno.EINVAL else frozenset()
        if not missing:
            raise
        return bpf.btf_load(types.without(missing).to_bytes())
