"""What is refused, and what passes as it is: the verdict, the slot that it is counted in, and the packet, which stays as it came."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from scapy.packet import Raw

from bpfcrypto.btf.types import Kind
from bpfcrypto.programs.esp.policies import Action
from bpfcrypto.programs.esp.program import spec
from bpfcrypto.programs.esp.suites import Mode
from support.esp import (
    DROP,
    IN,
    NEXT,
    NO_SLOT,
    ONE_OF_EACH,
    OUT,
    SHAPES,
    TOKEN,
    Judged,
    Link,
    dropped,
    links,
    name_of,
    row,
)
from support.esp_by_hand import (
    IPIP,
    IPV6,
    NONE,
    associated_data,
    esp_packet,
    ether,
    header_size,
    ip_header,
    sealed,
    trailer,
    with_checksum,
    wrapped,
)
from support.esp_frames import frame, udp

if TYPE_CHECKING:
    from support.esp import Bench

T4, T6, IN4, IN6, IN64 = (Link(shape) for shape in ("transport4", "transport6", "4in4", "6in6", "6in4"))
INNER_PROTOCOL = {4: IPIP, 6: IPV6}


@pytest.fixture(params=ONE_OF_EACH)
def suite_name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


# --- what is not authentic ---


@pytest.mark.parametrize("esn", [False, True])
@pytest.mark.parametrize("shape", ["transport4", "6in6"])
def test_any_bit_of_an_esp_packet(esp: Bench, suite_name: str, shape: str, esn: bool) -> None:
    """Whichever bit is another one: nothing is delivered, the window does not move, and the packet itself still opens."""
    link = Link(shape, suite_name, esn)
    clear = udp(link, 2)
    good = sealed(link, clear, 3)
    start = 34 if shape == "transport4" else 54
    forged = []
    for bit in range(8 * start, 8 * len(good)):
        changed = bytearray(good)
        changed[bit // 8] ^= 0x80 >> bit % 8
        forged.append(bytes(changed))
    esp.start(link)
    esp.be_receiver()
    results = esp.run_many("open", forged)

    assert set(results.retvals) == {DROP}
    assert [bytes(packet) for packet in results.packets] == forged
    assert esp.counts() == {NO_SLOT: {"NO_SA": 32}, OUT: {}, IN: {"BAD_TAG": len(forged) - 32}}
    assert esp.judge("open", good) == Judged("OPENED", IN, NEXT, clear)


@pytest.mark.parametrize("shape", ["transport4", "transport6"])
def test_any_bit_of_the_ip_header(esp: Bench, shape: str) -> None:
    """Transport mode does not authenticate the IP header: other addresses have no SA, and no other change becomes another payload."""
    link = Link(shape)
    clear = udp(link, 2)
    good = sealed(link, clear, 3)
    payload = clear[14 + header_size(clear[14:]) :]
    for bit in range(8 * 14, 8 * (14 + header_size(good[14:]))):
        changed = bytearray(good)
        changed[bit // 8] ^= 0x80 >> bit % 8
        esp.start(link)
        esp.be_receiver()
        judged = esp.judge("open", bytes(changed))

        if judged.verdict == "OPENED":
            assert judged.data.endswith(payload)
            assert len(judged.data) == len(clear)
            assert bit // 8 - 14 not in (range(12, 20) if link.outer == 4 else range(8, 40))
        else:
            assert judged == dropped(judged.verdict, judged.slot, bytes(changed))


@pytest.mark.parametrize("link", links(suites=ONE_OF_EACH, esn=[False]), ids=name_of)
def test_cut_off_at_every_length(esp: Bench, link: Link) -> None:
    """A frame that ends before its IP packet does, and an IP packet that ends before its ICV does."""
    good = sealed(link, udp(link, 2), 1)
    start = 34 if link.outer == 4 else 54
    cut = [good[:size] for size in range(start, len(good))]
    least = 8 + 8 + 4 + link.suite.icv_size
    shorter = [wrapped(link, good[start : start + size], like=udp(link, 2)[14:]) for size in range(len(good) - start)]
    esp.start(link)
    esp.be_receiver()
    results = esp.run_many("open", [*cut, *shorter])

    assert [*results.errnos] == [0] * len(results)
    assert set(results.retvals) == {DROP}
    assert [bytes(packet) for packet in results.packets] == [*cut, *shorter]
    assert esp.counts() == {
        NO_SLOT: {"MALFORMED": len(cut), "TOO_SHORT": 8},
        OUT: {},
        IN: {"TOO_SHORT": least - 8, "BAD_TAG": len(shorter) - least},
    }


@pytest.mark.parametrize("link", links(suites=ONE_OF_EACH), ids=name_of)
def test_the_same_packet_again(esp: Bench, link: Link) -> None:
    """A replay; and what is older than the window, which with extended numbers can only be taken for a later one."""
    esp.start(link)
    esp.be_receiver()
    first, last = (sealed(link, udp(link), number) for number in (1, 1985))

    assert esp.judge("open", last).verdict == "OPENED"
    assert esp.judge("open", last) == dropped("REPLAY", IN, last)
    assert esp.judge("open", first) == dropped("BAD_TAG" if link.esn else "TOO_OLD", IN, first)


def test_another_key_salt_or_spi(esp: Bench, suite_name: str) -> None:
    """What another SA has sealed is not authentic, even where its numbers and its size fit."""
    link = Link("4in4", suite_name)
    other = Link("4in4", suite_name, esn=True)
    esp.start(link)
    esp.be_receiver()
    frame = sealed(other, udp(link), 1)

    assert esp.judge("open", frame) == dropped("BAD_TAG", IN, frame)
    assert associated_data(1, 1, esn=True) != associated_data(1, 1, esn=False)


# --- SAs that are not there ---


@pytest.mark.parametrize("link", links(suites=["aes-128-ccm-16"], esn=[False]), ids=name_of)
def test_an_unknown_spi_leaves_a_hint(esp: Bench, link: Link) -> None:
    """The SPI is kept where the control plane looks for it, the lowest one above ours; the packet is dropped."""
    esp.start(link)
    esp.be_receiver()
    esp.program.forget_hint(0x77)
    frame = bytearray(sealed(link, udp(link), 1))
    start = 34 if link.outer == 4 else 54
    with esp.answering(0x77, 0x1077):
        for spi, hint in ((0x0F77, 0x0F77), (0x123477, 0x123477), (0x1277, 0x1277), (0x1377, 0x1277), (0x0177, 0x1277)):
            frame[start : start + 4] = spi.to_bytes(4, "big")
            assert esp.judge("open", bytes(frame)) == dropped("NO_SA", NO_SLOT, bytes(frame))
            assert esp.program.hint(0x77) == hint
    assert esp.program.hint(0x78) == 0


@pytest.mark.parametrize("link", links(suites=["aes-128-ccm-16"], esn=[False]), ids=name_of)
def test_an_unknown_spi_from_elsewhere(esp: Bench, link: Link) -> None:
    """No peer is there, so there is nothing to look at; it passes where the policy says so of its source."""
    esp.start(link)
    esp.be_receiver()
    esp.program.forget_hint(0x77)
    frame = bytearray(sealed(link, udp(link), 1))
    start = 34 if link.outer == 4 else 54
    frame[start : start + 4] = bytes.fromhex("00123477")

    assert esp.judge("open", bytes(frame)) == dropped("NO_SA", NO_SLOT, bytes(frame))
    assert esp.program.hint(0x77) == 0
    esp.be_receiver(row(link.source, Action.BYPASS))
    assert esp.judge("open", bytes(frame)) == Judged("BYPASSED", NO_SLOT, NEXT, bytes(frame))


@pytest.mark.parametrize("shape", SHAPES)
def test_reserved_spis(esp: Bench, shape: str) -> None:
    """0 is what empty slots have, and 1 to 255 are reserved: none of them is an SA, not even from and to no address."""
    link = Link(shape)
    esp.start(link)
    esp.be_receiver()
    start = 34 if link.outer == 4 else 54
    good = sealed(link, udp(link), 1)
    for spi in (255, 1, 0):
        for nowhere in (False, True):
            frame = bytearray(good)
            frame[start : start + 4] = spi.to_bytes(4, "big")
            if nowhere:
                frame[26 if link.outer == 4 else 22 : start] = bytes(8 if link.outer == 4 else 32)
            assert esp.judge("open", bytes(frame)) == dropped("NO_SA", NO_SLOT, bytes(frame))


def test_an_empty_slot(esp: Bench) -> None:
    """A slot that was cleared opens and seals nothing, whatever still names it."""
    esp.start(IN4)
    for slot in (OUT, IN):
        esp.program.clear(slot)
    received, sent = sealed(IN4, udp(IN4), 1), udp(IN4)

    assert esp.judge("seal", sent) == dropped("NO_SA", OUT, sent)
    esp.be_receiver()
    assert esp.judge("open", received) == dropped("NO_SA", NO_SLOT, received)


def test_nothing_to_send_with(esp: Bench) -> None:
    """A peer without an SA, and one whose slot receives."""
    esp.start(IN4)
    frame = udp(IN4)
    for slot, counted in ((0, NO_SLOT), (IN, IN)):
        esp.program.send(1, slot)
        assert esp.judge("seal", frame) == dropped("NO_SA", counted, frame)


def test_a_slot_that_sends_receives_nothing(esp: Bench) -> None:
    """An SPI that names the slot of the other direction."""
    esp.start(IN4)
    esp.be_receiver()
    esp.program.receive(IN4.spi, OUT)
    frame = sealed(IN4, udp(IN4), 1)

    assert esp.judge("open", frame) == dropped("NO_SA", NO_SLOT, frame)


@pytest.mark.parametrize("link", links(suites=["aes-128-ccm-16"], esn=[False]), ids=name_of)
def test_outer_addresses_are_those_of_the_sa(esp: Bench, link: Link) -> None:
    """A packet from elsewhere, or to elsewhere, is none of the SA's, though its ICV may be right."""
    esp.start(link)
    esp.be_receiver()
    good = sealed(link, udp(link), 1)
    first = 14 + (12 if link.outer == 4 else 8)
    size = 4 if link.outer == 4 else 16
    for at in (first + size - 1, first + 2 * size - 1):
        frame = good[:at] + bytes([good[at] ^ 0x80]) + good[at + 1 :]
        assert esp.judge("open", frame) == dropped("NO_SA", NO_SLOT, frame)


