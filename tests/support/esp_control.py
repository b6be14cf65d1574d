"""A control plane to be killed: it brings ESP up, and then looks after it and rotates for ever.

Imports take longer than what is to be interrupted, so a process that has them already makes a copy of itself for each life.

    python -m support.esp_control CONFIG NETNS

Each line of standard input starts a life, and its process id is printed; the next line follows its death.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bpfcrypto.kernel.engine import KernelEngine
from bpfcrypto.programs.esp.config import load_config
from bpfcrypto.programs.esp.deployment import Deployment
from bpfcrypto.programs.esp.program import spec

_TESTS = Path(__file__).parents[1]


class Lives:
    """Starts control planes, and kills them."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def live_and_die(self, moment: float) -> None:
        """One life, killed after some seconds."""
        assert self._process.stdin
        assert self._process.stdout
        print(file=self._process.stdin, flush=True)
        pid = int(self._process.stdout.readline())
        time.sleep(moment)
        os.kill(pid, signal.SIGKILL)
        assert self._process.stdout.readline() == f"{signal.SIGKILL}\n", "it has not lived until then"


@contextmanager
def lives(config: Path, netns: str) -> Iterator[Lives]:
    """The process that makes lives."""
    with subprocess.Popen(
        [sys.executable, "-m", "support.esp_control", str(config), netns],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(_TESTS), *filter(None, sys.path)])},
    ) as process:
        try:
            yield Lives(process)
            assert process.stdin
            process.stdin.close()
        finally:
            process.kill()


def live(path: str, netns: str) -> None:
    """One life, which ends by a signal."""
    deployment, _ = Deployment.up(load_config(path), netns)
    while True:
        deployment.control.rotate(list(deployment.control.peers), 1.0)


def main(path: str, netns: str) -> None:
    with KernelEngine() as engine, engine.load(spec(), programs=["clear"]):
        pass  # everything is imported, and what is kept about the kernel is known
    import pyroute2.iproute.linux  # noqa: F401

    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                live(path, netns)
            finally:
                os._exit(1)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status) * -1, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
