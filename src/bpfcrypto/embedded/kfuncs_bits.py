"""The iterator over the bits of words (kernel/bpf/helpers.c).

struct bpf_iter_bits is 16 bytes on the program's stack: the bits themselves, or where a copy of more than one word of them is, and
how many bits there are with the bit of the last step. bpf_iter_bits_next returns the address of that number.
"""

from __future__ import annotations

from collections.abc import Mapping
from errno import E2BIG, EFAULT, EINVAL
from struct import Struct
from typing import TYPE_CHECKING

from bpfcrypto.embedded.memory import AccessFault
from bpfcrypto.embedded.state import Native, error

if TYPE_CHECKING:
    from bpfcrypto.embedded.state import RunState

MAX_WORDS = 511  # BITS_ITER_NR_WORDS_MAX

_ITERATOR = Struct("<QIi")  # bits or where they are; number of bits; bit of the last step
_BIT_OFFSET = 12
_WORD_BITS = 64
_U32 = 0xFFFFFFFF


def iter_bits_new(run: RunState, iterator: int, address: int, words: int, *_: int) -> int:
    """Make an iterator over a copy of the words; a failure leaves an empty one."""
    words &= _U32
    state = run.memory.span(iterator, _ITERATOR.size, write=True)
    state[:] = _ITERATOR.pack(0, 0, -1)
    if not address or not words:
        return error(EINVAL)
    if words > MAX_WORDS:
        return error(E2BIG)
    try:
        bits = bytes(run.memory.span(address, 8 * words))
    except AccessFault:
        return error(EFAULT)
    if words == 1:
        place = int.from_bytes(bits, "little")
    else:
        copy = run.memory.new(len(bits), "words of bpf_iter_bits", owner=bits)
        run.memory.span(copy.base, len(bits), write=True)[:] = bits
        place = copy.base
    state[:] = _ITERATOR.pack(place, _WORD_BITS * words, -1)
    return 0


def iter_bits_next(run: RunState, iterator: int, *_: int) -> int:
    """Step to the next bit that is set; the address of its number, or NULL at the end."""
    state = run.memory.span(iterator, _ITERATOR.size, write=True)
    place, count, bit = _ITERATOR.unpack(state)
    if not count or bit >= count:
        return 0
    bits = place if count == _WORD_BITS else int.from_bytes(_copy(run, place, count // 8), "little")
    rest = bits >> bit + 1
    if not rest:
        state[:] = _ITERATOR.pack(place, count, count)
        return 0
    state[:] = _ITERATOR.pack(place, count, bit + (rest & -rest).bit_length())
    return iterator + _BIT_OFFSET


def iter_bits_destroy(run: RunState, iterator: int, *_: int) -> int:
    """End the iterator."""
    state = run.memory.span(iterator, _ITERATOR.size, write=True)
    place, count, _bit = _ITERATOR.unpack(state)
    if count > _WORD_BITS:
        _copy(run, place, count // 8)
        run.memory.unmap(run.memory.find(place))
    state[:] = _ITERATOR.pack(0, 0, -1)
    return 0


def _copy(run: RunState, address: int, size: int) -> bytes:
    """The words that an iterator was made over."""
    region = run.memory.find(address)
    if region.base != address or not isinstance(region.owner, bytes) or region.size != size:
        raise AccessFault(f"{address:#x} is not what bpf_iter_bits_new has stored")
    return region.owner


NATIVES: Mapping[str, Native] = {
    "bpf_iter_bits_new": iter_bits_new,
    "bpf_iter_bits_next": iter_bits_next,
    "bpf_iter_bits_destroy": iter_bits_destroy,
}
