"""The commands for links: what they leave behind, and what they say and return when something is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfcrypto.abi.hooks import Hook
from bpfcrypto.cli.main import NOT_SUPPORTED, OK, REJECTED, USAGE, main
from bpfcrypto.kernel.engine import KernelEngine
from support.lab import veth

pytestmark = pytest.mark.kernel

EXAMPLES = Path(__file__).parents[2] / "examples"
LINK = str(EXAMPLES / "encrypted_link.bpf.o")
PACKETS = str(EXAMPLES / "crypto_packets.bpf.o")


@pytest.fixture
def network() -> Iterator[str]:
    with veth() as name:
        yield name


@pytest.fixture
def pins(bpf_directory: Path) -> Path:
    """Where a test pins."""
    return bpf_directory


def attach(network: str, pin: Path, *more: str, file: str = LINK, program: str = "send", interface: str = "a") -> int:
    """``bpfcrypto attach`` of the example."""
    return main(["attach", file, "-p", program, "-i", interface, "--netns", network, "--pin", str(pin), *more])


def shown(capsys: pytest.CaptureFixture[str], network: str) -> list[dict[str, object]]:
    """What ``bpfcrypto links --json`` says of a namespace."""
    capsys.readouterr()
    assert main(["links", "--json"]) == OK
    return [each for each in json.loads(capsys.readouterr().out) if each["netns"] == network]


def test_attach_links_detach(network: str, pins: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A program stays behind its command, is shown where it is, and goes with its pin."""
    (tmp_path / "key").write_bytes(os.urandom(16))
    key = ("--setup", "setup", "--set", f"key=@{tmp_path / 'key'}", "--set", "key_len=16")

    assert attach(network, pins / "send", *key) == OK

    assert f"pinned as {pins / 'send'}" in capsys.readouterr().err
    (said,) = shown(capsys, network)
    assert said["interface"] == "a"
    assert said["hook"] == Hook.EGRESS
    assert said["name"] == "send"
    assert said["pinned"] == str(pins / "send")
    assert said["attached"] is True
    assert main(["detach", str(pins / "send")]) == OK
    assert shown(capsys, network) == []
    assert not (pins / "send").exists()


