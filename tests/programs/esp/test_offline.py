"""What seals and opens captures: this host as it sends, and both directions of what a capture has."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from bpfcrypto import open_engine
from bpfcrypto.engine import Engine, Program
from bpfcrypto.errors import ConfigError
from bpfcrypto.programs.esp.config import load_config
from bpfcrypto.programs.esp.keys import derive
from bpfcrypto.programs.esp.offline import Opener, Sealer, opener, sealer
from bpfcrypto.programs.esp.suites import SUITES, Mode
from support.esp_captures import ID, OTHER, OUTER, SPIS, Sites
from support.esp_pair import PASSED, frame, write_secret


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with open_engine("embedded") as opened:
        yield opened


def through(program: Program, *frames: bytes) -> list[bytes | None]:
    """What comes out; None for what is dropped."""
    results = [program.run(each) for each in frames]
    return [result.data if result.retval == PASSED else None for result in results]


def sealed(engine: Engine, sites: Sites, side: str, *frames: bytes, **options: int) -> list[bytes]:
    with sealer(engine, sites.config(side), **options) as made:
        found = through(made.program, *frames)
    assert None not in found
    return [each for each in found if each is not None]


def found_in(made: Opener, *frames: bytes) -> Opener:
    """Look at frames, and open with what they are of."""
    through(made.looker, *frames)
    made.install_found()
    return made


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("mode", ["tunnel", "transport"])
@pytest.mark.parametrize("explicit", [False, True])
def test_there_and_back(engine: Engine, tmp_path: Path, suite: str, mode: str, explicit: bool) -> None:
    """Every suite, mode and kind of key: what both sides seal, each side's configuration opens to the same bytes, in one pass."""
    sites = Sites(tmp_path, suite, mode, explicit=explicit)
    clear = {side: [sites.frame(side, bytes(range(size))) for size in (8, 21, 22, 23, 200)] for side in OTHER}
    esp = {side: sealed(engine, sites, side, *frames) for side, frames in clear.items()}
    mixed = [each for pair in zip(esp["left"], esp["right"], strict=True) for each in pair]
    before = [each for pair in zip(clear["left"], clear["right"], strict=True) for each in pair]

    for side in OTHER:
        with opener(engine, sites.config(side)) as made:
            assert through(found_in(made, *mixed).program, *mixed) == before
            assert made.verdicts() == {"OPENED": 10}
            assert sorted(each.association.outbound for each in made.used()) == [False, True]
    assert all(each[23] == 50 for each in mixed)


def test_a_known_answer(engine: Engine, tmp_path: Path) -> None:
    """One packet in transport mode, made by hand of RFC 4303 and RFC 4309 with the AES-CCM of another library, is the very frame."""
    sites = Sites(tmp_path, "aes-256-ccm-16", "transport")
    clear = sites.frame("left", b"0123456789")
    material = derive(
        (tmp_path / "secret").read_bytes(),
        SUITES["aes-256-ccm-16"],
        5 << 8 | ID,
        *(sites.config("left").peers[0].local, sites.config("left").peers[0].remote),
        mode=Mode.TRANSPORT,
        esn=True,
    )
    iv, associated = struct.pack("!Q", 43), struct.pack("!IQ", 5 << 8 | ID, 43)
    text = b"0123456789" + b"" + bytes([0, 17])  # 12 bytes: no padding
    tag_and_text = AESCCM(bytes(material.key), 16).encrypt(material.salt + iv, text, associated)

    (found,) = sealed(engine, sites, "left", clear, epoch=5, sequence=42)

    assert found[34:] == struct.pack("!II", 5 << 8 | ID, 43) + iv + tag_and_text
    assert found[:14] == clear[:14]
    assert (found[16:18], found[23]) == (struct.pack("!H", 20 + 16 + 12 + 16), 50)


@pytest.mark.parametrize("suite", ["aes-128-ccm-16", "aes-192-ccm-8", "aes-256-ccm-16", "chacha20-poly1305"])
@pytest.mark.parametrize("mode", ["tunnel", "transport"])
@pytest.mark.parametrize("esn", [False, True])
def test_another_implementation(engine: Engine, tmp_path: Path, suite: str, mode: str, esn: bool) -> None:
    """What scapy has sealed, in either direction, is opened here; what is sealed here, scapy opens."""
    pytest.importorskip("scapy")
    sites = Sites(tmp_path, suite, mode, esn, explicit=True)
    clear = {side: [sites.frame(side, bytes(range(size))) for size in (8, 21, 22, 23)] for side in OTHER}
    scapy = {side: sites.in_scapy(side) for side in OTHER}
    esp = [scapy[side].seal(each) for side, frames in clear.items() for each in frames]

    with opener(engine, sites.config("left")) as made:
        assert through(made.program, *esp) == clear["left"] + clear["right"]
    for side, frames in clear.items():
        assert [scapy[side].open(each) for each in sealed(engine, sites, side, *frames)] == frames


