"""A run as one function that Python calls: machine code with the calling convention of CPython's own functions.

ctypes takes longer to pass five arguments than most programs run. This function gets the packet and the number of repetitions, lets go of
Python's lock for the run, and makes the RunResult.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from functools import cache as memoise
from typing import TYPE_CHECKING, Any

from bpfcrypto.embedded.jit import cache, runtime
from bpfcrypto.embedded.jit.compile import Unit, compile_object, host
from bpfcrypto.embedded.jit.stamp import stamp
from bpfcrypto.engine import RunResult

if TYPE_CHECKING:
    from bpfcrypto.embedded.jit.arena import Arena

_lock = threading.Lock()
_SYMBOL = "run_packet"
_METH_FASTCALL = 0x80
_NAME = b"run_packet"

# self is (what run_one needs, RunResult, b"", ()); arguments are the packet and the repetitions. Where the result is not in the
# arena's buffer, what run_one gave is the answer.
_TEXT = """
declare ptr @PyTuple_GetItem(ptr, i64)
declare i64 @PyLong_AsUnsignedLongLong(ptr)
declare ptr @PyLong_FromUnsignedLongLong(i64)
declare ptr @PyBytes_AsString(ptr)
declare i64 @PyBytes_Size(ptr)
declare ptr @PyBytes_FromStringAndSize(ptr, i64)
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
declare ptr @PyType_GenericAlloc(ptr, i64)
declare i32 @PyTuple_SetItem(ptr, i64, ptr)
declare void @Py_IncRef(ptr)

define ptr @run_packet(ptr %self, ptr %arguments, i64 %count) nounwind {{
  %packet = load ptr, ptr %arguments
  %second = getelementptr ptr, ptr %arguments, i64 1
  %repeat = load ptr, ptr %second
  %data = call ptr @PyBytes_AsString(ptr %packet)
  %size = call i64 @PyBytes_Size(ptr %packet)
  %rounds = call i64 @PyLong_AsUnsignedLongLong(ptr %repeat)
  %item = call ptr @PyTuple_GetItem(ptr %self, i64 0)
  %words = call ptr @PyBytes_AsString(ptr %item)
  %run = load ptr, ptr %words
  %p1 = getelementptr i64, ptr %words, i64 1
  %arena = load ptr, ptr %p1
  %p2 = getelementptr i64, ptr %words, i64 2
  %entry = load ptr, ptr %p2
  %from = ptrtoint ptr %data to i64
  %at = ptrtoint ptr %arena to i64
  %thread = call ptr @PyEval_SaveThread()
  %how = call i64 %entry(ptr %run, i64 %at, i64 %from, i64 %size, i64 %rounds)
  call void @PyEval_RestoreThread(ptr %thread)
  %plain = icmp eq i64 %how, 0
  br i1 %plain, label %make, label %tell
tell:
  %number = call ptr @PyLong_FromUnsignedLongLong(i64 %how)
  ret ptr %number
make:
  %type = call ptr @PyTuple_GetItem(ptr %self, i64 1)
  %no_ctx = call ptr @PyTuple_GetItem(ptr %self, i64 2)
  %no_effects = call ptr @PyTuple_GetItem(ptr %self, i64 3)
  %result = call ptr @PyType_GenericAlloc(ptr %type, i64 5)
  %failed = icmp eq ptr %result, null
  br i1 %failed, label %end, label %fill
fill:
  %p_retval = getelementptr i64, ptr %arena, i64 {retval}
  %retval = load i64, ptr %p_retval
  %p_out = getelementptr i64, ptr %arena, i64 {out}
  %out = load ptr, ptr %p_out
  %p_size = getelementptr i64, ptr %arena, i64 {out_size}
  %out_size = load i64, ptr %p_size
  %p_duration = getelementptr i64, ptr %arena, i64 {duration}
  %all = load i64, ptr %p_duration
  %duration = udiv i64 %all, %rounds
  %o_retval = call ptr @PyLong_FromUnsignedLongLong(i64 %retval)
  %o_data = call ptr @PyBytes_FromStringAndSize(ptr %out, i64 %out_size)
  %o_duration = call ptr @PyLong_FromUnsignedLongLong(i64 %duration)
  call void @Py_IncRef(ptr %no_ctx)
  call void @Py_IncRef(ptr %no_effects)
  %s0 = call i32 @PyTuple_SetItem(ptr %result, i64 0, ptr %o_retval)
  %s1 = call i32 @PyTuple_SetItem(ptr %result, i64 1, ptr %o_data)
  %s2 = call i32 @PyTuple_SetItem(ptr %result, i64 2, ptr %no_ctx)
  %s3 = call i32 @PyTuple_SetItem(ptr %result, i64 3, ptr %o_duration)
  %s4 = call i32 @PyTuple_SetItem(ptr %result, i64 4, ptr %no_effects)
  br label %end
end:
  ret ptr %result
}}
"""


class _MethodDef(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


def _definition() -> tuple[_MethodDef, Unit]:
    with _lock:  # two threads that both made one would leave a function without its code
        return _made_once()


@memoise
def _made_once() -> tuple[_MethodDef, Unit]:
    from bpfcrypto.embedded.jit.arena import DURATION, OUT, OUT_SIZE, RETVAL

    text = _TEXT.format(retval=RETVAL, out=OUT, out_size=OUT_SIZE, duration=DURATION)
    name = cache.key("native_call", text, host().identity, stamp())
    unit = Unit(cache.remembered(name, lambda: compile_object(text)), (_SYMBOL,))
    return _MethodDef(_NAME, unit.address(_SYMBOL), _METH_FASTCALL, None), unit


def runner(arena: Arena) -> Callable[[bytes, int], RunResult | int]:
    """The function ``(packet, repetitions)`` that runs an arena's program; an integer where the result is not in its buffer."""
    words = (arena.record_address, arena.address, runtime.address("run_one"))
    bound = (b"".join(word.to_bytes(8, "little") for word in words), RunResult, b"", ())
    make: Any = ctypes.pythonapi.PyCFunction_NewEx
    make.argtypes, make.restype = (ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p), ctypes.py_object
    function: Callable[[bytes, int], RunResult | int] = make(ctypes.byref(_definition()[0]), bound, None)
    return function
