"""ESP, packet by packet: what sealing and opening take in test runs, on the kernel and as our machine code, and what of it is the cipher."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from ipaddress import ip_address, ip_network
from pathlib import Path

from bench.rows import Row

from bpfcrypto import open_engine
from bpfcrypto.engine import Engine, Program
from bpfcrypto.kernel.probe import unavailable
from bpfcrypto.programs.esp.keys import KeyMaterial
from bpfcrypto.programs.esp.policies import Action
from bpfcrypto.programs.esp.policies import Row as Policy
from bpfcrypto.programs.esp.program import CONTROL_PROGRAMS, Association, EspProgram, spec
from bpfcrypto.programs.esp.suites import SUITES, Mode
from bpfcrypto.programs.esp.wire import packed

HERE, THERE = ip_address("192.0.2.1"), ip_address("198.51.100.1")
SIZES = (64, 512, 1420)
GOALS = {  # ns, by bytes of the IP packet: sealed, opened
    "aes-128-ccm-16": {64: (1730, 1800), 512: (8610, 8670), 1420: (22680, 22730)},
    "chacha20-poly1305": {64: (651, 701), 512: (1863, 1943), 1420: (4266, 4346)},
}
SHARE_GOAL = 5  # percent of a packet that is not the cipher
ROUNDS, CALLS = 5, 400
OBJECT = Path(__file__).with_name("esp.bpf.o")


def frame(size: int) -> bytes:
    """An Ethernet frame with an IP packet of that size."""
    head = b"\x45\0" + size.to_bytes(2, "big") + b"\0\1\0\0\x40\x11\0\0" + packed(HERE)[12:] + packed(THERE)[12:]
    return bytes(12) + b"\x08\0" + head + os.urandom(size - len(head))


class Link:
    """An SA in each direction of one suite. Both ends are here: what is sealed can be opened."""

    def __init__(self, engine: Engine, suite_name: str) -> None:
        suite = SUITES[suite_name]
        self._stack = ExitStack()
        collection = self._stack.enter_context(engine.load(spec(), programs=(*CONTROL_PROGRAMS, "seal", "open")))
        self.program = EspProgram(engine, collection)
        key, salt = os.urandom(suite.key_size), os.urandom(suite.salt_size)
        for slot, outbound in ((1, True), (2, False)):
            association = Association(0x101, 1, suite.cipher, Mode.TRANSPORT, True, outbound, HERE, THERE, mtu=1500)
            self.program.install(slot, association, KeyMaterial(bytearray(key), salt))
        self.program.send(1, 1)
        self.program.receive(0x101, 2)

    def seal(self, data: bytes, times: int) -> tuple[float, list[bytes]]:
        """Median of nanoseconds, and what has come of the packets."""
        self._policies(HERE, THERE)
        results = [self.program.collection.programs["seal"].run(data) for _ in range(times)]
        assert self.program.tally(1).packets.keys() == {"SEALED"}
        return statistics.median(each.duration_ns for each in results), [each.data for each in results]

    def open(self, packets: list[bytes]) -> float:
        """Median of nanoseconds."""
        self._policies(THERE, HERE)
        results = [self.program.collection.programs["open"].run(each) for each in packets]
        assert self.program.tally(2).packets.keys() == {"OPENED"}
        return statistics.median(each.duration_ns for each in results)

    def _policies(self, local: object, remote: object) -> None:
        rows = ((local, Action.LOCAL, 0), (remote, Action.PROTECT, 1))
        self.program.set_policies(Policy(ip_network(str(address)), action, peer, "") for address, action, peer in rows)

    def close(self) -> None:
        self._stack.close()


def ciphers(engine: Engine, stack: ExitStack) -> Callable[[int], float]:
    """What the two calls of AES-CCM take on an engine, for a packet of that size."""
    collection = stack.enter_context(engine.load(OBJECT))
    collection.variables["key"].value = os.urandom(16)
    assert collection.programs["setup"].run().retval == 0

    def measure(size: int) -> float:
        text = (size - 20 + 2 + 3) // 4 * 4
        collection.variables["text_size"].value = (text + 15) // 16 * 16
        return _median(collection.programs["ciphers"]) - _median(collection.programs["nothing"])

    return measure


def _median(program: Program) -> float:
    return statistics.median(program.run(bytes(64)).duration_ns for _ in range(CALLS))


def packets() -> Iterator[Row]:
    """A row for each suite, size, direction and engine; the engines and suites take turns."""
    engines = {"machine code": "embedded"} if unavailable() else {"kernel": "kernel", "machine code": "embedded"}
    with ExitStack() as stack:
        opened = {name: stack.enter_context(open_engine(engine)) for name, engine in engines.items()}
        links = {(name, suite): Link(engine, suite) for name, engine in opened.items() for suite in GOALS}
        for link in links.values():
            stack.callback(link.close)
        alone = ciphers(opened["kernel"], stack) if "kernel" in opened else None
        for size in SIZES:
            yield from _rows(size, links, alone)


def _rows(size: int, links: Mapping[tuple[str, str], Link], alone: Callable[[int], float] | None) -> Iterator[Row]:
    data = frame(size)
    times: dict[tuple[str, str], list[tuple[float, float]]] = {each: [] for each in links}
    cipher: list[float] = []
    for _ in range(ROUNDS):
        for each, link in links.items():
            sealed, wire = link.seal(data, CALLS)
            times[each].append((sealed, link.open(wire)))
        if alone is not None:
            cipher.append(alone(size))
    for (engine, suite), found in times.items():
        for name, place in (("seal", 0), ("open", 1)):
            value = statistics.median(each[place] for each in found)
            goal = GOALS[suite][size][place] if engine == "kernel" else None
            yield Row(f"ESP {suite}", f"{name}, {size} B, {engine}", value, "ns", goal)
    if cipher:
        whole = statistics.median(each[0] for each in times["kernel", "aes-128-ccm-16"])
        note = f"{statistics.median(cipher):,.0f} ns are the cipher's"
        goal = SHARE_GOAL if size == SIZES[-1] else None
        share = 100 * (1 - statistics.median(cipher) / whole)
        yield Row("ESP aes-128-ccm-16", f"seal, {size} B, what is not the cipher", share, "%", goal, note=note)
