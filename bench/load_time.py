"""How long an object takes to get into the kernel: our engine beside ``bpftool prog loadall``.

Both load the same object again and again, in turns, so that a noisy moment hits both; the medians are compared. Ours is timed from
the path to live programs with nothing kept from the load before (the object and the kernel's types are read again each time).
bpftool is timed as a command, which is the only way to have it; so the same is shown for a Python that does nothing but load.

Usage: python bench/load_time.py [OBJECT] [--rounds N]     (needs root and bpftool)
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bpfcrypto.kernel.btf import kernel_btf
from bpfcrypto.kernel.engine import KernelEngine
from bpfcrypto.kernel.probe import unavailable

DEFAULT = Path(__file__).resolve().parent.parent / "examples" / "crypto_packets.bpf.o"
GOAL = 3.0
SCRIPT = "import sys; from bpfcrypto.kernel.engine import KernelEngine; KernelEngine().load(sys.argv[1]).close()"


@contextmanager
def bpf_filesystem() -> Iterator[Path]:
    """A BPF file system of our own, unmounted afterwards."""
    with tempfile.TemporaryDirectory(prefix="bpfcrypto-bench-") as directory:
        subprocess.run(["mount", "-t", "bpf", "bpf", directory], check=True)
        try:
            yield Path(directory)
        finally:
            subprocess.run(["umount", directory], check=True)


def milliseconds(call: Callable[[], None]) -> float:
    """How long one call takes."""
    gc.collect()
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def measure(path: Path, rounds: int) -> dict[str, float]:
    """Median milliseconds of each contender."""
    with bpf_filesystem() as pins:

        def bpftool() -> None:
            subprocess.run(
                ["bpftool", "prog", "loadall", str(path), str(pins / "programs")], check=True, capture_output=True
            )

        def ours() -> None:
            kernel_btf.cache_clear()
            loaded.append(KernelEngine().load(path))

        def python() -> None:
            subprocess.run([sys.executable, "-c", SCRIPT, str(path)], check=True, capture_output=True)

        loaded: list[object] = []
        samples: dict[str, list[float]] = {"bpftool": [], "bpfcrypto": [], "python process": []}
        for _ in range(rounds + 1):
            samples["bpftool"].append(milliseconds(bpftool))
            shutil.rmtree(pins / "programs")
            samples["bpfcrypto"].append(milliseconds(ours))
            loaded.pop().close()  # type: ignore[attr-defined]
            samples["python process"].append(milliseconds(python))
        return {name: statistics.median(values[1:]) for name, values in samples.items()}


def why_not() -> str | None:
    """Why nothing can be measured here; None where it can."""
    if reason := unavailable():
        return reason
    if not shutil.which("bpftool"):
        return "there is no bpftool"
    return None if os.geteuid() == 0 else "mounting a BPF file system needs root"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("object", nargs="?", type=Path, default=DEFAULT)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if reason := why_not():
        print(f"load time: not measured here: {reason}", file=sys.stderr)
        return 3
    medians = measure(arguments.object, arguments.rounds)
    ratio = medians["bpfcrypto"] / medians["bpftool"]
    if arguments.json:
        print(json.dumps({"object": arguments.object.name, "milliseconds": medians, "ratio": ratio, "goal": GOAL}))
        return 0
    print(f"load time of {arguments.object.name}, median of {arguments.rounds} rounds")
    for name, value in medians.items():
        print(f"  {name:15} {value:8.1f} ms")
    print(f"  bpfcrypto / bpftool = {ratio:.2f} (goal: at most {GOAL:g})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
