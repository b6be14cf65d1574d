"""The embedded engine: loading, refusing, running in threads, closing."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bpfcrypto.abi.maps import MapType
from bpfcrypto.abi.progs import ProgFlag, ProgType
from bpfcrypto.embedded.engine import EmbeddedEngine
from bpfcrypto.embedded.engine_cpu import CpuPool
from bpfcrypto.errors import NotSupportedError, ObjectError, RunError, SyscallError
from bpfcrypto.isa.asm import assemble
from bpfcrypto.isa.opcode import CALL
from bpfcrypto.spec import CollectionSpec, KfuncRef, MapRef, MapSpec, ProgramSpec
from support.calls import CTX, Mem, Row, call, spec

if TYPE_CHECKING:
    from bpfcrypto.embedded.engine_collection import EmbeddedCollection

EXAMPLE = Path(__file__).parents[2] / "examples" / "crypto_packets.bpf.o"
FRAME = bytes(range(64))


def one(
    text: str,
    kind: ProgType = ProgType.XDP,
    *,
    license: str = "GPL",
    kfuncs: tuple[str, ...] = (),
    weak: bool = False,
) -> CollectionSpec:
    """A program ``p`` with no maps; its kfunc calls in order."""
    insns = assemble(text, kfuncs=dict.fromkeys(kfuncs, 0))
    slots = [slot for slot, insn in enumerate(insns) if insn.code == CALL and insn.src == 2]
    refs = {slot: KfuncRef(name, weak) for slot, name in zip(slots, kfuncs, strict=True)}
    flags = ProgFlag.SLEEPABLE if kind is ProgType.SYSCALL else ProgFlag(0)
    return CollectionSpec("<test>", license, programs={"p": ProgramSpec("p", "", kind, insns, flags=flags, refs=refs)})


def test_a_program_runs_and_its_retval_is_unsigned() -> None:
    """r0 = -1 is 0xffffffff, as BPF_PROG_TEST_RUN gives it."""
    with EmbeddedEngine().load(one("r0 = -1\nexit")) as collection:
        result = collection.programs["p"].run(FRAME)

    assert (result.retval, result.data, result.ctx) == (0xFFFFFFFF, FRAME, b"")


@pytest.mark.parametrize(
    ("text", "kind", "options", "what"),
    [
        ("call unknown#999\nexit", ProgType.XDP, {}, "helper 'unknown#999'"),
        ("call bpf_fib_lookup#69\nexit", ProgType.XDP, {}, "helper 'bpf_fib_lookup'"),
        ("call bpf_skb_load_bytes#26\nexit", ProgType.XDP, {}, "'bpf_skb_load_bytes' in a program of type XDP"),
        ("call bpf_trace_printk#6\nexit", ProgType.XDP, {"license": "MIT"}, "'bpf_trace_printk' under the licence 'MIT'"),
        ("call f\nexit", ProgType.XDP, {"kfuncs": ("f",)}, "kfunc 'f'"),
        ("call bpf_key_put\nexit", ProgType.XDP, {"kfuncs": ("bpf_key_put",)}, "because it has no keyrings"),
        ("call bpf_crypto_encrypt\nexit", ProgType.SYSCALL, {"kfuncs": ("bpf_crypto_encrypt",)}, "in a program of type SYSCALL"),
        ("call bpf_dynptr_size\nexit", ProgType.XDP, {"kfuncs": ("bpf_dynptr_size",), "license": ""}, "under the licence ''"),
        ("r0 = 0\nexit", ProgType.KPROBE, {}, "of type KPROBE"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_by_name(text: str, kind: ProgType, options: dict[str, object], what: str) -> None:
    """A helper, kfunc or program type that the engine does not have, or that is not allowed here."""
    with pytest.raises(NotSupportedError) as caught:
        EmbeddedEngine(verify=False).load(one(text, kind, **options))  # type: ignore[arg-type]

    assert what in str(caught.value)
    assert caught.value.requires


def test_an_absent_weak_kfunc_is_a_trap_only_if_it_is_called() -> None:
    """The object loads; calling the function is a RunError that names it."""
    spec = one("r1 = *(u32 *)(r1 +0)\ncall gone\nexit", kfuncs=("gone",), weak=True)
    with EmbeddedEngine(verify=False).load(spec) as collection, pytest.raises(RunError, match="weak kfunc 'gone'"):
        collection.programs["p"].run(FRAME)


def test_a_map_without_a_value_address_cannot_back_a_variable() -> None:
    """lddw of a map's value needs an array; of a map it works for every type."""
    insns = assemble("r1 = 0x0\nr0 = 0\nexit")
    program = ProgramSpec("p", "", ProgType.XDP, insns, refs={0: MapRef("missing")})

    with pytest.raises(ObjectError, match="no map 'missing'"):
        EmbeddedEngine(verify=False).load(CollectionSpec("<test>", "GPL", programs={"p": program}))


