"""ChaCha20 and Poly1305 of the ESP programs: published vectors and another implementation, wherever programs run."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from errno import EINVAL
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.poly1305 import Poly1305

from bpfcrypto.source import read_source
from support.verdicts import compare

if TYPE_CHECKING:
    from bpfcrypto.engine import Collection

TESTS = Path(__file__).parents[2]
OBJECT = TESTS / "bpf" / "chacha20_poly1305.bpf.o"
SPEC = read_source(OBJECT)
MAX_TEXT = 9216
FRAME = bytes(14)
P = 2**130 - 5


def vectors(kind: str) -> pytest.MarkDecorator:
    """Every published vector of a kind."""
    files = sorted((TESTS / "vectors" / "crypto").glob("rfc[78]*.json"))
    found = [
        pytest.param(vector, id=f"{path.name.partition('_')[0]}-{vector['id']}")
        for path in files
        for vector in json.loads(path.read_text())["vectors"]
        if vector["kind"] == kind
    ]
    assert found
    return pytest.mark.parametrize("vector", found)


class Machine:
    """The test programs, with the members of their memory by name."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.memory = collection.variables["scratch"]
        btf = SPEC.btf
        assert btf is not None
        record = btf.find("scratch")
        inner = btf.find("poly1305")
        assert record is not None
        assert inner is not None
        self.offsets = {member.name: member.bit_offset // 8 for member in btf[record].members}
        self.offsets["one_time"] = self.offsets["poly1305"] + next(
            member.bit_offset // 8 for member in btf[inner].members if member.name == "one_time"
        )

    def fill(self, rest: int = 0xA5, **members: bytes) -> None:
        """Put bytes into members; all else is filled with one byte."""
        memory = bytearray([rest]) * self.memory.size
        for name, data in members.items():
            memory[self.offsets[name] : self.offsets[name] + len(data)] = data
        self.memory.bytes = bytes(memory)

    def read(self, name: str, size: int) -> bytes:
        """The first bytes of a member."""
        return self.memory.bytes[self.offsets[name] :][:size]

    def run(self, program: str, length: int, counter: int = 0) -> int:
        """Run a program; what its function gave."""
        self.collection.variables["length"].value = length
        self.collection.variables["counter"].value = counter
        self.collection.programs[program].run(FRAME)
        return int(self.collection.variables["status"].value)

    def prepare(self, key: bytes, nonce: bytes, aad: bytes, text: bytes) -> None:
        """All that a packet needs."""
        size = len(aad).to_bytes(4, "little")
        self.fill(key=key, nonce=nonce, aad=aad.ljust(16, b"\0"), aad_length=size, text=text)

    def sealed(self, key: bytes, nonce: bytes, aad: bytes, text: bytes) -> bytes:
        """Ciphertext and tag."""
        self.prepare(key, nonce, aad, text)
        assert self.run("seal", len(text)) == 0
        return self.read("text", len(text)) + self.read("tag", 16)

    def mac(self, key: bytes, message: bytes) -> bytes:
        """Poly1305 under a one-time key."""
        last = b"\1" if len(message) % 16 else b""
        self.fill(one_time=key, text=message + last + bytes(16))
        assert self.run("mac", len(message)) == 0
        return self.read("tag", 16)


@pytest.fixture(
    scope="module", params=["machine code", "interpreter", pytest.param("kernel", marks=pytest.mark.kernel)]
)
def way(request: pytest.FixtureRequest) -> str:
    """Each way of running programs, in turn."""
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def machine(way: str) -> Iterator[Machine]:
    """The test programs, loaded and verified."""
    from bpfcrypto.embedded.engine import EmbeddedEngine
    from bpfcrypto.kernel.engine import KernelEngine

    if way == "machine code":
        pytest.importorskip("llvmlite")
    made = KernelEngine() if way == "kernel" else EmbeddedEngine(jit=None if way == "machine code" else False)
    with made as engine, engine.load(OBJECT) as collection:
        yield Machine(collection)


# --- published vectors ---


@vectors("cipher")
def test_cipher_vector(machine: Machine, vector: dict[str, str | int]) -> None:
    """RFC 8439, 2.3.2, 2.4.2, A.1 and A.2: each block of key stream, at counters from 0."""
    key, nonce, plain, secret = (
        bytes.fromhex(str(vector[name])) for name in ("key", "nonce", "plaintext", "ciphertext")
    )
    done = b""
    for at in range(0, len(plain), 64):
        machine.fill(key=key, nonce=nonce, text=plain[at:])
        assert machine.run("block", 0, counter=int(vector["counter"]) + at // 64) == 0
        done += machine.read("text", 64)

    assert done[: len(plain)] == secret


@vectors("one-time key")
def test_one_time_key_vector(machine: Machine, vector: dict[str, str]) -> None:
    """RFC 8439, 2.6.2 and A.4: the key of Poly1305 that a tag is made with."""
    machine.prepare(bytes.fromhex(vector["key"]), bytes.fromhex(vector["nonce"]), bytes(8), b"")

    assert machine.run("tag", 0) == 0
    assert machine.read("one_time", 32).hex() == vector["one_time_key"]


@vectors("mac")
def test_mac_vector(machine: Machine, vector: dict[str, str]) -> None:
    """RFC 8439, 2.5.2 and A.3: sums at and above 2^130 - 5, and carries through every word."""
    tag = machine.mac(bytes.fromhex(vector["one_time_key"]), bytes.fromhex(vector["message"]))

    assert tag.hex() == vector["tag"]


@vectors("aead")
def test_aead_vector(machine: Machine, vector: dict[str, str]) -> None:
    """RFC 8439, 2.8.2 and A.5, and the ESP packet of RFC 7634: sealed; and opened, the tag before the text is decrypted."""
    key, nonce, aad, plain, secret, tag = (
        bytes.fromhex(vector[name]) for name in ("key", "nonce", "aad", "plaintext", "ciphertext", "tag")
    )
    assert machine.sealed(key, nonce, aad, plain) == secret + tag

    machine.prepare(key, nonce, aad, secret)
    assert machine.run("tag", len(secret)) == 0
    assert machine.read("tag", 16) == tag
    assert machine.read("text", len(secret)) == secret
    assert machine.run("crypt", len(secret)) == 0
    assert machine.read("text", len(plain)) == plain


# --- another implementation ---


def test_every_length(machine: Machine) -> None:
    """Any key, nonce, associated data of 8 and 12 bytes; lengths 0 to 300 and some up to the longest."""
    draw = random.Random(8439)
    for length in [*range(301), 511, 512, 513, 1420, 4000, MAX_TEXT - 1, MAX_TEXT]:
        key, nonce, aad, text = (draw.randbytes(size) for size in (32, 12, draw.choice((8, 12)), length))

        assert machine.sealed(key, nonce, aad, text) == ChaCha20Poly1305(key).encrypt(nonce, text, aad), length


def test_sums_at_the_edges(machine: Machine) -> None:
    """Messages that leave a sum within 6 of 0 modulo 2^130 - 5, of few bits, or of nearly all, under such keys too."""
    draw = random.Random(1305)
    odd = (0, 1, 4, 5, 2**32 - 4, 2**32 - 1, 2**64 - 4, 2**96 - 4, 2**124 - 1, 2**128 - 1)
    for _ in range(400):
        r = draw.choice((*odd, draw.getrandbits(128))) & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
        key = r.to_bytes(16, "little") + draw.choice((bytes(16), b"\xff" * 16, draw.randbytes(16)))
        numbers = [draw.choice((*odd, draw.getrandbits(128))) for _ in range(draw.randrange(1, 6))]
        if r:
            total = 0
            for number in numbers:
                total = (total + number + 2**128) * r % P
            last = (draw.randrange(-6, 7) * pow(r, -1, P) - total - 2**128) % P
            numbers += [last] * (last < 2**128)
        message = b"".join(number.to_bytes(16, "little") for number in numbers)
        message = message[: len(message) - draw.choice((0, 0, 1, 7, 15))]

        assert machine.mac(key, message) == Poly1305.generate_tag(key, message), (key.hex(), message.hex())


# --- what is left alone, and what is refused ---


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 63, 64, 65, 100])
def test_what_is_changed(machine: Machine, length: int) -> None:
    """Encrypting changes the text up to a whole block; a tag changes nothing but itself and what is Poly1305's own."""
    offsets = machine.offsets
    text, tag = offsets["text"], offsets["tag"]
    whole = -(-length // 64) * 64
    may_change = {
        "crypt": [(text, text + whole)],
        "tag": [(tag, tag + 16), (offsets["poly1305"], offsets["busy"])],
    }
    for program, places in may_change.items():
        machine.prepare(bytes(32), bytes(12), bytes(8), bytes(length))
        before = bytearray(machine.memory.bytes)
        assert machine.run(program, length) == 0
        after = bytearray(machine.memory.bytes)
        for start, end in places:
            before[start:end] = after[start:end]

        assert before == after


@pytest.mark.parametrize("program", ["crypt", "tag", "seal"])
@pytest.mark.parametrize("length", [MAX_TEXT + 1, 2**31, 2**32 - 1])
def test_too_long(machine: Machine, program: str, length: int) -> None:
    """A longer text is refused, and nothing changes."""
    machine.prepare(bytes(32), bytes(12), bytes(8), b"")
    before = machine.memory.bytes

    assert machine.run(program, length) == -EINVAL
    assert machine.memory.bytes == before


@pytest.mark.kernel
def test_work_of_the_verifiers() -> None:
    """Both verifiers look at each function once, and go around the loops over a text no more than twice."""
    pairs = compare(SPEC, programs=["seal"])

    assert [pair.disagreement() for pair in pairs] == [""]
    assert [max(pair.ours.insns_processed, pair.theirs.insns_processed) < 4000 for pair in pairs] == [True]