def test_contexts_that_are_gone(esp: Bench) -> None:
    """An update of the map drops both contexts; what is left of the SA encrypts nothing."""
    for slot in (OUT, IN):
        esp.start(IN4)
        sas, index = esp.program.collection.maps["sas"], slot.to_bytes(4, "little")
        sas.update(index, sas.lookup(index))
        program = "seal" if slot == OUT else "open"
        frame = udp(IN4) if slot == OUT else sealed(IN4, udp(IN4), 1)
        assert esp.judge(program, frame) == dropped("NO_KEY", slot, frame)


# --- authentic, and wrong ---


def forged_inside(link: Link, text: bytes, sequence: int = 1, tos: int = 0) -> bytes:
    """An authentic packet with any text, which no sender of ours makes."""
    return wrapped(link, esp_packet(link, text, sequence), like=udp(link)[14:], tos=tos)


@pytest.mark.parametrize(
    "link", links(suites=ONE_OF_EACH, esn=[False], shapes=["transport4", "4in4", "6in6"]), ids=name_of
)
def test_padding_that_does_not_count(esp: Bench, link: Link) -> None:
    """RFC 4303, section 2.4: padding that is not 1, 2, 3 and so on, or longer than the text."""
    packet = udp(link)[14:]
    inside = packet if link.mode is Mode.TUNNEL else packet[header_size(packet) :]
    protocol = INNER_PROTOCOL[link.inner] if link.mode is Mode.TUNNEL else 17
    wrong = [
        inside + bytes([2, 1, 2, protocol]),
        inside + bytes([0, 0, 2, protocol]),
        inside + bytes([1, 2, 4, 4, 5, 6, 6, protocol]),
        inside + bytes([1, 2, 255, protocol]),
        bytes([0, 0, 3, protocol]),
        bytes([1, 2, 3, protocol]),
        inside + bytes([*range(1, 250), 251, 250, protocol])[-252:],
    ]
    esp.start(link)
    esp.be_receiver()
    for number, text in enumerate(wrong, 1):
        frame = forged_inside(link, text, number)
        assert esp.judge("open", frame) == dropped("BAD_PADDING", IN, frame)


