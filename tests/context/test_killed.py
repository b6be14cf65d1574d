"""kill -9 while a context is made and rotated: the slot has one whole context or none, ``ctx check`` says which, and the next start takes over."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from bpfcrypto.cli.main import main
from support import rotator
from support.context_maps import FRAME, SOURCE

if TYPE_CHECKING:
    from pathlib import Path

    from bpfcrypto.kernel.engine import KernelEngine

LIVES = 40


@pytest.mark.kernel
def test_killed_at_any_moment(
    kernel_engine: KernelEngine, compile_bpf: object, bpf_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lives of a process that does nothing but rotate, each ended at a random moment, from before its first step on."""
    draw, pin = random.Random(7), bpf_directory / "contexts"
    with kernel_engine.load(compile_bpf(SOURCE), programs=["use"]) as loaded:  # type: ignore[operator]
        loaded.maps["m_array"].pin(pin)
        use, ready = loaded.programs["use"], 0
        for life in range(LIVES):
            process = subprocess.Popen(
                [sys.executable, rotator.__file__, str(pin), "ecb(aes)", "60", "0"],
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
            )
            assert process.stdout is not None
            if life % 4:  # the others are killed while they start
                assert process.stdout.readline() == "ready\n"
                ready += 1
            time.sleep(draw.random() * (0.02 if life % 4 else 0.6))
            process.kill()
            process.wait()
            process.stdout.close()
            capsys.readouterr()
            code = main(["ctx", "check", "--map", str(pin), "--slot", "1", "--field", "cctx", "--json"])
            [row] = json.loads(capsys.readouterr().out)["cpus"]
            works = use.run(FRAME).retval == 0
            assert row["context"] is works is (code == 0)
            if ready:
                assert works, "a context that was there is never lost, only replaced"
        assert main(["ctx", "drop", "--map", str(pin), "--slot", "1", "--field", "cctx"]) == 0
        assert use.run(FRAME).retval != 0
