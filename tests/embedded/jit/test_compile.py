"""LLVM as we use it: what is compiled does what its text says, also where optimisers are known to be wrong about pointers."""

from __future__ import annotations

import ctypes
import threading

import pytest

from bpfcrypto.embedded.jit.compile import Passes, Unit, compile_object, host, passes_for
from bpfcrypto.errors import InternalError

pytest.importorskip("llvmlite")

EVERY = pytest.mark.parametrize("passes", list(Passes), ids=lambda passes: passes.name)
FUNCTION = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)

# A table that holds 0 when it is compiled and an address when it runs: an optimiser that believed the 0 would take every access
# through it for impossible, and leave it out.
THROUGH_A_TABLE = """
@links = dso_local global [2 x i64] zeroinitializer, align 8
attributes #0 = { nounwind null_pointer_is_valid }
define i64 @f(i64 %offset, i64 %add) #0 {
  %base = load i64, ptr @links
  %pointer = inttoptr i64 %base to ptr
  %place = getelementptr i8, ptr %pointer, i64 %offset
  %old = load i64, ptr %place, align 1
  %new = add i64 %old, %add
  store i64 %new, ptr %place, align 1
  ret i64 %old
}
"""

# The base of an address is the integer 0 on one path, and the whole address is in the index.
ZERO_BASE = """
attributes #0 = { nounwind null_pointer_is_valid }
define i64 @f(i64 %address, i64 %which) #0 {
entry:
  %first = icmp eq i64 %which, 0
  br i1 %first, label %zero, label %whole
zero:
  br label %join
whole:
  br label %join
join:
  %base = phi i64 [ 0, %zero ], [ %address, %whole ]
  %index = phi i64 [ %address, %zero ], [ 0, %whole ]
  %pointer = inttoptr i64 %base to ptr
  %place = getelementptr i8, ptr %pointer, i64 %index
  %value = load i64, ptr %place, align 1
  ret i64 %value
}
"""


def compiled(text: str, passes: Passes, symbol: str = "f") -> tuple[Unit, object]:
    unit = Unit(compile_object(text, passes), (symbol, "links") if "@links" in text else (symbol,))
    return unit, FUNCTION(unit.address(symbol))


@EVERY
def test_a_table_filled_later(passes: Passes) -> None:
    """Accesses through a table that was zero when it was compiled happen, once it holds an address."""
    unit, function = compiled(THROUGH_A_TABLE, passes)
    memory = ctypes.create_string_buffer(bytes(range(64)), 64)
    ctypes.c_uint64.from_address(unit.address("links")).value = ctypes.addressof(memory)

    assert function(8, 5) == int.from_bytes(bytes(range(8, 16)), "little")  # type: ignore[operator]
    assert memory.raw[8] == 8 + 5


@EVERY
@pytest.mark.parametrize("which", [0, 1])
def test_an_address_on_a_base_of_zero(passes: Passes, which: int) -> None:
    """A load from 0 plus an address is a load from the address."""
    _unit, function = compiled(ZERO_BASE, passes)
    memory = ctypes.create_string_buffer(bytes(range(1, 9)), 8)

    assert function(ctypes.addressof(memory), which) == int.from_bytes(memory.raw, "little")  # type: ignore[operator]


def test_units_have_data_of_their_own() -> None:
    """Two units of one object do not share their tables."""
    image = compile_object(THROUGH_A_TABLE)
    units = [Unit(image, ("f", "links")) for _ in range(2)]
    memory = [ctypes.create_string_buffer(bytes([each] * 8), 8) for each in (1, 2)]
    for unit, buffer in zip(units, memory, strict=True):
        ctypes.c_uint64.from_address(unit.address("links")).value = ctypes.addressof(buffer)

    assert [FUNCTION(unit.address("f"))(0, 0) & 0xFF for unit in units] == [1, 2]


def test_a_refused_text_is_our_defect() -> None:
    """What LLVM does not take is an InternalError that says what LLVM said."""
    with pytest.raises(InternalError, match="LLVM refuses") as caught:
        compile_object("define i64 @f() {\n  ret i32 0\n}")
    assert "ret i32" in caught.value.state or "i64" in caught.value.state


def test_threads() -> None:
    """Compiling, linking and unloading in several threads at once."""
    wrong: list[int] = []

    def work(seed: int) -> None:
        for number in range(8):
            value = seed * 100 + number
            _unit, function = compiled(f"define i64 @f(i64 %a, i64 %b) {{\n  ret i64 {value}\n}}", Passes.LIGHT)
            if function(0, 0) != value:  # type: ignore[operator]
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert wrong == []


def test_passes_by_size() -> None:
    """Short programs get all passes if they have loops, long ones none."""
    assert passes_for(50, loops=True) is Passes.FULL
    assert passes_for(50, loops=False) is Passes.LIGHT
    assert passes_for(5000, loops=True) is Passes.NONE


def test_the_host_is_known() -> None:
    """The processor has a name and features, and what is missing is named too."""
    assert host().cpu
    assert host().architecture in host().triple or host().architecture == "aarch64"
    assert all(flag[0] in "+-" for flag in host().flags.split(",") if flag)