@pytest.mark.parametrize("shape", ["4in4", "6in6", "6in4", "4in6"])
def test_inner_packets_that_are_not_that_peers(esp: Bench, shape: str) -> None:
    """Tunnel mode: what is authentic may still only come from that peer's prefixes, to ours, and has to be an IP packet."""
    link = Link(shape)
    good = udp(link)[14:]
    protocol = INNER_PROTOCOL[link.inner]
    source = slice(12, 16) if link.inner == 4 else slice(8, 24)
    target = slice(16, 20) if link.inner == 4 else slice(24, 40)
    length = 3 if link.inner == 4 else 5

    def replaced(at: slice, value: bytes) -> bytes:
        return good[: at.start] + value + good[at.stop :]

    def with_length(value: int) -> bytes:
        return replaced(slice(length, length + 1), bytes([value]))

    wrong = {
        "source": replaced(source, good[target]),
        "target": replaced(target, good[source]),
        "other source": replaced(source, bytes(source.stop - source.start)),
        "longer than it is": with_length(good[length] + 1),
        "version": bytes([good[0] ^ 0x10]) + good[1:],
        "only a header, and less": good[: header_size(good) - 1],
        "nothing": b"",
    }
    if link.inner == 4:
        wrong |= {
            "shorter than its header": with_length(19),
            "a header of 16 bytes": b"\x44" + good[1:],
            "a header longer than the packet": b"\x4f" + good[1:],
        }
    texts = [text + trailer(len(text), protocol) for text in wrong.values()]
    texts += [good + trailer(len(good), other) for other in (0, 17, 50, 58, 255, *{4, 41} - {protocol})]
    esp.start(link)
    esp.be_receiver()
    for number, text in enumerate(texts, 1):
        frame = forged_inside(link, text, number)
        assert esp.judge("open", frame) == dropped("BAD_SELECTOR", IN, frame)