@pytest.mark.parametrize("source", ["/no/such/file.o", b"", b"\x7fELF"])
def test_what_is_no_object_is_an_object_error(source: str | bytes) -> None:
    """A missing file and bytes that are no object."""
    with pytest.raises(ObjectError):
        EmbeddedEngine().load(source)


def test_programs_are_chosen_by_name() -> None:
    """Only the named ones are there; an unknown name is refused with the names that exist."""
    with EmbeddedEngine().load(EXAMPLE, programs=["encrypt"]) as collection:
        assert list(collection.programs) == ["encrypt"]
    with pytest.raises(ObjectError, match="no program 'nope'") as caught:
        EmbeddedEngine().load(EXAMPLE, programs=["nope"])
    assert "encrypt" in str(caught.value.hint)


def test_malformed_code_is_an_object_error() -> None:
    """A jump out of the program is found before anything runs."""
    with pytest.raises(ObjectError, match="cannot be run"):
        EmbeddedEngine(verify=False).load(one("goto pc+5\nexit"))


def example(collection: EmbeddedCollection) -> None:
    """Give the example's programs a context."""
    variables = collection.variables
    variables["cipher"].value = b"ecb(aes)"
    variables["key"].value = bytes(range(16))
    variables["key_len"].value = 16
    assert collection.programs["setup"].run().retval == 0


def test_closing_releases_every_context() -> None:
    """A context in a map goes with the map; nothing leaks."""
    collection = EmbeddedEngine().load(EXAMPLE)
    example(collection)
    assert collection.live_contexts > 0
    collection.close()

    assert (collection.live_contexts, collection.leaks()) == (0, 0)


def test_a_lost_reference_is_a_leak_that_closing_counts_and_frees() -> None:
    """An unverified program can drop a reference: the count says so, and the context still goes."""
    text = "r2 = 408\nr3 = r10\nr3 += -8\ncall bpf_crypto_ctx_create\nr0 = 0\nexit"
    from bpfcrypto.crypto.params import encode

    collection = EmbeddedEngine(verify=False).load(one(text, ProgType.SYSCALL, kfuncs=("bpf_crypto_ctx_create",)))
    collection.programs["p"].run(ctx=bytes(encode("ecb(aes)", bytes(16))))
    assert collection.live_contexts == 1
    collection.close()

    assert (collection.live_contexts, collection.leaks()) == (0, 1)


def test_a_closed_collection_refuses_runs() -> None:
    """EBADF, as a closed descriptor."""
    collection = EmbeddedEngine().load(one("r0 = 0\nexit"))
    collection.close()
    collection.close()

    with pytest.raises(SyscallError) as caught:
        collection.programs["p"].run(FRAME)
    assert caught.value.errno == 9


