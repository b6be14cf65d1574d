"""The ARMv8 form of the native AES, run by an emulator where there is one."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from struct import pack, unpack_from

import pytest

from bpfcrypto.crypto.skcipher import ALGORITHMS, Skcipher
from bpfcrypto.embedded.jit import aes
from bpfcrypto.embedded.jit.aes_layout import MODES
from support.native_aes import TARGET, by_python, llvm, overlaps

EMULATOR = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
TRIPLE = "aarch64-unknown-linux-gnu"

pytestmark = [
    pytest.mark.skipif(EMULATOR is None, reason="there is no qemu-aarch64"),
    pytest.mark.skipif(find_spec("ziglang") is None, reason="there is no ziglang to link with"),
]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The harness with our object in it."""
    folder = tmp_path_factory.mktemp("aarch64")
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(TRIPLE).create_target_machine(features="+aes", opt=1)
    module = llvm.parse_assembly(f'target triple = "{TRIPLE}"\n' + aes.module(TARGET["armv8"]))
    (folder / "aes.o").write_bytes(machine.emit_object(module))
    harness = Path(__file__).with_name("aes_harness.c")
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-freestanding-none"]
    command += ["-O1", "-nostdlib", "-static"]
    subprocess.run(
        [*command, str(harness), str(folder / "aes.o"), "-o", str(folder / "harness")], check=True, capture_output=True
    )
    return folder / "harness"


@pytest.mark.parametrize("encrypt", [True, False], ids=["encrypt", "decrypt"])
@pytest.mark.parametrize("mode", ["ecb", "cbc"])
def test_overlap(program: Path, mode: str, encrypt: bool) -> None:
    """Every key size, any overlap: the errno and every byte of memory are the model's."""
    rng = random.Random(f"arm {mode} {encrypt}")
    algorithm = ALGORITHMS[f"{mode}(aes)"]
    calls, expected = [], []
    for case in overlaps(rng, 1500):
        key, partial = rng.randbytes(rng.choice((16, 24, 32))), rng.random() < 0.5
        head = (len(key), MODES.index(mode), algorithm.siv_size, partial, len(case.memory))
        calls.append(pack("<10I32s", *head, case.size, case.src, case.dst, case.iv, encrypt, key) + case.memory)
        expected.append(by_python(Skcipher(algorithm, key, partial_blocks=partial), case, encrypt=encrypt))
    output = subprocess.run(
        [str(EMULATOR), str(program)], input=b"".join(calls), check=True, capture_output=True
    ).stdout

    stride = 4 + len(case.memory)
    assert len(output) == stride * len(calls)
    for i, wanted in enumerate(expected):
        answer = output[stride * i : stride * (i + 1)]
        assert (unpack_from("<I", answer)[0], answer[4:]) == wanted, i
