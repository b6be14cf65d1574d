"""kfuncs that let programs look into the kernel's own objects: bpf_cast_to_kern_ctx, bpf_rdonly_cast (kernel/bpf/helpers.c).

A cast changes nothing; what matters is what is behind the address. A kernel object can be looked at as what it is, other memory of
the program as any type. Loads are checked as all others: where the kernel reads zeros from an address that nothing is at, the program
is stopped here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bpfcrypto.btf.types import Composite
from bpfcrypto.embedded.kernel_ctx import kernel_ctx
from bpfcrypto.embedded.kernel_object import KernelObject
from bpfcrypto.embedded.kernel_types import kernel_types
from bpfcrypto.embedded.memory import AccessFault
from bpfcrypto.embedded.state import Native

if TYPE_CHECKING:
    from bpfcrypto.embedded.state import RunState


def cast_to_kern_ctx(run: RunState, context: int, *_: int) -> int:
    """The kernel's object behind the context."""
    if run.packet is None or run.packet.handle != context:
        raise AccessFault(f"{context:#x} is not the context of a packet program")
    if run.kernel_ctx is None:
        run.kernel_ctx = kernel_ctx(run.memory, run.packet)
    return run.kernel_ctx.address


def rdonly_cast(run: RunState, address: int, type_id: int, *_: int) -> int:
    """The same address, as a type of the kernel."""
    owner = run.memory.owner(address)
    types = kernel_types()
    if isinstance(owner, KernelObject) and type_id:
        record = types[type_id] if type_id < len(types) else None
        if not isinstance(record, Composite) or record.name != owner.struct:
            raise AccessFault(f"the struct {owner.struct} at {address:#x} cannot be looked at as kernel type {type_id}")
    return address


NATIVES: Mapping[str, Native] = {
    "bpf_cast_to_kern_ctx": cast_to_kern_ctx,
    "bpf_rdonly_cast": rdonly_cast,
}
