"""The kfuncs that the embedded engine has, by name; their contracts are in abi.kfuncs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bpfcrypto.embedded import (
    kfuncs_bits,
    kfuncs_cast,
    kfuncs_core,
    kfuncs_cpumask,
    kfuncs_crypto,
    kfuncs_dynptr,
    kfuncs_dynptr_copy,
    kfuncs_lock,
    kfuncs_object,
    kfuncs_packet,
    kfuncs_section,
    kfuncs_string,
    kfuncs_user,
)

if TYPE_CHECKING:
    from bpfcrypto.embedded.contexts import CryptoContexts
    from bpfcrypto.embedded.objects import Objects
    from bpfcrypto.embedded.state import Native


def kfuncs(contexts: CryptoContexts, objects: Objects) -> Mapping[str, Native]:
    """Every kfunc, working on one collection's crypto contexts and allocated objects."""
    return {
        **kfuncs_core.NATIVES,
        **kfuncs_section.NATIVES,
        **kfuncs_lock.NATIVES,
        **kfuncs_bits.NATIVES,
        **kfuncs_cast.NATIVES,
        **kfuncs_dynptr.NATIVES,
        **kfuncs_dynptr_copy.NATIVES,
        **kfuncs_string.NATIVES,
        **kfuncs_packet.NATIVES,
        **kfuncs_user.NATIVES,
        **kfuncs_crypto.natives(contexts),
        **kfuncs_object.natives(objects),
        **kfuncs_cpumask.natives(objects.masks),
    }
