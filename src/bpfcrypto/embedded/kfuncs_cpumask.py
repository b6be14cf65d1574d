"""kfuncs on CPU masks (kernel/bpf/cpumask.c).

CPUs that cannot be are never in a mask: setting them does nothing. What is searched and not found is the number of CPUs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from errno import EACCES
from typing import TYPE_CHECKING

from bpfcrypto.embedded.state import Native, error

if TYPE_CHECKING:
    from bpfcrypto.embedded.cpumask import CpuMasks
    from bpfcrypto.embedded.state import RunState

_U32 = 0xFFFFFFFF


def natives(masks: CpuMasks) -> Mapping[str, Native]:
    """The kfuncs, by name.

    Args:
        masks: where masks are made and found.
    """
    every = masks.every

    def create(_run: RunState, *_: int) -> int:
        return masks.create()

    def acquire(_run: RunState, mask: int, *_: int) -> int:
        return masks.acquire(mask)

    def release(_run: RunState, mask: int, *_: int) -> int:
        masks.release(mask)
        return 0

    def lowest(bits: int) -> int:
        bits &= every
        return (bits & -bits).bit_length() - 1 if bits else masks.cpus

    def bits(address: int) -> int:
        return masks.get(address).bits

    def one(ask: Callable[[int], int]) -> Native:
        return lambda _run, mask, *_: int(ask(bits(mask)))

    def two(ask: Callable[[int, int], int]) -> Native:
        return lambda _run, first, second, *_: int(ask(bits(first), bits(second)))

    def put(change: Callable[[int], int]) -> Native:
        def native(_run: RunState, mask: int, *_: int) -> int:
            target = masks.get(mask)
            target.bits = change(target.bits)
            return 0

        return native

    def combine(result: Callable[[int, int], int]) -> Native:
        def native(_run: RunState, target: int, first: int, second: int, *_: int) -> int:
            found = result(bits(first), bits(second))
            masks.get(target).bits = found
            return int(bool(found & every))

        return native

    def cpu(change: Callable[[int, int], int]) -> Native:
        """What is done with the bit of a CPU; whether it was set before."""

        def native(_run: RunState, number: int, mask: int, *_: int) -> int:
            bit = 1 << (number & _U32) & every if number & _U32 < masks.cpus else 0
            target = masks.get(mask)
            before = target.bits
            target.bits = change(before, bit)
            return int(bool(before & bit))

        return native

    def copy(_run: RunState, target: int, source: int, *_: int) -> int:
        masks.get(target).bits = bits(source)
        return 0

    def populate(run: RunState, target: int, source: int, size: int, *_: int) -> int:
        if size < masks.size:
            return error(EACCES)
        masks.get(target).bits = int.from_bytes(run.memory.span(source, masks.size), "little")
        return 0

    return {
        "bpf_cpumask_create": create,
        "bpf_cpumask_acquire": acquire,
        "bpf_cpumask_release": release,
        "bpf_cpumask_first": one(lowest),
        "bpf_cpumask_first_zero": one(lambda bits: lowest(~bits)),
        "bpf_cpumask_first_and": two(lambda first, second: lowest(first & second)),
        "bpf_cpumask_any_distribute": one(lowest),
        "bpf_cpumask_any_and_distribute": two(lambda first, second: lowest(first & second)),
        "bpf_cpumask_weight": one(lambda bits: (bits & every).bit_count()),
        "bpf_cpumask_empty": one(lambda bits: not bits & every),
        "bpf_cpumask_full": one(lambda bits: not ~bits & every),
        "bpf_cpumask_equal": two(lambda first, second: not (first ^ second) & every),
        "bpf_cpumask_intersects": two(lambda first, second: bool(first & second & every)),
        "bpf_cpumask_subset": two(lambda first, second: not first & ~second & every),
        "bpf_cpumask_set_cpu": cpu(lambda bits, bit: bits | bit),
        "bpf_cpumask_clear_cpu": cpu(lambda bits, bit: bits & ~bit),
        "bpf_cpumask_test_cpu": cpu(lambda bits, _bit: bits),
        "bpf_cpumask_test_and_set_cpu": cpu(lambda bits, bit: bits | bit),
        "bpf_cpumask_test_and_clear_cpu": cpu(lambda bits, bit: bits & ~bit),
        "bpf_cpumask_setall": put(lambda _bits: every),
        "bpf_cpumask_clear": put(lambda _bits: 0),
        "bpf_cpumask_and": combine(lambda first, second: first & second & every),
        "bpf_cpumask_or": combine(lambda first, second: first | second),
        "bpf_cpumask_xor": combine(lambda first, second: first ^ second),
        "bpf_cpumask_copy": copy,
        "bpf_cpumask_populate": populate,
    }
