"""Which ciphers an engine can make contexts of, found by making one.

The probe is a syscall program that takes struct bpf_crypto_params as its context, creates a crypto context from it and releases it
again: no map, no type information, the same on every engine and kernel. Versions and lists such as /proc/crypto are not asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bpfcrypto.engine import Engine
    from bpfcrypto.spec import CollectionSpec

CANDIDATES = ("ecb(aes)", "cbc(aes)", "ctr(aes)")

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
    from bpfcrypto.abi.progs import ProgFlag, ProgType
    from bpfcrypto.isa.asm import assemble
    from bpfcrypto.isa.opcode import CALL
    from bpfcrypto.spec import CollectionSpec, KfuncRef, ProgramSpec

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


def probe(engine: Engine) -> Mapping[str, int]:
    """Ask an engine for a context of each candidate.

    Returns:
        Cipher -> 0 if a context can be made, else the positive errno.

    Raises:
        BpfCryptoError: the engine cannot run the probe at all.
    """
    from bpfcrypto.crypto.params import LAYOUT

    found = {}
    with engine.load(probe_spec()) as collection:
        for cipher in CANDIDATES:
            params = LAYOUT.pack(b"skcipher", b"", cipher.encode(), bytes(16), 16, 0)
            retval = collection.programs["probe"].run(ctx=params).retval
            found[cipher] = -retval & 0xFFFF_FFFF
    return found
