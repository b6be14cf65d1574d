"""loader.kconfig: variables that the kernel's configuration gives a value."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import pytest

from bpfcrypto.abi.kconfig import encode
from bpfcrypto.engine import Engine
from bpfcrypto.errors import NotSupportedError
from bpfcrypto.kernel.engine import KernelEngine
from bpfcrypto.loader.doubts import doubts
from bpfcrypto.loader.load import load_spec

SOURCE = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
extern int LINUX_KERNEL_VERSION __kconfig;
extern bool CONFIG_BPF __kconfig;
extern char CONFIG_NET __kconfig;
extern enum libbpf_tristate CONFIG_INET __kconfig;
extern int CONFIG_NOBODY_HAS_THIS __kconfig __weak;
char _license[] SEC("license") = "GPL";
u32 version, rest;
SEC("tc") int read_values(struct __sk_buff *skb)
{
	version = LINUX_KERNEL_VERSION;
	rest = CONFIG_NOBODY_HAS_THIS << 16 | CONFIG_INET << 12 | CONFIG_BPF << 8 | (u8)CONFIG_NET;
	return version >= 0x060a00;
}
"""
STRONG = SOURCE.replace("CONFIG_NOBODY_HAS_THIS __kconfig __weak", "CONFIG_NOBODY_HAS_THIS __kconfig")


def test_values_on_both_engines(engine: Engine, compile_bpf: Callable[..., bytes]) -> None:
    """Numbers, switches as numbers and as letters, and 0 for what a kernel may lack."""
    with closing(engine.load(compile_bpf(SOURCE))) as collection:
        assert collection.programs["read_values"].run(bytes(64)).retval == 1
        assert collection.variables["rest"].value == 1 << 12 | 1 << 8 | ord("y")
        assert collection.variables["version"].value >= 0x060A00


def test_a_blueprint_has_a_place_for_each(compile_bpf: Callable[..., bytes]) -> None:
    """They are constants in a map of their own, the largest first."""
    spec = load_spec(compile_bpf(SOURCE))

    assert spec.maps[".kconfig"].frozen
    assert spec.maps[".kconfig"].value_size == 14
    assert [each.offset % each.size for each in spec.kconfig] == [0] * 5
    assert doubts(spec) == ()


def test_a_value_that_nobody_has(compile_bpf: Callable[..., bytes]) -> None:
    """Without a kernel it is 0, and the object says so."""
    assert doubts(load_spec(compile_bpf(STRONG))) == (
        "'CONFIG_NOBODY_HAS_THIS' is not known without a kernel: it is 0 on the embedded engine",
    )


@pytest.mark.kernel
def test_a_value_that_this_kernel_does_not_have(compile_bpf: Callable[..., bytes]) -> None:
    """The kernel engine refuses to make one up."""
    with pytest.raises(NotSupportedError, match="CONFIG_NOBODY_HAS_THIS"):
        KernelEngine().check(compile_bpf(STRONG))


@pytest.mark.parametrize(
    ("value", "size", "is_char", "data"),
    [
        ("y", 1, False, b"\1"),
        ("m", 4, False, b"\2\0\0\0"),
        ("m", 1, True, b"m"),
        ("250", 4, False, b"\xfa\0\0\0"),
        ("-1", 2, False, b"\xff\xff"),
        ("0x10", 1, False, b"\x10"),
        ('"abc"', 6, False, b"abc\0\0\0"),
        ('"abcdef"', 4, False, b"abc\0"),
    ],
)
def test_layouts(value: str, size: int, is_char: bool, data: bytes) -> None:
    """What a configuration file writes, as bytes of a variable."""
    assert encode(value, size, is_char=is_char) == data
