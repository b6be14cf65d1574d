"""Packets whose payload is not where programs can point at, as those of TCP connections; and the largest ones, which no test run of a kernel takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from scapy.packet import Raw

from bpfcrypto.programs.esp.suites import MAX_TEXT, Mode
from support.esp import DROP, IN, NEXT, ONE_OF_EACH, OUT, Judged, Link, bench, links, name_of
from support.esp_by_hand import sealed
from support.esp_frames import frame, kinds, text, udp

if TYPE_CHECKING:
    from support.esp import Bench

LINEAR = 66  # as of a TCP segment: Ethernet, IPv4, TCP and the option for timestamps


@pytest.fixture(scope="module")
def esp() -> Iterator[Bench]:
    """ESP on the embedded engine, with packets of which only the headers are linear."""
    from bpfcrypto.embedded.engine import EmbeddedEngine

    with bench(EmbeddedEngine(skb_linear=LINEAR)) as found:
        yield found


@pytest.mark.parametrize("link", links(suites=ONE_OF_EACH), ids=name_of)
def test_where_the_payload_is_makes_no_difference(esp: Bench, link: Link) -> None:
    """Both ways every byte is that of the book."""
    frames = [udp(link, size) for size in (*range(40), 100, 500, 1300)] + [*kinds(link).values()]
    expected = [sealed(link, frame, number) for number, frame in enumerate(frames, 1)]
    esp.start(link)

    assert esp.sealed(frames) == expected
    assert esp.opened(expected) == frames


@pytest.mark.parametrize(
    "link", [Link(shape, mtu=60000) for shape in ("transport4", "4in4", "4in6", "6in6")], ids=name_of
)
def test_the_largest_text(esp: Bench, link: Link) -> None:
    """9216 bytes can be sealed and opened; more cannot, however large the MTU."""
    header = 20 if link.inner == 4 else 40
    fits = frame(link, Raw(text(link.largest - header)), **protocol(link))
    too_big = frame(link, Raw(text(link.largest - header + 1)), **protocol(link))
    esp.start(link)

    assert len(fits) - 14 + 2 - (header if link.mode is Mode.TRANSPORT else 0) == MAX_TEXT
    assert esp.judge("seal", too_big) == Judged("TOO_BIG", OUT, DROP, too_big)
    assert esp.judge("seal", fits) == Judged("SEALED", OUT, NEXT, sealed(link, fits, 1))
    esp.be_receiver()
    assert esp.judge("open", sealed(link, fits, 1)) == Judged("OPENED", IN, NEXT, fits)
    received = sealed(link, too_big, 2)
    assert esp.judge("open", received) == Judged("TOO_BIG", IN, DROP, received)


def protocol(link: Link) -> dict[str, int]:
    """A protocol that scapy knows nothing of."""
    return {"proto": 200} if link.inner == 4 else {"nh": 200}
