"""ESP on a link: ``make bench-link`` measures packets one by one, then UDP and TCP between two network namespaces, beside the bare link.

All links of a round are up at once and take turns. Namespaces and pins are this process's own, and go with it. Needs root.
"""

from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import esp, report
from bench.rows import Row

from bpfcrypto.cli.render import print_table
from bpfcrypto.kernel.netns import within

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))  # the networks are those of the tests

from support.esp_lab import esp_lab  # noqa: E402
from support.esp_link import Options, esp_link  # noqa: E402
from support.lab import in_own_mounts  # noqa: E402
from support.traffic import Ends  # noqa: E402

ROUNDS, SECONDS = 3, 1.0
BARE = "bare link"
SUITES = tuple(esp.GOALS)
HEADERS = 28  # of IPv4 and UDP
PORT = 7777
_AT_ONCE = 64
_CHUNK = 1 << 20


class _Message(ctypes.Structure):
    """``struct mmsghdr``."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint),
        ("iov", ctypes.c_void_p),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("sent", ctypes.c_uint),
    )


class _Vector(ctypes.Structure):
    """``struct iovec``."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def flood(sock: socket.socket, size: int, seconds: float) -> None:
    """Send datagrams of that size as fast as it goes."""
    payload = ctypes.create_string_buffer(os.urandom(size), size)
    vector = _Vector(ctypes.cast(payload, ctypes.c_void_p), size)
    messages = (_Message * _AT_ONCE)()
    for message in messages:
        message.iov, message.iovlen = ctypes.cast(ctypes.pointer(vector), ctypes.c_void_p), 1
    send = ctypes.CDLL(None).sendmmsg
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        send(sock.fileno(), messages, _AT_ONCE, 0)


def stream(sock: socket.socket, seconds: float) -> None:
    """Send bytes as fast as it goes."""
    data, until = bytes(_CHUNK), time.monotonic() + seconds
    while time.monotonic() < until:
        sock.sendall(data)


