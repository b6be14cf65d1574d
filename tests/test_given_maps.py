"""Live maps that stand in for maps of an object, on each engine."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from bpfcrypto.embedded.engine import EmbeddedEngine
from bpfcrypto.errors import MapTypeError, ObjectError

if TYPE_CHECKING:
    from bpfcrypto.engine import Engine

SOURCE = """
#include "vmlinux.h"
#include "bpf_crypto.h"
char _license[] SEC("license") = "GPL";
struct slot { struct bpf_crypto_ctx __kptr *cctx; u64 runs; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __type(key, u32); __type(value, struct slot); __uint(max_entries, 1); } slots SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __type(key, u32); __type(value, u32); __uint(max_entries, 1); } other SEC(".maps");

SEC("syscall") int fill(void *args)
{
	struct bpf_crypto_params params = { .type = "skcipher", .algo = "ecb(aes)", .key_len = 16 };
	struct bpf_crypto_ctx *cctx;
	struct slot *slot;
	u32 index = 0;
	int err;

	slot = bpf_map_lookup_elem(&slots, &index);
	cctx = slot ? bpf_crypto_ctx_create(&params, sizeof(params), &err) : NULL;
	if (!cctx)
		return 1;
	cctx = bpf_kptr_xchg(&slot->cctx, cctx);
	if (cctx)
		bpf_crypto_ctx_release(cctx);
	return 0;
}

SEC("tc") int look(struct __sk_buff *skb)
{
	struct slot *slot;
	u32 index = 0;

	slot = bpf_map_lookup_elem(&slots, &index);
	if (!slot)
		return 2;
	slot->runs++;
	return slot->cctx != NULL;
}
"""
FRAME = bytes(64)


@pytest.fixture(scope="module")
def built(compile_bpf: object) -> bytes:
    return compile_bpf(SOURCE)  # type: ignore[operator, no-any-return]


def test_two_collections_share_a_map(engine: Engine, built: bytes, each_way: str) -> None:
    """A context that programs of one put into the map is there for programs of the other, whichever is closed first."""
    with engine.load(built, programs=["look"]) as reader:
        with engine.load(built, programs=["fill"], maps={"slots": reader.maps["slots"]}) as writer:
            assert reader.programs["look"].run(FRAME).retval == 0
            assert writer.programs["fill"].run().retval == 0
            assert writer.maps["slots"].lookup(bytes(4))[8] == 1
        assert reader.programs["look"].run(FRAME).retval == 1
        later = engine.load(built, programs=["look"], maps={"slots": reader.maps["slots"]})
    with later:
        assert later.programs["look"].run(FRAME).retval == 1
        assert later.maps["slots"].lookup(bytes(4))[8] == 3


def test_contexts_that_others_hold_are_no_leaks(built: bytes, each_way: str) -> None:
    """Closing the collection whose program made a context leaves it to the map of the other, and counts it nowhere."""
    with EmbeddedEngine() as engine:
        owner = engine.load(built, programs=["look"])
        maker = engine.load(built, programs=["fill"], maps={"slots": owner.maps["slots"]})
        maker.programs["fill"].run()
        maker.close()
        assert (maker.live_contexts, maker.leaks()) == (1, 0)
        assert owner.programs["look"].run(FRAME).retval == 1
        owner.close()

    assert (maker.live_contexts, owner.leaks()) == (0, 0)


TALKER = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
char _license[] SEC("license") = "GPL";
SEC("tc") int talk(struct __sk_buff *skb) { bpf_printk("running"); return 0; }
"""


def test_closing_waits_for_no_run_of_another_collection(built: bytes, compile_bpf: object, each_way: str) -> None:
    """While a program of one runs, the other is closed; its context is freed when that run has ended, since it may have found it."""
    running, go = threading.Event(), threading.Event()

    def hold_up(_line: str) -> None:
        running.set()
        go.wait(10)

    with EmbeddedEngine(trace=hold_up) as engine, engine.load(compile_bpf(TALKER)) as talker:  # type: ignore[operator]
        maker = engine.load(built, programs=["fill"])
        maker.programs["fill"].run()
        run = threading.Thread(target=talker.programs["talk"].run, args=(FRAME,))
        run.start()
        assert running.wait(10)
        maker.close()
        assert (maker.live_contexts, maker.leaks()) == (1, 0)
        go.set()
        run.join()
        assert maker.live_contexts == 0


def test_what_cannot_stand_in(engine: Engine, built: bytes) -> None:
    """A map of another shape or engine, and a name that the object does not have, are refused before anything is made."""
    with engine.load(built, programs=[]) as loaded:
        with pytest.raises(MapTypeError, match="value_size 4 is not 16"):
            engine.load(built, maps={"slots": loaded.maps["other"]})
        with pytest.raises(ObjectError, match="no map 'none'"):
            engine.load(built, maps={"none": loaded.maps["other"]})
        with (
            EmbeddedEngine().load(built, programs=[]) as away,
            pytest.raises(MapTypeError, match="another engine"),
        ):
            engine.load(built, maps={"slots": away.maps["slots"]})


def test_a_syscall_program_works_on_a_bytearray(engine: Engine, compile_bpf: object, each_way: str) -> None:
    """The caller's own memory is what the program reads and writes; bytes are copied and come back as a result."""
    source = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
char _license[] SEC("license") = "GPL";
struct args { u64 given; u64 answer; };
SEC("syscall") int add(struct args *args) { args->answer = args->given + 1; args->given = 0; return 0; }
"""
    given = bytearray((41).to_bytes(8, "little") + bytes(8))
    kept = bytes(given)
    with engine.load(compile_bpf(source)) as loaded:  # type: ignore[operator]
        assert loaded.programs["add"].run(ctx=given).ctx == b""
        assert given == bytes(8) + (42).to_bytes(8, "little")
        assert loaded.programs["add"].run(ctx=kept).ctx == given
