"""Record examples/traffic.pcap: real packets between two network namespaces that exist only while this runs.

A veth pair joins the namespaces; offloads are off, so that packets are on it as on a wire, with complete checksums. tcpdump records
one end while ping, UDP and TCP programs talk across, over IPv4 and IPv6. Some of what they say is said once more with one and two
VLAN tags, which spares the machine the VLAN driver. Needs root, iproute2, ping and tcpdump. Nothing outside the two namespaces is
touched, and they are removed whatever happens.

    python tools/record_capture.py [OUTPUT]
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEFT, RIGHT = (f"bpfcrypto-{side}-{os.getpid()}" for side in ("left", "right"))
DEVICE = "wire"
V4 = {LEFT: "10.77.0.1", RIGHT: "10.77.0.2"}
V6 = {LEFT: "fd77::1", RIGHT: "fd77::2"}
ONE_TAG = struct.pack("!HH", 0x8100, 100)
TWO_TAGS = struct.pack("!HHHH", 0x88A8, 200, 0x8100, 300)
SIZES = (0, 1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 48, 64, 100, 255, 256, 512, 1000, 1400)
CLONE_NEWNET = 0x40000000

SERVER = """
import http.server, socketserver
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def reply(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.reply(b"".join(b"line %04d of the document that was asked for\\n" % i for i in range(400)))
    def do_POST(self):
        self.reply(b"took %d bytes\\n" % len(self.rfile.read(int(self.headers["Content-Length"]))))
    def log_message(self, *args): pass
class Server(socketserver.TCPServer):
    allow_reuse_address = True
    address_family = __import__("socket").AF_INET6
Server(("::", 80), Handler).serve_forever()
"""


def run(*command: str, check: bool = True) -> None:
    subprocess.run(command, check=check, timeout=20, stdout=subprocess.DEVNULL)


def inside(namespace: str, *command: str) -> tuple[str, ...]:
    return ("ip", "netns", "exec", namespace, *command)


@contextlib.contextmanager
def entered(namespace: str) -> Iterator[None]:
    """Sockets that are made within belong to the namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net") as home, open(f"/var/run/netns/{namespace}") as away:
        if libc.setns(away.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {namespace}")
        try:
            yield
        finally:
            libc.setns(home.fileno(), CLONE_NEWNET)


def offloads_off(device: str) -> None:
    """What ``ethtool -K DEV rx off tx off sg off tso off gso off gro off`` does, for machines without ethtool."""
    set_commands = (0x15, 0x17, 0x19, 0x1F, 0x24, 0x2C)  # SRXCSUM STXCSUM SSG STSO SGSO SGRO
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for command in set_commands:
            value = ctypes.create_string_buffer(struct.pack("II", command, 0))
            request = struct.pack("16sP16x", device.encode(), ctypes.addressof(value))
            with contextlib.suppress(OSError):  # some cannot be changed on some kernels; the result is checked below
                fcntl.ioctl(control, 0x8946, request)


def build_wire() -> None:
    for namespace in (LEFT, RIGHT):
        run("ip", "netns", "add", namespace)
    run("ip", "link", "add", DEVICE, "netns", LEFT, "type", "veth", "peer", "name", DEVICE, "netns", RIGHT)
    for number, namespace in enumerate((LEFT, RIGHT), 1):
        ip = lambda *words, space=namespace: run("ip", "-n", space, *words)  # noqa: E731
        ip("link", "set", DEVICE, "address", f"02:00:00:00:77:0{number}")
        with entered(namespace):
            offloads_off(DEVICE)
        ip("link", "set", "lo", "up")
        ip("addr", "add", f"{V4[namespace]}/24", "dev", DEVICE)
        ip("addr", "add", f"{V6[namespace]}/64", "dev", DEVICE, "nodad")
        ip("link", "set", DEVICE, "up")


def udp_dialogue(family: int, here: str, there: str, port: int, sizes: tuple[int, ...]) -> None:
    """Questions of these sizes to a port, each answered by twice the question, as a name server would."""
    with entered(RIGHT):
        server = socket.socket(family, socket.SOCK_DGRAM)
    with entered(LEFT):
        client = socket.socket(family, socket.SOCK_DGRAM)
    with server, client:
        server.settimeout(5)
        client.settimeout(5)
        server.bind((there, port))
        client.bind((here, 20000 + port))
        for size in sizes:
            client.sendto(bytes((size + i) & 0xFF for i in range(size)), (there, port))
            question, sender = server.recvfrom(4096)
            server.sendto((question * 2)[:1400], sender)
            client.recvfrom(4096)


def tcp_transfer(host: str) -> None:
    """A page down and a form up, over HTTP."""
    with entered(LEFT):
        connection = socket.create_connection((host, 80), timeout=5)
    with connection:
        connection.sendall(b"GET /document HTTP/1.1\r\nHost: example\r\n\r\n")
        read_until(connection, b"line 0399 of the document that was asked for\n")
        form = b"&".join(b"field%d=value%d" % (i, i * i) for i in range(400))
        connection.sendall(b"POST /form HTTP/1.1\r\nHost: example\r\nContent-Length: %d\r\n\r\n" % len(form) + form)
        read_until(connection, b"bytes\n")


def read_until(connection: socket.socket, end: bytes) -> None:
    seen = b""
    while not seen.endswith(end):
        part = connection.recv(65536)
        if not part:
            raise ConnectionError(f"the server closed the connection after {len(seen)} bytes")
        seen += part


@contextlib.contextmanager
def said_again(tags: bytes) -> Iterator[None]:
    """Every UDP and TCP packet that LEFT sends or receives within is sent once more behind VLAN tags."""
    with entered(LEFT):
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    with wire:
        wire.bind((DEVICE, 3))
        yield
        time.sleep(0.1)
        frames = []
        wire.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                frames.append(wire.recv(2048))
        for frame in frames:
            if (frame[12:14] == b"\x08\x00" and frame[23] in (6, 17)) or (
                frame[12:14] == b"\x86\xdd" and frame[20] in (6, 17)
            ):
                wire.send(frame[:12] + tags + frame[12:])


def odd_frames() -> None:
    """Frames that no protocol stack sends: an unknown ethertype, padding, lengths that lie, IPv4 options, extension headers."""
    with entered(LEFT):
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    ethernet = bytes.fromhex("020000007702020000007701")
    datagram = struct.pack("!HHHH", 4000, 4000, 8 + 40, 0) + bytes(range(40))
    v6 = socket.inet_pton(socket.AF_INET6, V6[LEFT]) + socket.inet_pton(socket.AF_INET6, V6[RIGHT])

    def ipv4(payload: bytes, *, options: bytes = b"", length: int | None = None, protocol: int = 17) -> bytes:
        total = 20 + len(options) + len(payload) if length is None else length
        addresses = socket.inet_aton(V4[LEFT]) + socket.inet_aton(V4[RIGHT])
        head = struct.pack("!BBHHHBBH", 0x45 + len(options) // 4, 0, total, 7, 0, 64, protocol, 0) + addresses + options
        words = sum(struct.unpack(f"!{len(head) // 2}H", head))
        check = ~(words + (words >> 16)) & 0xFFFF
        return b"\x08\x00" + head[:10] + struct.pack("!H", check) + head[12:] + payload

    def ipv6(payload: bytes, following: int) -> bytes:
        return b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, len(payload), following, 64) + v6 + payload

    frames = (
        b"\x88\xb5" + b"local experimental ethertype",
        b"\x88\xb5",
        ipv4(datagram) + bytes(17),  # padding behind the packet
        ipv4(datagram, options=b"\x01" * 8),
        ipv4(datagram, length=200),  # says more than there is
        ipv4(datagram[:6]),  # less than a UDP header
        ipv4(datagram[:4] + b"\0\4" + datagram[6:]),  # UDP length below its header
        ipv4(bytes(30), protocol=253),
        ipv6(b"\x11\x00\x01\x04\x00\x00\x00\x00" + datagram, 0),  # hop-by-hop options
        ipv6(b"\x11\x01" + b"\x01\x0c" + bytes(12) + datagram, 60),  # destination options
        ipv6(b"\x11\x00\x00\x00\x00\x00\x00\x00" + datagram, 43),  # routing header
        ipv6(b"\x3b" + bytes(7), 59),
    )
    with wire:
        wire.bind((DEVICE, 0))
        for frame in frames:
            wire.send(ethernet + frame)


def talk() -> None:
    run(*inside(LEFT, "ping", "-c", "3", "-i", "0.05", "-q", V4[RIGHT]))
    run(*inside(LEFT, "ping", "-c", "3", "-i", "0.05", "-q", V6[RIGHT]))
    run(*inside(LEFT, "ping", "-c", "1", "-s", "4000", "-q", V4[RIGHT]))  # fragments
    run(*inside(LEFT, "ping", "-c", "1", "-s", "3000", "-q", V6[RIGHT]))
    udp_dialogue(socket.AF_INET, V4[LEFT], V4[RIGHT], 53, SIZES)
    udp_dialogue(socket.AF_INET6, V6[LEFT], V6[RIGHT], 53, SIZES)
    udp_dialogue(socket.AF_INET, V4[LEFT], V4[RIGHT], 5000, (3000,))  # a question in fragments
    with said_again(ONE_TAG):
        udp_dialogue(socket.AF_INET, V4[LEFT], V4[RIGHT], 53, SIZES[3:9])
        udp_dialogue(socket.AF_INET6, V6[LEFT], V6[RIGHT], 53, SIZES[5:12])
    with said_again(TWO_TAGS):
        udp_dialogue(socket.AF_INET, V4[LEFT], V4[RIGHT], 53, SIZES[7:14])
    tcp_transfer(V6[RIGHT])
    with said_again(ONE_TAG):
        tcp_transfer(V4[RIGHT])
    odd_frames()


def record(output: Path) -> None:
    server = recorder = None
    try:
        build_wire()
        server = subprocess.Popen(inside(RIGHT, sys.executable, "-c", SERVER))
        # The receiving end: what is seen there has crossed the wire, checksums and tags included.
        command = ("tcpdump", "-i", DEVICE, "-U", "--immediate-mode", "-s", "0", "-w", str(output))
        recorder = subprocess.Popen(inside(RIGHT, *command), stderr=subprocess.DEVNULL)
        time.sleep(1)
        talk()
        time.sleep(0.5)
    finally:
        for process in (server, recorder):
            if process is not None:
                process.terminate()
                process.wait(timeout=10)
        for namespace in (LEFT, RIGHT):
            run("ip", "netns", "delete", namespace, check=False)


def main() -> int:
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "examples/traffic.pcap"
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)  # tcpdump gives up root before it writes
        capture = Path(folder, "capture.pcap")
        record(capture)
        output.write_bytes(capture.read_bytes())
    print(f"{output}: {output.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
