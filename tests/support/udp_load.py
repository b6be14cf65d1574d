"""A process that sends numbered datagrams at a steady rate, and keeps account of those that come from the other end.

    python -m support.udp_load NETNS LOCAL REMOTE RATE [CPU]

It ends with its standard input, and says what it has sent and what has come. A rate of 0 sends as fast as it can, 40 datagrams at a time
that the kernel cuts apart.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from support.traffic import Ends

PORT = 7777
SIZE = 200
_TICK = 0.005
_LATE = 0.5  # seconds for which the last ones are waited for
_AT_ONCE = 40
_SUPPORT = Path(__file__).parents[1]


def datagram(number: int, size: int = SIZE) -> bytes:
    """What one has in it: the number, and what follows from it."""
    head = number.to_bytes(8, "big")
    return (head * (size // 8 + 1))[:size]


def number_of(data: bytes) -> int:
    """The number of a datagram; -1 where something in it has changed."""
    number = int.from_bytes(data[:8], "big")
    return number if data == datagram(number, len(data)) else -1


@dataclass(frozen=True)
class Account:
    """What a process has seen.

    Attributes:
        sent: datagrams; their numbers are 0 to ``sent`` - 1.
        refused: of these, those that the kernel did not take.
        came: different ones that have come.
        again: how many came once more.
        wrong: how many were not as they were sent.
    """

    sent: int
    refused: int
    came: int
    again: int
    wrong: int


class Load:
    """A running process; ``stop`` gives its account."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def begin(self) -> None:
        """Let it send."""
        assert self._process.stdin
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def hush(self) -> None:
        """No more is to be sent."""
        assert self._process.stdin
        self._process.stdin.close()

    def account(self) -> Account:
        """What it has seen, when nothing more can come."""
        assert self._process.stdout
        return Account(**json.loads(self._process.stdout.read()))


@contextmanager
def load(netns: str, local: str, remote: str, rate: int, cpu: int | None = None) -> Iterator[Load]:
    """Start one. It sends nothing before ``begin``, but would miss nothing either."""
    arguments = [netns, local, remote, str(rate), *([] if cpu is None else [str(cpu)])]
    with subprocess.Popen(
        [sys.executable, "-m", "support.udp_load", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(_SUPPORT), *filter(None, sys.path)])},
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            yield Load(process)
        finally:
            process.kill()


@contextmanager
def both_ways(ends: Ends, rate: int) -> Iterator[tuple[Load, Load]]:
    """One at each end; they begin when both are there."""
    assert ends.source is not None
    with (
        load(ends.client, ends.source, ends.target, rate) as client,
        load(ends.server, ends.target, ends.source, rate) as server,
    ):
        for each in (client, server):
            each.begin()
        yield client, server


def finish(loads: tuple[Load, ...]) -> list[Account]:
    """Stop all, and read their accounts."""
    for each in loads:
        each.hush()
    return [each.account() for each in loads]


class _Receiver:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._seen = bytearray(1 << 22)
        self.came = self.again = self.wrong = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while not self._done.is_set():
            with suppress(TimeoutError):
                number = number_of(self._sock.recv(1 << 16))
                if not 0 <= number < len(self._seen):
                    self.wrong += 1
                elif self._seen[number]:
                    self.again += 1
                else:
                    self._seen[number] = 1
                    self.came += 1

    def stop(self) -> None:
        self._done.set()
        self._thread.join()


def main(netns: str, local: str, remote: str, rate: str, cpu: str | None = None) -> None:
    from bpfcrypto.kernel.netns import within

    if cpu is not None:
        os.sched_setaffinity(0, {int(cpu)})
    family = socket.AF_INET6 if ":" in local else socket.AF_INET
    sock = within(netns, lambda: socket.socket(family, socket.SOCK_DGRAM))
    sock.setsockopt(socket.SOL_SOCKET, 33, 1 << 26)  # SO_RCVBUFFORCE
    sock.settimeout(0.1)
    fast = rate == "0"
    sock.bind((local, 0 if fast else PORT))
    print("ready", flush=True)
    sys.stdin.readline()
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    receiver = _Receiver(sock)
    sent, refused = _flood(sock, remote, stop) if fast else _steady(sock, remote, int(rate), stop)
    time.sleep(_LATE)
    receiver.stop()
    account = Account(sent, refused, receiver.came, receiver.again, receiver.wrong)
    print(json.dumps(asdict(account)), flush=True)


def _steady(sock: socket.socket, remote: str, rate: int, stop: threading.Event) -> tuple[int, int]:
    begin, sent, refused = time.monotonic(), 0, 0
    while not stop.is_set():
        while sent < (time.monotonic() - begin) * rate:
            try:
                sock.sendto(datagram(sent), (remote, PORT))
            except OSError:
                refused += 1
            sent += 1
        time.sleep(_TICK)
    return sent, refused


def _flood(sock: socket.socket, remote: str, stop: threading.Event) -> tuple[int, int]:
    sock.setsockopt(socket.IPPROTO_UDP, 103, SIZE)  # UDP_SEGMENT
    sent = 0
    while not stop.is_set():
        sock.sendto(b"".join(datagram(sent + each) for each in range(_AT_ONCE)), (remote, PORT))
        sent += _AT_ONCE
    return sent, 0


if __name__ == "__main__":
    main(*sys.argv[1:])
