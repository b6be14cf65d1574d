"""Records what the running kernel answers to every row of tests/support/call_rows.py, as tests/vectors/kernel/calls.json.

Needs root (CAP_BPF, CAP_NET_ADMIN). The file is the embedded engine's measure on machines where bpf(2) is not to be had.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "tests" / "vectors" / "kernel" / "calls.json"


def main() -> None:
    sys.path.insert(0, str(ROOT / "tests"))
    from bpfcrypto.kernel.engine import KernelEngine
    from support.call_rows import rows
    from support.calls import play

    with KernelEngine() as engine:
        answers = {name: play(engine, row) for name, row in rows().items()}
    release = ".".join(platform.release().split(".")[:2])
    source = f"tools/record_calls.py on Linux {release} {platform.machine()}"
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(answer)}" for name, answer in answers.items())
    TARGET.write_text(f'{{"source": {json.dumps(source)}, "rows": {{\n{lines}\n}}}}\n')
    print(f"{TARGET}: {len(answers)} rows")


if __name__ == "__main__":
    main()
