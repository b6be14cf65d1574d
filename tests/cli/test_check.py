"""``bpfcrypto check``."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from bpfcrypto.cli.main import main

OBJECT = str(Path(__file__).parents[2] / "examples/crypto_packets.bpf.o")
RULES = str(Path(__file__).parents[1] / "bpf/ownership.bpf.o")
ENGINES = ["embedded", pytest.param("kernel", marks=pytest.mark.kernel)]

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


@pytest.mark.parametrize("engine", ENGINES)
def test_accepted(engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every program of the example is accepted, a line each with its cost, and the exit code is 0."""
    assert main(["check", OBJECT, "--engine", engine]) == 0

    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [(row[0], row[3], int(row[4]) > 100) for row in rows[1:]] == [
        (name, "accepted", True) for name in ("setup", "encrypt", "decrypt", "xdp_encrypt", "xdp_decrypt")
    ]


@pytest.mark.parametrize("engine", ENGINES)
def test_rejected_as_json(engine: str, leak: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A leaked context is rejected with the verifier's last word, its errno and the whole log; others are judged as well."""
    code = main(["check", leak, "--json", "--engine", engine])

    answer = json.loads(capsys.readouterr().out)
    rejected, accepted = answer["programs"]
    log, diagnostic = rejected.pop("log"), rejected.pop("diagnostic")
    assert code == 1
    assert answer["engine"] == engine
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
    assert (diagnostic["id"], diagnostic["page"]) == ("ref-leak", "docs/diagnostics/ref-leak.md")
    assert diagnostic["where"]["text"].startswith("return 0;")
    assert "bpf_crypto_ctx_create" in diagnostic["path"][0]["what"]
    assert (accepted["name"], accepted["verdict"], accepted["errno"], accepted["message"], accepted["diagnostic"]) == (
        "fine",
        "accepted",
        0,
        "",
        None,
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_rejected_for_people(engine: str, leak: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Below the table: what, why, where with the line marked, how it came to that, and what to do; without colour."""
    assert main(["check", leak, "--engine", engine]) == 1

    out = capsys.readouterr().out
    assert "leak (syscall): something acquired is not given back [ref-leak]" in out
    assert "Unreleased reference id=" in out
    marked = [line for line in out.splitlines() if line.strip().startswith(">")]
    assert ["return 0;" in marked[0], "(95) exit" in marked[1]] == [True, True]
    assert "how   leak.bpf.c:14: reference" in out
    assert "try   on every path to the exit, release it" in out
    assert "\x1b" not in out


def test_both_verifiers_leave_no_word_out(leak: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--log prints the log behind the table, with the counts."""
    main(["check", leak, "--log", "-p", "fine"])

    assert "processed 2 insns (limit 1000000)" in capsys.readouterr().out


@pytest.mark.kernel
def test_both(leak: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--engine both says that the kernel agrees, and gives both in JSON."""
    assert main(["check", leak, "--engine", "both"]) == 1
    assert "the kernel agrees" in capsys.readouterr().err

    main(["check", leak, "--engine", "both", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert answer["disagreements"] == []
    assert [each["diagnostic"] and each["diagnostic"]["id"] for each in answer["kernel"]] == ["ref-leak", None]


@pytest.mark.kernel
def test_explanations_agree(capsys: pytest.CaptureFixture[str]) -> None:
    """The ids, places and suggestions of every rejected program of a corpus file are the same for both verifiers' logs."""
    found = []
    for engine in ("embedded", "kernel"):
        main(["check", RULES, "--json", "--engine", engine])
        programs = json.loads(capsys.readouterr().out)["programs"]
        found.append(
            [(p["name"], p["diagnostic"]["id"], p["diagnostic"]["where"]) for p in programs if p["diagnostic"]]
        )

    assert found[0] == found[1]


def test_one_program(leak: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--program judges that one alone."""
    assert main(["check", leak, "--program", "fine"]) == 0
    assert "leak" not in capsys.readouterr().out


@pytest.fixture
def page(leak: str, tmp_path: Path) -> Path:
    out = tmp_path / "page.html"
    main(["check", leak, "--html", str(out)])
    return out


def test_html(page: Path) -> None:
    """One file without anything from elsewhere: verdicts, source, the lit path, states."""
    text = page.read_text()

    assert "http" not in text
    assert '<div class="row bad" tabindex="0"' in text
    assert 'data-state="R0=' in text or "R0=ptr_or_null_bpf_crypto_ctx" in text
    assert "something acquired is not given back" in text
    assert text.count('<section class="program"') == 1


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_html_in_a_browser(page: Path, tmp_path: Path) -> None:
    """Chromium reads the page, its script runs, and pointing at an instruction shows the state there."""
    text = page.read_text()
    probe = (
        "<script>const r=document.querySelector('.row.bad[data-insn]');r.dispatchEvent(new Event('mouseenter'));"
        "document.title='shown '+document.querySelector('.state').textContent</script></body>"
    )
    page.write_text(text.replace("</body>", probe))
    done = subprocess.run(
        [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={tmp_path}/profile",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    title = done.stdout.partition("<title>")[2].partition("</title>")[0]
    assert title.startswith("shown ")
    assert "R0=0" in title
