"""What the kernel tests share: an object with everything in it, and bare instructions."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from bpfcrypto.isa.asm import assemble
from bpfcrypto.isa.codec import encode
from bpfcrypto.kernel.collection import KernelCollection
from bpfcrypto.kernel.engine import KernelEngine

CIPHER = """
#include "vmlinux.h"
#include "bpf_crypto.h"
#include "bpf_kfuncs.h"
#include <bpf/bpf_helpers.h>

struct value { u64 uses; struct bpf_crypto_ctx __kptr *cctx; };
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct value);
} contexts SEC(".maps");

char cipher[128] = "ecb(aes)";
u8 key[16];
u32 siv_len;
int status;
const volatile int factor = 3;

static struct bpf_crypto_params params = {.type = "skcipher", .key_len = 16};

static __always_inline struct value *slot(void)
{
	u32 zero = 0;
	return bpf_map_lookup_elem(&contexts, &zero);
}

SEC("syscall")
int setup(u64 *seen)
{
	struct value *value = slot();
	struct bpf_crypto_ctx *cctx;

	if (!value)
		return 1;
	__builtin_memcpy(params.algo, cipher, sizeof(params.algo));
	__builtin_memcpy(params.key, key, sizeof(key));
	cctx = bpf_crypto_ctx_create(&params, sizeof(params), &status);
	if (!cctx)
		return 2;
	siv_len = cctx->siv_len;
	cctx = bpf_kptr_xchg(&value->cctx, cctx);
	if (cctx)
		bpf_crypto_ctx_release(cctx);
	*seen += factor;
	return 0;
}

SEC("tc")
int encrypt(struct __sk_buff *skb)
{
	struct value *value = slot();
	struct bpf_crypto_ctx *cctx;
	struct bpf_dynptr data;

	if (!value)
		return 1;
	cctx = value->cctx;
	if (!cctx)
		return 2;
	value->uses++;
	skb->mark += 1;
	bpf_dynptr_from_skb(skb, 0, &data);
	bpf_dynptr_adjust(&data, 14, skb->len);
	return bpf_crypto_encrypt(cctx, &data, &data, NULL);
}

SEC("xdp")
int grow(struct xdp_md *ctx)
{
	return bpf_xdp_adjust_head(ctx, -16) ? XDP_ABORTED : XDP_PASS;
}

SEC("?tc")
int leak(struct __sk_buff *skb)
{
	return *(volatile u32 *)(u64)skb->len;
}

char _license[] SEC("license") = "GPL";
"""


@pytest.fixture(scope="session")
def cipher_object(compile_bpf: Callable[..., bytes]) -> bytes:
    """An object with syscall, TC and XDP programs, a kptr map and variables; its program 'leak' is no good."""
    return compile_bpf(CIPHER)


@pytest.fixture
def cipher(kernel_engine: KernelEngine, cipher_object: bytes) -> Iterator[KernelCollection]:
    """That object, loaded."""
    with kernel_engine.load(cipher_object) as collection:
        yield collection


def code(text: str) -> bytes:
    """Instructions from assembly."""
    return encode(assemble(text))


@pytest.fixture
def bytecode() -> Callable[[str], bytes]:
    """``bytecode(text)`` assembles instructions to bytes."""
    return code
