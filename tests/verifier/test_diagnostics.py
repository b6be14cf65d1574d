"""The pages of docs/diagnostics: every rule has one, and both verifiers judge its programs as it says."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bpfcrypto.verifier.diag import explain
from bpfcrypto.verifier.diag_path import blamed_register
from bpfcrypto.verifier.diag_rules import OTHER, RULES, find_rule

if TYPE_CHECKING:
    from collections.abc import Callable

    from bpfcrypto.engine import Checker, Verdict

PAGES = Path(__file__).parents[2] / "docs/diagnostics"
UNSHOWN = {"not-modelled", "other", "pointer-leak"}
"""Rules that no program breaks which a kernel rejects for root."""

SHOWN = [rule.id for rule in RULES if rule.id not in UNSHOWN]
LICENCE = 'char _license[] SEC("license") = "GPL";\n'


@cache
def blocks(id: str, language: str) -> tuple[str, ...]:
    """The fenced blocks of a page."""
    return tuple(re.findall(rf"^```{language}\n(.*?)^```$", (PAGES / f"{id}.md").read_text(), re.MULTILINE | re.DOTALL))


def verdicts(checker: Checker, compile_bpf: Callable[[str], bytes], id: str) -> dict[str, Verdict]:
    """The verdicts on the programs of a page, by name. They are one object, unless each has a licence of its own."""
    [start], programs = blocks("index", "c"), blocks(id, "c")
    if "_license" in "".join(programs):
        units = [start.replace(LICENCE, "") + each for each in programs]
    else:
        units = [start + "\n".join(programs)]
    return {each.program: each for unit in units for each in checker.check(compile_bpf(unit))}


def words(verdict: Verdict) -> str:
    """The log's words behind the last instruction."""
    return "".join(f"{line}\n" for line in verdict.log.splitlines() if not line.startswith("processed "))


def test_every_rule_has_a_page() -> None:
    """And there is no page without a rule; the index names all of them."""
    ids = {rule.id for rule in (*RULES, OTHER)}

    assert {path.stem for path in PAGES.glob("*.md")} - {"index"} == ids
    assert set(re.findall(r"\]\(([\w-]+)\.md\)", (PAGES / "index.md").read_text())) == ids
    assert len(ids) == len(RULES) + 1


@pytest.mark.parametrize("id", SHOWN)
def test_our_verifier(id: str, embedded_engine: Checker, compile_bpf: Callable[[str], bytes]) -> None:
    """The program that fails is rejected with the page's id and words; the repaired one is accepted."""
    said = verdicts(embedded_engine, compile_bpf, id)
    broken, diagnostic = said["broken"], said["broken"].diagnostic
    [text] = blocks(id, "text")

    assert (said["repaired"].accepted, said["repaired"].message) == (True, "")
    assert not broken.accepted
    assert diagnostic is not None
    assert diagnostic.id == id
    assert words(broken).endswith(text)
    assert diagnostic.insn >= 0
    assert [each.number for each in diagnostic.code if each.marked] == [diagnostic.insn]


@pytest.mark.kernel
@pytest.mark.parametrize("id", SHOWN)
def test_the_kernel(id: str, kernel_engine: Checker, compile_bpf: Callable[[str], bytes]) -> None:
    """The kernel says the same, and its rejection has the same diagnostic."""
    said = verdicts(kernel_engine, compile_bpf, id)
    broken, diagnostic = said["broken"], said["broken"].diagnostic
    [text] = blocks(id, "text")

    assert said["repaired"].accepted
    assert not broken.accepted
    assert diagnostic is not None
    assert diagnostic.id == id
    assert words(broken).endswith(text.splitlines()[-1] + "\n")


@pytest.mark.kernel
@pytest.mark.parametrize("id", ["ref-leak", "null-unchecked", "dynptr-uninit", "packet-bounds", "object-expected"])
def test_same_place_and_path(
    id: str, embedded_engine: Checker, kernel_engine: Checker, compile_bpf: Callable[[str], bytes]
) -> None:
    """Read from either log, the failure is at the same instruction and line, and the same instructions led there."""
    ours = verdicts(embedded_engine, compile_bpf, id)["broken"].diagnostic
    theirs = verdicts(kernel_engine, compile_bpf, id)["broken"].diagnostic
    assert ours is not None
    assert theirs is not None

    assert (ours.insn, ours.line, ours.source) == (theirs.insn, theirs.line, theirs.source)
    assert [event.insn for event in ours.path] == [event.insn for event in theirs.path]
    assert ours.path


@pytest.mark.parametrize(
    ("message", "register"),
    [
        ("R6 invalid mem access 'scalar'", 6),
        ("Possibly NULL pointer passed to trusted arg0", 1),
        ("Possibly NULL pointer passed to helper arg2", 2),
        ("Expected an initialized dynptr as arg #1", 2),
        ("arg#1 expected pointer to stack or const struct bpf_dynptr", 2),
        ("arg 1 is an unacquired reference", 1),
        ("infinite loop detected at insn 3", None),
    ],
)
def test_blamed_register(message: str, register: int | None) -> None:
    """Verdicts count arguments from 0, from 1, or name the register."""
    assert blamed_register(message) == register


def test_unknown_words() -> None:
    """A verdict that no pattern knows goes by the id that the verifier raised, or has none of its own."""
    assert find_rule("never heard of it") is OTHER
    assert find_rule("never heard of it", raised="ref-leak").id == "ref-leak"


def test_without_a_log(compile_bpf: Callable[[str], bytes]) -> None:
    """The message alone gives the rule and the words, and no path."""
    from bpfcrypto.loader.load import load_spec

    spec = load_spec(compile_bpf(blocks("index", "c")[0] + "\n".join(blocks("ref-leak", "c"))))
    program = spec.programs["broken"]
    found = explain(program, program.insns, "BPF_EXIT instruction in main prog would lead to reference leak", "")

    assert (found.id, found.insn, found.line, found.path, found.code) == ("ref-leak", -1, None, (), ())
