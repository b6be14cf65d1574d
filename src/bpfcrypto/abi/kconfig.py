"""What ``extern ... __kconfig`` variables hold on the kernel that the embedded engine stands for, and how a value is laid out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

KERNEL_VERSION: Final = "LINUX_KERNEL_VERSION"

VALUES: Mapping[str, str] = {
    KERNEL_VERSION: str(6 << 16 | 18 << 8),
    "LINUX_HAS_BPF_COOKIE": "1",
    "LINUX_HAS_SYSCALL_WRAPPER": "1",
    "CONFIG_HZ": "250",
    **dict.fromkeys(
        (
            "CONFIG_64BIT",
            "CONFIG_BPF",
            "CONFIG_BPF_JIT",
            "CONFIG_BPF_SYSCALL",
            "CONFIG_CRYPTO_AES",
            "CONFIG_DEBUG_INFO_BTF",
            "CONFIG_INET",
            "CONFIG_IPV6",
            "CONFIG_NET",
            "CONFIG_SMP",
            "CONFIG_XDP_SOCKETS",
        ),
        "y",
    ),
}
"""Values as a kernel's configuration file writes them; what is not there is not set."""

_TRISTATE: Final = {"n": 0, "y": 1, "m": 2}


def encode(value: str, size: int, *, is_char: bool = False) -> bytes:
    """The bytes of a variable.

    Args:
        value: as a configuration file writes it: y, m, n, a number, or text in double quotes.
        size: of the variable.
        is_char: whether it is a char, which keeps y, m and n as letters.

    Raises:
        ValueError: the value is neither, or does not fit.
    """
    if value.startswith('"'):
        text = value.strip('"').encode()[: size - 1]
        return text.ljust(size, b"\0")
    if not size:
        raise ValueError("there is no room for a value")
    if value in _TRISTATE:
        return (ord(value) if is_char else _TRISTATE[value]).to_bytes(size, "little")
    number = int(value, 0)
    if not -(1 << 8 * size - 1) <= number < 1 << 8 * size:
        raise ValueError(f"{value} does not fit into {size} bytes")
    return (number & ((1 << 8 * size) - 1)).to_bytes(size, "little")