def test_addresses_belong_to_a_direction(engine: Engine, tmp_path: Path) -> None:
    """An authentic packet whose inner addresses are those of the other direction is dropped, in both directions."""
    pytest.importorskip("scapy")
    sites = Sites(tmp_path, explicit=True)
    wrong = [sites.in_scapy(side).seal(sites.frame(OTHER[side])) for side in OTHER]
    strange = sites.in_scapy("left")
    strange.seal(b"\0" * 14 + sites.frame("left")[14:])  # number 1 is taken
    wrong.append(strange.seal(frame("10.1.0.1", "10.9.0.1", b"to nobody")))

    with opener(engine, sites.config("left")) as made:
        assert through(made.program, *wrong) == [None, None, None]
        assert made.verdicts() == {"BAD_SELECTOR": 3}


LEFT, RIGHT, FREE, BAD, NONE = "10.1.0.1", "10.2.0.1", "10.4.0.1", "10.5.0.1", "10.6.0.1"


@pytest.mark.parametrize(
    ("source", "target", "default", "verdict"),
    [
        (RIGHT, LEFT, "bypass", "CLEARTEXT"),
        (LEFT, RIGHT, "bypass", "CLEARTEXT"),
        (RIGHT, FREE, "bypass", "CLEARTEXT"),
        (LEFT, BAD, "bypass", "DISCARDED"),
        (BAD, FREE, "bypass", "DISCARDED"),
        (FREE, LEFT, "discard", "BYPASSED"),
        (LEFT, FREE, "discard", "BYPASSED"),
        (NONE, FREE, "discard", "BYPASSED"),
        (LEFT, NONE, "discard", "NO_POLICY"),
        (NONE, LEFT, "bypass", "BYPASSED"),
        (NONE, NONE, "bypass", "BYPASSED"),
        (NONE, NONE, "discard", "NO_POLICY"),
        (LEFT, LEFT, "bypass", "NO_POLICY"),
    ],
)
def test_what_may_be_in_the_clear(
    engine: Engine, tmp_path: Path, source: str, target: str, default: str, verdict: str
) -> None:
    """A packet in the clear stays if it may be so at one end, and neither end is protected or discarded."""
    sites = Sites(tmp_path, policy=f'bypass = ["{FREE}"]\ndiscard = ["{BAD}"]\ndefault = "{default}"')
    data = frame(source, target, b"in the clear")

    with opener(engine, sites.config("left")) as made:
        assert through(made.program, data) == [data if verdict == "BYPASSED" else None]
        assert made.verdicts() == {verdict: 1}


def test_only_what_is_there_is_installed(engine: Engine, tmp_path: Path) -> None:
    """Epochs are found by the SPIs of a capture, however far apart; other peers' SPIs and other addresses are not taken for them."""
    sites = Sites(tmp_path)
    epochs = (1, 2, 999, (1 << 24) - 1)
    frames = [sealed(engine, sites, "right", sites.frame("right"), epoch=epoch)[0] for epoch in epochs]
    strange = [frame("203.0.113.9", OUTER["left"], struct.pack("!II", 3 << 8 | ID, 1) + bytes(40), 50)]
    strange.append(frame(OUTER["right"], OUTER["left"], struct.pack("!II", 3 << 8 | ID + 1, 1) + bytes(40), 50))
    strange += [frame(OUTER["right"], OUTER["left"], struct.pack("!II", spi, 1) + bytes(40), 50) for spi in (0, ID)]

    with opener(engine, sites.config("left")) as made:
        found = through(found_in(made, *frames, *strange).program, *frames, *strange)

        assert found == [sites.frame("right")] * 4 + [None] * 4
        assert [each.association.spi >> 8 for each in made.used()] == list(epochs)
        assert made.verdicts() == {"OPENED": 4, "NO_SA": 4}


