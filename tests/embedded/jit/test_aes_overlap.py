"""Overlapping source, destination and IV: machine code leaves the memory that the model in Python leaves."""

from __future__ import annotations

import ctypes
import random

import pytest

from bpfcrypto.crypto.skcipher import ALGORITHMS, Skcipher
from support.native_aes import NEEDS_AES, Cipher, by_machine, by_python, native, overlaps, runnable

pytestmark = NEEDS_AES

CASES = 2500  # for each mode and direction: 10,000 in all


@pytest.mark.parametrize("encrypt", [True, False], ids=["encrypt", "decrypt"])
@pytest.mark.parametrize("mode", ["ecb", "cbc"])
def test_overlap(mode: str, encrypt: bool) -> None:
    """Whatever overlaps, the errno and every byte of memory are the model's, on every kind of instructions."""
    rng = random.Random(f"{mode} {encrypt}")
    algorithm, key = ALGORITHMS[f"{mode}(aes)"], rng.randbytes(rng.choice((16, 24, 32)))
    model, machines = Skcipher(algorithm, key), {way: Cipher(native(way), mode, key) for way in runnable()}
    for case in overlaps(rng, CASES):
        expected = by_python(model, case, encrypt=encrypt)
        for way, machine in machines.items():
            assert by_machine(machine, case, algorithm.siv_size, encrypt=encrypt) == expected, (
                way,
                case._replace(memory=b""),
            )


@pytest.mark.parametrize("mode", ["ecb", "cbc"])
def test_careful_form_where_nothing_overlaps(mode: str) -> None:
    """Block by block or in bulk is the same where source, destination and IV are apart."""
    data, key = bytes(range(256)) * 2, bytes(range(24))
    for way in runnable():
        machine = Cipher(native(way), mode, key)
        for direction in ("encrypt", "decrypt"):
            results = []
            for form in ("", "_overlap"):
                target, vector = (
                    ctypes.create_string_buffer(len(data)),
                    ctypes.create_string_buffer(bytes(range(16)), 16),
                )
                iv = (vector,) if mode == "cbc" else ()
                call = machine.aes.calls[f"aes_{mode}_{direction}{form}"]
                assert call(machine.key.address, data, target, *iv, len(data) // 16) == 0
                results.append((target.raw, vector.raw))
            assert results[0] == results[1], (way, direction)


def test_no_blocks() -> None:
    """No form touches anything where there are no blocks."""
    for mode, iv in (("ecb", ()), ("cbc", (ctypes.create_string_buffer(b"\xa5" * 16, 16),))):
        machine = Cipher(native(runnable()[0]), mode, bytes(16))
        for direction in ("encrypt", "decrypt"):
            for form in ("", "_overlap"):
                for target in (None, 1):
                    call = machine.aes.calls[f"aes_{mode}_{direction}{form}"]
                    assert call(machine.key.address, None, target, *iv, 0) == 0
        assert all(vector.raw == b"\xa5" * 16 for vector in iv)


def test_same_block_everywhere() -> None:
    """Source, destination and IV in one block: encrypting gives E(0), decrypting changes nothing."""
    for way in runnable():
        machine, block = Cipher(native(way), "cbc", bytes(16)), ctypes.create_string_buffer(bytes(range(16)), 16)
        place = ctypes.addressof(block)

        assert machine.crypt(place, 16, place, 16, place, 16, encrypt=False) == 0
        assert block.raw == bytes(range(16))
        assert machine.crypt(place, 16, place, 16, place, 16, encrypt=True) == 0
        assert block.raw.hex() == "66e94bd4ef8a2c3b884cfa59ca342b2e"
