"""The crypto kfuncs (kernel/bpf/crypto.c), on the contexts of one collection.

bpf_crypto_ctx_create stores to ``err`` whatever it does, success included; the kernel's verifier accepts a NULL ``err`` and the
kernel then writes to address 0, which here is an AccessFault.

bpf_crypto_encrypt and bpf_crypto_decrypt want each of source, destination and IV contiguous, the whole of the destination even where
the source is shorter. Every refusal is EINVAL. A range of an skb that starts beyond its linear part is refused as well: the kernel
takes it for linear and works on foreign memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from errno import EINVAL
from typing import TYPE_CHECKING

from bpfcrypto.crypto.params import SIZE
from bpfcrypto.crypto.skcipher import Buffer
from bpfcrypto.embedded.dynptr import Dynptr
from bpfcrypto.embedded.memory import AccessFault
from bpfcrypto.embedded.state import Native, error

if TYPE_CHECKING:
    from bpfcrypto.embedded.contexts import CryptoContexts
    from bpfcrypto.embedded.state import RunState

_U32 = 0xFFFFFFFF


def natives(contexts: CryptoContexts) -> Mapping[str, Native]:
    """The five kfuncs, by name.

    Args:
        contexts: where contexts are made and found.
    """

    def create(run: RunState, params: int, size: int, err: int, *_: int) -> int:
        if not err:
            raise AccessFault("bpf_crypto_ctx_create was given NULL for 'err', which the kernel would write to")
        size &= _U32
        memory = run.memory.span(params, size) if params and size == SIZE else None
        address, failed = contexts.create(memory, size)
        run.memory.store(err, 4, -failed)
        return address

    def acquire(_run: RunState, context: int, *_: int) -> int:
        return contexts.acquire(context)

    def release(_run: RunState, context: int, *_: int) -> int:
        contexts.release(context)
        return 0

    def encrypt(run: RunState, context: int, src: int, dst: int, siv: int, *_: int) -> int:
        cipher = contexts.get(context).cipher
        buffers = _buffers(run, src, dst, siv)
        return error(cipher.encrypt(*buffers) if buffers else EINVAL)

    def decrypt(run: RunState, context: int, src: int, dst: int, siv: int, *_: int) -> int:
        cipher = contexts.get(context).cipher
        buffers = _buffers(run, src, dst, siv)
        return error(cipher.decrypt(*buffers) if buffers else EINVAL)

    return {
        "bpf_crypto_ctx_create": create,
        "bpf_crypto_ctx_acquire": acquire,
        "bpf_crypto_ctx_release": release,
        "bpf_crypto_encrypt": encrypt,
        "bpf_crypto_decrypt": decrypt,
    }


def _buffers(run: RunState, src: int, dst: int, siv: int) -> tuple[Buffer, Buffer, Buffer | None] | None:
    """Live memory of the three arguments; None where one that is needed is read-only, null or not contiguous."""
    source = _buffer(run, Dynptr.load(run.memory, src), write=False)
    target = _buffer(run, Dynptr.load(run.memory, dst), write=True)
    vector = Dynptr.load(run.memory, siv) if siv else None
    if source is None or target is None:
        return None
    if vector is None or not vector.size:
        return source, target, None
    state = _buffer(run, vector, write=True)
    return None if state is None else (source, target, state)


def _buffer(run: RunState, dynptr: Dynptr, *, write: bool) -> Buffer | None:
    if write and dynptr.rdonly:
        return None
    address = dynptr.pointer(run, 0, dynptr.size)
    return None if address is None else Buffer(address, run.memory.span(address, dynptr.size, write=write))