@pytest.mark.parametrize(
    ("near", "far"),
    [
        (Action.LOCAL, Action.LOCAL),
        (Action.BYPASS, Action.LOCAL),
        (Action.DISCARD, Action.LOCAL),
        (Action.PROTECT, Action.PROTECT),
        (Action.PROTECT, Action.BYPASS),
        (Action.PROTECT, Action.DISCARD),
    ],
)
@pytest.mark.parametrize("link", [T4, T6, IN4], ids=name_of)
def test_policies_that_do_not_fit_what_is_authentic(esp: Bench, link: Link, near: Action, far: Action) -> None:
    """From where nothing is to be protected, or to where nothing protected is to come."""
    esp.start(link)
    esp.set_policies(row(link.near, near), row(link.far, far))
    frame = sealed(link, udp(link), 1)

    assert esp.judge("open", frame) == dropped("BAD_SELECTOR", IN, frame)


@pytest.mark.parametrize("link", [T4, T6, IN4], ids=name_of)
def test_a_policy_for_another_peer(esp: Bench, link: Link) -> None:
    """One peer cannot send as another, and what is for another one is not sealed with this one's SA."""
    esp.start(link)
    esp.set_policies(row(link.near, Action.PROTECT, 2), row(link.far, Action.LOCAL))
    received, sent = sealed(link, udp(link), 1), udp(link)

    assert esp.judge("open", received) == dropped("BAD_SELECTOR", IN, received)
    esp.set_policies(row(link.near, Action.LOCAL), row(link.far, Action.PROTECT, 2))
    assert esp.judge("seal", sent) == dropped("NO_SA", NO_SLOT, sent)


@pytest.mark.parametrize("link", [IN4, IN6, IN64], ids=name_of)
def test_congestion_that_the_sender_does_not_understand(esp: Bench, link: Link) -> None:
    """RFC 6040, section 4.2: marked on its way, and not from a transport that knows of it."""
    esp.start(link)
    esp.be_receiver()
    packet = udp(link)[14:]
    frame = forged_inside(link, packet + trailer(len(packet), INNER_PROTOCOL[link.inner]), tos=3)

    assert esp.judge("open", frame) == dropped("BAD_ECN", IN, frame)


# --- dummies ---


@pytest.mark.parametrize("link", links(suites=ONE_OF_EACH, esn=[False]), ids=name_of)
@pytest.mark.parametrize("size", [0, 1, 2, 50])
def test_a_dummy_is_a_sign_of_life(esp: Bench, link: Link, size: int) -> None:
    """RFC 4303, section 2.6: authentic, without a next header, dropped, and remembered."""
    esp.start(link)
    esp.be_receiver()
    frame = forged_inside(link, bytes(size) + trailer(size, NONE))

    assert esp.judge("open", frame) == dropped("DUMMY", IN, frame)
    assert esp.program.tally(IN).last_ns > 0
    assert esp.program.tally(IN).bytes == 0
    assert esp.judge("open", frame) == dropped("REPLAY", IN, frame)


def dummy_request(link: Link, slot: int, target: str = "") -> bytes:
    """What user space sends to have a dummy sent with a slot: between the outer addresses, whatever the policies."""
    payload = TOKEN + slot.to_bytes(4, "little") + bytes(4)
    header = ip_header(link, len(payload), protocol=NONE)
    if target:
        header = with_checksum(header[:16] + bytes(map(int, target.split("."))))
    return ether(header + payload)


