"""Metrics: totals that only grow, the text format, the port and the file."""

from __future__ import annotations

import http.client
import os
import re
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bpfcrypto.errors import ConfigError
from bpfcrypto.programs.esp import metrics_output
from bpfcrypto.programs.esp.config import Config, Listen
from bpfcrypto.programs.esp.health import Health
from bpfcrypto.programs.esp.metrics import CONTENT_TYPE, FAMILIES, Metrics
from bpfcrypto.programs.esp.metrics_output import MetricsServer, write_metrics
from bpfcrypto.programs.esp.program import EspProgram
from bpfcrypto.programs.esp.report import take_report
from bpfcrypto.programs.esp.wire import spi_of
from support.esp_tallies import bring_up, config_of, count, install, opened_program
from support.need import skip_or_fail

ROOT = Path(__file__).parents[3]
LOCAL = Listen("127.0.0.1", 0)
SAMPLE = re.compile(r'(\w+)\{((?:\w+="(?:[^"\\\n]|\\["\\n])*",?)*)\} (\S+)')

Samples = dict[tuple[str, ...], float]


def parsed(text: str) -> Samples:
    """Samples of the text format by name and values of labels; fails on what is not of that format, or comes twice."""
    found: Samples = {}
    kinds: dict[str, str] = {}
    helped = ""
    for line in text.splitlines():
        if line.startswith("# HELP "):
            helped = line.split(" ")[2]
            assert helped not in kinds
        elif line.startswith("# TYPE "):
            _, _, name, kinds[helped] = line.split(" ")
            assert name == helped
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            assert match[1] == helped, "samples of a metric stand together"
            key = (match[1], *re.findall(r'\w+="((?:[^"\\]|\\.)*)"', match[2]))
            assert key not in found
            found[key] = float(match[3])
    assert text.endswith("\n")
    return found


@pytest.fixture
def program() -> Iterator[EspProgram]:
    with opened_program() as opened:
        yield opened


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return config_of(tmp_path)


class Monitor:
    """Reads a link when it is told to."""

    def __init__(self, program: EspProgram, config: Config) -> None:
        self._program = program
        self._config = config
        self.metrics = Metrics(lambda: 1234.5)

    def look(self) -> Samples:
        self.metrics.update(take_report(self._program, self._config, Health({"open": True, "seal": False})))
        return parsed(self.metrics.text)


def packets(samples: Samples, direction: str, verdict: str, peer: str = "right") -> float:
    return samples["bpfcrypto_esp_packets_total", "west", peer, direction, verdict]


def test_totals_outlive_associations(program: EspProgram, config: Config) -> None:
    """Counters of a peer go on through rotations, although each SA begins at zero, in the slot of a former one as well."""
    monitor = Monitor(program, config)
    bring_up(program, 1)
    count(program, 1, {"SEALED": 100, "TOO_BIG": 3}, size=5000)
    first = monitor.look()
    count(program, 1, {"SEALED": 150, "TOO_BIG": 3}, size=7000)
    second = monitor.look()
    install(program, 4, spi_of(2, 1), outbound=True)
    program.send(1, 4)
    count(program, 4, {"SEALED": 20}, size=600)
    third = monitor.look()
    program.clear(1)
    fourth = monitor.look()
    install(program, 1, spi_of(3, 1), outbound=True)
    count(program, 1, {"SEALED": 7}, size=70)
    fifth = monitor.look()

    assert [packets(each, "out", "SEALED") for each in (first, second, third, fourth, fifth)] == [
        100,
        150,
        170,
        170,
        177,
    ]
    size = [each["bpfcrypto_esp_bytes_total", "west", "right", "out"] for each in (first, second, third, fourth, fifth)]
    assert size == [5000, 7000, 7600, 7600, 7670]
    assert packets(fifth, "out", "TOO_BIG") == 3


def test_counters_that_matter_are_there_from_the_start(program: EspProgram, config: Config) -> None:
    """Traffic, failures of authentication and replays are 0 before there is an SA, so that the first one has a rate."""
    samples = Monitor(program, config).look()

    assert packets(samples, "out", "SEALED") == 0
    assert [packets(samples, "in", name) for name in ("OPENED", "BAD_TAG", "REPLAY", "TOO_OLD")] == [0] * 4
    assert samples["bpfcrypto_esp_unmatched_packets_total", "west", "NO_SA"] == 0
    assert samples["bpfcrypto_esp_sending", "west", "right"] == 0
    assert ("bpfcrypto_esp_epoch", "west", "right") not in samples


def test_unmatched_packets(program: EspProgram, config: Config) -> None:
    """Packets without an SA are counted by verdict, and go on when the maps are new."""
    monitor = Monitor(program, config)
    seen = []
    for number in (5, 9, 4):
        count(program, 0, {"CLEARTEXT": number})
        seen.append(monitor.look()["bpfcrypto_esp_unmatched_packets_total", "west", "CLEARTEXT"])

    assert seen == [5, 9, 13]


def test_gauges(program: EspProgram, config: Config) -> None:
    """Gauges say what is now: of the peer, and of the SAs in use."""
    monitor = Monitor(program, config)
    bring_up(program, 4)
    before = monitor.look()
    now = time.monotonic_ns()
    count(program, 2, {"OPENED": 2}, last_ns=now)
    samples = monitor.look()

    assert before["bpfcrypto_esp_acknowledged", "west", "right"] == 0
    assert ("bpfcrypto_esp_last_packet_age_seconds", "west", "right", "in") not in before
    assert samples["bpfcrypto_esp_acknowledged", "west", "right"] == 1
    assert samples["bpfcrypto_esp_sending", "west", "right"] == 1
    assert samples["bpfcrypto_esp_epoch", "west", "right"] == 4
    assert samples["bpfcrypto_esp_peer_info", "west", "right", "1", "tunnel", "aes-256-ccm-16"] == 1
    assert samples["bpfcrypto_esp_associations", "west", "right", "in", "next"] == 1
    assert samples["bpfcrypto_esp_associations", "west", "right", "in", "candidate"] == 0
    assert samples["bpfcrypto_esp_sequence", "west", "right", "out"] == 0
    assert 0 <= samples["bpfcrypto_esp_age_seconds", "west", "right", "out"] < 600
    assert 0 <= samples["bpfcrypto_esp_last_packet_age_seconds", "west", "right", "in"] < 600
    assert samples["bpfcrypto_esp_read_timestamp_seconds", "west"] == 1234.5


