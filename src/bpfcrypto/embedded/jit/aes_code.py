"""LLVM IR of one function, line by line, and AES rounds in it.

A round of x86 adds its key at the end, so the first key is added before all rounds; one of ARMv8 adds it first, so the last key is
added after all rounds. Either way the last thing that happens to a block is an XOR with a key.

States are vectors of one, two or four blocks; the same key goes to each block.
"""

from __future__ import annotations

from collections.abc import Sequence

from bpfcrypto.embedded.jit.aes_layout import DECRYPT_KEYS, ENCRYPT_KEYS, ROUNDS
from bpfcrypto.embedded.jit.aes_targets import Target

BLOCK = "<2 x i64>"
_BYTES = "<16 x i8>"
_LONGER = ((10, 11), (12, 13))  # rounds that only longer keys have: 192 bits the first pair, 256 bits both

_X86 = {"encrypt": "aesenc", "decrypt": "aesdec"}  # with "last" at the end for the last round
_X86_WIDTH = {1: "", 2: ".256", 4: ".512"}
_ARM = {"encrypt": ("aese", "aesmc"), "decrypt": ("aesd", "aesimc")}


def vector(blocks: int) -> str:
    """The type of that many blocks."""
    return f"<{2 * blocks} x i64>"


def declarations(target: Target) -> str:
    """The intrinsics of a target, declared."""
    if target.family == "arm":
        lines = [f"declare {_BYTES} @llvm.aarch64.crypto.{name}({_BYTES}, {_BYTES})" for name in ("aese", "aesd")]
        lines += [f"declare {_BYTES} @llvm.aarch64.crypto.{name}({_BYTES})" for name in ("aesmc", "aesimc")]
        return "\n".join(lines)
    widths = sorted({1, *(blocks for blocks, _ in target.steps)})
    lines = [
        f"declare {vector(blocks)} @llvm.x86.aesni.{name}{_X86_WIDTH[blocks]}({vector(blocks)}, {vector(blocks)})"
        for name in (*_X86.values(), *(f"{inner}last" for inner in _X86.values()))
        for blocks in widths
    ]
    return "\n".join([*lines, f"declare {BLOCK} @llvm.x86.aesni.aesimc({BLOCK})"])


class Function:
    """A function under construction.

    Args:
        head: everything before the opening brace.
        target: whose instructions it uses.
    """

    def __init__(self, head: str, target: Target) -> None:
        self.target = target
        self._lines = [head + " {"]
        self._count = 0
        self._phis: dict[str, int] = {}
        self.here = ""
        self.begin("entry")

    def __str__(self) -> str:
        return "\n".join([*self._lines, "}"])

    def value(self, expression: str) -> str:
        """A new value."""
        self._count += 1
        name = f"%v{self._count}"
        self._lines.append(f"  {name} = {expression}")
        return name

    def phi(self, kind: str, value: str, label: str) -> str:
        """A new value at the head of a block, with the first place it may come from."""
        name = self.value(f"phi {kind} [ {value}, %{label} ]")
        self._phis[name] = len(self._lines) - 1
        return name

    def feed(self, phi: str, value: str, label: str) -> None:
        """Another place that a phi may come from, most often the end of the loop that it heads."""
        self._lines[self._phis[phi]] += f", [ {value}, %{label} ]"

    def do(self, *lines: str) -> None:
        """Instructions without a value."""
        self._lines.extend(f"  {line}" for line in lines)

    def label(self, hint: str) -> str:
        """A label that is not taken yet."""
        self._count += 1
        return f"{hint}{self._count}"

    def begin(self, label: str) -> None:
        """Begin a basic block."""
        self.here = label
        self._lines.append(f"{label}:")

    def jump(self, label: str) -> None:
        """Go somewhere; the next thing must be ``begin``."""
        self.do(f"br label %{label}")

    def branch(self, condition: str, yes: str, no: str) -> None:
        """Go one way or the other."""
        self.do(f"br i1 {condition}, label %{yes}, label %{no}")

    def at(self, base: str, offset: str | int) -> str:
        """The address some bytes behind another."""
        return self.value(f"getelementptr i8, ptr {base}, i64 {offset}")

    def load(self, pointer: str, blocks: int = 1, align: int = 1) -> str:
        """One vector from memory."""
        return self.value(f"load {vector(blocks)}, ptr {pointer}, align {align}")

    def store(self, state: str, pointer: str, blocks: int = 1, align: int = 1) -> None:
        """One vector to memory."""
        self.do(f"store {vector(blocks)} {state}, ptr {pointer}, align {align}")

    def xor(self, left: str, right: str, blocks: int = 1) -> str:
        """The XOR of two vectors."""
        return self.value(f"xor {vector(blocks)} {left}, {right}")

    def spread(self, block: str, blocks: int) -> str:
        """One block in every place of a vector."""
        if blocks == 1:
            return block
        mask = ", ".join(f"i32 {i & 1}" for i in range(2 * blocks))
        return self.value(f"shufflevector {BLOCK} {block}, {BLOCK} poison, <{2 * blocks} x i32> <{mask}>")

    def call(self, name: str, blocks: int, *operands: str) -> str:
        """The result of one of the target's instructions."""
        kind = vector(blocks)
        if self.target.family == "x86":
            arguments = ", ".join(f"{kind} {operand}" for operand in operands)
            return self.value(f"call {kind} @llvm.x86.aesni.{name}{_X86_WIDTH[blocks]}({arguments})")
        cast = [self.value(f"bitcast {BLOCK} {operand} to {_BYTES}") for operand in operands]
        arguments = ", ".join(f"{_BYTES} {operand}" for operand in cast)
        result = self.value(f"call {_BYTES} @llvm.aarch64.crypto.{name}({arguments})")
        return self.value(f"bitcast {_BYTES} {result} to {BLOCK}")

    def substitute(self, state: str) -> str:
        """SubBytes and ShiftRows of a block."""
        return self.call({"x86": "aesenclast", "arm": "aese"}[self.target.family], 1, state, "zeroinitializer")


