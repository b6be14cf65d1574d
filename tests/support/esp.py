"""ESP on an engine, with both ends in one object: one slot seals and the other opens, by the same SPI and the same key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import shake_256
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from bpfcrypto.programs.esp.keys import KeyMaterial
from bpfcrypto.programs.esp.policies import Action, Row
from bpfcrypto.programs.esp.program import CONTROL_PROGRAMS, PACKET_PROGRAMS, Association, EspProgram, Settings, spec
from bpfcrypto.programs.esp.suites import SUITES, Mode, Suite, largest_packet

if TYPE_CHECKING:
    from bpfcrypto.engine import Engine, RunResult
    from bpfcrypto.many import RunResults
    from bpfcrypto.programs.esp.wire import Address

NEXT, DROP = 0xFFFFFFFF, 2
NO_SLOT, OUT, IN = 0, 1, 2
"""Slots: of packets without an SA, of the SA that seals, of the one that opens."""

PEER = 1
TOKEN = b"requests"
ANSWERING = 9

SUITE_NAMES = tuple(SUITES)
"""All that tests run with."""

ONE_OF_EACH = ("aes-128-ccm-16", "aes-128-ccm-8", "chacha20-poly1305")
"""One for each cipher and size of the ICV, for tests that have nothing to do with the size of keys."""

SHAPES = {
    "transport4": (Mode.TRANSPORT, 4, 4),
    "transport6": (Mode.TRANSPORT, 6, 6),
    "4in4": (Mode.TUNNEL, 4, 4),
    "6in4": (Mode.TUNNEL, 4, 6),
    "4in6": (Mode.TUNNEL, 6, 4),
    "6in6": (Mode.TUNNEL, 6, 6),
}
"""Mode, outer family and inner family, by a name for test ids."""

_OUTER = {4: ("192.0.2.1", "198.51.100.1"), 6: ("2001:db8::1", "2001:db8:1::1")}
_INNER = {4: ("10.1.0.1", "10.2.0.1"), 6: ("fd00:1::1", "fd00:2::1")}


@dataclass(frozen=True, slots=True)
class Link:
    """What both ends have in common, and the addresses."""

    shape: str = "4in4"
    suite_name: str = "aes-128-ccm-16"
    esn: bool = False
    spi: int = 0x1001
    mtu: int = 1500

    @property
    def mode(self) -> Mode:
        return SHAPES[self.shape][0]

    @property
    def outer(self) -> int:
        """The family of ESP packets."""
        return SHAPES[self.shape][1]

    @property
    def inner(self) -> int:
        """The family of packets in the clear."""
        return SHAPES[self.shape][2]

    @property
    def suite(self) -> Suite:
        return SUITES[self.suite_name]

    @property
    def key(self) -> bytes:
        return self._material[: self.suite.key_size]

    @property
    def salt(self) -> bytes:
        return self._material[self.suite.key_size :]

    @property
    def _material(self) -> bytes:
        return shake_256(self.suite_name.encode()).digest(self.suite.material_size)

    @property
    def source(self) -> Address:
        return ip_address(_OUTER[self.outer][0])

    @property
    def target(self) -> Address:
        return ip_address(_OUTER[self.outer][1])

    @property
    def near(self) -> Address:
        """Where packets in the clear come from."""
        return ip_address(_INNER[self.inner][0]) if self.mode is Mode.TUNNEL else self.source

    @property
    def far(self) -> Address:
        """Where they go."""
        return ip_address(_INNER[self.inner][1]) if self.mode is Mode.TUNNEL else self.target

    @property
    def largest(self) -> int:
        """Bytes of the largest packet in the clear."""
        return largest_packet(self.suite, self.mode, self.outer, self.mtu)

    def association(self, *, outbound: bool, sequence: int = 0) -> Association:
        return Association(
            self.spi,
            PEER,
            self.suite.cipher,
            self.mode,
            self.esn,
            outbound,
            self.source,
            self.target,
            self.mtu,
            sequence,
        )


@dataclass(frozen=True, slots=True)
class Judged:
    """What has become of one packet."""

    verdict: str
    slot: int
    retval: int
    data: bytes


def dropped(verdict: str, slot: int, frame: bytes) -> Judged:
    """It is not delivered, and not touched."""
    return Judged(verdict, slot, DROP, frame)


def passed(frame: bytes) -> Judged:
    """It goes on as it came."""
    return Judged("BYPASSED", NO_SLOT, NEXT, frame)


Counts = dict[int, Counter[str]]


@dataclass(slots=True)
class Bench:
    """The loaded object, and what tests do with it.

    Attributes:
        program: the object.
        link: what was started last.
    """

    program: EspProgram
    link: Link = field(default_factory=Link)

    def start(self, link: Link, *, sequence: int = 0) -> None:
        """Both SAs anew, with nothing counted; the sender's policies."""
        for slot in (OUT, IN):
            self.program.clear(slot)
        self.program.refuse(self.link.spi)
        self.link = link
        self.install(OUT, link, outbound=True, sequence=sequence)
        self.install(IN, link, outbound=False)
        self.program.receive(link.spi, IN)
        self.program.send(PEER, OUT)
        self.program.settings = Settings(token=TOKEN)
        self.be_sender()
        self.forget_counts()

    def install(self, slot: int, link: Link, *, outbound: bool, sequence: int = 0) -> None:
        with KeyMaterial(bytearray(link.key), link.salt) as material:
            self.program.install(slot, link.association(outbound=outbound, sequence=sequence), material)

    @contextmanager
    def answering(self, peer: int, spi: int) -> Iterator[None]:
        """Have an SA that sends back to where the link's packets come from, for a peer of that number."""
        there = self.link.association(outbound=True)
        back = replace(there, spi=spi, peer=peer, source=there.target, target=there.source)
        with KeyMaterial(bytearray(self.link.key), self.link.salt) as material:
            self.program.install(ANSWERING, back, material)
        self.program.send(peer, ANSWERING)
        try:
            yield
        finally:
            self.program.send(peer, 0)
            self.program.clear(ANSWERING)

    def be_sender(self, *more: Row) -> None:
        """What a host has as policies where packets of the link come from."""
        self.set_policies(row(self.link.near, Action.LOCAL), row(self.link.far, Action.PROTECT), *more)

    def be_receiver(self, *more: Row) -> None:
        """The same where they go."""
        self.set_policies(row(self.link.near, Action.PROTECT), row(self.link.far, Action.LOCAL), *more)

    def set_policies(self, *rows: Row) -> None:
        self.program.set_policies(rows)

    def run(self, program: str, frame: bytes, *, ctx: bytes = b"") -> RunResult:
        return self.program.collection.programs[program].run(frame, ctx=ctx)

    def run_many(self, program: str, frames: Iterable[bytes]) -> RunResults:
        return self.program.collection.programs[program].run_many(list(frames))

    def judge(self, program: str, frame: bytes, *, ctx: bytes = b"") -> Judged:
        """Run it on one packet, and tell what was counted for it, which must be one thing."""
        before = self.counts()
        result = self.run(program, frame, ctx=ctx)
        found = [
            (slot, verdict)
            for slot, counted in self.counts().items()
            for verdict in (counted - before[slot]).elements()
        ]
        assert len(found) == 1, found
        slot, verdict = found[0]
        return Judged(verdict, slot, result.retval, result.data)

    def counts(self) -> Counts:
        """How many packets each verdict had, by slot."""
        return {slot: Counter(self.program.tally(slot).packets) for slot in (NO_SLOT, OUT, IN)}

    def forget_counts(self) -> None:
        tallies = self.program.collection.maps["tallies"]
        for slot in (NO_SLOT, OUT, IN):
            tallies.update(slot.to_bytes(4, "little"), bytes(tallies.value_bytes))

    def sealed(self, frames: Sequence[bytes]) -> list[bytes]:
        """The frames as they leave; none may be refused."""
        self.be_sender()
        return self._passed("seal", frames)

    def opened(self, frames: Sequence[bytes]) -> list[bytes]:
        """The frames as they arrive; none may be refused."""
        self.be_receiver()
        return self._passed("open", frames)

    def _passed(self, program: str, frames: Sequence[bytes]) -> list[bytes]:
        results = self.run_many(program, frames)
        assert [*results.errnos] == [0] * len(frames)
        assert [*results.retvals] == [NEXT] * len(frames), self.counts()
        return [bytes(packet) for packet in results.packets]


