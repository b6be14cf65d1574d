"""A link with ESP as reports see it: the object with its control programs on the embedded engine, SAs as they are asked for, made-up traffic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

from bpfcrypto import open_engine
from bpfcrypto.btf.values import encode
from bpfcrypto.programs.esp.config import Config, load_config
from bpfcrypto.programs.esp.keys import KeyMaterial
from bpfcrypto.programs.esp.program import CONTROL_PROGRAMS, Association, EspProgram, spec
from bpfcrypto.programs.esp.suites import Cipher, Mode
from bpfcrypto.programs.esp.wire import spi_of
from support.esp_configs import CONFIG, EXPLICIT

HERE, THERE = ip_address("192.0.2.1"), ip_address("198.51.100.1")
KEY = bytes(range(1, 33))

SECOND = 10**9


@contextmanager
def opened_program() -> Iterator[EspProgram]:
    with open_engine("embedded") as engine, engine.load(spec(), programs=CONTROL_PROGRAMS) as collection:
        yield EspProgram(engine, collection)


def config_of(folder: Path, *, explicit: bool = False) -> Config:
    """The link ``west`` with the peer ``right``, number 1."""
    path = folder / "west.toml"
    path.write_text(EXPLICIT if explicit else CONFIG)
    return load_config(path)


def install(program: EspProgram, slot: int, spi: int, *, outbound: bool, peer: int = 1, sequence: int = 0) -> None:
    """An SA in a slot, which is sent or received with only if that is asked for."""
    out = Association(spi, peer, Cipher.AES_CCM_16, Mode.TUNNEL, True, True, HERE, THERE, 1500, sequence)
    program.install(
        slot,
        out if outbound else replace(out, outbound=False, source=THERE, target=HERE),
        KeyMaterial(bytearray(KEY), b"\1\2\3"),
    )


def bring_up(program: EspProgram, epoch: int, *, first_slot: int = 1) -> None:
    """What the control plane installs for an epoch: to send, to receive, and to receive the next."""
    install(program, first_slot, spi_of(epoch, 1), outbound=True)
    for slot, each in ((first_slot + 1, epoch), (first_slot + 2, epoch + 1)):
        if spi_of(each, 1) not in program.receiving():
            install(program, slot, spi_of(each, 1), outbound=False)
            program.receive(spi_of(each, 1), slot)
    program.send(1, first_slot)


def count(program: EspProgram, slot: int, packets: dict[str, int], *, size: int = 0, last_ns: int = 0) -> None:
    """Make the counters of a slot say this: on the first CPU, and 1 packet of each verdict on the last, where there are two."""
    tallies = program.collection.maps["tallies"]
    btf = spec().btf
    assert btf is not None
    stride = (tallies.spec.value_size + 7) // 8 * 8
    cpus = tallies.value_bytes // stride
    shares = [{name: number - (cpus > 1) for name, number in packets.items()}, dict.fromkeys(packets, 1)]
    values = [
        {"packets": [share.get(name, 0) for name in program.verdicts], "bytes": size * (not number), "last_ns": last_ns}
        for number, share in enumerate(shares[: min(cpus, 2)])
    ]
    data = [encode(btf, tallies.spec.value_type, value).ljust(stride, b"\0") for value in values]
    data[1:1] = [bytes(stride)] * (cpus - len(data))
    tallies.update(slot.to_bytes(4, "little"), b"".join(data))
