"""Who looks after a link notices that programs are off, or the maps others, and outlives what fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfcrypto.cli.main import OK, REJECTED, USAGE, main
from bpfcrypto.errors import BpfCryptoError, MapError
from bpfcrypto.programs.esp.control import Control, Event
from bpfcrypto.programs.esp.deployment import Deployment, pins
from support.esp_deployed import EXPLICIT, OneHost, Watch, one_host

pytestmark = pytest.mark.kernel


@pytest.fixture
def host(tmp_path: Path, bpf_directory: Path) -> Iterator[OneHost]:
    with one_host(tmp_path, bpf_directory) as made:
        yield made


def off(name: str) -> str:
    return f"program '{name}' is not on interface 'eth0': it was detached, or the interface was made again"


def test_an_interface_that_was_made_again(host: OneHost, capsys: pytest.CaptureFixture[str]) -> None:
    """Its programs are off: a monitor tells once and what to do, status is not green, and 'up' puts it right."""
    config = host.config()
    host.up(config).close()
    status = ["esp", "status", str(config.source)]
    assert main(status) == OK
    with Watch(host, config) as monitor:
        monitor.rounds(2)
        assert monitor.failed == []
        assert monitor.reports[-1].health.attached == {"open": True, "seal_routed": True, "seal": True}
        host.replug()
        monitor.rounds(3)
        hint = f"bpfcrypto esp up {config.source}"
        assert monitor.failed == [f"west: {off(name)}; {hint}" for name in ("open", "seal")]
        assert monitor.reports[-1].health.attached == {"open": False, "seal_routed": True, "seal": False}

        assert main(status) == REJECTED
        assert capsys.readouterr().out.splitlines()[-2:] == [f"problem: {off('open')}", f"problem: {off('seal')}"]
        assert main([*status, "--json"]) == REJECTED
        assert json.loads(capsys.readouterr().out)["problems"] == [off("open"), off("seal")]

        host.up(config).close()
        monitor.rounds(2)
        assert Event("west", "programs are on their interfaces again") in monitor.events
        assert len(monitor.failed) == 2
    assert main(status) == OK


def test_a_program_that_was_detached(host: OneHost) -> None:
    """A pin that is gone took its program along."""
    config = host.config()
    with host.up(config) as deployment:
        (pins(config) / "seal").unlink()
        assert deployment.health().problems == (off("seal"),)


def test_status_tells_of_another_configuration(host: OneHost, capsys: pytest.CaptureFixture[str]) -> None:
    """It finds what is up, and says that the configuration wants something else."""
    config = host.config()
    host.up(config).close()
    host.config(device="esp7")

    assert main(["esp", "status", str(config.source)]) == REJECTED
    assert capsys.readouterr().out.endswith("problem: [link] device is 'esp7', but what is up has 'esp0'\n")
    host.config()


@pytest.mark.parametrize("again", [False, True])
def test_a_monitor_ends_with_what_it_looks_after(host: OneHost, again: bool) -> None:
    """It does not go on with maps that no program has."""
    config = host.config()
    host.up(config).close()
    with Watch(host, config) as monitor:
        monitor.rounds(1)
        Deployment.down(config, host.netns)
        if again:
            host.up(config).close()
        monitor.until(lambda: monitor.failure is not None)

    text = str(monitor.failure)
    assert text.startswith("ESP of link 'west' ")
    if again:
        with Watch(host, config) as monitor:
            monitor.rounds(1)
            assert monitor.failure is None


def test_a_monitor_outlives_failures(host: OneHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails is told once, and again when it is something else."""
    config = host.config()
    host.up(config).close()
    tend, errors = Control.tend, [MapError("first", errno=5)]

    def fail(control: Control) -> list[Event]:
        if errors:
            raise errors[0]
        return [Event("right", "second", failed=True), *tend(control)]

    monkeypatch.setattr(Control, "tend", fail)
    with Watch(host, config) as monitor:
        monitor.rounds(2)
        errors[0] = BpfCryptoError("third")
        monitor.rounds(2)
        errors.clear()
        monitor.rounds(2)
        assert monitor.failure is None
        assert monitor.failed == ["west: first", "west: third", "right: second"]


def test_metrics_that_cannot_be_written(host: OneHost) -> None:
    """A full disk, say, is told once, and peers are looked after."""
    config = host.config()
    config.source.write_text(config.source.read_text().replace("[policy]", '[metrics]\nfile = "absent/x"\n[policy]'))
    config = host.read()
    host.up(config).close()
    with Watch(host, config) as monitor:
        monitor.rounds(3)
        assert len(monitor.failed) == 1
        assert monitor.failed[0].startswith("metrics: ")


def test_rotation_without_secrets(host: OneHost, capsys: pytest.CaptureFixture[str]) -> None:
    """Where all keys are given, there is nothing to rotate, and that is no success."""
    config = host.config(keys=EXPLICIT)
    host.up(config).close()

    assert main(["esp", "rotate", str(config.source), "--netns", host.netns]) == USAGE
    assert "no peer has a secret, so there are no epochs" in capsys.readouterr().err
