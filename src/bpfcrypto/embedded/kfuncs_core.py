"""kfuncs of the core: RCU sections, the numbers iterator, exceptions, traps (kernel/bpf/helpers.c, kernel/bpf/bpf_iter.c).

A whole run is an RCU reader here, so a section inside it has nothing to add.

struct bpf_iter_num is eight bytes on the program's stack: the current number and the end, both int. bpf_iter_num_next returns the
address of the current number.
"""

from __future__ import annotations

from collections.abc import Mapping
from errno import E2BIG, EINVAL
from struct import Struct
from typing import TYPE_CHECKING

from bpfcrypto.embedded.interp import Thrown
from bpfcrypto.embedded.memory import AccessFault
from bpfcrypto.embedded.state import Native, error, signed

if TYPE_CHECKING:
    from bpfcrypto.embedded.state import RunState

MAX_LOOPS = 8 << 20  # BPF_MAX_LOOPS

_ITERATOR = Struct("<ii")


def rcu_read_lock(_run: RunState, *_: int) -> int:
    """Enter a section."""
    return 0


def rcu_read_unlock(_run: RunState, *_: int) -> int:
    """Leave a section."""
    return 0


def iter_num_new(run: RunState, iterator: int, start: int, end: int, *_: int) -> int:
    """Make an iterator over [start, end); a failure leaves an empty one."""
    first, last = signed(start, 32), signed(end, 32)
    failed = EINVAL if first > last else E2BIG if last - first > MAX_LOOPS else 0
    before = signed(first - 1, 32)  # wraps for INT_MIN, and the first step wraps back
    state = run.memory.span(iterator, _ITERATOR.size, write=True)
    state[:] = _ITERATOR.pack(0, 0) if failed else _ITERATOR.pack(before, last)
    return error(failed)


def iter_num_next(run: RunState, iterator: int, *_: int) -> int:
    """Step; the address of the number, or NULL at the end, for good."""
    state = run.memory.span(iterator, _ITERATOR.size, write=True)
    current, last = _ITERATOR.unpack(state)
    following = signed(current + 1, 32)
    if following >= last:
        state[:] = _ITERATOR.pack(0, 0)
        return 0
    state[:] = _ITERATOR.pack(following, last)
    return iterator


def iter_num_destroy(run: RunState, iterator: int, *_: int) -> int:
    """End the iterator."""
    run.memory.span(iterator, _ITERATOR.size, write=True)[:] = _ITERATOR.pack(0, 0)
    return 0


def trap(_run: RunState, *_: int) -> int:
    """Where a compiler took the code for unreachable: no verified program gets here."""
    raise AccessFault(
        "__bpf_trap: the compiler took this code for unreachable, because of an uninitialised variable, say"
    )


def throw(_run: RunState, cookie: int, *_: int) -> int:
    """End the program from any depth."""
    raise Thrown(cookie)


NATIVES: Mapping[str, Native] = {
    "bpf_rcu_read_lock": rcu_read_lock,
    "bpf_rcu_read_unlock": rcu_read_unlock,
    "bpf_iter_num_new": iter_num_new,
    "bpf_iter_num_next": iter_num_next,
    "bpf_iter_num_destroy": iter_num_destroy,
    "__bpf_trap": trap,
    "bpf_throw": throw,
}
