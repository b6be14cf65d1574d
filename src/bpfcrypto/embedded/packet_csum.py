"""What the stack knows of an skb's checksum (ip_summed, csum, csum_level; include/linux/skbuff.h).

A test run's skb starts without knowledge (NONE). Programs can claim that checksums were verified (bpf_csum_level: UNNECESSARY). A run
that asks for it starts with the sum of everything from the network header on (COMPLETE), which helpers keep up to date, and which is
compared with the packet afterwards: so a program that changes bytes behind the helpers' backs is found out.
"""

from __future__ import annotations

from enum import Enum

from bpfcrypto.embedded import checksum
from bpfcrypto.embedded.packet_record import SUMMED

_MAX_LEVEL = 3  # SKB_MAX_CSUM_LEVEL


class Summed(Enum):
    """ip_summed, but for CHECKSUM_PARTIAL, which only skbs of local senders have."""

    NONE = 0
    UNNECESSARY = 1
    COMPLETE = 2


class SkbChecksum:
    """The checksum state of one skb.

    Args:
        words: of its record, where machine code finds the state.
    """

    __slots__ = ("_words", "level", "total")

    def __init__(self, words: memoryview) -> None:
        self._words = words
        self.level = 0
        self.total = 0

    @property
    def state(self) -> Summed:
        """What is known."""
        return Summed(self._words[SUMMED])

    @state.setter
    def state(self, state: Summed) -> None:
        self._words[SUMMED] = state.value

    @property
    def is_complete(self) -> bool:
        """Whether the sum of the packet is known."""
        return bool(self._words[SUMMED] == Summed.COMPLETE.value)

    def complete(self, data: bytes) -> None:
        """Start with the sum of ``data``, which begins at the network header."""
        self.state = Summed.COMPLETE
        self.total = checksum.partial(data)

    def matches(self, data: bytes) -> bool:
        """Whether the sum is that of ``data``; checked also where the state has been given up since."""
        return checksum.fold16(self.total) == checksum.fold16(checksum.partial(data))

    def forget(self) -> None:
        """The packet's length changed: a known sum is given up."""
        if self.is_complete:
            self.state = Summed.NONE

    def add(self, difference: int) -> int:
        """Add to a known sum (bpf_csum_update); the new sum."""
        self.total = checksum.add(self.total, difference)
        return self.total

    def replaced(self, old: bytes, new: bytes) -> None:
        """Four bytes were overwritten in the packet."""
        if self.is_complete:
            self.total = checksum.add(checksum.sub(self.total, checksum.partial(old)), checksum.partial(new))

    def pulled(self, data: bytes) -> None:
        """Bytes at an even offset left the packet (skb_postpull_rcsum)."""
        if self.is_complete:
            self.total = -checksum.partial(data, -self.total) & checksum.U32

    def pushed(self, data: bytes) -> None:
        """Bytes at an even offset joined the packet (skb_postpush_rcsum)."""
        if self.is_complete:
            self.total = checksum.partial(data, self.total)

    def stored(self, offset: int, old: bytes, new: bytes) -> None:
        """Bytes at ``offset`` were overwritten (BPF_F_RECOMPUTE_CSUM)."""
        if self.is_complete:
            gone = checksum.shift(checksum.partial(old), offset)
            self.total = checksum.add(checksum.sub(self.total, gone), checksum.shift(checksum.partial(new), offset))

    def pseudo_changed(self, old: int, new: int) -> None:
        """A field of the pseudo header changed, and the transport checksum with it (inet_proto_csum_replace4)."""
        if self.is_complete:
            self.total = ~checksum.add(checksum.sub(~self.total, old), new) & checksum.U32

    def pseudo_changed_by(self, difference: int) -> None:
        """The same, where only the difference of the sums is known (inet_proto_csum_replace_by_diff)."""
        if self.is_complete:
            self.total = ~checksum.sub(difference, self.total) & checksum.U32

    def raise_level(self) -> None:
        """One more checksum was verified (__skb_incr_checksum_unnecessary)."""
        if self.state is Summed.UNNECESSARY:
            self.level = min(self.level + 1, _MAX_LEVEL)
        elif self.state is Summed.NONE:
            self.state, self.level = Summed.UNNECESSARY, 0

    def lower_level(self) -> None:
        """One less (__skb_decr_checksum_unnecessary)."""
        if self.state is Summed.UNNECESSARY:
            if self.level:
                self.level -= 1
            else:
                self.state = Summed.NONE

    def reset_level(self) -> None:
        """None was verified (__skb_reset_checksum_unnecessary)."""
        if self.state is Summed.UNNECESSARY:
            self.state, self.level = Summed.NONE, 0