def row(address: Address | str, action: Action, peer: int | None = None) -> Row:
    """One policy, by default for our peer."""
    return Row(
        ip_network(str(address)), action, (PEER if peer is None else peer) if action is Action.PROTECT else 0, ""
    )


@contextmanager
def bench(engine: Engine) -> Iterator[Bench]:
    """The object on an engine, for the length of a ``with`` block."""
    with engine, engine.load(spec(), programs=(*CONTROL_PROGRAMS, *PACKET_PROGRAMS)) as collection:
        yield Bench(EspProgram(engine, collection))


def links(
    *, suites: Iterable[str] = SUITE_NAMES, shapes: Iterable[str] = SHAPES, esn: Iterable[bool] = (False, True)
) -> list[Link]:
    """All combinations."""
    wanted = [*suites]
    return [Link(shape, name, extended) for shape in shapes for name in wanted for extended in esn]


def thorough(suites: Iterable[str] = SUITE_NAMES) -> list[Link]:
    """Every shape with one suite of each cipher; the other sizes of keys with two, since nothing else depends on them."""
    wanted = [*suites]
    others = [name for name in wanted if name not in ONE_OF_EACH]
    return [
        *links(suites=[name for name in wanted if name in ONE_OF_EACH]),
        *links(suites=others, shapes=["transport4"], esn=[False]),
        *links(suites=others, shapes=["6in6"], esn=[True]),
    ]


def name_of(link: Link) -> str:
    """For test ids."""
    return f"{link.shape}-{link.suite_name}{'-esn' if link.esn else ''}"
