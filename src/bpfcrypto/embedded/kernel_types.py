"""The types that the embedded engine stands for: the target of CO-RE, and the layout of kernel objects that programs look into."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bpfcrypto.btf.types import Btf


@cache
def kernel_types() -> Btf:
    """The types of ``abi/kernel.btf``."""
    from importlib.resources import files

    from bpfcrypto.btf.reader import read_btf

    return read_btf(files("bpfcrypto.abi").joinpath("kernel.btf").read_bytes(), source="abi/kernel.btf")
