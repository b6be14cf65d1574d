"""``check --html``: one self-contained page that shows rejected programs.

Source stands beside instructions; what the failing path visited is lit, and the state that the verifier had there shows when the pointer
is on an instruction. Everything is in the file: no network, no fonts, no scripts from elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from bpfcrypto.errors import ObjectError

if TYPE_CHECKING:
    from bpfcrypto.engine import Verdict
    from bpfcrypto.spec import CollectionSpec, ProgramSpec
    from bpfcrypto.verifier.diag import Diagnostic
    from bpfcrypto.verifier.diag_path import Walk

_STYLE = """
:root { color-scheme: light dark; --lit: #fff3bf; --bad: #ffc9c9; --soft: #868e96; --line: #dee2e6; --mark: #d0ebff; }
@media (prefers-color-scheme: dark) { :root { --lit: #4a3f10; --bad: #6b1f1f; --soft: #909296; --line: #373a40; --mark: #123a5c; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1500px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.4em; } h2 { font-size: 1.15em; margin-top: 2em; }
table { border-collapse: collapse; } th, td { text-align: left; padding: .1em 1em .1em 0; vertical-align: top; }
.rejected { color: #e03131; font-weight: bold; } .accepted { color: #2f9e44; }
.columns { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 1em; }
.code { font: 13px/1.5 ui-monospace, monospace; overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; padding: .5em 0; }
.row { white-space: pre; padding: 0 .7em; } .row b { color: var(--soft); font-weight: normal; }
.lit { background: var(--lit); } .bad { background: var(--bad); } .near { outline: 1px solid #339af0; background: var(--mark); }
.state { position: sticky; bottom: 0; min-height: 3em; background: Canvas; border-top: 2px solid #339af0; padding: .4em .7em;
  font: 13px/1.5 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
dt { font-weight: bold; } dd { margin: 0 0 .5em 1.5em; }
@media (max-width: 900px) { .columns { grid-template-columns: 1fr; } }
"""
_SCRIPT = """
for (const program of document.querySelectorAll('.program')) {
  const state = program.querySelector('.state');
  const rows = program.querySelectorAll('.row');
  const show = (row, on) => {
    for (const other of rows) if (other.dataset.line && other.dataset.line === row.dataset.line) other.classList.toggle('near', on);
    if (on && row.dataset.insn) state.textContent = row.dataset.insn + ': ' + (row.dataset.state || 'not on the failing path');
  };
  for (const row of rows) {
    row.addEventListener('mouseenter', () => show(row, true));
    row.addEventListener('mouseleave', () => show(row, false));
    row.addEventListener('focus', () => show(row, true));
    row.addEventListener('blur', () => show(row, false));
  }
}
"""


def write_page(path: Path, spec: CollectionSpec, verdicts: Sequence[Verdict], engine: str) -> None:
    """Write the page.

    Raises:
        ObjectError: the file cannot be written.
    """
    text = "\n".join(_document(spec, verdicts, engine))
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ObjectError(f"cannot write: {error.strerror or error}", source=str(path)) from error


def _document(spec: CollectionSpec, verdicts: Sequence[Verdict], engine: str) -> Iterator[str]:
    title = escape(f"{spec.source.rpartition('/')[2]}: verdicts of the {engine} engine")
    yield f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    yield f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body><h1>{title}</h1><table>'
    yield "<tr><th>program<th>section<th>type<th>verdict<th>instructions visited</tr>"
    for verdict in verdicts:
        word = "accepted" if verdict.accepted else "rejected"
        name = escape(verdict.program)
        shown = name if verdict.accepted else f'<a href="#{name}">{name}</a>'
        yield f"<tr><td>{shown}<td>{escape(verdict.section)}<td>{verdict.type.name}"
        yield f'<td class="{word}">{word}<td>{verdict.insns_processed}</tr>'
    yield "</table>"
    for verdict in verdicts:
        if verdict.diagnostic is not None:
            yield from _program(spec.programs[verdict.program], verdict, verdict.diagnostic)
    yield f"<script>{_SCRIPT}</script></body></html>"


def _program(program: ProgramSpec, verdict: Verdict, diagnostic: Diagnostic) -> Iterator[str]:
    from bpfcrypto.verifier.diag_path import read_walk

    walk = read_walk(verdict.log, program.insns)
    yield f'<section class="program" id="{escape(program.name)}"><h2>{escape(program.name)}: {escape(diagnostic.problem)}</h2>'
    yield f"<p><code>{escape(diagnostic.message)}</code> [{diagnostic.id}]</p><dl>"
    for title, text in (("Why", diagnostic.reason), ("Try", diagnostic.suggestion)):
        yield f"<dt>{title}<dd>{escape(text)}"
    if diagnostic.path:
        yield "<dt>How it came to that"
        yield from (f"<dd>{_place(event.line, event.insn)}: {escape(event.what)}" for event in diagnostic.path)
    yield '</dl><div class="columns"><div class="code">'
    yield from _source(program, walk, diagnostic)
    yield '</div><div class="code">'
    yield from _code(program, walk, diagnostic)
    yield '</div></div><div class="state" aria-live="polite">Point at an instruction to see what the verifier knew there.</div></section>'


def _place(line: object, insn: int) -> str:
    from bpfcrypto.spec import LineInfo

    return (
        escape(f"{line.file.rpartition('/')[2]}:{line.line}") if isinstance(line, LineInfo) else f"instruction {insn}"
    )


def _source(program: ProgramSpec, walk: Walk, diagnostic: Diagnostic) -> Iterator[str]:
    """The lines that have code, by file and number."""
    from bpfcrypto.verifier.diag import line_of

    visited = {(line.file, line.line) for step in walk.steps if (line := line_of(program, step.insn))}
    failed = (diagnostic.line.file, diagnostic.line.line) if diagnostic.line else None
    texts = {(line.file, line.line): line.text for line in program.lines}
    for key in sorted(texts):
        look = _look(key in visited, key == failed)
        yield f'<div class="row{look}" data-line="{escape(f"{key[0]}:{key[1]}")}"><b>{key[1]:5} </b>{escape(texts[key].expandtabs(4))}</div>'


def _code(program: ProgramSpec, walk: Walk, diagnostic: Diagnostic) -> Iterator[str]:
    from bpfcrypto.isa.opcode import LDDW
    from bpfcrypto.verifier.diag import line_of
    from bpfcrypto.verifier.diag_path import states
    from bpfcrypto.verifier.log import insn_text

    known = states(walk)
    for index in range(len(program.insns)):
        if index and program.insns[index - 1].code == LDDW:
            continue
        line = line_of(program, index)
        place = escape(f"{line.file}:{line.line}") if line else ""
        state = escape("  ".join(known.get(index, ())), quote=True)
        look = _look(index in known, index == diagnostic.insn)
        text = escape(insn_text(program, program.insns, index))
        yield (
            f'<div class="row{look}" tabindex="0" data-insn="{index}" data-line="{place}" data-state="{state}">'
            f"<b>{index:5} </b>{text}</div>"
        )


def _look(visited: bool, failed: bool) -> str:
    return " bad" if failed else " lit" if visited else ""