def test_runs_in_threads_do_not_meet() -> None:
    """Each run has its own packet and stack, and a CPU of its own: a per-CPU counter loses nothing."""
    text = """
        *(u32 *)(r10 -4) = 0
        r2 = r10
        r2 += -4
        r1 = 0x0
        call bpf_map_lookup_elem
        if r0 == 0x0 goto out
        r1 = *(u64 *)(r0 +0)
        r1 += 1
        *(u64 *)(r0 +0) = r1
    out:
        r0 = 2
        exit
    """
    insns = assemble(text, helpers={"bpf_map_lookup_elem": 1})
    slot = next(slot for slot, insn in enumerate(insns) if insn.code == 0x18)
    counter = MapSpec("counter", MapType.PERCPU_ARRAY, 4, 8, 1)
    program = ProgramSpec("p", "", ProgType.XDP, insns, refs={slot: MapRef("counter")})
    spec = CollectionSpec("<test>", "GPL", programs={"p": program}, maps={"counter": counter})
    with EmbeddedEngine(cpus=3).load(spec) as collection:
        run = collection.programs["p"].run
        threads = [threading.Thread(target=lambda: [run(FRAME, repeat=10) for _ in range(20)]) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        value = collection.maps["counter"].lookup(bytes(4))

    assert sum(int.from_bytes(value[at : at + 8], "little") for at in range(0, 24, 8)) == 6 * 20 * 10


def test_a_cpu_is_held_by_one_thread_and_kept_in_nested_runs() -> None:
    """A nested hold gives the same CPU; another thread waits for a free one."""
    pool = CpuPool(1)
    seen: list[int] = []

    def other() -> None:
        with pool.hold() as cpu:
            seen.append(cpu)

    with pool.hold() as outer, pool.hold() as inner:
        assert (outer, inner) == (0, 0)
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(0.05)
        assert seen == []
    thread.join()
    assert seen == [0]


def test_the_step_limit_stops_an_endless_loop() -> None:
    """A RunError instead of a hang."""
    with (
        EmbeddedEngine(step_limit=1000, verify=False).load(one("again: goto again\nexit")) as collection,
        pytest.raises(RunError, match="limit"),
    ):
        collection.programs["p"].run(FRAME)


def test_trace_lines_reach_the_option() -> None:
    """bpf_trace_printk's text, without the newline that some programs add."""
    text = b"%d and %s\n\0"
    calls = (
        call("bpf_skb_load_bytes", CTX, 14, Mem(), len(text)),
        call("bpf_trace_printk", Mem(), len(text), -7, Mem(3)),
    )
    data = bytes(12) + b"\x88\xb5" + text + bytes(30)
    lines: list[str] = []
    with EmbeddedEngine(trace=lines.append).load(spec(Row("trace", ProgType.SCHED_CLS, calls))) as collection:
        collection.programs["row"].run(data)

    assert lines == ["-7 and and %s\n"]


def test_capabilities_name_only_what_is_there() -> None:
    """Every name is known to the tables, and what is missing is said in words."""
    from bpfcrypto.abi.helpers import BY_NAME
    from bpfcrypto.abi.kfuncs import KFUNCS

    able = EmbeddedEngine().capabilities

    assert able.helpers <= BY_NAME.keys()
    assert able.kfuncs <= KFUNCS.keys()
    assert able.prog_types == {"SCHED_CLS", "SCHED_ACT", "XDP", "SYSCALL"}
    assert {"bpf_crypto_ctx_create", "bpf_crypto_encrypt", "bpf_dynptr_from_xdp"} <= able.kfuncs
    assert not able.can_attach
    assert able.why_not is not None
    assert "attaching" in able.why_not


def test_frozen_sections_cannot_be_set() -> None:
    """Constants of .rodata are there and stay."""
    from bpfcrypto.errors import MapTypeError

    with EmbeddedEngine().load(EXAMPLE) as collection:
        for variable in collection.variables.values():
            if variable.read_only:
                with pytest.raises(MapTypeError):
                    variable.bytes = bytes(variable.size)
        assert collection.maps[".rodata"].spec.frozen


def test_two_collections_share_nothing() -> None:
    """The same object twice: variables of one do not show in the other."""
    engine = EmbeddedEngine()
    with engine.load(EXAMPLE) as first, engine.load(EXAMPLE) as second:
        first.variables["key_len"].value = 5

        assert second.variables["key_len"].value != 5


def test_unsupported_map_types_are_refused_by_name() -> None:
    """The message names the map, its type, and what could take it."""
    odd = MapSpec("odd", MapType.STACK_TRACE, 4, 8, 1)
    spec = replace(one("r0 = 0\nexit"), maps={"odd": odd})

    with pytest.raises(NotSupportedError, match="map 'odd' of type STACK_TRACE"):
        EmbeddedEngine().load(spec)