@pytest.mark.parametrize("link", links(suites=ONE_OF_EACH, esn=[False]), ids=name_of)
@pytest.mark.parametrize("program", ["seal", "seal_routed"])
def test_a_dummy_on_request(esp: Bench, link: Link, program: str) -> None:
    """What asks for a dummy becomes one: a packet without content, which its target recognises."""
    esp.start(link, sequence=8)
    esp.set_policies()
    request = dummy_request(link, OUT)
    judged = esp.judge(program, request)

    assert judged == Judged(
        "SEALED", OUT, NEXT, wrapped(link, esp_packet(link, trailer(0, NONE), 9), like=request[14:])
    )
    assert esp.judge("open", judged.data) == dropped("DUMMY", IN, judged.data)


def test_requests_for_dummies_that_are_none(esp: Bench) -> None:
    """To another address, with a slot that does not send, and without the word that asks for it."""
    esp.start(IN4)
    wrong = dummy_request(IN4, OUT, "198.51.100.2")
    assert esp.judge("seal", wrong) == dropped("NO_POLICY", OUT, wrong)
    for slot in (IN, 3, 1023):
        frame = dummy_request(IN4, slot)
        before = esp.counts()
        result = esp.run("seal", frame)
        assert (result.retval, result.data) == (DROP, frame)
        assert esp.program.tally(slot).packets["NO_SA"] > before.get(slot, Counter())["NO_SA"]
    frame = dummy_request(IN4, 1024)
    result = esp.run("seal", frame)
    assert (result.retval, result.data) == (DROP, frame)
    frame = dummy_request(IN4, OUT).replace(TOKEN, TOKEN[::-1])
    assert esp.judge("seal", frame) == dropped("NO_POLICY", NO_SLOT, frame)


@pytest.mark.parametrize("link", [IN4, IN6], ids=name_of)
def test_a_packet_without_a_next_header_goes_through_a_tunnel(esp: Bench, link: Link) -> None:
    """Nobody has asked for a dummy with it: inside of a tunnel it is a packet like others (RFC 8200, section 4.7)."""
    esp.start(link)
    clear = frame(link, Raw(b"x" * 20), **({"proto": NONE} if link.inner == 4 else {"nh": NONE}))

    assert esp.judge("seal", clear) == Judged("SEALED", OUT, NEXT, sealed(link, clear, 1))


def test_memory_that_is_in_use(esp: Bench) -> None:
    """A program that interrupts another one on the same CPU must not use its memory."""
    btf = spec().btf
    assert btf is not None
    found = btf.find("scratch", Kind.STRUCT)
    assert found is not None
    (at,) = (member.bit_offset // 8 for member in btf[found].members if member.name == "busy")  # type: ignore[union-attr]
    scratches = esp.program.collection.maps["scratches"]
    stride = (scratches.spec.value_size + 7) // 8 * 8
    busy, idle = bytearray(scratches.value_bytes), bytes(scratches.value_bytes)
    for start in range(0, len(busy), stride):
        busy[start + at] = 1
    esp.start(IN4)
    clear, received = udp(IN4), sealed(IN4, udp(IN4), 1)
    try:
        scratches.update(bytes(4), bytes(busy))
        for program in ("seal", "seal_routed", "open"):
            for each in (clear, received):
                assert esp.judge(program, each) == dropped("NESTED", NO_SLOT, each)
    finally:
        scratches.update(bytes(4), idle)
    assert esp.judge("seal", clear).verdict == "SEALED"


ELSEWHERE = {
    "EXHAUSTED",  # test_replay.py
    "CHECKSUM",  # takes a device
    "CIPHER_ERROR",  # take a function of the kernel that fails
    "KERNEL_ERROR",
}


def test_every_verdict_is_tried() -> None:
    """Each verdict of ``types.h`` stands in one of these tests, but for a few."""
    btf = spec().btf
    assert btf is not None
    found = btf.find("verdict", Kind.ENUM)
    assert found is not None
    names = {each.name for each in btf[found].values} - {"VERDICTS"}  # type: ignore[union-attr]
    here = Path(__file__)
    text = here.read_text().partition("ELSEWHERE = ")[0] + here.with_name("test_clear_packets.py").read_text()

    assert {name for name in names if f'"{name}"' not in text} == ELSEWHERE
    assert "== passed(" in text