def test_orders(network: str, pins: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--first, --before and --after, in the order in which ``links`` shows them."""
    steps = [("x", ()), ("y", ("--first",)), ("z", ("--after", str(pins / "y"))), ("w", ("--before", str(pins / "y")))]
    for name, more in steps:
        assert attach(network, pins / name, *more) == OK

    assert [Path(str(each["pinned"])).name for each in shown(capsys, network)] == ["w", "y", "z", "x"]

    assert main(["links"]) == OK
    table = capsys.readouterr().out
    assert [line.split()[6] for line in table.splitlines() if line.endswith(network)] == [
        str(pins / name) for name in "wyzx"
    ]
    assert attach(network, pins / "v", "--first", "--after", str(pins / "y")) == USAGE
    assert main(["detach", *(str(pins / name) for name in "wxyz")]) == OK


def test_replace_takes_over(network: str, pins: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second start with --replace keeps the link and changes the program; without it, it is refused."""
    assert attach(network, pins / "send") == OK
    (before,) = shown(capsys, network)
    assert attach(network, pins / "send") == USAGE
    assert "--replace" in capsys.readouterr().err
    assert attach(network, pins / "send", "--replace") == OK
    (after,) = shown(capsys, network)

    assert after["link"] == before["link"]
    assert after["program"] != before["program"]
    assert main(["detach", str(pins / "send")]) == OK


def test_a_setup_that_fails_attaches_nothing(network: str, pins: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No key, no link: nothing is left of the attempt."""
    assert attach(network, pins / "send", "--setup", "setup", "--set", "key_len=5") == REJECTED

    assert "setup program 'setup'" in capsys.readouterr().err
    assert shown(capsys, network) == []
    assert not (pins / "send").exists()


def test_maps_that_are_pinned_are_shared_and_kept(
    network: str, pins: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first start pins the map, others use it: a replaced program still has the context that was made for the first one."""
    (tmp_path / "key").write_bytes(os.urandom(16))
    shared = ("--pin-map", f"link_key={pins / 'key'}", "--pin-map", f"counters={pins / 'counters'}")
    setup = ("--setup", "setup", "--set", f"key=@{tmp_path / 'key'}", "--set", "key_len=16")
    assert attach(network, pins / "send", *shared, *setup) == OK
    assert attach(network, pins / "send", *shared, "--replace") == OK

    ip = bytes.fromhex("4500002800010000400100000a0000010a000002")
    with KernelEngine() as engine, engine.load(LINK, programs=["send"], reuse={"link_key": pins / "key"}) as loaded:
        assert loaded.programs["send"].run(bytes(12) + b"\x08\0" + ip + bytes(20)).retval == 0xFFFFFFFF
        counters = engine.open_map(pins / "counters")
        assert counters.spec.type.name == "PERCPU_ARRAY"
        counters.close()
    assert main(["detach", str(pins / "send")]) == OK
    assert {each.name for each in pins.iterdir()} >= {"key", "counters"}


def test_a_map_that_cannot_be_pinned(network: str, pins: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither the link nor the maps before it stay behind."""
    before = set(pins.iterdir())
    shared = ("--pin-map", f"counters={pins / 'counters'}", "--pin-map", f"link_key={pins / 'no/where'}")

    assert attach(network, pins / "send", *shared) == USAGE

    assert "mkdir" in capsys.readouterr().err
    assert set(pins.iterdir()) == before
    assert shown(capsys, network) == []


@pytest.mark.parametrize(
    ("option", "code", "words"),
    [("nope=x", REJECTED, "there is no map 'nope'"), ("nope", USAGE, "NAME=VALUE")],
)
def test_maps_that_are_none(
    network: str, pins: Path, capsys: pytest.CaptureFixture[str], option: str, code: int, words: str
) -> None:
    """A name that the object does not have, and an option that is no assignment."""
    assert attach(network, pins / "send", "--pin-map", option) == code
    assert words in capsys.readouterr().err
    assert shown(capsys, network) == []


def test_a_pin_outside_a_bpf_filesystem(network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing can be pinned, nothing is attached."""
    assert attach(network, tmp_path / "pin") == USAGE
    assert "is not in a BPF file system" in capsys.readouterr().err
    assert shown(capsys, network) == []


REFUSALS = [
    ({"interface": "nope"}, (), USAGE, "no interface 'nope'", "there are: "),
    ({"program": "setup"}, (), USAGE, "of type SYSCALL", "bpfcrypto run"),
    ({"program": "xdp_receive"}, ("--hook", "egress"), USAGE, "of type XDP", "xdp or xdp-generic"),
    ({"file": PACKETS, "program": "encrypt"}, (), USAGE, "does not say where", "ingress or egress"),
    ({"program": "xdp_receive", "interface": "lo"}, (), NOT_SUPPORTED, "native XDP", "xdp-generic"),
    ({"program": "xdp_receive", "interface": "b"}, (), USAGE, "EBUSY", "bpfcrypto links"),
    ({"program": "xdp_receive", "interface": "b"}, ("--hook", "xdp-generic"), USAGE, "EEXIST", "other mode"),
    ({}, ("--netns", "no-such"), USAGE, "no network namespace", "ip netns add"),
    ({}, ("--after", "/sys/fs/bpf/no-such"), USAGE, "BPF_OBJ_GET", "nothing is pinned"),
]


@pytest.mark.parametrize(("what", "more", "code", "words", "hint"), REFUSALS)
def test_refusals_have_codes_and_hints(
    network: str,
    pins: Path,
    capsys: pytest.CaptureFixture[str],
    what: dict[str, str],
    more: tuple[str, ...],
    code: int,
    words: str,
    hint: str,
) -> None:
    """Wrong usage is 2, what is not supported here 3; each says what to do, and leaves nothing."""
    with (
        KernelEngine() as engine,
        engine.load(LINK, programs=["xdp_receive"]) as loaded,
        loaded.programs["xdp_receive"].attach("b", netns=network),
    ):
        there = set(pins.iterdir())

        assert attach(network, pins / "link", *more, **what) == code

        said = capsys.readouterr().err
        assert words in said
        assert hint in said.partition("hint: ")[2]
        assert set(pins.iterdir()) == there
        assert len(shown(capsys, network)) == 1


def test_detach_goes_on_after_an_error(network: str, pins: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pin that is none is reported, and the others are detached."""
    assert attach(network, pins / "send") == OK

    assert main(["detach", str(pins / "none"), str(pins / "send")]) == USAGE

    assert "nothing is pinned there" in capsys.readouterr().err
    assert shown(capsys, network) == []


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["attach", LINK, "-p", "send", "-i", "lo", "--pin", "x"], "CAP_BPF is missing"),
        (["links"], "CAP_SYS_ADMIN is missing"),
    ],
)
def test_without_capabilities(command: list[str], words: str) -> None:
    """The answer is what is missing and how to get it, with the code of what is not supported here."""
    code = """
import ctypes, sys
from bpfcrypto.cli.main import main
header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()  # _LINUX_CAPABILITY_VERSION_3
assert ctypes.CDLL(None).capset(header, none) == 0
sys.exit(main(sys.argv[1:]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, *command], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == NOT_SUPPORTED, done.stderr
    assert words in done.stderr
    assert "hint: run as root" in done.stderr