@contextmanager
def sender(work: Callable[..., None], *arguments: object) -> Iterator[None]:
    """A process of its own that sends while others look."""
    process = multiprocessing.get_context("fork").Process(target=work, args=arguments, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.join()


def udp_rate(ends: Ends, size: int) -> float:
    """Packets per second that arrive, of IP packets of that size. Nobody reads them: what is full counts as well."""
    with (
        within(ends.server, lambda: socket.socket(ends.family, socket.SOCK_DGRAM)) as server,
        within(ends.client, lambda: socket.socket(ends.family, socket.SOCK_DGRAM)) as client,
    ):
        server.bind((ends.target, PORT))
        if ends.source is not None:
            client.bind((ends.source, 0))
        client.connect((ends.target, PORT))
        before, begin = _arrived(ends.server), time.monotonic()
        with sender(flood, client, size - HEADERS, SECONDS):
            pass
        return (_arrived(ends.server) - before) / (time.monotonic() - begin)


def _arrived(netns: str) -> int:
    """Datagrams that a namespace has got."""

    def read() -> int:
        lines = [
            line.split() for line in Path("/proc/thread-self/net/snmp").read_text().splitlines() if line[:4] == "Udp:"
        ]
        counters = dict(zip(lines[0][1:], map(int, lines[1][1:]), strict=True))
        return counters["InDatagrams"] + counters["RcvbufErrors"]

    return within(netns, read)


def tcp_rate(ends: Ends) -> float:
    """Bits per second of one stream."""
    with within(ends.server, lambda: socket.socket(ends.family, socket.SOCK_STREAM)) as server:
        server.bind((ends.target, 0))
        server.listen()
        with within(ends.client, lambda: socket.socket(ends.family, socket.SOCK_STREAM)) as client:
            if ends.source is not None:
                client.bind((ends.source, 0))
            client.connect(server.getsockname())
            connection, _ = server.accept()
            buffer, total, begin = bytearray(_CHUNK), 0, time.monotonic()
            with connection, sender(stream, client, SECONDS):
                client.close()
                while count := connection.recv_into(buffer):
                    total += count
            return 8 * total / (time.monotonic() - begin)


@dataclass(frozen=True)
class Links:
    """The networks that are compared, each by its name."""

    ends: Mapping[str, Ends]

    def rows(self) -> Iterator[Row]:
        for size in esp.SIZES:
            yield from self._compared(f"UDP, {size} B", lambda ends, size=size: udp_rate(ends, size), size)
        yield from self._compared("TCP, one stream", tcp_rate, None)

    def _compared(self, name: str, measure: Callable[[Ends], float], size: int | None) -> Iterator[Row]:
        rates: dict[str, list[float]] = {each: [] for each in self.ends}
        for _ in range(ROUNDS):
            for each, ends in self.ends.items():
                rates[each].append(measure(ends))
        bare = statistics.median(rates[BARE])
        for each, found in rates.items():
            rate = statistics.median(found)
            bits = rate if size is None else 8 * size * rate
            note = f"{rate / bare:.2f} of the bare link" if each != BARE else ""
            if size is not None:
                note = "; ".join(filter(None, (f"{1e9 / rate:,.0f} ns per packet, {rate / 1e3:,.1f} k/s", note)))
            yield Row(f"Link {name}", each, bits / 1e9, "Gb/s", note=note)


def links() -> list[Row]:
    """What the links carry."""
    rows: list[Row] = []

    def measure() -> None:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            ends = {BARE: stack.enter_context(esp_lab()).ends()}
            for suite in SUITES:
                pins = Path("/sys/fs/bpf", suite)
                pins.mkdir()
                link = stack.enter_context(esp_link(folder / suite, pins, Options(suite=suite, mode="transport")))
                ends[suite] = link.ends()
            rows.extend(Links(ends).rows())

    in_own_mounts(measure)
    return rows


HEAD = """# How fast ESP is

Written by `make bench-link ARGS=--write`, on {machine}. Times are nanoseconds of one packet in a test run, sealed or opened, medians of rounds in which all take turns; the goals are
those of a prototype on a machine of the same kind, on another day. The links are two network namespaces with a router between them on two processors, which share the whole way: sending, sealing,
forwarding, opening. On the bare link TCP has super-packets all the way; where there is ESP, the kernel cuts them before they are sealed.

"""

TITLES = {
    "ESP aes-128-ccm-16": "AES-CCM, one packet",
    "ESP chacha20-poly1305": "ChaCha20-Poly1305, one packet",
    **{f"Link UDP, {size} B": f"UDP, IP packets of {size} B, between two hosts" for size in esp.SIZES},
    "Link TCP, one stream": "TCP, one stream, between two hosts",
}
NOTES = {
    "ESP aes-128-ccm-16": "Nearly all of it is the kernel's cipher, which here is portable code without the processor's instructions: two passes over the packet, 130 and 160 ns for each block of 16 "
    "bytes. The rows about what is not the cipher say what is left for us. The goals come from a day when the same cipher was some percent faster: at 1420 B it alone takes as long here as all "
    "of the prototype then. Small packets show what the prototype did not do: policies for both addresses and both versions of IP, extended numbers, counters by SA and verdict, slots that may "
    "be emptied at any moment.",
    "ESP chacha20-poly1305": "All of it is BPF; of the 1420 B the two ciphers' arithmetic takes about 4.2 µs. What the prototype did not do costs the same 0.4 µs as above.",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--write", action="store_true", help="write docs/reference/esp-speed.md, its data and its plots"
    )
    options = parser.parse_args()
    rows = sorted(esp.packets(), key=lambda row: row.group) + links()
    if options.write:
        report.write(
            ROOT / "docs" / "reference", rows, HEAD.format(machine=report.machine()), "esp-speed", TITLES, NOTES
        )
        return
    table = [(f"{row.group}: {row.name}", row.shown, row.goal_shown, row.verdict) for row in rows]
    print_table(("measurement", "value", "goal", ""), table, right=("value", "goal"))


if __name__ == "__main__":
    main()
