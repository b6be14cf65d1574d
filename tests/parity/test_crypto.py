"""The crypto kfuncs through BPF programs, on both engines: errnos, the overlap model, published vectors.

The kernel's own answers are the expectation: each case runs there too, and everything that a program can see must be equal.
Where a published vector says what comes out, both engines must say the same.
"""

from __future__ import annotations

import errno
import json
import random
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.packets import ethernet, payload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bpfcrypto.embedded.engine import EmbeddedEngine
    from bpfcrypto.engine import Collection, Engine
    from bpfcrypto.kernel.engine import KernelEngine

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests/vectors/crypto"
CALLS, CREATE = ROOT / "tests/bpf/crypto_calls.bpf.o", ROOT / "tests/bpf/crypto_create.bpf.o"

KEY = bytes(range(16))
PACKET = ethernet(payload(498), 0x88B5)
NONE, BUFFER, ON_PACKET, EXACT, NULL_DYNPTR = range(5)


# --- create: the order of checks and every errno ---


def params(
    algo: bytes = b"ecb(aes)",
    key: bytes = KEY,
    *,
    type: bytes = b"skcipher",
    reserved: bytes = b"\0\0",
    key_len: int | None = None,
    authsize: int = 0,
) -> bytes:
    """struct bpf_crypto_params."""
    return struct.pack(
        "<14s2s128s256sII", type, reserved, algo, key, len(key) if key_len is None else key_len, authsize
    )


NAMES = [
    "ecb(aes)",
    "cbc(aes)",
    "ecb(aes-fixed-time)",
    "cbc(aes-fixed-time)",
    "cbc(ecb(aes-fixed-time))",
    "ecb(aes-generic)",
    "cbc(aes-generic)",
    "cbc(ecb(aes))",
    "cbc(ecb(aes-generic))",
    "cbc(cbc(aes))",
    "ecb(ecb(aes))",
    "ecb(cbc(aes))",
    "ctr(aes)",
    "ctr(aes-fixed-time)",
    "xts(aes)",
    "xts(ecb(aes-fixed-time))",
    "cts(cbc(aes))",
    "rfc3686(ctr(aes))",
    "ecb(cipher_null)",
    "ecb-cipher_null",
    "cipher_null",
    "aes",
    "arc4",
    "ecb(arc4)",
    "gcm(aes)",
    "ccm(aes)",
    "hmac(sha256)",
    "sha256",
    "authenc(hmac(sha256),cbc(aes))",
    "seqiv(gcm(aes))",
    "chacha20",
    "pcbc(aes)",
    "lrw(aes)",
    "cfb(aes)",
    "ofb(aes)",
    "ecb(des3_ede)",
    "cbc(des3_ede)",
    "ecb(blowfish)",
    "ECB(AES)",
    "Ecb(Aes)",
    "CBC(aes)",
    "ecb(aes",
    "ecbaes",
    "ecb()",
    "ecb(aes))",
    "ecb(aes)x",
    "cbc(aes-generic",
]