def test_peers_without_a_name(program: EspProgram, config: Config) -> None:
    """A peer that the configuration does not have is counted under its number, which no peer's name can be."""
    install(program, 9, spi_of(1, 7), outbound=True, peer=7)
    count(program, 9, {"SEALED": 4})
    samples = Monitor(program, config).look()

    assert packets(samples, "out", "SEALED", peer="id 7") == 4
    assert samples["bpfcrypto_esp_associations", "west", "id 7", "out", "former"] == 1


def test_every_metric_is_shown_and_documented(program: EspProgram, config: Config) -> None:
    """Each metric of the table comes with a link that is up, and is explained in the reference."""
    bring_up(program, 1)
    count(program, 1, {"SEALED": 2}, last_ns=1)
    monitor = Monitor(program, config)
    samples = monitor.look()
    reference = (ROOT / "docs/reference/esp-status.md").read_text()

    assert {name for name, *_ in samples} == set(FAMILIES)
    assert [samples["bpfcrypto_esp_attached", "west", name] for name in ("open", "seal")] == [1, 0]
    assert all(f"| `{name}` |" in reference for name in FAMILIES)
    assert all(kind == ("counter" if name.endswith("_total") else "gauge") for name, (kind, _) in FAMILIES.items())


def request(url: str, method: str = "GET", path: str = "/metrics") -> tuple[int, str | None, str]:
    parts = urlsplit(url)
    assert parts.hostname
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type"), answer.read().decode()
    finally:
        connection.close()


def test_the_port(program: EspProgram, config: Config) -> None:
    """GET /metrics gives the metrics of the last report; nothing else is served."""
    monitor = Monitor(program, config)
    monitor.look()

    with MetricsServer(LOCAL, lambda: monitor.metrics.text) as server:
        assert request(server.url) == (200, CONTENT_TYPE, monitor.metrics.text)
        assert parsed(request(server.url, path="/metrics?x=1")[2])
        assert request(server.url, path="/")[0] == 404
        assert request(server.url, path="/metrics/..")[0] == 404
        assert request(server.url, "POST")[0] == 501
    with pytest.raises(ConnectionRefusedError):
        request(server.url)


def test_the_port_of_ipv6() -> None:
    """An IPv6 address stands in brackets in the URL."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        skip_or_fail(f"needs the loopback address of IPv6: {error}")
    with MetricsServer(Listen("::1", 0), lambda: "x 1\n") as server:
        assert server.url.startswith("http://[::1]:")
        assert request(server.url)[2] == "x 1\n"


def test_a_port_that_is_taken() -> None:
    """The error names the address and the key of the configuration."""
    with MetricsServer(LOCAL, str) as server:
        port = urlsplit(server.url).port
        assert port

        with pytest.raises(ConfigError, match=rf"\[metrics\] listen: 127.0.0.1 port {port} cannot be listened at: "):
            MetricsServer(Listen("127.0.0.1", port), str)


def test_clients_that_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a few clients are waited for at a time, and not for ever."""
    monkeypatch.setattr(metrics_output, "_MOST_CLIENTS", 2)
    monkeypatch.setattr(metrics_output._Handler, "timeout", 0.5)

    with MetricsServer(LOCAL, lambda: "x 1\n") as server:
        parts = urlsplit(server.url)
        address = (parts.hostname, parts.port)
        silent = [socket.create_connection(address, timeout=30) for _ in range(3)]
        # The third is closed at once, and the others when they have said nothing for that long.
        assert [each.recv(1) for each in reversed(silent)] == [b"", b"", b""]
        for each in silent:
            each.close()
        until = time.monotonic() + 30
        while True:
            try:
                assert request(server.url)[2] == "x 1\n"
                break
            except (ConnectionError, http.client.HTTPException):  # the thread that frees the place is not done yet
                assert time.monotonic() < until


def test_the_file(tmp_path: Path) -> None:
    """The file is replaced as a whole: who has it open reads the former content to its end, and others may read it."""
    path = tmp_path / "esp.prom"
    write_metrics(path, "x 1\n")
    (tmp_path / "esp.prom.new").write_text("of a process that was killed")
    with path.open() as former:
        write_metrics(path, "x 2\n")

        assert former.read() == "x 1\n"
    assert path.read_text() == "x 2\n"
    assert os.listdir(tmp_path) == ["esp.prom"]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644 & ~mask


def test_a_link_in_the_place_of_the_temporary_file(tmp_path: Path) -> None:
    """Whoever can write in the folder cannot lead us to write elsewhere."""
    victim = tmp_path / "victim"
    victim.write_text("kept")
    (tmp_path / "esp.prom.new").symlink_to(victim)

    write_metrics(tmp_path / "esp.prom", "x 1\n")

    assert victim.read_text() == "kept"
    assert not (tmp_path / "esp.prom").is_symlink()


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    """The error names the file and the key of the configuration."""
    with pytest.raises(ConfigError, match=r"esp.prom: \[metrics\] file: metrics cannot be written: No such file"):
        write_metrics(tmp_path / "no" / "esp.prom", "")
