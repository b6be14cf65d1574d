"""Send a text in a ping, and say what the wire showed of it. Needs root.

python echo.py ADDRESS TEXT [INTERFACE]

Without an interface it looks at all of them.
"""

from __future__ import annotations

import os
import socket
import struct
import sys

EVERY_PROTOCOL = 3
SECONDS = 2.0


def checksum(data: bytes) -> int:
    """The checksum of ICMP."""
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo(address: str, text: bytes) -> bytes | None:
    """What comes back for a ping with that text; None where nothing does."""
    head = struct.pack("!BBHHH", 8, 0, 0, os.getpid() & 0xFFFF, 1)
    packet = head[:2] + struct.pack("!H", checksum(head + text)) + head[4:] + text
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as icmp:
        icmp.settimeout(SECONDS)
        icmp.connect((address, 0))
        try:
            icmp.send(packet)
            while True:
                answer = icmp.recv(1 << 16)[20:]
                if answer[0] == 0 and answer[4:8] == head[4:8]:
                    return answer[8:]
        except OSError:  # a time-out, or the word of a program that dropped it
            return None


def main() -> None:
    """Ping while a packet socket looks at the wire."""
    address, text = sys.argv[1], sys.argv[2].encode()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(EVERY_PROTOCOL)) as tap:
        if len(sys.argv) > 3:
            tap.bind((sys.argv[3], EVERY_PROTOCOL))
        tap.settimeout(0.1)
        answer = echo(address, text)
        frames = []
        try:
            while True:
                frames.append(tap.recv(1 << 16))
        except TimeoutError:
            pass
    packets = [frame for frame in frames if frame[12:14] == b"\x08\x00"]
    shown = sum(text in frame for frame in packets)
    print(f"{address} answers: {answer.decode()}" if answer is not None else f"{address} does not answer")
    print(f"on the wire: {len(packets)} packets, {shown} with the text in them")


if __name__ == "__main__":
    main()