CASES: dict[str, bytes] = {
    **{f"name {name}": params(name.encode()) for name in NAMES},
    **{
        f"name {name!r}": params(name)
        for name in (b"", b" ecb(aes)", b"ecb(aes) ", b"ecb( aes)", b"ecb (aes)", b"cbc(aes)\n")
    },
    "name then garbage": params(b"ecb(aes)\0garbage"),
    "name after a NUL": params(b"\0ecb(aes)"),
    "128 bytes of name": params(b"e" * 128),
    "127 bytes of name": params(b"e" * 127),
    "name runs on into the key": params(b"ecb(aes)".ljust(128, b" "), b")" * 16),
    **{
        f"type {kind!r}": params(type=kind)
        for kind in (
            b"",
            b"SKCIPHER",
            b"skcipher ",
            b" skcipher",
            b"aead",
            b"lskcipher",
            b"hash",
            b"s" * 14,
            b"skcipher\0junk!",
        )
    },
    "reserved 0": params(reserved=b"\1\0"),
    "reserved 1": params(reserved=b"\0\1"),
    "reserved before type": params(type=b"aead", reserved=b"\0\1"),
    "type before name": params(b"nonsense", type=b"aead"),
    "name before authsize": params(b"nonsense", authsize=1),
    "authsize before key_len": params(authsize=16, key_len=0),
    "key_len before allocation": params(b"ecb-cipher_null", key_len=0),
    "long key_len before allocation": params(b"ecb-cipher_null", key_len=257),
    "allocation": params(b"ecb-cipher_null", key_len=5),
    "null cipher, one byte": params(b"ecb(cipher_null)", key_len=1),
    **{f"authsize {n}": params(authsize=n) for n in (1, 16, 2**31, 2**32 - 1)},
    **{
        f"{mode} key_len {n}": params(f"{mode}(aes)".encode(), bytes(range(256)), key_len=n)
        for mode in ("ecb", "cbc")
        for n in (
            0,
            1,
            8,
            15,
            16,
            17,
            20,
            23,
            24,
            25,
            28,
            31,
            32,
            33,
            48,
            64,
            128,
            255,
            256,
            257,
            512,
            2**31,
            2**32 - 1,
        )
    },
}


@pytest.fixture(scope="module")
def engines() -> Iterator[tuple[EmbeddedEngine, KernelEngine]]:
    """Both engines, for the whole file."""
    from bpfcrypto.embedded.engine import EmbeddedEngine
    from bpfcrypto.kernel.engine import KernelEngine

    with EmbeddedEngine() as here, KernelEngine() as there:
        yield here, there


@pytest.fixture(scope="module")
def create(engines: tuple[Engine, Engine]) -> Iterator[tuple[Collection, Collection]]:
    """The object that creates contexts, on both engines."""
    with engines[0].load(CREATE) as here, engines[1].load(CREATE) as there:
        yield here, there


def attempt(collection: Collection, program: str, block: bytes, size: int = 408) -> tuple[int, int, bool]:
    """(retval, err, whether a context came back)."""
    variables = collection.variables
    variables["params"].bytes = block.ljust(variables["params"].size, b"\xa5")
    variables["params_size"].value = size
    result = collection.programs[program].run(ctx=block if program == "create_ctx" else b"")
    return result.retval, int(variables["err"].value), bool(variables["created"].value)


@pytest.mark.kernel
@pytest.mark.parametrize("program", ["create_bss", "create_stack", "create_ctx"])
@pytest.mark.parametrize("case", CASES)
def test_create_answers_as_the_kernel(create: tuple[Collection, Collection], program: str, case: str) -> None:
    """Every parameter block gives the kernel's errno, from a map, the stack and the program's context."""
    here, there = (attempt(collection, program, CASES[case]) for collection in create)

    assert here == there


@pytest.mark.kernel
@pytest.mark.parametrize("size", [0, 1, 407, 408, 409, 512])
def test_create_wants_the_exact_size(create: tuple[Collection, Collection], size: int) -> None:
    """A wrong size is EINVAL, even where the type is wrong too."""
    for block in (params(), params(type=b"aead")):
        here, there = (attempt(collection, "create_bss", block, size) for collection in create)

        assert here == there
        assert (here[1] == 0) == (size == 408 and block == params())


def test_create_answers_without_a_kernel(embedded_engine: EmbeddedEngine) -> None:
    """The order of checks, as errnos that do not need a kernel to be known."""
    expected = {
        "reserved before type": errno.EINVAL, "type before name": errno.ENOENT, "name before authsize": errno.EOPNOTSUPP,
        "authsize before key_len": errno.EOPNOTSUPP, "key_len before allocation": errno.EINVAL, "allocation": errno.ENOENT,
        "name ctr(aes)": errno.EINVAL, "name gcm(aes)": errno.EOPNOTSUPP, "name ecb(aes)": 0, "name cbc(aes)": 0,
    }  # fmt: skip
    with embedded_engine.load(CREATE) as collection:
        answers = {case: -attempt(collection, "create_bss", CASES[case])[1] for case in expected}

    assert answers == expected


