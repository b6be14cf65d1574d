"""Owning descriptors: closed once, never inherited."""

from __future__ import annotations

import errno
import os

import pytest

from bpfcrypto.errors import SyscallError
from bpfcrypto.kernel import bpf
from bpfcrypto.kernel.fd import Fd


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def test_with_block_closes() -> None:
    """Leaving the block closes the descriptor; closing again does nothing."""
    with Fd(os.open(os.devnull, os.O_RDONLY)) as fd:
        number = fd.fileno()
        assert _is_open(number)
    fd.close()

    assert fd.closed
    assert not _is_open(number)


def test_last_reference_closes() -> None:
    """A forgotten descriptor is closed with its object."""
    fd = Fd(os.open(os.devnull, os.O_RDONLY))
    number = fd.fileno()
    del fd

    assert not _is_open(number)


def test_use_after_close() -> None:
    """A closed descriptor has no number to give to the kernel, where it might be another file by now."""
    fd = Fd(os.open(os.devnull, os.O_RDONLY))
    fd.close()

    with pytest.raises(SyscallError) as caught:
        fd.fileno()
    assert caught.value.errno == errno.EBADF


@pytest.mark.kernel
def test_descriptors_are_not_inherited() -> None:
    """What bpf(2) returns has close-on-exec set."""
    with bpf.map_create(2, 4, 4, 1) as fd:
        assert not os.get_inheritable(fd.fileno())
