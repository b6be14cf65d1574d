"""Data sections: variables by mapping, by element, and not at all where a context would be lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from bpfcrypto.abi.maps import MapFlag
from bpfcrypto.errors import MapError, MapTypeError
from bpfcrypto.kernel.collection import KernelCollection
from bpfcrypto.kernel.engine import KernelEngine
from bpfcrypto.loader.load import load_spec

pytestmark = pytest.mark.kernel

GUARDED = """
#include "vmlinux.h"
#include "bpf_crypto.h"
#include <bpf/bpf_helpers.h>

struct bpf_crypto_ctx __kptr *kept SEC(".bss.kept");
int beside SEC(".bss.kept") = 0;
int plain;

SEC("syscall") int set(void *ctx) { beside = plain + 1; return kept != NULL; }
char _license[] SEC("license") = "GPL";
"""


def test_mapped_variables(cipher: KernelCollection) -> None:
    """A write reaches the program and changes nothing beside it."""
    variables = cipher.variables
    variables["key"].value = bytes(range(16))
    variables["cipher"].value = "ecb(aes)"

    assert cipher.programs["setup"].run(ctx=bytes(8)).retval == 0
    assert variables["key"].bytes == bytes(range(16))
    assert variables["status"].value == 0
    assert variables["cipher"].value == "ecb(aes)"


def test_read_only_section(cipher: KernelCollection) -> None:
    """.rodata can be read and not written."""
    assert cipher.variables["factor"].value == 3
    with pytest.raises(MapTypeError, match="read-only"):
        cipher.variables["factor"].value = 4
    with pytest.raises(MapError):
        cipher.maps[".rodata"].update(bytes(4), bytes(cipher.maps[".rodata"].value_bytes))
    assert cipher.variables["factor"].value == 3


def test_rodata_is_set_before_loading(kernel_engine: KernelEngine, cipher_object: bytes) -> None:
    """The spec's data is what programs see."""
    spec = load_spec(cipher_object)
    rodata = replace(spec.maps[".rodata"], data=(7).to_bytes(4, "little"))
    with kernel_engine.load(replace(spec, maps={**spec.maps, ".rodata": rodata})) as collection:
        seen = collection.programs["setup"].run(ctx=bytes(8)).ctx

    assert seen == (7).to_bytes(8, "little")


def test_without_mapping(kernel_engine: KernelEngine, cipher_object: bytes) -> None:
    """Where a section cannot be mapped, variables are read and written by element."""
    spec = load_spec(cipher_object)
    maps = {name: replace(m, flags=m.flags & ~MapFlag.MMAPABLE) for name, m in spec.maps.items()}
    with kernel_engine.load(replace(spec, maps=maps)) as collection:
        collection.variables["key"].value = b"k" * 16
        collection.variables["siv_len"].value = 5

        assert collection.variables["key"].bytes == b"k" * 16
        assert collection.programs["setup"].run(ctx=bytes(8)).retval == 0
        assert collection.variables["siv_len"].value == 0


def test_section_with_a_context(kernel_engine: KernelEngine, compile_bpf: Callable[..., bytes]) -> None:
    """Writing a variable beside a kptr would drop the context: refused, with advice; reading and other sections work."""
    with kernel_engine.load(compile_bpf(GUARDED)) as collection:
        collection.variables["plain"].value = 41
        assert collection.programs["set"].run().retval == 0
        assert collection.variables["beside"].value == 42

        with pytest.raises(MapError) as caught:
            collection.variables["beside"].value = 1
        assert "'.bss.kept' holds a kptr" in str(caught.value)
        assert caught.value.hint is not None
        assert "section of their own" in caught.value.hint
        assert collection.variables["beside"].value == 42


def test_closing_gives_up_the_mapping(kernel_engine: KernelEngine, cipher_object: bytes) -> None:
    """After closing, a variable is an error and not stale memory."""
    collection = kernel_engine.load(cipher_object)
    variable = collection.variables["key"]
    variable.value = b"k" * 16
    collection.close()
    collection.close()

    with pytest.raises(MapError):
        variable.bytes  # noqa: B018
