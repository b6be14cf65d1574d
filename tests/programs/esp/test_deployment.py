"""ESP that is brought up on a host whose configuration is wrong, or changes, or whose interfaces do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bpfcrypto.cli.main import OK, REJECTED, main
from bpfcrypto.errors import ConfigError
from bpfcrypto.kernel.netns import within
from bpfcrypto.kernel.steering import routes
from bpfcrypto.programs.esp.control import Control, Event
from bpfcrypto.programs.esp.deployment import MAPS, PACKET_PROGRAMS, Deployment, pins
from bpfcrypto.programs.esp.deployment_record import Record
from bpfcrypto.programs.esp.explicit_peer import ExplicitPeer
from bpfcrypto.programs.esp.policies import Action
from bpfcrypto.programs.esp.program import EspProgram, Settings, spec
from bpfcrypto.programs.esp.state_file import make_folder
from support.esp_deployed import EXPLICIT, OneHost, add_address, one_host

pytestmark = pytest.mark.kernel


@pytest.fixture
def host(tmp_path: Path, bpf_directory: Path) -> Iterator[OneHost]:
    with one_host(tmp_path, bpf_directory) as made:
        yield made


def test_a_peer_that_cannot_be_brought_up_opens_nothing(
    host: OneHost, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Programs and routes are there for all peers, so that what is for that one is dropped; and the command says so."""
    start = Control.start
    monkeypatch.setattr(Control, "start", lambda control: [*start(control), Event("right", "no key", failed=True)])
    config = host.config()
    code = main(["esp", "up", str(config.source), "--netns", host.netns])

    assert code == REJECTED
    assert "error: right: no key" in capsys.readouterr().err.splitlines()
    assert {each.name for each in pins(config).iterdir()} >= set(PACKET_PROGRAMS)
    assert [str(route.prefix) for route in within(host.netns, lambda: routes("esp0"))] == ["10.2.0.0/16"]


def test_one_bad_secret(host: OneHost, capsys: pytest.CaptureFixture[str]) -> None:
    """The other peers come up, the routes of all are there, and dummy packets go on being asked for with the token of before."""
    config = host.config(peers=("bad", "right"))
    assert main(["esp", "up", str(config.source), "--netns", host.netns, "--wait", "0"]) == REJECTED
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0].startswith("error: bad: ")
    assert [str(route.prefix) for route in within(host.netns, lambda: routes("esp0"))] == ["10.2.0.0/16", "10.3.0.0/16"]
    with Deployment.looked_at(config) as (program, health):
        assert [bool(program.sender(number)) for number in (1, 2)] == [False, True]
        assert health.problems == ()
        token = program.settings.token
        assert any(token)
        host.up(config).close()
        assert program.settings.token == token


