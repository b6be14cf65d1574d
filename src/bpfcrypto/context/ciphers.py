"""Which ciphers an engine can make contexts of, and which keys they take: found by making contexts.

The probe is a syscall program that takes struct bpf_crypto_params as its context, creates a crypto context from it and releases it
again: no map, no type information, the same on every engine and kernel. Versions and lists such as /proc/crypto are not asked.

From what can be had follows what a refusal means. The errno alone does not say it: EINVAL is a key of a wrong length or a cipher
that exists in another form only, and kernels differ in what they answer to unknown names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from errno import EINVAL, ENOMEM
from typing import TYPE_CHECKING, Self

from bpfcrypto.abi.errno import text
from bpfcrypto.abi.progs import ProgFlag, ProgType
from bpfcrypto.context.home import signed
from bpfcrypto.crypto.params import MAX_KEY_SIZE, MAX_NAME_SIZE, encode
from bpfcrypto.errors import ContextError
from bpfcrypto.isa.asm import assemble
from bpfcrypto.isa.opcode import CALL
from bpfcrypto.spec import CollectionSpec, KfuncRef, ProgramSpec

if TYPE_CHECKING:
    from types import TracebackType

    from bpfcrypto.engine import Engine

CANDIDATES = ("ecb(aes)", "cbc(aes)", "ctr(aes)", "ecb(arc4)", "ecb(sm4)", "cbc(sm4)")
"""What is asked for when nobody says what: AES, a mode that is often looked for, and what some kernels have besides."""

_USUAL_KEY = 16

_CODE = """
    r2 = 408
    r3 = r10
    r3 += -8
    *(u64 *)(r10 -8) = 0
    call bpf_crypto_ctx_create
    if r0 == 0x0 goto failed
    r1 = r0
    call bpf_crypto_ctx_release
    r0 = 0
    exit
failed:
    r0 = *(u32 *)(r10 -8)
    exit
"""


def probe_spec() -> CollectionSpec:
    """The probe: program ``probe`` returns 0, or the negative errno of bpf_crypto_ctx_create."""
    kfuncs = ("bpf_crypto_ctx_create", "bpf_crypto_ctx_release")
    insns = assemble(_CODE, kfuncs=dict.fromkeys(kfuncs, 0))
    calls = (slot for slot, insn in enumerate(insns) if insn.code == CALL)
    program = ProgramSpec(
        "probe",
        "syscall",
        ProgType.SYSCALL,
        insns,
        flags=ProgFlag.SLEEPABLE,
        refs=dict(zip(calls, map(KfuncRef, kfuncs), strict=True)),
    )
    return CollectionSpec("<cipher probe>", "GPL", programs={"probe": program})


class Prober:
    """Asks an engine for contexts with keys of zeros, and keeps none.

    Args:
        engine: which.

    Raises:
        BpfCryptoError: the engine cannot run the probe at all.
    """

    def __init__(self, engine: Engine) -> None:
        self._collection = engine.load(probe_spec())

    def errno(self, algorithm: str, key_size: int = _USUAL_KEY) -> int:
        """0 if a context can be made, else the positive errno."""
        request = bytes(encode(algorithm, bytes(key_size)))
        return -signed(self._collection.programs["probe"].run(ctx=request).retval)

    def key_sizes(self, algorithm: str) -> tuple[int, ...]:
        """The key lengths that an algorithm takes, bytes; none where it cannot be had.

        A name that is refused for another reason than its key is asked for only once: each time a kernel may look for a module.
        """
        if self.errno(algorithm) not in (0, EINVAL):
            return ()
        return tuple(size for size in range(1, MAX_KEY_SIZE + 1) if not self.errno(algorithm, size))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._collection.close()


def probe(engine: Engine, algorithms: Iterable[str] = CANDIDATES) -> Mapping[str, int]:
    """Ask an engine for a context of each algorithm.

    Returns:
        Algorithm -> 0 if a context can be made with a key of 16 bytes, else the positive errno.

    Raises:
        BpfCryptoError: the engine cannot run the probe at all.
    """
    with Prober(engine) as prober:
        return {algorithm: prober.errno(algorithm) for algorithm in algorithms}


def refusal(engine: Engine, algorithm: str, key_size: int, errno: int) -> ContextError:
    """Why a context was refused: which parameter it was, and what can be had here instead.

    Args:
        engine: what refused it.
        algorithm: what was asked for.
        key_size: how long the key was, bytes.
        errno: what bpf_crypto_ctx_create answered, positive.
    """
    if errno == ENOMEM:
        return ContextError(f"no memory for a context of '{algorithm}'", errno=errno)
    with Prober(engine) as prober:
        known = len(algorithm.encode()) < MAX_NAME_SIZE
        sizes = prober.key_sizes(algorithm) if known else ()
        if key_size in sizes:
            return ContextError(f"'{algorithm}' was refused: {text(errno)}", errno=errno)
        if sizes:
            return ContextError(
                f"a key of {key_size} bytes was refused: {text(errno)}",
                errno=errno,
                parameter="key",
                hint=f"'{algorithm}' takes {listed(sizes)} bytes here",
            )
        have = [name for name in CANDIDATES if not prober.errno(name)]
    return ContextError(
        f"algorithm '{algorithm}' was refused: {text(errno)}",
        errno=errno,
        parameter="algorithm",
        hint="available here: " + (", ".join(f"'{name}'" for name in have) or "none of " + ", ".join(CANDIDATES)),
    )


def listed(sizes: Iterable[int]) -> str:
    """Numbers in words, runs of them by their ends: ``16, 24 or 32``, ``1 to 256``."""
    runs: list[list[int]] = []
    for size in sizes:
        if runs and size == runs[-1][-1] + 1:
            runs[-1].append(size)
        else:
            runs.append([size])
    words = [str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
