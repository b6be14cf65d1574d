"""The programs of ESP on an engine, with Python types: security associations, policies, counters.

Everything that user space knows of the object's structures comes from its BTF. Nothing here decides anything: which SA is installed when
is the business of :mod:`bpfcrypto.programs.esp.control`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from errno import EEXIST, ENOENT
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpfcrypto.btf.types import Enum, Kind
from bpfcrypto.btf.values import decode, encode
from bpfcrypto.context.ciphers import refusal
from bpfcrypto.context.home import signed
from bpfcrypto.context.secret import wipe
from bpfcrypto.crypto.params import encode as encode_params
from bpfcrypto.errors import KeyNotFoundError, MapFullError
from bpfcrypto.loader.load import load_spec
from bpfcrypto.programs.esp.layout import Layout
from bpfcrypto.programs.esp.policies import Action, Row
from bpfcrypto.programs.esp.suites import Cipher, Mode
from bpfcrypto.programs.esp.wire import Address, packed, unpacked, words

if TYPE_CHECKING:
    from bpfcrypto.btf.types import Btf
    from bpfcrypto.engine import Collection, Engine, Map
    from bpfcrypto.programs.esp.keys import KeyMaterial
    from bpfcrypto.spec import CollectionSpec

OBJECT = Path(__file__).resolve().parent / "esp.bpf.o"
CONTROL_PROGRAMS = ("install", "clear", "admit")
PACKET_PROGRAMS = ("seal", "seal_routed", "open")
CIPHER = "ecb(aes)"
"""What install makes its first context with; it makes the second one itself."""


@functools.cache
def spec() -> CollectionSpec:
    """The object."""
    return load_spec(OBJECT.read_bytes(), OBJECT.name)


@dataclass(frozen=True, slots=True)
class Association:
    """A security association, one direction, without its key.

    Attributes:
        spi: 256 to 2^32 - 1; those below are reserved (RFC 4303, section 2.1).
        peer: whose it is, 1 to 255.
        cipher: what seals its packets.
        mode: where ESP goes.
        esn: whether sequence numbers are of 64 bits.
        outbound: whether it is for packets that we send.
        source, target: outer addresses, of one family.
        mtu: bytes of the largest outer packet.
        sequence: outbound: the last number that was used; a new SA begins with the next.
        highest: inbound: the highest number that was authentic; a new SA begins above it.
        installed_ns: when, on CLOCK_MONOTONIC.
        fingerprint: of key and salt, one-way, 16 hexadecimal digits.
        on_probation: inbound: what is authentic is noticed and not delivered.
    """

    spi: int
    peer: int
    cipher: Cipher
    mode: Mode
    esn: bool
    outbound: bool
    source: Address
    target: Address
    mtu: int
    sequence: int = 0
    highest: int = 0
    installed_ns: int = 0
    fingerprint: str = ""
    on_probation: bool = False


@dataclass(frozen=True, slots=True)
class Tally:
    """What has become of the packets of an SA, since it was installed.

    Attributes:
        packets: by verdict, those that are not zero.
        bytes: of the packets in the clear, that were sealed or opened.
        last_ns: when the last one was, on CLOCK_MONOTONIC; 0: never.
    """

    packets: Mapping[str, int]
    bytes: int
    last_ns: int


@dataclass(frozen=True, slots=True)
class Settings:
    """How the host is set up.

    Attributes:
        output: index of the interface that routed packets leave by; 0 leaves them where they are.
        deliver: index of the interface that opened packets come from; 0: where they came in.
        deliver_mac: its address.
        token: 8 bytes that requests for dummy packets are known by; zero: none is taken.
        default: what is done with packets that no policy names, DISCARD or BYPASS.
    """

    output: int = 0
    deliver: int = 0
    deliver_mac: bytes = bytes(6)
    default: Action = Action.DISCARD
    token: bytes = bytes(8)


class EspProgram:
    """The loaded object. Closing the collection is its owner's business.

    Args:
        engine: where it is loaded, for what a refused key is explained by.
        collection: of :func:`spec`, with the programs that are to be used.
    """

    def __init__(self, engine: Engine, collection: Collection) -> None:
        self._engine = engine
        self._collection = collection
        btf = collection.spec.btf
        assert btf is not None
        self._btf = btf
        self._layout = Layout(btf, "sa")
        self._verdicts = _enumerators(btf, "verdict")
        self.slots = collection.maps["sas"].spec.max_entries

    @property
    def collection(self) -> Collection:
        return self._collection

    @property
    def verdicts(self) -> tuple[str, ...]:
        """The names of ``enum verdict``, in its order."""
        return self._verdicts

    @property
    def owner(self) -> str:
        """Who these maps are, for what must not be used by others: the token of their settings."""
        return self.settings.token.hex()

    def install(self, slot: int, association: Association, material: KeyMaterial) -> None:
        """Fill an empty slot. The copy of the key that this takes is wiped.

        Raises:
            MapFullError: the slot is not empty, and keeps what it has.
            ContextError: the kernel refuses the key or has no such cipher.
        """
        request = self._request(slot, association, material)
        self._map("tallies").update(_index(slot), bytes(self._map("tallies").value_bytes))
        try:
            error = -signed(self._collection.programs["install"].run(ctx=request).retval)
        finally:
            wipe(request)
        if error in (EEXIST, ENOENT):
            raise MapFullError(f"slot {slot} of map 'sas' is not empty", errno=error)
        if error:
            raise refusal(self._engine, CIPHER, len(material.key), error)

    def clear(self, slot: int) -> None:
        """Empty a slot; its contexts are released, and its key is zero."""
        self._collection.programs["clear"].run(ctx=bytearray(_index(slot)))

    def admit(self, slot: int) -> None:
        """End a slot's probation: what is authentic is delivered from now on."""
        self._collection.programs["admit"].run(ctx=bytearray(_index(slot)))

    def associations(self) -> dict[int, Association]:
        """All that are installed, by slot."""
        found = {}
        for key, value in self._map("sas").items():
            if self._layout.number(value, "spi"):
                found[int.from_bytes(key, "little")] = self._association(value)
        return found

    def association(self, slot: int) -> Association | None:
        """The one in a slot."""
        found = self._association(self._map("sas").lookup(_index(slot)))
        return found if found.spi else None

    def receive(self, spi: int, slot: int) -> None:
        """From now on packets with this SPI are opened with that slot."""
        self._map("inbound").update(_index(spi), _index(slot))

    def refuse(self, spi: int) -> None:
        """From now on packets with this SPI are dropped."""
        try:
            self._map("inbound").delete(_index(spi))
        except KeyNotFoundError:
            return

    def receiving(self) -> dict[int, int]:
        """Slots by the SPIs that they are received with."""
        return {
            int.from_bytes(key, "little"): int.from_bytes(slot, "little") for key, slot in self._map("inbound").items()
        }

    def send(self, peer: int, slot: int) -> None:
        """From now on packets to a peer are sealed with that slot; 0: they are dropped."""
        self._map("senders").update(_index(peer), _index(slot))

    def sender(self, peer: int) -> int:
        """The slot that packets to a peer are sealed with; 0: none."""
        return int.from_bytes(self._map("senders").lookup(_index(peer)), "little")

    def set_policies(self, rows: Iterable[Row]) -> None:
        """Make these the policies. No prefix is without one in between."""
        table = self._map("policies")
        wanted = {
            self._encode(table.spec.key_type, {"prefixlen": row.prefixlen, "address": words(row.address)}): row
            for row in rows
        }
        former = dict(table.items())
        for key, row in wanted.items():
            value = self._encode(table.spec.value_type, {"action": int(row.action), "peer": row.peer})
            if former.get(key) != value:
                table.update(key, value)
        for key in former.keys() - wanted.keys():
            table.delete(key)

    @property
    def settings(self) -> Settings:
        raw = self._decode("settings", self._map("settings").lookup(_index(0)))
        return Settings(
            raw["output"],
            raw["deliver"],
            raw["deliver_mac"],
            Action(raw["default_action"]),
            raw["token"].to_bytes(8, "little"),
        )

    @settings.setter
    def settings(self, settings: Settings) -> None:
        value = {
            "output": settings.output,
            "deliver": settings.deliver,
            "deliver_mac": settings.deliver_mac,
            "default_action": int(settings.default),
            "token": int.from_bytes(settings.token, "little"),
        }
        self._map("settings").update(_index(0), self._encode(self._map("settings").spec.value_type, value))

    def tally(self, slot: int) -> Tally:
        """The counters of a slot; of slot 0, those of packets that no SA was found for."""
        packets = [0] * len(self._verdicts)
        total = last = 0
        for raw in self._per_cpu("tallies", slot):
            for number, count in enumerate(raw["packets"]):
                packets[number] += count
            total += raw["bytes"]
            last = max(last, raw["last_ns"])
        return Tally({self._verdicts[number]: count for number, count in enumerate(packets) if count}, total, last)

    def hint(self, peer: int) -> int:
        """The last unknown SPI that ended in a peer's number; nobody has proved that it came from there. 0: none."""
        return int.from_bytes(self._map("hints").lookup(_index(peer)), "little")

    def forget_hint(self, peer: int) -> None:
        """It was looked at."""
        self._map("hints").update(_index(peer), _index(0))

    def _map(self, name: str) -> Map:
        return self._collection.maps[name]

    def _decode(self, name: str, value: bytes) -> Any:
        return decode(self._btf, self._map(name).spec.value_type, value)

    def _per_cpu(self, name: str, index: int) -> Iterator[Any]:
        """The values of those CPUs that have written anything."""
        stride = (self._map(name).spec.value_size + 7) // 8 * 8
        value = self._map(name).lookup(_index(index))
        for at in range(0, len(value), stride):
            if any(value[at : at + stride]):
                yield self._decode(name, value[at : at + stride])

    def _encode(self, type_id: int, value: Any) -> bytes:
        return encode(self._btf, type_id, value)

    def _association(self, value: bytes) -> Association:
        number, raw = self._layout.number, self._layout.raw
        return Association(
            number(value, "spi"),
            number(value, "peer"),
            Cipher(number(value, "suite") or Cipher.AES_CCM_16),
            Mode(number(value, "mode")),
            bool(number(value, "esn")),
            bool(number(value, "outbound")),
            unpacked(raw(value, "source")),
            unpacked(raw(value, "target")),
            number(value, "mtu"),
            number(value, "sequence"),
            number(value, "highest"),
            number(value, "installed_ns"),
            f"{number(value, 'fingerprint'):016x}",
            bool(number(value, "on_probation")),
        )

    def _request(self, slot: int, association: Association, material: KeyMaterial) -> bytearray:
        """What the program install takes: struct install, whose head is struct bpf_crypto_params."""
        type_id = self._btf.find("install", Kind.STRUCT)
        assert type_id is not None
        terms = {
            "spi": association.spi,
            "peer": association.peer,
            "salt": int.from_bytes(material.salt, "little"),
            "suite": int(association.cipher),
            "mode": int(association.mode),
            "esn": int(association.esn),
            "outbound": int(association.outbound),
            "mtu": association.mtu,
            "source": words(packed(association.source)),
            "target": words(packed(association.target)),
            "fingerprint": int(material.fingerprint(), 16),
        }
        values = {
            "slot": slot,
            "on_probation": int(association.on_probation),
            "sequence": association.sequence,
            "highest": association.highest,
            "terms": terms,
        }
        request = bytearray(self._encode(type_id, values))
        head = encode_params(CIPHER, material.key)
        try:
            request[: len(head)] = head
        finally:
            wipe(head)
        return request


def _index(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _enumerators(btf: Btf, name: str) -> tuple[str, ...]:
    """The names of an enumeration that counts from 0, but for the last, which is their number."""
    type_id = btf.find(name, Kind.ENUM)
    record = btf[type_id] if type_id is not None else None
    assert isinstance(record, Enum)
    return tuple(each.name for each in record.values)[:-1]
