"""Maps from blueprints: templates, slots, initial contents, pins by name, and what the kernel refuses."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bpfcrypto.abi.maps import MapFlag, MapType, Pinning
from bpfcrypto.errors import MapTypeError, ObjectError, SyscallError
from bpfcrypto.kernel.create import create_maps, max_entries
from bpfcrypto.kernel.engine import KernelEngine
from bpfcrypto.kernel.maps import KernelMap, possible_cpus
from bpfcrypto.loader.load import load_spec
from bpfcrypto.spec import MapSpec

INNER = MapSpec("inner", MapType.ARRAY, 4, 8, 2)
OUTER = MapSpec("outer", MapType.ARRAY_OF_MAPS, 4, 4, 3, inner=INNER, slots={2: "inner"})

TAIL = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

int target(struct __sk_buff *skb);
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__uint(key_size, 4);
	__array(values, int(struct __sk_buff *));
} jumps SEC(".maps") = {.values = {[1] = &target}};

SEC("tc") int target(struct __sk_buff *skb) { return 42; }
SEC("tc") int entry(struct __sk_buff *skb) { bpf_tail_call(skb, &jumps, 1); return 1; }
char _license[] SEC("license") = "GPL";
"""


def make(*specs: MapSpec, pins: Path | None = None) -> dict[str, KernelMap]:
    return create_maps({spec.name: spec for spec in specs}, None, None, pin_directory=pins)


def close(maps: dict[str, KernelMap]) -> None:
    for made in maps.values():
        made.close()


@pytest.mark.kernel
def test_map_in_map() -> None:
    """The template shapes the outer map and is gone; slots hold the maps the object names."""
    maps = make(OUTER, INNER)
    stored = int.from_bytes(maps["outer"].lookup((2).to_bytes(4, "little")), "little")

    assert stored == maps["inner"].info.id
    with pytest.raises(SyscallError) as caught:
        make(replace(OUTER, slots={}), replace(OUTER, name="x", inner=None))
    assert caught.value.errno in (errno.EINVAL, errno.EBADF)
    close(maps)


@pytest.mark.kernel
def test_slot_of_an_unknown_map(bpf_fds: Callable[[], dict[str, str]]) -> None:
    """A slot that names no map is the object's fault; nothing is left behind."""
    before = bpf_fds()
    with pytest.raises(ObjectError, match="slot 2 is to hold map 'inner'"):
        make(OUTER)

    assert bpf_fds() == before


@pytest.mark.kernel
def test_program_array(kernel_engine: KernelEngine, compile_bpf: Callable[..., bytes]) -> None:
    """A slot holds its program once it is loaded, and stays empty when it was not chosen."""
    data = compile_bpf(TAIL)
    with kernel_engine.load(data) as collection:
        assert collection.programs["entry"].run(bytes(64)).retval == 42
    with kernel_engine.load(data, programs=["entry"]) as collection:
        assert collection.programs["entry"].run(bytes(64)).retval == 1


@pytest.mark.kernel
def test_initial_data() -> None:
    """A section's bytes are there before any program runs; a frozen one cannot be changed."""
    spec = MapSpec(".rodata", MapType.ARRAY, 4, 6, 1, flags=MapFlag.RDONLY_PROG, data=b"abc", frozen=True)
    maps = make(spec)

    assert maps[".rodata"].lookup(bytes(4)) == b"abc\0\0\0"
    close(maps)


def test_sizes_that_the_object_leaves_open() -> None:
    """Rings are whole pages by powers of two, perf arrays have an entry for each CPU; others are as they say."""
    assert max_entries(MapSpec("r", MapType.RINGBUF, 0, 0, 5000)) == 8192
    assert max_entries(MapSpec("r", MapType.RINGBUF, 0, 0, 1)) == 4096
    assert max_entries(MapSpec("h", MapType.HASH, 4, 4, 5000)) == 5000


@pytest.mark.kernel
def test_perf_array_has_an_entry_for_each_cpu() -> None:
    """Without max_entries, the number of possible CPUs is taken."""
    maps = make(MapSpec("p", MapType.PERF_EVENT_ARRAY, 4, 4, 0))

    assert maps["p"].info.max_entries == possible_cpus()
    close(maps)


@pytest.mark.kernel
def test_types_reach_the_kernel(kernel_engine: KernelEngine, cipher_object: bytes) -> None:
    """A map of an object has the object's types, and its kptr is known: freezing it is refused."""
    spec = load_spec(cipher_object).maps["contexts"]
    with kernel_engine.load(cipher_object) as collection:
        info = collection.maps["contexts"].info
        assert (info.key_type, info.value_type) == (spec.key_type, spec.value_type)
        with pytest.raises(MapTypeError) as caught:
            collection.maps["contexts"].freeze()
        assert caught.value.errno == 524


@pytest.mark.kernel
def test_pinned_by_name(bpf_directory: Path) -> None:
    """The first load pins the map, the second one finds it with its contents."""
    spec = MapSpec("shared", MapType.HASH, 4, 4, 4, pinning=Pinning.BY_NAME)
    first = make(spec, pins=bpf_directory)
    first["shared"].update(b"keyk", b"valu")
    close(first)

    second = make(spec, pins=bpf_directory)
    assert second["shared"].lookup(b"keyk") == b"valu"
    close(second)


@pytest.mark.kernel
def test_pinned_map_of_another_shape(bpf_directory: Path, bpf_fds: Callable[[], dict[str, str]]) -> None:
    """A pin that does not fit is named with the difference, and nothing is left open."""
    spec = MapSpec("shared", MapType.HASH, 4, 4, 4, pinning=Pinning.BY_NAME)
    close(make(spec, pins=bpf_directory))
    before = bpf_fds()

    with pytest.raises(MapTypeError, match="max_entries 4 is not 5"):
        make(replace(spec, max_entries=5), pins=bpf_directory)
    assert bpf_fds() == before


@pytest.mark.kernel
def test_no_pins_where_none_are_wanted(bpf_directory: Path) -> None:
    """Without a directory, a map pinned by name is made and not pinned: so checking an object leaves no trace."""
    close(make(MapSpec("shared", MapType.HASH, 4, 4, 4, pinning=Pinning.BY_NAME)))

    assert not (bpf_directory / "shared").exists()


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("spec", "number", "words"),
    [
        (MapSpec("bad", MapType.HASH, 0, 8, 4), errno.EINVAL, "sizes, flags or type"),
        (MapSpec("bad", MapType.HASH, 4, 8, 0), errno.EINVAL, "sizes, flags or type"),
        (MapSpec("bad", MapType.ARRAY, 4, 1 << 31, 1), errno.E2BIG, "larger than the kernel allows"),
    ],
)
def test_refusals(spec: MapSpec, number: int, words: str) -> None:
    """A refused map is named, with a hint."""
    with pytest.raises(SyscallError, match=r"BPF_MAP_CREATE: .*map 'bad'") as caught:
        make(spec)

    assert caught.value.errno == number
    assert caught.value.hint is not None
    assert words in caught.value.hint
