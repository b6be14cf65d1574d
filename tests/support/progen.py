"""Random programs that mean something: structured code that the verifier mostly accepts, with faults put in afterwards.

A program is a sequence of statements over an environment: what r6..r9 hold, which stack slots hold a scalar, what is held at the
moment (locks, references). Statements nest (branches, loops, critical sections), so every resource is given back on every path.
Three things never appear in an unbroken program, because a kernel does not survive them or the result is not defined: a NULL ``err``
for bpf_crypto_ctx_create, in-place encryption of packets, and dynptrs of packets that were cut. Loops end after a few rounds.

``generate`` gives the text of a program (support.progtext), ``inject`` breaks a text at one place.
"""

from __future__ import annotations

import random
import re
from typing import Final

from support.progen_calls import Caller
from support.progen_core import BUFFER, EDGES

_SIMPLE: Final = (
    ("alu", 6),
    ("constant", 2),
    ("load_unknown", 2),
    ("spill", 3),
    ("partial", 2),
    ("fill", 3),
    ("choose", 5),
    ("context", 1),
)
_STATEMENTS: Final = (
    *_SIMPLE,
    ("stack_variable", 2),
    ("loop", 2),
    ("may_goto", 1),
    ("iterate", 2),
    ("value", 5),
    ("update", 2),
    ("packet", 4),
    ("context", 2),
    ("helper", 4),
    ("tail", 1),
    ("ringbuf", 1),
    ("section", 2),
    ("locked", 1),
    ("function", 4),
    ("each", 2),
    ("dynptr", 3),
    ("crypto", 4),
)


class _Generator(Caller):
    simple = _SIMPLE
    statements = _STATEMENTS

    # -- the whole ---------------------------------------------------------------------------------------------------------------

    def text(self) -> str:
        self.put("r6 = r1")
        self.load_unknown()
        for off in range(0, 32, 8):
            self.put(f"*(u64 *)(r10 {BUFFER + off}) = {off}")
        while self.budget > 0:
            self.statement()
        self.put("r0 = 0" if self.rng.random() < 0.3 else f"r0 = {self.scalar()}", "exit")
        return "\n".join((f"type {self.kind}", *self.lines, *self.later)) + "\n"


def generate(rng: random.Random, kind: str | None = None) -> str:
    """The text of a program that the verifier mostly accepts.

    Args:
        rng: where the choices come from.
        kind: ``tc``, ``xdp`` or ``syscall``; None for any.
    """
    return _Generator(rng, kind or rng.choice(("tc", "tc", "xdp", "syscall"))).text()


_NUMBER: Final = re.compile(r"(?<![\w\[#])-?(0x[0-9a-f]+|\d+)\b(?!:)")
_REGISTER: Final = re.compile(r"\b([rw])(\d+)\b")
_WIDTH: Final = re.compile(r"\*?\(([us])(8|16|32|64) \*\)")


def inject(rng: random.Random, text: str) -> str:
    """Break a text at one place: a line lost, doubled or moved, another number, register, width, operation or target."""
    lines = text.splitlines()
    code = [at for at, line in enumerate(lines) if not line.startswith(("type", "func")) and not line.endswith(":")]
    at = rng.choice(code)
    line = lines[at]
    choice = rng.random()
    if choice < 0.2:
        del lines[at]
    elif choice < 0.25:
        lines.insert(rng.choice(code), line)
    elif choice < 0.3:
        other = rng.choice(code)
        lines[at], lines[other] = lines[other], line
    elif choice < 0.6 and (numbers := [m for m in _NUMBER.finditer(line) if not line.startswith("call")]):
        found = rng.choice(numbers)
        old = int(found[0], 0)
        new = rng.choice((old + 1, old - 1, old * 2, -old, old + 8, old - 8, rng.choice(EDGES)))
        lines[at] = (
            line[: found.start()] + (f"{new:+}" if line[found.start() - 1] == "+" else str(new)) + line[found.end() :]
        )
        lines[at] = lines[at].replace("++", "+").replace("+-", "-")
    elif choice < 0.85 and (registers := list(_REGISTER.finditer(line))):
        found = rng.choice(registers)
        lines[at] = f"{line[: found.start()]}{found[1]}{rng.randrange(11)}{line[found.end() :]}"
    elif choice < 0.93 and (width := _WIDTH.search(line)):
        lines[at] = line[: width.start(2)] + rng.choice(("8", "16", "32", "64")) + line[width.end(2) :]
    elif "goto" in line:
        targets = [each[:-1] for each in lines if each.endswith(":")]
        head, _, _ = line.rpartition(" ")
        lines[at] = f"{head} {rng.choice(targets)}" if targets else line
    else:
        lines.insert(
            at, rng.choice(("r0 = 0", "r1 = 0", "exit", "call bpf_get_prandom_u32", "r6 += 4", "r7 = r10", "w8 = w8"))
        )
    return "\n".join(lines) + "\n"
