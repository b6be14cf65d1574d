"""A program at the router that sees every packet of both hosts: is it ESP, and was this number there before with this SPI?

A capture of so many packets would miss some of them; a program sees each one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bpfcrypto.abi.hooks import Hook
from bpfcrypto.engine import Collection
from bpfcrypto.kernel.engine import KernelEngine
from support.esp_lab import HOSTS, EspLab

SOURCE = r"""
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define NEXT -1 /* TCX_NEXT */

struct number {
	u32 interface; /* both directions have the same SPI, and different keys */
	__be32 spi;
	__be32 sequence;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 21);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct number);
	__type(value, u8);
} numbers SEC(".maps");

u64 sealed, clear, repeated, missed;

static void count(u64 *counter)
{
	__sync_fetch_and_add(counter, 1);
}

SEC("tc")
int witness(struct __sk_buff *skb)
{
	struct number number = {.interface = skb->ifindex};
	bool four = skb->protocol == bpf_htons(0x0800);
	u8 group, protocol, type, there = 1;
	long err;

	if (bpf_skb_load_bytes(skb, 0, &group, 1) || group & 1 || skb->protocol == bpf_htons(0x0806))
		return NEXT; /* to a group, ARP */
	if (bpf_skb_load_bytes(skb, four ? 23 : 20, &protocol, 1))
		return NEXT;
	if (!four && protocol == 58 && !bpf_skb_load_bytes(skb, 54, &type, 1) && type >= 133 && type <= 137)
		return NEXT; /* neighbour discovery (RFC 4861) */
	if (protocol != 50) {
		count(&clear);
		return NEXT;
	}
	if (bpf_skb_load_bytes(skb, four ? 34 : 54, &number.spi, 8)) {
		count(&missed);
		return NEXT;
	}
	count(&sealed);
	err = bpf_map_update_elem(&numbers, &number, &there, 1); /* BPF_NOEXIST */
	if (err)
		count(err == -17 ? &repeated : &missed);
	return NEXT;
}

char _license[] SEC("license") = "GPL";
"""


@dataclass
class Witness:
    """What was seen so far."""

    collection: Collection

    def _value(self, name: str) -> int:
        return int(self.collection.variables[name].value)

    @property
    def sealed(self) -> int:
        """Packets of ESP."""
        return self._value("sealed")

    @property
    def clear(self) -> int:
        """Packets that are neither ESP nor what hosts need to find each other."""
        return self._value("clear")

    @property
    def repeated(self) -> int:
        """Packets whose host has sent that number with that SPI before."""
        return self._value("repeated")

    @property
    def missed(self) -> int:
        """Packets whose numbers could not be written down."""
        return self._value("missed")


@contextmanager
def witnessed(compiled: bytes, network: EspLab, sides: Iterable[str] = HOSTS) -> Iterator[Witness]:
    """Watch what hosts send to the router."""
    with KernelEngine() as engine, engine.load(compiled) as loaded, ExitStack() as stack:
        for side in sides:
            stack.enter_context(loaded.programs["witness"].attach(side, Hook.INGRESS, netns=network.router))
        yield Witness(loaded)
