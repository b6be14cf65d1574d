"""What random programs are written with: scalars, the stack, branches and loops."""

from __future__ import annotations

import random
from typing import Final

EDGES: Final = (
    0,
    1,
    2,
    7,
    8,
    15,
    16,
    31,
    32,
    63,
    64,
    255,
    256,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    -1,
    -2,
    -8,
    -128,
    -0x80000000,
)
OPS: Final = ("+=", "-=", "*=", "|=", "&=", "^=", "<<=", ">>=", "s>>=", "/=", "%=", "s/=", "s%=")
COMPARE: Final = ("==", "!=", ">", ">=", "<", "<=", "s>", "s>=", "s<", "s<=", "&")
SIZES: Final = (("u8", 1), ("u16", 2), ("u32", 4), ("u64", 8))
CELLS: Final = (-8, -16, -24, -32, -40, -48)  # scalars and spills
KEY: Final = -56
DYNPTRS: Final = (-72, -88)
ITERATORS: Final = (-96, -104)
BUFFER: Final = -144  # 32 bytes up to -112
ERR: Final = -152
SCALAR: Final = "scalar"

Env = dict[str, str]
"""What registers (``r7``) and stack cells (``-8``) hold: ``scalar``, ``value48`` (a map value of 48 bytes), ``packet20``."""


