"""Atomic instructions in threads: no update is lost, whatever the others do to the same memory."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from bpfcrypto.abi.progs import ProgType
from bpfcrypto.embedded.interp import Interpreter
from bpfcrypto.embedded.memory import Memory, Region
from bpfcrypto.embedded.state import RunState
from bpfcrypto.isa.asm import assemble
from bpfcrypto.spec import ProgramSpec


@pytest.fixture(autouse=True)
def impatient() -> Iterator[None]:
    """Threads take turns far more often than usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def shared() -> Memory:
    return Memory()


@pytest.fixture
def cell(shared: Memory) -> Region:
    """Sixteen bytes that all programs see."""
    return shared.new(16, "cell")


def thread(shared: Memory, text: str) -> Callable[[], int]:
    """A run of a program on the shared memory."""
    insns = assemble(text)
    program = Interpreter(ProgramSpec("p", "", ProgType.SYSCALL, insns), insns, {}, step_limit=1_000_000)
    return lambda: program.run(RunState(Memory(shared), program.spec), 0)


def together(*works: Callable[[], int]) -> list[int]:
    """Results of works that run at the same time."""
    results = [-1] * len(works)

    def work(index: int) -> None:
        results[index] = works[index]()

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(works))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return results


def test_a_plain_store_is_not_undone_by_an_atomic_operation(shared: Memory, cell: Region) -> None:
    """Additions to the low half of a word, and plain stores to its high half, all stay."""
    rounds = 20_000
    add = thread(
        shared,
        f"""
        r6 = {rounds}
        r1 = {cell.base:#x}
        r2 = 1
    again:
        lock *(u64 *)(r1 +0) += r2
        r6 -= 1
        if r6 != 0 goto again
        r0 = 0
        exit
        """,
    )
    write = thread(
        shared,
        f"""
        r6 = {rounds}
        r1 = {cell.base:#x}
        r0 = 0
    again:
        *(u32 *)(r1 +4) = r6
        r2 = *(u32 *)(r1 +4)
        if r2 == r6 goto next
        r0 += 1
    next:
        r6 -= 1
        if r6 != 0 goto again
        exit
        """,
    )

    lost = together(add, write)[1]

    assert lost == 0
    assert shared.load(cell.base, 4) == rounds
    assert shared.load(cell.base + 4, 4) == 1


def test_a_lock_of_compare_and_exchange_is_given_back_by_a_plain_store(shared: Memory, cell: Region) -> None:
    """Whoever finds it taken leaves it alone, so that its owner's store of 0 frees it."""
    count = thread(
        shared,
        f"""
        r6 = 3000
        r1 = {cell.base:#x}
    again:
        r0 = 0
        r2 = 1
        r0 = atomic64_cmpxchg((u64 *)(r1 +0), r0, r2)
        if r0 != 0 goto again
        r3 = *(u64 *)(r1 +8)
        r3 += 1
        *(u64 *)(r1 +8) = r3
        r3 = 0
        *(u64 *)(r1 +0) = r3
        r6 -= 1
        if r6 != 0 goto again
        r0 = 0
        exit
        """,
    )

    together(count, count, count)

    assert shared.load(cell.base + 8, 8) == 9000