def test_a_folder_of_secrets(engine: Engine, tmp_path: Path) -> None:
    """Each epoch has the secret of its own; one before the first is named, and its packets are dropped."""
    sites = Sites(tmp_path)
    early = sealed(engine, sites, "left", sites.frame("left"), epoch=2)
    (tmp_path / "folder").mkdir(mode=0o700)
    for first in (3, 10):
        write_secret(tmp_path / f"folder/{first}.secret")
    path = sites.path("left")
    path.write_text(path.read_text().replace('secret = "secret"', 'secrets = "folder"'))
    frames, config = early, load_config(path)
    for epoch in (3, 9, 10, 11):
        with sealer(engine, config, epoch=epoch) as made:
            frames += [each for each in through(made.program, sites.frame("left")) if each]

    with opener(engine, config) as reader:
        assert through(found_in(reader, *frames).program, *frames) == [None, *[sites.frame("left")] * 4]
        assert reader.missing == ["peer 'right' has no secret for epoch 2"]
    with opener(engine, config) as reader:
        reader.install_epochs(range(1, 11))
        assert through(reader.program, *frames) == [None, *[sites.frame("left")] * 3, None]
    with pytest.raises(ConfigError, match="no secret for epoch 2"), sealer(engine, config, epoch=2):
        pass


def test_too_many_epochs(engine: Engine, tmp_path: Path) -> None:
    """511 epochs of both directions fit; one more is an error before any key is made."""
    sites = Sites(tmp_path)
    with opener(engine, sites.config("left")) as made, pytest.raises(ConfigError) as caught:
        made.install_epochs(range(1, 513))
    assert str(caught.value).endswith("1024 security associations are more than 1023")
    with opener(engine, sites.config("left")) as made:
        made.install_epochs(range(1, 512))
        last = sealed(engine, sites, "right", sites.frame("right"), epoch=511)
        assert through(made.program, *last) == [sites.frame("right")]


def test_numbers_above_32_bits(engine: Engine, tmp_path: Path) -> None:
    """Packets have half of an extended number: across 2^32 the window knows the other half, beyond it somebody has to say it."""
    sites = Sites(tmp_path)
    clear = sites.frame("left")
    across = sealed(engine, sites, "left", *[clear] * 5, sequence=(1 << 32) - 3)
    beyond = sealed(engine, sites, "left", *[clear] * 2, sequence=5 << 32)

    with opener(engine, sites.config("left")) as made:
        assert through(found_in(made, *across).program, *across) == [clear] * 5
    with opener(engine, sites.config("left")) as made:
        assert through(found_in(made, *beyond).program, *beyond) == [None, None]
        assert made.verdicts() == {"BAD_TAG": 2}
    with opener(engine, sites.config("right"), sequence=5 << 32) as made:
        assert through(found_in(made, *beyond).program, *beyond) == [clear] * 2
    explicit = Sites(tmp_path, explicit=True, sequence=5 << 32)
    own = sealed(engine, explicit, "left", clear)
    with opener(engine, explicit.config("left")) as made:
        assert through(made.program, *own) == [clear]


def test_the_replay_window(engine: Engine, tmp_path: Path) -> None:
    """As on a host, in both directions: any order within the window, nothing twice, nothing far too late."""
    sites = Sites(tmp_path, esn=False)
    for side in OTHER:
        clear = sites.frame(side)
        frames = sealed(engine, sites, side, *[clear] * 2100)
        given = [frames[1], frames[0], frames[1], *reversed(frames[2000:]), frames[50]]
        with opener(engine, sites.config("left")) as made:
            found = through(found_in(made, *given).program, *given)
            assert [each is None for each in found] == [False, False, True, *[False] * 100, True]
            assert made.verdicts() == {"OPENED": 102, "REPLAY": 1, "TOO_OLD": 1}


def test_only_what_a_host_sends_is_sealed(engine: Engine, tmp_path: Path) -> None:
    """A packet that comes from the peer is not this host's to seal; numbers without ESN end at 2^32."""
    sites = Sites(tmp_path, esn=False)
    with sealer(engine, sites.config("left"), sequence=(1 << 32) - 2) as made:
        assert isinstance(made, Sealer)
        found = through(made.program, sites.frame("right"), sites.frame("left"), sites.frame("left"))
        assert [each is None for each in found] == [True, False, True]
        assert made.verdicts() == {"NO_POLICY": 1, "SEALED": 1, "EXHAUSTED": 1}


def test_wrong_keys(engine: Engine, tmp_path: Path) -> None:
    """With other keys nothing is opened, and the verdict says why; a key file that others can read is refused."""
    sites = Sites(tmp_path, explicit=True)
    frames = [each for side in OTHER for each in sealed(engine, sites, side, *[sites.frame(side)] * 3)]
    other = Sites(tmp_path, explicit=True)

    with opener(engine, other.config("left")) as made:
        assert through(made.program, *frames) == [None] * 6
        assert made.verdicts() == {"BAD_TAG": 6}
        assert {each.association.spi for each in made.used()} == set(SPIS.values())
    (tmp_path / "left.key").chmod(0o644)
    with pytest.raises(ConfigError, match="mode is 0644"), opener(engine, other.config("left")):
        pass
