"""Crypto contexts: layout, reference counts, deferred free, and addresses that are none."""

from __future__ import annotations

import struct
from errno import EINVAL, EOPNOTSUPP

import pytest

from bpfcrypto.crypto.params import SIZE, encode
from bpfcrypto.crypto.skcipher import Buffer
from bpfcrypto.embedded.contexts import CryptoContexts
from bpfcrypto.embedded.memory import AccessFault, Memory

KEY = b"sixteen byte key"


@pytest.fixture
def contexts() -> CryptoContexts:
    return CryptoContexts(Memory())


def create(contexts: CryptoContexts, algorithm: str = "cbc(aes)") -> int:
    address, errno = contexts.create(encode(algorithm, KEY), SIZE)
    assert (errno, bool(address)) == (0, True)
    return address


@pytest.mark.parametrize(("algorithm", "siv_size"), [("ecb(aes)", 0), ("cbc(aes)", 16)])
def test_layout(algorithm: str, siv_size: int) -> None:
    """Programs read struct bpf_crypto_ctx: two pointers, the size of the IV, one reference; they cannot write it."""
    memory = Memory()
    address = create(CryptoContexts(memory), algorithm)

    kind, tfm, size, head, usage = struct.unpack("<QQI4x16si4x", memory.span(address, 48))

    assert (size, head, usage) == (siv_size, bytes(16), 1)
    assert kind
    assert tfm
    with pytest.raises(AccessFault):
        memory.span(address, 49)
    with pytest.raises(AccessFault):
        memory.store(address + 40, 4, 7)


@pytest.mark.parametrize(("params", "size", "errno"), [(None, 0, EINVAL), (encode("no", KEY), SIZE, EOPNOTSUPP)])
def test_refused(contexts: CryptoContexts, params: bytes | None, size: int, errno: int) -> None:
    """Parameters that do not pass give no context."""
    assert contexts.create(params, size) == (0, errno)
    assert contexts.live == 0


def test_references(contexts: CryptoContexts) -> None:
    """Acquire counts up, release down, and the last one frees."""
    address = create(contexts)

    assert contexts.acquire(address) == address
    assert contexts.get(address).references == 2
    contexts.release(address)
    assert contexts.live == 1
    contexts.release(address)
    assert contexts.live == 0
    with pytest.raises(AccessFault, match="not a crypto context"):
        contexts.get(address)


def test_grace_period() -> None:
    """A run that was inside may go on using a released context; it cannot be acquired or released any more."""
    memory = Memory()
    contexts = CryptoContexts(memory)
    address = create(contexts, "ecb(aes)")
    data = bytearray(16)
    place = Buffer(1000, memoryview(data))
    with contexts.rcu.reading():
        contexts.release(address)

        assert contexts.get(address).cipher.encrypt(place, place, None) == 0
        assert contexts.acquire(address) == 0
        with pytest.raises(AccessFault, match="more often"):
            contexts.release(address)
        assert contexts.live == 1
    assert contexts.live == 0
    with pytest.raises(AccessFault):
        memory.span(address, 8)


def test_saturation(contexts: CryptoContexts) -> None:
    """A count that overflows stays saturated: the context is never freed by releases."""
    address = create(contexts)
    contexts.get(address).references = (1 << 31) - 1

    assert contexts.acquire(address) == address
    saturated = contexts.get(address).references
    contexts.release(address)

    assert saturated == contexts.get(address).references == -(1 << 30)
    assert contexts.acquire(address) == address
    assert contexts.live == 1


@pytest.mark.parametrize("offset", [-1, 1, 8, 48])
def test_not_a_context(contexts: CryptoContexts, offset: int) -> None:
    """Only the very address of a context will do."""
    address = create(contexts) + offset
    for use in (contexts.get, contexts.acquire, contexts.release):
        with pytest.raises(AccessFault):
            use(address)


def test_close(contexts: CryptoContexts) -> None:
    """Closing frees what is left but what others keep; what waits for a reader goes after it. The keys are gone then."""
    first, second, third = (contexts.get(create(contexts)) for _ in range(3))
    reader = contexts.rcu.enter()
    contexts.release(first.address)

    contexts.close(frozenset({third}))

    assert contexts.live == 2
    place = Buffer(1000, memoryview(bytearray(16)))
    with pytest.raises(ValueError, match="wiped"):
        second.cipher.encrypt(place, place, Buffer(5000, memoryview(bytearray(16))))
    assert first.cipher.encrypt(place, place, Buffer(5000, memoryview(bytearray(16)))) == 0
    contexts.rcu.leave(reader)
    assert contexts.live == 1
    contexts.release(third.address)
    assert contexts.live == 0


def test_repr_has_no_key(contexts: CryptoContexts) -> None:
    """A context shows its cipher and references, never its key."""
    assert repr(contexts.get(create(contexts))) == "<CryptoContext cbc(aes), 1 references>"
