"""The control plane as a service: it looks after the peers, and tells of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from bpfcrypto.errors import BpfCryptoError, ConfigError
from bpfcrypto.programs.esp.control import Event
from bpfcrypto.programs.esp.metrics import Metrics
from bpfcrypto.programs.esp.metrics_output import MetricsServer, write_metrics
from bpfcrypto.programs.esp.report import Report, take_report

if TYPE_CHECKING:
    from bpfcrypto.programs.esp.config_types import Config
    from bpfcrypto.programs.esp.deployment import Deployment
    from bpfcrypto.programs.esp.health import Health

STEP = 0.1
"""Seconds between two looks at the peers: what an acknowledgement has to wait for on each side."""

REPORT_INTERVAL = 1.0

FORGOTTEN = 60.0
"""Seconds after which a failure that was not seen any more is told again: attempts may be some time apart."""

Show = Callable[[Report, list[Event]], None]


def watch(deployment: Deployment, stop: threading.Event, show: Show, *, step: float = STEP) -> None:
    """Look after the peers until told to stop; what is up stays up.

    Args:
        deployment: what is up.
        stop: set by another thread or a signal's handler.
        show: takes a report each second, with what has happened since the last one.
        step: seconds between two looks.

    Raises:
        ConfigError: the metrics cannot be served.
        LinkError: what is up was taken down, be it that it was brought up anew.
    """
    config, metrics = deployment.config, Metrics()
    failures, health = _Failures(), _HealthEvents(config)
    events: list[Event] = []
    due = 0.0
    with ExitStack() as stack:
        if config.metrics.listen is not None:
            server = stack.enter_context(MetricsServer(config.metrics.listen, lambda: metrics.text))
            events.append(Event("metrics", server.url))
        while not stop.is_set():
            deployment.require_current()
            events += failures.fresh(_tended(deployment))
            now = time.monotonic()
            if now >= due:
                due = max(due + REPORT_INTERVAL, now)
                report = take_report(deployment.program, config, deployment.health())
                events += health.changes(report.health)
                metrics.update(report)
                events += failures.fresh(_written(config, metrics.text))
                show(report, events)
                events = []
            stop.wait(step)


def _tended(deployment: Deployment) -> list[Event]:
    """What has happened. Whatever fails, the next attempt may not, and nobody else makes one."""
    try:
        return deployment.control.tend()
    except BpfCryptoError as error:
        return [Event(deployment.config.link.name, str(error), failed=True)]


def _written(config: Config, text: str) -> list[Event]:
    """Metrics for collectors; that a disk is full is no reason to leave peers alone."""
    try:
        if config.metrics.file is not None:
            write_metrics(config.metrics.file, text)
    except ConfigError as error:
        return [Event("metrics", str(error), failed=True)]
    return []


class _Failures:
    """Failures that go on are told once, and again when they have been away for some time."""

    def __init__(self) -> None:
        self._seen: dict[Event, float] = {}

    def fresh(self, events: list[Event]) -> list[Event]:
        """Events, without failures that were told."""
        now = time.monotonic()
        self._seen = {event: last for event, last in self._seen.items() if now - last < FORGOTTEN}
        fresh = [event for event in events if event not in self._seen]
        self._seen |= {event: now for event in events if event.failed}
        return fresh


class _HealthEvents:
    """Tells when programs are not on their interfaces any more, and when they are again."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._problems: tuple[str, ...] = ()

    def changes(self, health: Health) -> list[Event]:
        """What has changed since the last call."""
        name, hint = self._config.link.name, f"bpfcrypto esp up {self._config.source}"
        new = [text for text in health.problems if text not in self._problems]
        events = [Event(name, f"{text}; {hint}", failed=True) for text in new]
        if self._problems and not health.problems:
            events.append(Event(name, "programs are on their interfaces again"))
        self._problems = health.problems
        return events