class Rounds:
    """The rounds of one direction inside a function.

    Args:
        function: where; what does not change is computed at the place where this is made.
        direction: ``encrypt`` or ``decrypt``.
        context: the value that points to the native context.
    """

    def __init__(self, function: Function, direction: str, context: str = "%ctx") -> None:
        self._function = function
        self._direction = direction
        self._key_first = function.target.family == "arm"
        self._keys = function.at(context, ENCRYPT_KEYS if direction == "encrypt" else DECRYPT_KEYS)
        count = function.value(f"load i32, ptr {function.at(context, ROUNDS)}, align 4")
        self._more = [function.value(f"icmp ugt i32 {count}, {pair[0]}") for pair in _LONGER]
        wide = function.value(f"zext i32 {count} to i64")
        self._last = function.at(self._keys, function.value(f"shl i64 {wide}, 4"))

    def enter(self, plain: str, blocks: int = 1) -> str:
        """A state, made of what is to be ciphered."""
        return plain if self._key_first else self._function.xor(plain, self._load(self._keys, blocks), blocks)

    def inner(self, states: Sequence[str], blocks: int = 1) -> list[str]:
        """All rounds but the last."""
        function, kind = self._function, vector(blocks)
        states = self._several(states, range(1, 10), blocks)
        joined = function.label("joined")
        ways = []
        for more, pair in zip(self._more, _LONGER, strict=True):
            longer = function.label("longer")
            ways.append((function.here, states))
            function.branch(more, longer, joined)
            function.begin(longer)
            states = self._several(states, pair, blocks)
        ways.append((function.here, states))
        function.jump(joined)
        function.begin(joined)
        return [
            function.value(f"phi {kind} " + ", ".join(f"[ {way[i]}, %{label} ]" for label, way in ways))
            for i in range(len(states))
        ]

    def last_key(self, blocks: int = 1) -> str:
        """What :meth:`leave` adds at its end."""
        return self._load(self._last, blocks)

    def leave(self, state: str, key: str, blocks: int = 1) -> str:
        """The last round; whatever is XORed into ``key`` ends up in the result."""
        function = self._function
        if not self._key_first:
            return function.call(f"{_X86[self._direction]}last", blocks, state, key)
        before = function.load(function.at(self._last, -16), align=16)
        return function.xor(function.call(_ARM[self._direction][0], 1, state, before), key)

    def _several(self, states: Sequence[str], numbers: Sequence[int], blocks: int) -> list[str]:
        states = list(states)
        for number in numbers:
            key = self._load(self._function.at(self._keys, 16 * (number - self._key_first)), blocks)
            states = [self._round(state, key, blocks) for state in states]
        return states

    def _round(self, state: str, key: str, blocks: int) -> str:
        function = self._function
        if not self._key_first:
            return function.call(_X86[self._direction], blocks, state, key)
        add, mix = _ARM[self._direction]
        return function.call(mix, 1, function.call(add, 1, state, key))

    def _load(self, pointer: str, blocks: int) -> str:
        return self._function.spread(self._function.load(pointer, align=16), blocks)
