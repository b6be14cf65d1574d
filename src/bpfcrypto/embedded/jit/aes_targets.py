"""Which AES instructions there are, and how the cipher is laid out on them.

A row says what CPU it needs and how bulk data is cut: ``steps`` are (blocks in a vector, vectors side by side), tried from the first;
each is repeated while enough blocks are left, and the last one handles single blocks. One instruction takes three to five cycles and one or
two can begin in each, so enough independent vectors hide the wait.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

Steps = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Target:
    """One way to do AES.

    Attributes:
        name: for people and forced choices.
        architecture: as LLVM's triples begin.
        features: LLVM's names of what the CPU must have.
        steps: how data is cut in ecb and in cbc decryption.
        family: the instructions: ``x86`` or ``arm``.
    """

    name: str
    architecture: str
    features: frozenset[str]
    steps: Steps
    family: str


# the first that fits is taken
TARGETS = (
    Target("vaes512", "x86_64", frozenset({"aes", "vaes", "avx512f"}), ((4, 4), (4, 1), (1, 1)), "x86"),
    Target("vaes256", "x86_64", frozenset({"aes", "vaes", "avx2"}), ((2, 4), (1, 1)), "x86"),
    Target("aesni", "x86_64", frozenset({"aes"}), ((1, 8), (1, 1)), "x86"),
    Target("armv8", "aarch64", frozenset({"aes"}), ((1, 8), (1, 1)), "arm"),
)


def choose(features: Set[str], architecture: str) -> Target | None:
    """The best target for a CPU, None where it has no AES instructions.

    Args:
        features: LLVM's names of what the CPU has.
        architecture: ``x86_64``, ``aarch64`` or another.
    """
    fitting = (target for target in TARGETS if target.architecture == architecture and target.features <= features)
    return next(fitting, None)


def supported(features: Set[str], architecture: str) -> bool:
    """Whether AES can be machine code on a CPU; where not, a call back into Python must serve."""
    return choose(features, architecture) is not None
