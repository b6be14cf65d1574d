"""Machine code that is first wanted by several threads at once is made once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("llvmlite")

OBJECT = Path(__file__).parents[2] / "bpf" / "cpus.bpf.o"

TOGETHER = """
import sys, threading
from bpfcrypto.embedded.engine import EmbeddedEngine

with EmbeddedEngine(cpus=8) as engine, engine.load(sys.argv[1]) as collection:
    packets = [each for each in collection.programs.values() if each.type.name != "SYSCALL"]
    start = threading.Barrier(8)

    def work(number):
        start.wait()
        for _ in range(200):
            packets[number % len(packets)].run(bytes(64))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
print("done")
"""


@pytest.mark.parametrize("attempt", range(4))
def test_eight_threads_begin_together(attempt: int) -> None:
    """Nothing is compiled yet, and every thread runs a program: no process falls over."""
    environment = {**os.environ, "BPFCRYPTO_CACHE": ""}
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", TOGETHER, str(OBJECT)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr[-2000:]
