"""Published vectors: what an ESP packet can carry goes through the programs, and the reference answers for the rest.

ESP's AES-CCM has nonces of 11 bytes, 8 or 12 bytes of associated data, and an ICV of 8 or 16 bytes. RFC 4309 has no vectors of its own
and points to those of RFC 3610, whose nonces have 13 bytes; those of SP 800-38C have 7, 8, 12 and 13. No packet can carry them. They are
what ``cryptography`` is held against, by which every byte of our packets is checked (``test_interop_by_hand.py``). Of Wycheproof's vectors
some have the sizes of ESP: they are packets, whose text is random, so that what is authentic is then refused for its padding.
"""

from __future__ import annotations

import json
from ipaddress import ip_address
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, ChaCha20Poly1305

from bpfcrypto.btf.types import Kind
from bpfcrypto.programs.esp.keys import KeyMaterial
from bpfcrypto.programs.esp.policies import Action
from bpfcrypto.programs.esp.program import Association, spec
from bpfcrypto.programs.esp.suites import Cipher, Mode
from support.esp import DROP, IN, NEXT, PEER, SUITE_NAMES, Judged, Link, row
from support.esp_by_hand import IPIP, NONE, ether, ip_header, sealed
from support.esp_frames import frame

if TYPE_CHECKING:
    from support.esp import Bench

FOLDER = Path(__file__).parents[2] / "vectors" / "crypto"
Vector = dict[str, Any]


def vectors(*names: str) -> list[Any]:
    """All vectors of these files, as test parameters."""
    return [
        pytest.param(vector, id=f"{name}-{vector['id']}")
        for name in names
        for vector in json.loads((FOLDER / f"{name}.json").read_text())["vectors"]
    ]


def data(vector: Vector, field: str) -> bytes:
    if f"{field}_repeat" in vector:
        return bytes.fromhex(vector[f"{field}_repeat"]["hex"]) * vector[f"{field}_repeat"]["times"]
    return bytes.fromhex(vector[field])


CCM = vectors("rfc3610_ccm", "sp800_38c_ccm", "wycheproof_aes_ccm")
CHACHA = vectors("wycheproof_chacha20_poly1305")
CARRIED = [each for each in CCM + CHACHA if "wycheproof" in each.id and len(each.values[0]["aad"]) in (16, 24)]


@pytest.mark.parametrize("vector", CCM + CHACHA)
def test_the_reference(vector: Vector) -> None:
    """``cryptography`` gives what the vectors say; what they call invalid it refuses."""
    key, nonce, text, aad = (data(vector, field) for field in ("key", "nonce", "plaintext", "aad"))
    chacha = "chacha20" in vector["source"]
    aead = ChaCha20Poly1305(key) if chacha else AESCCM(key, tag_length=vector["tag_len"])
    both = data(vector, "ciphertext") + data(vector, "tag")

    if vector.get("result", "valid") == "valid":
        assert aead.encrypt(nonce, text, aad) == both
        assert aead.decrypt(nonce, both, aad) == text
    else:
        with pytest.raises(InvalidTag):
            aead.decrypt(nonce, both, aad)


