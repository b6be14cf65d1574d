"""The documentation does what it shows, and shows what there is."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

import bpfcrypto
import bpfcrypto.capture
from bpfcrypto.cli.main import COMMANDS
from support.lab import in_own_mounts
from support.markdown import ROOT, Block, agrees, blocks, commands, execute, pages

BLOCKS = [block for page in pages() for block in blocks(page)]
TRANSCRIPTS = {page: [b for b in BLOCKS if b.page == page and b.language == "console"] for page in pages()}
PYTHON = [block for block in BLOCKS if block.language == "python"]
SESSIONS = {page: [block for block in PYTHON if block.page == page and ">>>" in block.text] for page in pages()}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


ATTACHING = ROOT / "docs/guides/encrypt-a-link.md"
ESP = ROOT / "docs/guides/encrypt-between-hosts.md"
ALONE = (ATTACHING, ESP)


@pytest.mark.parametrize(
    "page", [page for page, found in TRANSCRIPTS.items() if found and page not in ALONE], ids=name_of
)
def test_transcripts_are_true(page: Path, tmp_path: Path) -> None:
    """Every command of a page, run in order in an empty folder, prints what the page shows."""
    run_transcripts(page, tmp_path)


@pytest.mark.kernel
@pytest.mark.parametrize("page", ALONE, ids=name_of)
def test_the_guides_to_links_are_true(page: Path, tmp_path: Path) -> None:
    """The same of pages that attach programs; their namespaces, pins and state are in a file tree of its own, and go with it."""
    pytest.importorskip("pyroute2")

    in_own_mounts(lambda: run_transcripts(page, tmp_path))


def test_the_guide_to_links_has_ten_commands() -> None:
    """It says so in its title."""
    text = ATTACHING.read_text()
    start, end = (text[: text.index(f"## {title}")].count("\n") for title in ("The ten commands", "A new key"))

    assert sum(len(list(commands(b))) for b in TRANSCRIPTS[ATTACHING] if start < b.line < end) == 10


def run_transcripts(page: Path, tmp_path: Path) -> None:
    for block in TRANSCRIPTS[page]:
        for command in commands(block):
            printed = execute(command.text, tmp_path)

            assert agrees(command.output, printed), (
                f"{name_of(page)}:{block.line}\n$ {command.text}\n--- shown\n{command.output}\n--- printed\n{printed}"
            )


@pytest.mark.parametrize("page", [page for page, found in SESSIONS.items() if found], ids=name_of)
def test_python_sessions_are_true(page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The Python sessions of a page, read as one, give the results they show."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    text = "\n".join(block.text for block in SESSIONS[page])
    case = doctest.DocTestParser().get_doctest(text, {}, name_of(page), str(page), 0)
    output: list[str] = []

    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(
        case, out=output.append
    )

    assert result.attempted > 0
    assert result.failed == 0, "".join(output)


@pytest.mark.parametrize(
    "block", [b for b in PYTHON if ">>>" not in b.text], ids=lambda b: f"{name_of(b.page)}:{b.line}"
)
def test_python_listings_compile(block: Block) -> None:
    """What is shown as a file is Python."""
    compile(block.text, str(block.page), "exec")


def test_the_guide_shows_the_example_whole() -> None:
    """The test file in the guide is the one in examples/, which a transcript of the guide runs."""
    listing = (ROOT / "examples/test_crypto_packets.py").read_text()

    assert listing in [block.text for block in PYTHON if block.page.name == "test-without-root.md"]


@pytest.mark.parametrize("name", bpfcrypto.__all__)
def test_every_public_name_has_a_tested_example(name: str) -> None:
    """Each public name is used in a Python session of the reference, which the test above runs."""
    text = "".join(block.text for block in SESSIONS[ROOT / "docs/reference/python.md"])

    assert re.search(rf"\b{name}\b", text)


@pytest.mark.parametrize("name", bpfcrypto.capture.__all__)
def test_every_public_capture_name_has_a_tested_example(name: str) -> None:
    """The same for the names of bpfcrypto.capture."""
    text = "".join(block.text for block in SESSIONS[ROOT / "docs/reference/python.md"])

    assert re.search(rf"\b{name}\b", text)


@pytest.mark.parametrize("name", [*bpfcrypto.__all__, *bpfcrypto.capture.__all__])
def test_every_public_name_has_a_docstring(name: str) -> None:
    """A public name without a docstring would be a promise nobody wrote down."""
    thing = getattr(bpfcrypto, name, None) or getattr(bpfcrypto.capture, name)

    assert thing.__doc__


@pytest.mark.parametrize("command", COMMANDS)
def test_cli_reference_is_what_help_says(command: str, tmp_path: Path) -> None:
    """Each command's section of the reference is its --help, word for word."""
    reference = (ROOT / "docs/reference/cli.md").read_text()

    printed = execute(f"COLUMNS=100 bpfcrypto {command} --help", tmp_path)

    assert f"\n## bpfcrypto {command}\n" in reference
    assert f"```text\n{printed}\n```\n" in reference, "python tools/write_cli_reference.py writes it anew"


@pytest.mark.parametrize("command", COMMANDS)
def test_summaries_are_the_first_lines_of_help(command: str, tmp_path: Path) -> None:
    """The overview says of a command what the command says of itself."""
    assert COMMANDS[command][1] in execute(f"COLUMNS=100 bpfcrypto {command} --help", tmp_path)


LINK = re.compile(r"\[[^\]]*\]\((?!https?://|mailto:)([^)#]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """Links between pages, and from pages to files, point at something that exists."""
    broken = [target for target in LINK.findall(page.read_text()) if not (page.parent / target).exists()]

    assert broken == []


def test_readme_is_short() -> None:
    """Whoever opens the README sees all of it in a few minutes."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 160


def test_agreement_is_exact_but_for_ellipses() -> None:
    """The comparison used above accepts what the dots stand for, and nothing else."""
    assert agrees("a ... c\n...\nz", "a b c\nx\ny\nz")
    assert not agrees("a ... c", "a b d")
    assert not agrees("a", "a\nb")


def test_blocks_know_their_lines(tmp_path: Path) -> None:
    """The reader used above finds language, text and line of a block."""
    page = tmp_path / "page.md"
    page.write_text("x\n```console\n$ echo \\\n  a\na\n```\n")

    (block,) = blocks(page)

    assert block == Block(page, "console", "$ echo \\\n  a\na\n", 3)
    assert [(c.text, c.output) for c in commands(block)] == [("echo \\\n  a", "a")]