def test_a_default_is_loosened_last(host: OneHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packets of a prefix that is new in the configuration do not pass in the clear before there is a policy for it."""
    host.up(host.config()).close()
    states: list[tuple[Action, int]] = []

    def noted(program: EspProgram, settings: Settings) -> None:
        write(program, settings)
        states.append((settings.default, len(list(program.collection.maps["policies"].keys()))))

    write = EspProgram.settings.fset
    monkeypatch.setattr(EspProgram, "settings", EspProgram.settings.setter(noted))
    with host.up(host.config(default="bypass", peers=("right", "other"))) as deployment:
        assert deployment.program.settings.default is Action.BYPASS

    assert states == [(Action.DISCARD, 2), (Action.BYPASS, 3)]


def test_up_waits_for_peers_with_keys_of_their_own(
    host: OneHost, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They have no epochs: anything authentic is an answer."""
    monkeypatch.setattr(ExplicitPeer, "acknowledged", True)
    config = host.config(keys=EXPLICIT)
    begin = time.monotonic()

    assert main(["esp", "up", str(config.source), "--netns", host.netns, "--wait", "20"]) == OK
    assert time.monotonic() - begin < 15
    assert "right: has answered" in capsys.readouterr().err.splitlines()


def test_memory_for_packets_has_no_name(host: OneHost) -> None:
    """There may be a packet in the clear in it. Programs that are put in the place of others bring their own."""
    config = host.config()
    host.up(config).close()
    host.up(config).close()

    assert {each.name for each in pins(config).iterdir()} == {*MAPS, *PACKET_PROGRAMS}
    assert set(spec().maps) - set(MAPS) == {"scratches"}


@pytest.fixture
def strict(host: OneHost) -> OneHost:
    """A host that wants packets to come in where answers would leave, and has a neighbour that is routed elsewhere."""
    host.filter_of("eth0", 1)
    within(host.netns, lambda: add_address("eth0", "10.2.0.1", 16))
    return host


def test_a_strict_interface_is_strict_again(strict: OneHost) -> None:
    """Whatever is cut off: who takes ESP down knows before the interface is loose that it was strict."""
    config = strict.config()
    strict.up(config).close()
    assert strict.filter_of("eth0") == 2
    strict.up(config).close()
    Deployment.down(config, strict.netns)
    assert strict.filter_of("eth0") == 1


def test_the_record_of_a_strict_interface_comes_first(strict: OneHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is on disk when the setting is changed."""

    def killed(interface: str) -> bool:
        assert (strict.folder / "state/rp_filter.west").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr("bpfcrypto.programs.esp.host.loosen", killed)
    with pytest.raises(KeyboardInterrupt):
        strict.up(strict.config())


@pytest.mark.parametrize("stale", ["boot", "interface"])
def test_a_record_of_another_interface_is_forgotten(
    strict: OneHost, monkeypatch: pytest.MonkeyPatch, stale: str
) -> None:
    """After a reboot, and where the interface was made again, the setting is somebody else's."""
    config = strict.config()
    strict.up(config).close()
    if stale == "boot":
        monkeypatch.setattr("bpfcrypto.programs.esp.host.boot_id", lambda: "another")
    else:
        strict.replug()
    strict.filter_of("eth0", 0)
    Deployment.down(config, strict.netns)

    assert strict.filter_of("eth0") == 0
    assert not (strict.folder / "state/rp_filter.west").exists()


CHANGES: dict[str, dict[str, Any]] = {
    "device": {"device": "esp7"},
    "interface": {"interface": "eth1"},
    "send": {"send": "egress"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_cannot_change_while_it_is_up(host: OneHost, change: str) -> None:
    """Another device, interface or way to send is refused before anything is done, by every command that would change something."""
    config = host.config()
    with host.up(config) as deployment:
        other = host.config(**CHANGES[change])
        former = deployment.program.settings
        for call in (host.up, lambda config: Deployment.opened(config, host.netns)):
            with pytest.raises(ConfigError, match=rf"\[link\] {change} is") as caught:
                call(other)
            assert caught.value.hint == f"bpfcrypto esp down {config.source}, then up again"

        assert host.interfaces() == {"esp0", "esp0-in"}
        assert deployment.program.settings == former


@pytest.mark.parametrize("change", CHANGES)
def test_down_knows_what_was_put_up(host: OneHost, change: str) -> None:
    """A configuration that has changed takes down what the former one has put up, so that no route leads nowhere."""
    config = host.config()
    host.up(config).close()
    other = host.config(**CHANGES[change])
    Deployment.down(other, host.netns)

    assert host.interfaces() == set()
    assert within(host.netns, lambda: routes("esp0")) == ()
    assert not pins(config).exists()
    assert not list((host.folder / "state").glob("deployment.*"))
    host.up(other).close()


def test_a_record_of_what_is_gone_counts_for_nothing(host: OneHost) -> None:
    """After a reboot there is the record, and nothing else."""
    made = host.config(device="esp7")
    make_folder(made.link.state)
    Record.of(made).write(made)
    made = host.config()
    host.up(made).close()

    assert Record.read(made) == Record.of(made)


def test_a_damaged_record(host: OneHost) -> None:
    """Nothing is guessed from it; without one the configuration says what is up."""
    config = host.config()
    host.up(config).close()
    record = host.folder / "state/deployment.west.json"
    for text in ("", "[]", "{}", record.read_text().replace("routed", "sent")):
        record.write_text(text)
        with pytest.raises(ConfigError, match="damaged"):
            Deployment.down(config, host.netns)
    record.unlink()
    Deployment.down(config, host.netns)
    assert host.interfaces() == set()


def test_a_peer_that_gets_another_kind_of_keys(host: OneHost) -> None:
    """An SPI that was given is no epoch: nothing of the former kind is left."""
    host.up(host.config()).close()
    with host.up(host.config(keys=EXPLICIT)) as deployment:
        assert {each.spi for each in deployment.program.associations().values()} == {0x1001, 0x2001}
    with host.up(host.config()) as deployment:
        spis = {each.spi for each in deployment.program.associations().values()}

    assert spis
    assert not spis & {0x1001, 0x2001}
    assert max(spis) < 0x1001