def test_which_vectors_fit() -> None:
    """None of RFC 3610 and SP 800-38C has the nonce of ESP; 9 of Wycheproof's for AES-CCM are whole packets, 3 of them without text."""
    assert {len(each.values[0]["nonce"]) // 2 for each in CCM if "wycheproof" not in each.id} == {7, 8, 12, 13}
    assert sum("ccm" in each.id for each in CARRIED) == 9
    assert sum("chacha" in each.id for each in CARRIED) == len(CHACHA) == 43


def expected(text: bytes) -> str:
    """The verdict on an authentic text in transport mode."""
    if len(text) < 4:
        return "TOO_SHORT"
    padding = text[-2]
    if padding + 2 > len(text) or text[-2 - padding : -2] != bytes(range(1, padding + 1)):
        return "BAD_PADDING"
    return "DUMMY" if text[-1] == NONE else "OPENED"


def receive(esp: Bench, vector: Vector) -> bytes:
    """An SA for a vector, and the packet that it is."""
    link = Link("transport4")
    key, nonce, aad = (data(vector, field) for field in ("key", "nonce", "aad"))
    cipher = Cipher.CHACHA20_POLY1305 if len(nonce) == 12 else Cipher.AES_CCM_16
    esn = len(aad) == 12
    esp.start(link)
    esp.be_receiver()
    esp.program.clear(IN)
    spi = int.from_bytes(aad[:4], "big")
    association = Association(spi, PEER, cipher, Mode.TRANSPORT, esn, False, link.source, link.target, 1500)
    with KeyMaterial(bytearray(key), nonce[:-8]) as material:
        esp.program.install(IN, association, material)
    esp.program.receive(spi, IN)
    if esn:
        _have_received(esp, int.from_bytes(aad[4:], "big") - 1)
    inside = aad[:4] + aad[-4:] + nonce[-8:] + data(vector, "ciphertext") + data(vector, "tag")
    return ether(ip_header(link, len(inside)) + inside)


def _have_received(esp: Bench, sequence: int) -> None:
    """Write the highest number into an SA that has no contexts to lose, as if it had come."""
    btf = spec().btf
    assert btf is not None
    found = btf.find("sa", Kind.STRUCT)
    assert found is not None
    (at,) = (member.bit_offset // 8 for member in btf[found].members if member.name == "highest")  # type: ignore[union-attr]
    sas, index = esp.program.collection.maps["sas"], IN.to_bytes(4, "little")
    value = bytearray(sas.lookup(index))
    value[at : at + 8] = sequence.to_bytes(8, "little")
    sas.update(index, bytes(value))


@pytest.mark.parametrize("vector", CARRIED)
def test_packets_that_are_vectors(esp: Bench, vector: Vector) -> None:
    """The vector's tag is right and no other is: a changed bit of it is not authentic, and the vector itself is."""
    good = receive(esp, vector)
    bad = good[:-1] + bytes([good[-1] ^ 1])
    text = data(vector, "plaintext")
    try:
        if len(text) >= 4:
            assert esp.judge("open", bad) == Judged("BAD_TAG", IN, DROP, bad)
        judged = esp.judge("open", good)
        assert judged.verdict == (expected(text) if vector["result"] == "valid" else "BAD_TAG")
        if judged.verdict == "OPENED":
            assert judged.data[34:] == text[: -2 - text[-2]]
    finally:
        esp.program.refuse(int.from_bytes(data(vector, "aad")[:4], "big"))


@pytest.mark.parametrize("vector", vectors("rfc7634_esp"))
def test_the_packet_of_rfc_7634(esp: Bench, vector: Vector) -> None:
    """Appendix A is a whole ESP packet in tunnel mode, which opens to the packet that it was made of."""
    link = Link()
    aad, nonce, text = (data(vector, field) for field in ("aad", "nonce", "plaintext"))
    spi, inner = int.from_bytes(aad[:4], "big"), text[:-4]
    cipher = Cipher.CHACHA20_POLY1305
    esp.start(link)
    esp.program.clear(IN)
    association = Association(spi, PEER, cipher, Mode.TUNNEL, False, False, link.source, link.target, 1500)
    with KeyMaterial(bytearray(data(vector, "key")), nonce[:4]) as material:
        esp.program.install(IN, association, material)
    esp.program.receive(spi, IN)
    esp.set_policies(row(ip_address(inner[12:16]), Action.PROTECT), row(ip_address(inner[16:20]), Action.LOCAL))
    inside = aad + nonce[4:] + data(vector, "ciphertext") + data(vector, "tag")
    try:
        assert text[-4:] == bytes([1, 2, 2, IPIP])
        assert esp.judge("open", ether(ip_header(link, len(inside)) + inside)) == Judged(
            "OPENED", IN, NEXT, ether(inner)
        )
    finally:
        esp.program.refuse(spi)


@pytest.mark.parametrize("name", SUITE_NAMES)
@pytest.mark.parametrize("esn", [False, True])
def test_random_inputs(esp: Bench, name: str, esn: bool) -> None:
    """Texts, SPIs and sequence numbers that no vector has: the same as the reference, in both directions."""
    random = Random(f"{name} {esn}")
    for _ in range(25):
        link = Link("transport4", name, esn, spi=random.randrange(256, 2**32))
        sequence = random.randrange(1, 2**64 if esn else 2**32)
        clear = frame(link, random.randbytes(random.randrange(1400)), proto=200)
        esp.start(link, sequence=sequence - 1)
        assert esp.sealed([clear]) == [sealed(link, clear, sequence)]
        low = random.randrange(1, 2**32)
        assert esp.opened([sealed(link, clear, low, iv=random.randbytes(8))]) == [clear]
