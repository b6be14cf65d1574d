"""What only functions of ours can call: operations that BPF has no instructions for (runtime/runtime.h)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from bpfcrypto.embedded.helpers_time import CLOCKS
from bpfcrypto.embedded.jit.links import AES
from bpfcrypto.embedded.jit.record import CPU, UNWIND
from bpfcrypto.embedded.jit.text import Value

if TYPE_CHECKING:
    from bpfcrypto.embedded.jit.lower import FunctionText
    from bpfcrypto.embedded.jit.text import Text

Written = Callable[["Text", "FunctionText"], "str | None"]

ASK_PYTHON = 2
"""What UNWIND holds where a native function leaves the call to Python; 1 is the end of the run."""

_CRYPT_WORDS = 6
_NANOSECONDS = 1_000_000_000


def _ask_python(text: Text, _site: FunctionText) -> str:
    text.do(f"store i32 {ASK_PYTHON}, ptr {text.offset('%run', UNWIND)}, align 4")
    return "0"


def run_cpu(text: Text, _site: FunctionText) -> str:
    """The CPU that the run is on."""
    number = text.emit(f"load i32, ptr {text.offset('%run', CPU)}, align 4")
    return text.emit(f"zext i32 {number} to i64")


def _run_record(text: Text, _site: FunctionText) -> str:
    return text.emit("ptrtoint ptr %run to i64")


def _copy(text: Text, _site: FunctionText) -> str:
    text.do(_memory("memcpy", text))
    return "0"


def _move(text: Text, _site: FunctionText) -> str:
    text.do(_memory("memmove", text))
    return "0"


def _memory(name: str, text: Text) -> str:
    return f"call void @llvm.{name}.p0.p0.i64(ptr {text.pointer(1)}, ptr {text.pointer(2)}, i64 {text.integer(3)}, i1 false)"


def _fill(text: Text, _site: FunctionText) -> str:
    byte = text.emit(f"trunc i64 {text.integer(2)} to i8")
    text.do(f"call void @llvm.memset.p0.i64(ptr {text.pointer(1)}, i8 {byte}, i64 {text.integer(3)}, i1 false)")
    return "0"


def _differs(text: Text, _site: FunctionText) -> str:
    found = text.emit(f"call i32 @memcmp(ptr {text.pointer(1)}, ptr {text.pointer(2)}, i64 {text.integer(3)})")
    return text.emit(f"zext i32 {found} to i64")


def _pause(text: Text, _site: FunctionText) -> str:
    text.do("call i32 @sched_yield()")
    return "0"


def _clock(text: Text, _site: FunctionText) -> str:
    place = text.emit("alloca [2 x i64], align 8")
    text.do(f"call i32 @clock_gettime(i32 {CLOCKS[int(text.low(1))]}, ptr {place})")
    seconds = text.emit(f"load i64, ptr {place}, align 8")
    rest = text.emit(f"load i64, ptr {text.offset(place, 8)}, align 8")
    return text.emit(f"add i64 {text.emit(f'mul i64 {seconds}, {_NANOSECONDS}')}, {rest}")


def _crypt(text: Text, site: FunctionText) -> str:
    """The entry of the AES module, which takes more arguments than a BPF function can."""
    given = text.pointer(2)
    words = [text.emit(f"load i64, ptr {text.offset(given, 8 * n)}, align 8") for n in range(_CRYPT_WORDS + 1)]
    pointers = [text.as_pointer(Value(words[n])) for n in (0, 2, 4)]
    encrypt = text.emit(f"trunc i64 {words[_CRYPT_WORDS]} to i1")
    entry = site.linked(AES)
    result = text.emit(
        f"call i32 {entry}(ptr {text.pointer(1)}, ptr {pointers[0]}, i64 {words[1]}, ptr {pointers[1]}, i64 {words[3]}, "
        f"ptr {pointers[2]}, i64 {words[5]}, i1 zeroext {encrypt})"
    )
    return text.emit(f"zext i32 {result} to i64")


def _call_program(text: Text, _site: FunctionText) -> str:
    """A program's code, by its address."""
    return text.emit(f"call i64 {text.pointer(1)}(ptr %run, i64 {text.integer(2)})")


CALLS: Mapping[str, Written] = {
    "ask_python": _ask_python,
    "run_cpu": run_cpu,
    "run_record": _run_record,
    "copy": _copy,
    "move": _move,
    "fill": _fill,
    "differs": _differs,
    "pause_cpu": _pause,
    "clock_ns": _clock,
    "crypt": _crypt,
    "call_program": _call_program,
}
