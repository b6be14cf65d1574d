"""Offloads of an interface: work that the kernel leaves to the device, asked about and refused through ioctl(SIOCETHTOOL).

An offload has a name (``tx-tcp-segmentation``) and a number that differs between kernels, so it is always found by its name.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Callable

from bpfcrypto.errors import LinkError, PrivilegeError
from bpfcrypto.kernel import privilege

# include/uapi/linux/sockios.h, ethtool.h
_SIOCETHTOOL = 0x8946
_GSTRINGS, _GSSET_INFO, _GFEATURES, _SFEATURES = 0x1B, 0x37, 0x3A, 0x3B
_FEATURES = 4  # ETH_SS_FEATURES
_NAME = 32  # ETH_GSTRING_LEN
_BITS = 32  # of one block of features
_IFREQ = struct.Struct("=16sQ16x")
_STATE = struct.Struct("=IIII")  # struct ethtool_get_features_block: available, requested, active, never_changed


def active(name: str) -> frozenset[str]:
    """The offloads of an interface that are on.

    Raises:
        LinkError: there is no such interface.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        names = _names(device, name)
        return _named(names, [block[2] for block in _state(device, name, len(names))])


def turn_off(name: str, which: Callable[[str], bool]) -> None:
    """Turn offloads off.

    Args:
        name: the interface.
        which: says of an offload's name whether it must not be on.

    Raises:
        LinkError: there is no such interface, or one of them stays on.
        PrivilegeError: CAP_NET_ADMIN is missing.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        names = _names(device, name)
        chosen = [0] * _blocks(len(names))
        for number, each in enumerate(names):
            if which(each):
                chosen[number // _BITS] |= 1 << number % _BITS
        # available: what can be changed at all; the kernel refuses a request that has other bits in it
        valid = [wanted & state[0] for wanted, state in zip(chosen, _state(device, name, len(names)), strict=True)]
        request = struct.pack("=II", _SFEATURES, len(valid)) + b"".join(struct.pack("=II", bits, 0) for bits in valid)
        _ask(device, name, request)
    left = sorted(filter(which, active(name)))
    if left:
        raise LinkError(f"offloads of '{name}' stay on: {', '.join(left)}", errno=errno.EOPNOTSUPP)


def _names(device: socket.socket, name: str) -> list[str]:
    """The names of all offloads, by their number."""
    known, count = struct.unpack_from(
        "=QI", _ask(device, name, struct.pack("=IIQI", _GSSET_INFO, 0, 1 << _FEATURES, 0)), 8
    )
    count = count if known else 0
    text = _ask(device, name, struct.pack("=III", _GSTRINGS, _FEATURES, count) + bytes(count * _NAME))[12:]
    return [text[at : at + _NAME].split(b"\0")[0].decode() for at in range(0, count * _NAME, _NAME)]


def _state(device: socket.socket, name: str, count: int) -> list[tuple[int, ...]]:
    blocks = _blocks(count)
    answer = _ask(device, name, struct.pack("=II", _GFEATURES, blocks) + bytes(blocks * _STATE.size))
    return list(_STATE.iter_unpack(answer[8 : 8 + blocks * _STATE.size]))


def _named(names: list[str], bits: list[int]) -> frozenset[str]:
    return frozenset(each for number, each in enumerate(names) if bits[number // _BITS] >> number % _BITS & 1)


def _blocks(count: int) -> int:
    return -(-count // _BITS)


def _ask(device: socket.socket, name: str, request: bytes) -> bytes:
    """One request; the kernel writes its answer over it."""
    import fcntl  # not to be had on every system, and the layers above are imported there

    memory = ctypes.create_string_buffer(request, len(request))
    try:
        fcntl.ioctl(device, _SIOCETHTOOL, _IFREQ.pack(os.fsencode(name), ctypes.addressof(memory)))
    except PermissionError:
        raise PrivilegeError(
            f"offloads of '{name}': CAP_NET_ADMIN is missing", hint=privilege.how_to_get(("CAP_NET_ADMIN",))
        ) from None
    except OSError as error:
        raise LinkError(
            f"offloads of '{name}': {(error.strerror or str(error)).lower()}", errno=error.errno or 0
        ) from None
    return memory.raw
