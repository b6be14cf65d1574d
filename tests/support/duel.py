"""Both verifiers, then both engines, on one program text: what came of it, and the smallest text of which the same can be said."""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final
from unittest.mock import patch

from bpfcrypto.embedded import engine as embedded
from bpfcrypto.embedded.engine import EmbeddedEngine
from bpfcrypto.engine import Verdict
from bpfcrypto.errors import AssembleError, NotSupportedError, RunError, SyscallError, VerifierError
from bpfcrypto.kernel.engine import KernelEngine
from bpfcrypto.kernel.log import parse
from support.progtext import assembled
from support.verdicts import Pair, judge

if TYPE_CHECKING:
    from collections.abc import Callable

    from bpfcrypto.engine import Collection
    from bpfcrypto.kernel.collection import KernelCollection
    from bpfcrypto.spec import CollectionSpec

PACKET: Final = bytes((13 * i + 1) & 0xFF for i in range(100))
_ENDLESS: Final = re.compile(r"bpf_loop|may_goto|bpf_iter_|bpf_crypto_ctx_create|goto|call f|call c")
"""What a broken program is not run with: a broken loop may go round for long, and a context may be made without an ``err``."""

_REWRITTEN: Final = re.compile(r"verifier bug: No program to jit at insn \d+ \(subprog < 0\)")
_MOST_VISITS: Final = 20_000


