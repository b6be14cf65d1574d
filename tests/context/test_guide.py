"""The guide's commands that need root, run as they are written, in a mount namespace with a BPF file system of its own."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from support.markdown import ROOT, agrees, blocks, commands, execute
from support.need import skip_or_fail

if TYPE_CHECKING:
    from pathlib import Path

PAGE = ROOT / "docs/guides/operate-contexts.md"
END = "--- end of a command ---"


@pytest.mark.kernel
def test_the_guide_is_true(tmp_path: Path) -> None:
    """One command after the other prints what the page shows."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
        skip_or_fail("needs root and a mount namespace")
    shown = [command for block in blocks(PAGE) if block.language == "root" for command in commands(block)]
    script = tmp_path / "guide.sh"
    lines = ["mount -t bpf bpf /sys/fs/bpf", *(f"{command.text}\necho '{END}'" for command in shown)]
    script.write_text("\n".join(lines) + "\n")

    printed = execute("unshare --mount --propagation private sh guide.sh", tmp_path).split(END)

    assert len(printed) == len(shown) + 1
    for command, text in zip(shown, printed, strict=False):
        assert agrees(command.output, text), f"$ {command.text}\n--- shown\n{command.output}\n--- printed\n{text}"
    assert list(tmp_path.glob("*.key")) == []