class Writer:
    """A program in the making: its lines, and what is known of registers and stack at their end.

    Attributes:
        simple: statements that may stand where calls may not, with their weights.
        statements: all of them.
    """

    simple: tuple[tuple[str, int], ...] = ()
    statements: tuple[tuple[str, int], ...] = ()

    def __init__(self, rng: random.Random, kind: str) -> None:
        self.rng, self.kind = rng, kind
        self.lines: list[str] = []
        self.later: list[str] = []  # subprograms
        self.env: Env = {}
        self.labels = 0
        self.depth = 0
        self.budget = rng.randrange(3, 14)
        self.in_main = True
        self.atomic = 0  # inside a lock or a section in which calls are limited
        self.dynptrs: list[int] = []
        self.iterators = list(ITERATORS)

    # -- words ---------------------------------------------------------------------------------------------------------------

    def put(self, *lines: str) -> None:
        self.lines += lines

    def label(self) -> str:
        self.labels += 1
        return f"l{self.labels}"

    def scalars(self) -> list[str]:
        return [name for name, what in self.env.items() if what == SCALAR and name.startswith("r")]

    def scalar(self) -> str:
        """A register with a scalar, made where there is none."""
        found = self.scalars()
        if found and self.rng.random() < 0.9:
            return self.rng.choice(found)
        register = self.rng.choice(("r7", "r8", "r9"))
        self.unknown(register)
        return register

    def unknown(self, register: str) -> None:
        """Put a value that the verifier does not know into a register."""
        size, width = self.rng.choice(SIZES)
        sign = self.rng.choice("us") if width < 8 else "u"
        self.put(f"r1 = map[data][0]+{8 * self.rng.randrange(8)}", f"{register} = *({sign}{size[1:]} *)(r1 +0)")
        self.env[register] = SCALAR

    def imm(self) -> int:
        if self.rng.random() < 0.6:
            return self.rng.choice(EDGES)
        return self.rng.getrandbits(self.rng.randrange(1, 31)) * self.rng.choice((1, 1, -1))

    def cells(self, what: str = SCALAR) -> list[int]:
        return [int(name) for name, held in self.env.items() if held == what and name.startswith("-")]

    def block(self, most: int = 3) -> None:
        self.depth += 1
        for _ in range(self.rng.randrange(1, most + 1)):
            self.statement()
        self.depth -= 1

    def statement(self) -> None:
        if self.budget <= 0 or self.depth > 4:
            self.alu()
            return
        self.budget -= 1
        choices = self.simple if self.atomic else self.statements
        weights = [weight for _, weight in choices]
        getattr(self, self.rng.choices([made for made, _ in choices], weights)[0])()

    # -- scalars and the stack -------------------------------------------------------------------------------------------------

    def alu(self) -> None:
        rng = self.rng
        for _ in range(rng.randrange(1, 4)):
            dst = self.scalar()
            file = rng.choice("rrw")
            name = file + dst[1:]
            choice = rng.random()
            if choice < 0.5:
                op = rng.choice(OPS)
                value = rng.randrange(32 if file == "w" else 64) if "<<" in op or ">>" in op else self.imm()
                if op[-2:] in ("/=", "%=") and not value:
                    value = 3
                self.put(f"{name} {op} {value}")
            elif choice < 0.75:
                self.put(f"{name} {rng.choice(OPS)} {file}{self.scalar()[1:]}")
            elif choice < 0.83:
                width = rng.choice(("8", "16", "32") if file == "r" else ("8", "16"))
                self.put(f"{name} = (s{width}){file}{self.scalar()[1:]}")
            elif choice < 0.9:
                self.put(f"{dst} = {rng.choice(('le', 'be', 'bswap'))}{rng.choice((16, 32, 64))} {dst}")
            elif choice < 0.95:
                self.put(f"{name} = -{name}")
            else:
                other = rng.choice(("r7", "r8", "r9"))
                self.put(f"{other} = {dst}")
                self.env[other] = SCALAR

    def constant(self) -> None:
        register = self.rng.choice(("r7", "r8", "r9"))
        if self.rng.random() < 0.3:
            self.put(f"{register} = {self.rng.getrandbits(self.rng.randrange(1, 64)):#x}")
        elif self.rng.random() < 0.3:
            self.put(f"r1 = map[consts][0]+{8 * self.rng.randrange(4)}", f"{register} = *(u32 *)(r1 +0)")
        else:
            self.put(f"{self.rng.choice('rrw')}{register[1:]} = {self.imm()}")
        self.env[register] = SCALAR

    def load_unknown(self) -> None:
        self.unknown(self.rng.choice(("r7", "r8", "r9")))

    def spill(self) -> None:
        cell = self.rng.choice(CELLS)
        registers = [name for name in self.env if name.startswith("r")]
        register = self.rng.choice(registers) if registers and self.rng.random() < 0.8 else self.scalar()
        if self.env[register] == SCALAR and self.rng.random() < 0.15:
            self.put(f"*(u64 *)(r10 {cell}) = {self.imm()}")
        else:
            self.put(f"*(u64 *)(r10 {cell}) = {register}")
        self.env[str(cell)] = self.env[register]

    def partial(self) -> None:
        """Overwrite a part of a cell that holds a scalar."""
        cells = self.cells()
        if not cells:
            self.spill()
            return
        cell = self.rng.choice(cells)
        size, width = self.rng.choice(SIZES[:3])
        off = cell + width * self.rng.randrange(8 // width)
        value = self.scalar() if self.rng.random() < 0.6 else str(self.imm() & 0x7F)
        self.put(f"*({size} *)(r10 {off}) = {value}")

    def fill(self) -> None:
        cells = [int(name) for name in self.env if name.startswith("-")]
        if not cells:
            self.spill()
            return
        cell = self.rng.choice(cells)
        register = self.rng.choice(("r7", "r8", "r9"))
        if self.env[str(cell)] == SCALAR and self.rng.random() < 0.5:
            size, width = self.rng.choice(SIZES[:3])
            self.put(
                f"{register} = *({self.rng.choice('us')}{size[1:]} *)(r10 {cell + width * self.rng.randrange(8 // width)})"
            )
        else:
            self.put(f"{register} = *(u64 *)(r10 {cell})")
        self.env[register] = self.env[str(cell)]

    def stack_variable(self) -> None:
        """Read or write the stack at an offset that is not known."""
        if not all(self.env.get(str(cell)) == SCALAR for cell in (-8, -16, -24, -32)):
            for cell in (-8, -16, -24, -32):
                self.put(f"*(u64 *)(r10 {cell}) = {self.imm()}")
                self.env[str(cell)] = SCALAR
        index = self.scalar()
        self.put(f"r2 = {index}", f"r2 &= {self.rng.choice((7, 8, 16, 24))}", "r1 = r10", "r1 += -32", "r1 += r2")
        if self.rng.random() < 0.5:
            self.put(f"*(u8 *)(r1 +0) = {self.scalar()}")
        else:
            register = self.rng.choice(("r7", "r8", "r9"))
            self.put(f"{register} = *(u8 *)(r1 +0)")
            self.env[register] = SCALAR

    # -- control flow ----------------------------------------------------------------------------------------------------------

    def condition(self) -> str:
        file = self.rng.choice("rrw")
        left = file + self.scalar()[1:]
        right = f"{self.imm() & 0xFFFFFFFF:#x}" if self.rng.random() < 0.65 else file + self.scalar()[1:]
        return f"if {left} {self.rng.choice(COMPARE)} {right}"

    def choose(self) -> None:
        condition = self.condition()
        other, end = self.label(), self.label()
        self.put(f"{condition} goto {other}")
        before = dict(self.env)
        self.block()
        after, self.env = self.env, before
        if self.rng.random() < 0.6:
            self.put(f"goto {end}", f"{other}:")
            self.block()
            self.put(f"{end}:")
        else:
            self.put(f"{other}:")
        self.merge(after)

    def merge(self, after: Env) -> None:
        self.env = {name: what for name, what in self.env.items() if after.get(name) == what}

    def loop_body(self, most: int = 2) -> None:
        """Statements that are repeated: what they find must be what they leave."""
        before = dict(self.env)
        at = len(self.lines)
        self.block(most)
        lost = [name for name, what in before.items() if self.env.get(name) != what]
        if lost:  # another kind of value came round: leave the body out
            del self.lines[at:]
            self.env = before
            self.put("r1 = 0")
            return
        self.env = before

    def loop(self) -> None:
        """A counter on the stack or in a register, compared with a constant."""
        rng = self.rng
        top, rounds = self.label(), rng.randrange(1, 12)
        for register in ("r7", "r8", "r9"):
            if self.env.get(register) != SCALAR:
                self.put(f"{register} = 0")
                self.env[register] = SCALAR
        cell = -160 - 8 * self.depth
        self.put(f"*(u64 *)(r10 {cell}) = 0", f"{top}:")
        self.loop_body()
        self.put(
            f"r1 = *(u64 *)(r10 {cell})", "r1 += 1", f"*(u64 *)(r10 {cell}) = r1", f"if r1 < {rounds:#x} goto {top}"
        )

    def may_goto(self) -> None:
        top, out = self.label(), self.label()
        cell = -160 - 8 * self.depth
        self.put(f"*(u64 *)(r10 {cell}) = 0", f"{top}:", f"may_goto {out}")
        self.loop_body()
        self.put(f"r1 = *(u64 *)(r10 {cell})", "r1 += 1", f"*(u64 *)(r10 {cell}) = r1")
        self.put(f"if r1 > {self.rng.randrange(1, 9):#x} goto {out}", f"goto {top}", f"{out}:")

    def iterate(self) -> None:
        if not self.iterators:
            self.alu()
            return
        at = self.iterators.pop()
        top, out = self.label(), self.label()
        self.put("r1 = r10", f"r1 += {at}", f"r2 = {self.rng.randrange(3)}", f"r3 = {self.rng.randrange(12)}")
        self.put("call bpf_iter_num_new", f"{top}:", "r1 = r10", f"r1 += {at}", "call bpf_iter_num_next")
        self.put(f"if r0 == 0x0 goto {out}")
        if self.rng.random() < 0.5:
            register = self.rng.choice(("r7", "r8", "r9"))
            if self.env.get(register) == SCALAR:
                self.put(f"{register} = *(u32 *)(r0 +0)")
        self.loop_body()
        self.put(f"goto {top}", f"{out}:", "r1 = r10", f"r1 += {at}", "call bpf_iter_num_destroy")
        self.iterators.append(at)