class Class(Enum):
    """What comparing a program gave, worst first."""

    CRASH = "crash"  # an exception in ours
    UNSOUND = "unsound"  # we accept what the kernel rejects
    FAULT = "fault"  # accepted by both, and broke a rule when it was run here
    RUN = "run differs"  # accepted by both, other results: of the interpreter, of machine code or of the kernel
    IMPRECISE = "imprecise"  # we reject what the kernel accepts
    ERRNO = "errno differs"
    MESSAGE = "message differs"
    INVALID = (
        "no program"  # the text does not assemble, the kernel refuses it before it looks, or there are too many paths
    )
    AGREE = "agree"

    @property
    def is_wrong(self) -> bool:
        return self not in (Class.INVALID, Class.AGREE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one program.

    Attributes:
        kind: the class.
        detail: what differs.
        pair: the verdicts, where there are two.
        ran: whether it was run on both engines.
    """

    kind: Class
    detail: str = ""
    pair: Pair | None = None
    ran: bool = False

    @property
    def accepted(self) -> bool:
        """Whether the kernel accepts the program."""
        return self.pair is not None and self.pair.theirs.accepted

    @property
    def signature(self) -> str:
        """The detail without numbers: what a smaller program must still show."""
        return re.sub(r"-?\b(0x[0-9a-f]+|\d+)\b", "N", self.detail)


def duel(text: str, *, broken: bool = False, run: bool = True) -> Outcome:
    """Judge a program twice, and run it twice where both accept it.

    Args:
        text: the program (support.progtext).
        broken: it was changed at random: its results may depend on addresses and its loops may not end soon.
        run: whether to run it at all.
    """
    try:
        spec = assembled(text)
    except (AssembleError, ValueError, IndexError, KeyError) as error:
        return Outcome(Class.INVALID, str(error))
    with ExitStack() as stack:
        loaded: KernelCollection | None = None
        try:
            loaded = stack.enter_context(KernelEngine().load(spec))
            theirs = _accepted(loaded)
        except VerifierError as error:
            theirs = _rejected(spec, error)
        except (SyscallError, NotSupportedError) as error:
            return Outcome(Class.INVALID, str(error))
        if not theirs.accepted and not theirs.log.strip():
            return Outcome(Class.INVALID, theirs.message)
        if theirs.insns_processed > _MOST_VISITS:
            return Outcome(Class.INVALID, "too many paths")
        try:
            ours = judge(spec.programs["main"], spec, log_level=0)
        except Exception as error:
            return Outcome(Class.CRASH, _where(error))
        pair = Pair(ours, theirs)
        if (difference := pair.disagreement()) and not _alike(pair):
            return Outcome(_class_of(pair), difference, pair)
        if loaded is None or not run or (broken and _ENDLESS.search(text)):
            return Outcome(Class.AGREE, pair=pair)
        return _race(spec, loaded, pair, compare=not broken)


def _accepted(loaded: KernelCollection) -> Verdict:
    """The verdict on a program that the kernel has loaded. It writes no log, which would take most of the time."""
    program = loaded.programs["main"]
    visited = program.info.verified_insns
    return Verdict("main", program.spec.section, program.type, True, insns_processed=visited)


def _rejected(spec: CollectionSpec, error: VerifierError) -> Verdict:
    program, said = spec.programs["main"], parse(error.log)
    return Verdict(
        "main", program.section, program.type, False, error.errno, said.message, said.insns_processed, error.log
    )


def _alike(pair: Pair) -> bool:
    """Whether the messages differ in a number only that is counted in code which the kernel has rewritten."""
    ours, theirs = pair.ours, pair.theirs
    found = _REWRITTEN.fullmatch(ours.message), _REWRITTEN.fullmatch(theirs.message)
    return all(found) and ours.errno == theirs.errno


def _class_of(pair: Pair) -> Class:
    ours, theirs = pair.ours, pair.theirs
    if ours.accepted and not theirs.accepted:
        return Class.UNSOUND
    if theirs.accepted and not ours.accepted:
        return Class.IMPRECISE
    return Class.ERRNO if ours.errno != theirs.errno else Class.MESSAGE


def _where(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}" if trace is not None else ""
    return f"{type(error).__name__} at {place}: {error}"


def _race(spec: CollectionSpec, loaded: KernelCollection, pair: Pair, *, compare: bool) -> Outcome:
    """The program on the interpreter, as machine code and on the kernel."""
    try:
        with EmbeddedEngine(jit=False, verify=False) as engine, engine.load(spec) as collection:
            ours = _run(collection)
        with (
            patch.object(embedded, "verify_program", lambda *_, **__: pair.ours),  # it has its verdict
            EmbeddedEngine() as engine,
            engine.load(spec) as collection,
        ):
            compiled = _run(collection)
    except RunError as error:
        return Outcome(Class.FAULT, str(error), pair)
    except NotSupportedError:
        return Outcome(Class.AGREE, pair=pair)
    theirs = _run(loaded)
    for name, mine in ours.items():
        if compare and not mine == compiled[name] == theirs[name]:
            said = f"{name}: {mine}, compiled {compiled[name]}, the kernel {theirs[name]}"
            return Outcome(Class.RUN, said, pair, ran=True)
    return Outcome(Class.AGREE, pair=pair, ran=True)


def _run(collection: Collection) -> dict[str, str]:
    """Two runs of the program, since the first one changes maps: results, packets, contents of maps."""
    found: dict[str, str] = {}
    program = collection.programs["main"]
    for turn in ("first", "second"):
        try:
            result = program.run(ctx=bytes(range(64))) if program.spec.section == "syscall" else program.run(PACKET)
        except SyscallError as error:
            found[turn] = f"errno {error.errno}"
            continue
        found[turn] = f"{result.retval:#x}"
        found[f"{turn} packet"] = result.data.hex()
    for name, made in collection.maps.items():
        if name in ("array", "hash", "data", "locks"):
            found[name] = " ".join(f"{key.hex()}:{value.hex()}" for key, value in sorted(made.items()))
    return found


def shrink(text: str, *, broken: bool, like: Outcome, patience: Callable[[], bool]) -> str:
    """The text without the lines that it does not need to show the same.

    Args:
        text: the program.
        broken: as for ``duel``.
        like: what it showed.
        patience: whether there is time to go on.
    """
    lines = text.splitlines()
    size = max(1, len(lines) // 4)
    running = like.kind in (Class.FAULT, Class.RUN)
    while size and patience():
        at, smaller = 1, False
        while at < len(lines) and patience():
            kept = lines[:at] + lines[at + size :]
            found = duel("\n".join(kept), broken=broken or not running, run=running)
            if found.kind is like.kind and found.signature == like.signature:
                lines, smaller = kept, True
            else:
                at += size
        size = size if smaller and size == 1 else size // 2
    return "\n".join(lines) + "\n"