@pytest.mark.kernel
@pytest.mark.parametrize("algo", [b"ecb(aes)", b"cbc(aes)", b"cbc(aes-generic)"])
def test_members_and_references_of_a_context(create: tuple[Collection, Collection], algo: bytes) -> None:
    """siv_len and the reference count of a fresh context; acquire; no parameters at all."""
    seen = []
    for collection in create:
        got = [
            attempt(collection, program, params(algo)) for program in ("create_fields", "create_acquire", "create_null")
        ]
        seen.append((got, collection.variables["siv_len"].value, collection.variables["usage"].value))

    assert seen[0] == seen[1]


# --- encrypt and decrypt ---


@pytest.fixture(scope="module")
def calls(engines: tuple[Engine, Engine]) -> Iterator[tuple[Collection, Collection]]:
    """The object that encrypts and decrypts any views, on both engines; slot 0 is ecb(aes), slot 1 cbc(aes)."""
    with engines[0].load(CALLS) as here, engines[1].load(CALLS) as there:
        for collection in (here, there):
            for slot, cipher in enumerate(("ecb(aes)", "cbc(aes)")):
                set_key(collection, cipher, KEY, slot)
        yield here, there


def set_key(collection: Collection, cipher: str, key: bytes, slot: int) -> None:
    """Create a context in ``slot``."""
    variables = collection.variables
    variables["cipher"].value, variables["key"].value = cipher, key
    variables["key_len"].value, variables["slot"].value = len(key), slot
    collection.programs["setup"].run()

    assert variables["status"].value == 0


View = tuple[int, int, int]
"""Kind, offset, length."""


def crypt(
    collection: Collection, program: str, slot: int, views: tuple[View, View, View], buffer: bytes
) -> tuple[object, ...]:
    """One call; what the program and its packet look like afterwards."""
    variables = collection.variables
    variables["slot"].value = slot
    for name, view in zip(("src", "dst", "iv"), views, strict=True):
        variables[name].bytes = struct.pack("<III", *view)
    variables["buffer"].bytes = buffer
    result = collection.programs[program].run(PACKET)
    return (result.retval, result.data, *(variables[name].bytes for name in ("ret", "view_err", "view_size", "buffer")))


PROGRAMS = ("do_encrypt", "do_decrypt", "do_encrypt_xdp", "do_decrypt_xdp")
LENGTHS = (0, 1, 15, 16, 17, 31, 32, 40, 64, 127, 128, 400)
IVS = (*((BUFFER, 3000, n) for n in (0, 1, 15, 16, 17, 32)), (NONE, 0, 0), (NULL_DYNPTR, 0, 0))


@pytest.mark.kernel
@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("slot", [0, 1, 2], ids=["ecb", "cbc", "empty"])
def test_every_length_and_iv(calls: tuple[Collection, Collection], program: str, slot: int) -> None:
    """Sizes of source, destination and IV, null dynptrs, partial blocks: same errno, same bytes."""
    buffer = random.Random(slot).randbytes(4096)
    cases = [
        ((BUFFER, 0, n), (BUFFER, 1000, m), iv)
        for iv in IVS
        for n in LENGTHS
        for m in {n, n + 16, n + 1, max(0, n - 1), 16, 32}
    ]
    cases += [((BUFFER, 0, n), (NONE, 0, 0), iv) for iv in IVS for n in LENGTHS]
    cases += [((kind, 0, 32), (other, 0, 32), IVS[3]) for kind in range(1, 5) for other in range(5)]
    differing = [
        (views, here, there)
        for views in cases
        if (here := crypt(calls[0], program, slot, views, buffer))
        != (there := crypt(calls[1], program, slot, views, buffer))
    ]

    assert differing == []


