"""Values of variables: from the command line, and to JSON and text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from bpfcrypto import Collection, open_engine
from bpfcrypto.cli.values import assign, parse_hex, split_assignment, to_json, to_text

OBJECT = Path(__file__).parents[2] / "examples/crypto_packets.bpf.o"


@pytest.fixture
def collection() -> Iterator[Collection]:
    with open_engine("embedded") as engine, engine.load(OBJECT, programs=["setup"]) as loaded:
        yield loaded


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("key_len", "16", (16).to_bytes(4, "little")),
        ("key_len", "0x10", (16).to_bytes(4, "little")),
        ("key_len", "hex:10", (16).to_bytes(4, "little")),
        ("status", "-22", (-22).to_bytes(4, "little", signed=True)),
        ("cipher", "ecb(aes)", b"ecb(aes)".ljust(128, b"\0")),
        ("cipher", "123", b"123".ljust(128, b"\0")),
        ("cipher", "a=b", b"a=b".ljust(128, b"\0")),
        ("key", "hex:00:ff 10", b"\x00\xff\x10".ljust(256, b"\0")),
        ("key", "sixteen letters.", b"sixteen letters.".ljust(256, b"\0")),
    ],
)
def test_what_texts_stand_for(collection: Collection, name: str, text: str, expected: bytes) -> None:
    """A text is read by the variable's type; what is short is filled up with zeros."""
    assign(collection, dict([split_assignment(f"{name}={text}")]))

    assert collection.variables[name].bytes == expected


def test_a_file_is_its_bytes(collection: Collection, tmp_path: Path) -> None:
    """@FILE takes the bytes of a file, as they are."""
    (tmp_path / "key").write_bytes(b"\x01\x02\n")

    assign(collection, {"key": f"@{tmp_path}/key"})

    assert collection.variables["key"].bytes == b"\x01\x02\n".ljust(256, b"\0")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("nothing", "1", "no variable 'nothing'; there are: cipher"),
        ("key_len", "", "it takes an integer, hex:BYTES or @FILE"),
        ("key_len", "1.5", "it takes an integer, hex:BYTES or @FILE"),
        ("key_len", "sixteen", "variable 'key_len'"),
        ("key_len", "4294967296", "variable 'key_len'"),
        ("key_len", "hex:0102030405", "5 bytes do not fit into 4"),
        ("cipher", "x" * 129, "129 bytes do not fit into 128"),
        ("key", "hex:0", "not hexadecimal"),
        ("key", "@/nowhere/key", "cannot read '/nowhere/key': No such file"),
    ],
)
def test_what_does_not_fit(collection: Collection, name: str, text: str, message: str) -> None:
    """A text that does not fit is wrong usage, and the message names the variable."""
    with pytest.raises(click.BadParameter) as caught:
        assign(collection, {name: text})

    assert message in caught.value.message


def test_messages_do_not_repeat_keys(collection: Collection) -> None:
    """A key that is too long is refused without being printed."""
    secret = "5ec2e7" * 100

    with pytest.raises(click.BadParameter) as caught:
        assign(collection, {"key": f"hex:{secret}"})

    assert "5ec2e7" not in caught.value.message


@pytest.mark.parametrize("text", ["0", "xx", "0x00"])
def test_hexadecimal(text: str) -> None:
    """What is not hexadecimal is wrong usage."""
    with pytest.raises(click.BadParameter):
        parse_hex(text)


VALUE = {"number": 7, "text": "abc", "bytes": b"\x01\xff", "list": [1, {"inner": b"\x02"}], "none": None, "yes": True}


def test_json_keeps_integers_and_texts() -> None:
    """Integers and texts stay, bytes become hexadecimal, aggregates keep their members."""
    expected = {"number": 7, "text": "abc", "bytes": "01ff", "list": [1, {"inner": "02"}], "none": None, "yes": True}

    assert to_json(VALUE) == expected


def test_text_hides_bytes() -> None:
    """People see the length of a byte array and not its bytes, which may be a key."""
    expected = '{number: 7, text: "abc", bytes: 2 bytes, list: [1, {inner: 1 bytes}], none: None, yes: True}'

    assert to_text(VALUE) == expected
