"""What is allowed in an object and most likely not meant. Both engines show it as ``warnings`` of the collection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bpfcrypto.abi.kconfig import VALUES
from bpfcrypto.abi.maps import UNTYPED
from bpfcrypto.btf.overlooked import overlooked
from bpfcrypto.btf.record import special_fields

if TYPE_CHECKING:
    from bpfcrypto.btf.types import Btf
    from bpfcrypto.spec import CollectionSpec, MapSpec


def doubts(spec: CollectionSpec) -> tuple[str, ...]:
    """Sentences about programs that are left out, variables that stay zero, and what looks wrong in an object's maps.

    Args:
        spec: the object; without types there is nothing to say of maps.
    """
    general = (
        *(f"section '{name}': programs of this type are not loaded" for name in spec.left_out),
        *(
            f"variable at offset {offset:#x} of '{section}': the address of '{name}' is not filled in"
            for section, offset, name in spec.unfilled
        ),
        *(
            f"'{each.name}' is not known without a kernel: it is 0 on the embedded engine"
            for each in spec.kconfig
            if not each.weak and each.name not in VALUES
        ),
    )
    if spec.btf is None:
        return general
    return general + tuple(text for each in spec.maps.values() for text in _of_map(each, spec.btf))


def _of_map(each: MapSpec, btf: Btf) -> Iterator[str]:
    if each.value_type:
        for field in overlooked(btf, each.value_type):
            name = f"'{field.path}' " if field.path else ""
            yield (
                f"map '{each.name}': {field.what} {name}at offset {field.offset} of the value is plain bytes to the kernel: {field.reason}"
            )
        if each.type in UNTYPED:
            for special in special_fields(btf, each.value_type):
                yield (
                    f"map '{each.name}': '{special.kind.value}' at offset {special.offset} of the value is plain bytes to the kernel: "
                    f"a map of type {each.type.name} has no types"
                )
    if each.inner is not None:
        yield from _of_map(each.inner, btf)