@pytest.mark.kernel
@pytest.mark.parametrize("program", PROGRAMS)
def test_bytes_of_the_packet(calls: tuple[Collection, Collection], program: str) -> None:
    """The packet as source, destination and IV: in place, from and to a map, IV inside the packet, ranges beyond its end."""
    draw = random.Random(program)
    buffer, differing = draw.randbytes(4096), []
    for _ in range(300):
        views = tuple(
            (draw.choice((ON_PACKET, ON_PACKET, BUFFER, EXACT)), draw.randrange(0, 520), length)
            for length in (draw.choice(LENGTHS), draw.choice(LENGTHS), 16)
        )
        slot = draw.randrange(2)
        here, there = (crypt(collection, program, slot, views, buffer) for collection in calls)  # type: ignore[arg-type]
        if here != there:
            differing.append((slot, views, here, there))

    assert differing == []


@pytest.mark.kernel
def test_overlap_model(calls: tuple[Collection, Collection]) -> None:
    """2,000 random overlaps of source, destination and IV, any length: live memory ends up the same."""
    draw = random.Random(24)
    differing = []
    for _ in range(2000):
        length = draw.choice((draw.randint(1, 129), 16 * draw.randint(1, 8)))
        slot = draw.randrange(2)
        src = (BUFFER, draw.randrange(0, 160), length)
        dst = draw.choice([src, (BUFFER, draw.randrange(0, 160), length + draw.choice((0, 0, 1, 16)))])
        iv = (BUFFER, draw.randrange(0, 300), 16 * slot)
        program, buffer = draw.choice(PROGRAMS[:2]), draw.randbytes(4096)
        here, there = (crypt(collection, program, slot, (src, dst, iv), buffer) for collection in calls)
        if here != there:
            differing.append((program, slot, src, dst, iv))

    assert differing == []


# --- published vectors ---


def vectors() -> list[object]:
    """Every ECB and CBC vector of every file."""
    return [
        pytest.param(vector, id=f"{path.stem}-{vector['id']}")
        for path in sorted(VECTORS.glob("*.json"))
        for vector in json.loads(path.read_text())["vectors"]
        if vector.get("mode") in ("ECB", "CBC")
    ]


def check_vector(collection: Collection, vector: dict[str, str]) -> None:
    """Encrypt and decrypt one vector, out of place, and with CBC the IV that is left behind."""
    key, plain, cipher = (bytes.fromhex(vector[name]) for name in ("key", "plaintext", "ciphertext"))
    iv = bytes.fromhex(vector.get("iv", ""))
    set_key(collection, f"{vector['mode'].lower()}(aes)", key, 7)
    views = ((BUFFER, 0, len(plain)), (BUFFER, 1024, len(plain)), (BUFFER, 2048, len(iv)))
    for program, given, expected in (("do_encrypt", plain, cipher), ("do_decrypt", cipher, plain)):
        buffer = given.ljust(2048, b"\0") + iv.ljust(2048, b"\0")
        after = crypt(collection, program, 7, views, buffer)[-1]
        assert isinstance(after, bytes)
        assert collection.variables["ret"].value == 0
        assert after[1024 : 1024 + len(plain)] == expected
        assert after[2048 : 2048 + len(iv)] == (cipher[-16:] if iv else b"")


@pytest.mark.parametrize("vector", vectors())
def test_vector_embedded(embedded_calls: Collection, vector: dict[str, str]) -> None:
    """NIST SP 800-38A, CAVP and RFC 3602 on the embedded engine."""
    check_vector(embedded_calls, vector)


@pytest.mark.kernel
@pytest.mark.parametrize("vector", vectors())
def test_vector_kernel(calls: tuple[Collection, Collection], vector: dict[str, str]) -> None:
    """The same vectors on the kernel."""
    check_vector(calls[1], vector)


@pytest.fixture(scope="module")
def embedded_calls() -> Iterator[Collection]:
    """The object that encrypts and decrypts, on the embedded engine alone."""
    from bpfcrypto.embedded.engine import EmbeddedEngine

    with EmbeddedEngine() as engine, engine.load(CALLS) as collection:
        yield collection
