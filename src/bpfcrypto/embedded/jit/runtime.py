"""Helpers and kfuncs as machine code: the BPF programs in ``runtime/``, compiled by the compiler of everybody's.

They make one unit for the process, and programs reach its functions through their tables of links.
"""

from __future__ import annotations

import ctypes
import platform
import threading
from functools import cache as memoise
from functools import partial
from pathlib import Path

from bpfcrypto.embedded import word_lock
from bpfcrypto.embedded.jit import cache
from bpfcrypto.embedded.jit.build import Built
from bpfcrypto.embedded.jit.compile import Unit, compile_object, host
from bpfcrypto.embedded.jit.links import AES, SYMBOL, Link
from bpfcrypto.embedded.jit.stamp import stamp
from bpfcrypto.errors import InternalError, NotSupportedError

_OBJECTS = tuple(sorted((Path(__file__).parent / "runtime").glob("*.bpf.o")))
_STORES_IN_ORDER = frozenset({"x86_64", "amd64"})
"""Processors whose stores become visible in the order of the program."""
_lock = threading.Lock()


def address(name: str) -> int:
    """Where the machine code of a helper, kfunc or operation of ours is."""
    with _lock:
        return _unit().address(name)


@memoise
def _unit() -> Unit:
    name = cache.key("runtime", *(each.read_bytes() for each in _OBJECTS), host().identity, stamp())
    built = Built.unpack(cache.remembered(name, _build))
    unit = Unit(built.image, (SYMBOL, *built.names))
    table = (ctypes.c_uint64 * len(built.links)).from_address(unit.address(SYMBOL))
    for number, link in enumerate(built.links):
        table[number] = _resolve(link)
    _share_words(unit)
    return unit


def _share_words(unit: Unit) -> None:
    """From now on machine code takes locks, and so Python has to take them in the same way.

    These operations never wait, so there is no reason to let go of the interpreter's lock for them.
    """
    scratch = ctypes.c_uint64()
    operation = ctypes.PYFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64)
    try_take, give, order = (operation(unit.address(each)) for each in ("try_take_word", "give_word", "order_stores"))

    def ordered() -> None:
        order(None, ctypes.addressof(scratch))

    in_order = platform.machine().lower() in _STORES_IN_ORDER
    word_lock.meet_machine_code(partial(try_take, None), partial(give, None), None if in_order else ordered)


def _build() -> bytes:
    from bpfcrypto.embedded.jit.lower import lower_all
    from bpfcrypto.loader.load import load_spec

    programs = [each for path in _OBJECTS for each in load_spec(path.read_bytes(), path.name).programs.values()]
    text, links = lower_all(programs)
    names = tuple(each.name for each in programs)
    return Built(compile_object(text), links, {}, (), names).pack()


def _resolve(link: Link) -> int:
    if link != AES:
        raise InternalError(f"the runtime refers to {link.kind} '{link.name}'")
    from bpfcrypto.embedded.jit.aes_native import native_aes

    try:
        return native_aes().addresses[link.name]
    except NotSupportedError:
        return 0  # contexts say that only Python has their cipher
