"""``bpfcrypto check``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bpfcrypto.cli.main import main

OBJECT = str(Path(__file__).parents[2] / "examples/crypto_packets.bpf.o")

LEAK = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "bpf_crypto.h"

char _license[] SEC("license") = "GPL";

SEC("syscall")
int leak(void *args)
{
	struct bpf_crypto_params params = { .type = "skcipher", .algo = "ecb(aes)", .key_len = 16 };
	int err;

	bpf_crypto_ctx_create(&params, sizeof(params), &err);
	return 0;
}

SEC("xdp")
int fine(struct xdp_md *xdp)
{
	return XDP_PASS;
}
"""


@pytest.fixture
def leak(tmp_path: Path) -> str:
    path = tmp_path / "leak.bpf.c"
    path.write_text(LEAK)
    return str(path)


@pytest.mark.kernel
def test_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    """Every program of the example is accepted, and the exit code is 0."""
    assert main(["check", OBJECT]) == 0

    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [(row[0], row[3]) for row in rows[1:]] == [
        (name, "accepted") for name in ("setup", "encrypt", "decrypt", "xdp_encrypt", "xdp_decrypt")
    ]


@pytest.mark.kernel
def test_rejected_as_json(leak: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A leaked context is rejected with the verifier's last word, its errno and the whole log; others are judged as well."""
    code = main(["check", leak, "--json"])

    answer = json.loads(capsys.readouterr().out)
    rejected, accepted = answer["programs"]
    log = rejected.pop("log")
    assert code == 1
    assert answer["engine"] == "kernel"
    assert rejected.pop("insns_processed") > 0
    assert rejected == {
        "name": "leak",
        "section": "syscall",
        "type": "SYSCALL",
        "verdict": "rejected",
        "errno": 22,
        "message": "BPF_EXIT instruction in main prog would lead to reference leak",
    }
    assert rejected["message"] in log
    assert (accepted["name"], accepted["verdict"], accepted["errno"], accepted["message"]) == (
        "fine",
        "accepted",
        0,
        "",
    )


@pytest.mark.kernel
def test_rejected_for_people(leak: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The end of the log stands below the table, with the source line in it."""
    assert main(["check", leak]) == 1

    out = capsys.readouterr().out
    assert "lines omitted; --json has them all" in out
    assert "bpf_crypto_ctx_create(&params, sizeof(params), &err);" in out
    assert "Unreleased reference" in out


@pytest.mark.kernel
def test_one_program(leak: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--program judges that one alone."""
    assert main(["check", leak, "--program", "fine"]) == 0
    assert "leak" not in capsys.readouterr().out


def test_the_embedded_engine_has_no_verifier(capsys: pytest.CaptureFixture[str]) -> None:
    """Asking the embedded engine is answered honestly, with exit code 3."""
    assert main(["check", OBJECT, "--engine", "embedded"]) == 3

    assert "it has no verifier yet\nhint: --engine kernel asks the running kernel" in capsys.readouterr().err
