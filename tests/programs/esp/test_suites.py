"""programs.esp.suites: the table, and sizes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bpfcrypto.programs.esp
from bpfcrypto.programs.esp.policies import MOST_ROWS, Action
from bpfcrypto.programs.esp.suites import MAX_TEXT, SUITES, Cipher, Mode, Suite, largest_packet, largest_payload

TYPES = (Path(bpfcrypto.programs.esp.__file__).parent / "types.h").read_text()

suites = st.sampled_from(list(SUITES.values()))
modes = st.sampled_from(Mode)
families = st.sampled_from([4, 6])


def members(enum: str) -> list[str]:
    """The names of a C enum, whose values are their positions."""
    found = re.search(rf"enum {enum} {{(.*?)}}", TYPES, re.DOTALL)
    assert found is not None
    return re.findall(r"\w+", re.sub(r"/\*.*?\*/", "", found[1], flags=re.DOTALL))


def test_the_programs_have_the_same_numbers() -> None:
    """Suites, modes, actions and the largest sizes are those of types.h."""
    assert members("suite") == ["NO_SUITE", *(each.name for each in sorted(Cipher))]
    assert [each.value for each in Cipher] == [1, 2, 3]
    assert members("mode") == [each.name for each in Mode]
    assert [each.value for each in Mode] == [0, 1]
    assert members("action") == [each.name for each in Action]
    assert [each.value for each in Action] == [0, 1, 2, 3]
    assert re.search(rf"#define MAX_TEXT\s+{MAX_TEXT}\s", TYPES)
    assert re.search(rf"#define POLICIES\s+{MOST_ROWS}\s", TYPES)


@pytest.mark.parametrize(
    ("name", "cipher", "key", "salt", "icv"),
    [
        ("aes-128-ccm-16", Cipher.AES_CCM_16, 16, 3, 16),
        ("aes-192-ccm-16", Cipher.AES_CCM_16, 24, 3, 16),
        ("aes-256-ccm-16", Cipher.AES_CCM_16, 32, 3, 16),
        ("aes-128-ccm-8", Cipher.AES_CCM_8, 16, 3, 8),
        ("aes-192-ccm-8", Cipher.AES_CCM_8, 24, 3, 8),
        ("aes-256-ccm-8", Cipher.AES_CCM_8, 32, 3, 8),
        ("chacha20-poly1305", Cipher.CHACHA20_POLY1305, 32, 4, 16),
    ],
)
def test_sizes_are_those_of_the_rfcs(name: str, cipher: Cipher, key: int, salt: int, icv: int) -> None:
    """RFC 4309, sections 3.1, 4 and 7.1; RFC 7634, section 2."""
    suite = SUITES[name]

    assert (suite.name, suite.cipher, suite.key_size, suite.salt_size, suite.icv_size) == (name, cipher, key, salt, icv)
    assert suite.material_size == key + salt


@pytest.mark.parametrize(
    ("name", "mode", "family", "mtu", "largest"),
    [
        ("aes-256-ccm-16", Mode.TRANSPORT, 4, 1500, 1466),
        ("aes-256-ccm-16", Mode.TUNNEL, 4, 1500, 1446),
        ("aes-256-ccm-8", Mode.TUNNEL, 4, 1500, 1454),
        ("chacha20-poly1305", Mode.TUNNEL, 6, 1500, 1426),
        ("chacha20-poly1305", Mode.TRANSPORT, 6, 1500, 1466),
        ("aes-128-ccm-16", Mode.TUNNEL, 4, 1499, 1442),
        ("aes-128-ccm-16", Mode.TUNNEL, 4, 65535, 9214),
    ],
)
def test_largest_packets(name: str, mode: Mode, family: int, mtu: int, largest: int) -> None:
    """Worked out by hand: MTU less outer header, ESP header, IV and ICV, down to a multiple of 4, less 2."""
    assert largest_packet(SUITES[name], mode, family, mtu) == largest


def outer_size(suite: Suite, mode: Mode, family: int, packet: int) -> int:
    """Bytes of what a packet in the clear becomes, put together from its parts: header, ESP, IV, text with trailer and padding, ICV."""
    header = {4: 20, 6: 40}[family]
    payload = packet - (header if mode is Mode.TRANSPORT else 0)
    text = payload + 2
    return header + 8 + 8 + text + -text % 4 + suite.icv_size


@given(suites, modes, families, st.integers(100, 9216))
def test_the_largest_packet_fits_and_the_next_does_not(suite: Suite, mode: Mode, family: int, mtu: int) -> None:
    """For every MTU of which all can be encrypted."""
    packet = largest_packet(suite, mode, family, mtu)  # type: ignore[arg-type]

    assert outer_size(suite, mode, family, packet) <= mtu
    assert outer_size(suite, mode, family, packet + 1) > mtu


@pytest.mark.parametrize(("family", "least"), [(4, 56), (6, 76)])
def test_no_room(family: int, least: int) -> None:
    """A packet has room for an empty text of 4 bytes, or there is an error that says for what there is none."""
    suite = SUITES["aes-128-ccm-16"]

    assert largest_payload(suite, family, least) == 2
    with pytest.raises(ValueError, match=f"IPv{family} packet of {least - 1} bytes has no room for ESP with aes-128"):
        largest_payload(suite, family, least - 1)
