"""What a test program says of itself in its decl tags: the verdict, the verifier's words, the value it returns.

The form is the one of the kernel's own tests (``comment:test_...`` tags made by macros of bpf_misc.h), so their programs work too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bpfcrypto.spec import ProgramSpec


@dataclass(frozen=True, slots=True)
class Expectation:
    """The expected outcome of one program.

    Attributes:
        accepted: the verdict.
        messages: texts that the verifier's log holds, in that order.
        retval: what a run returns, None where nothing is said.
    """

    accepted: bool
    messages: tuple[str, ...] = ()
    retval: int | None = None


def expectation(program: ProgramSpec) -> Expectation:
    """Read a program's tags; one without any is expected to be accepted."""
    tags = [tag.removeprefix("comment:") for tag in program.tags]
    said = [tag.partition("=")[::2] for tag in tags]
    retval = next((int(value, 0) for name, value in said if name == "test_retval"), None)
    messages = tuple(value for name, value in said if name == "test_expect_msg")
    return Expectation("test_expect_failure" not in tags, messages, retval)
