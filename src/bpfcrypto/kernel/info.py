"""What the kernel says of its own objects (BPF_OBJ_GET_INFO_BY_FD), as values."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from bpfcrypto.kernel import attr, bpf
from bpfcrypto.kernel.fd import Fd


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """One loaded program.

    Attributes:
        id: its number in this kernel.
        type: its program type's number.
        name: at most 15 characters.
        tag: 8 bytes, a hash of the instructions.
        xlated_bytes: size of the instructions after the verifier's rewrites.
        jited_bytes: size of the machine code; 0 where it is interpreted, or hidden from this process.
        verified_insns: how many instructions the verifier visited; 0 before Linux 5.16.
        map_ids: numbers of the maps it uses.
        btf_id: number of its BTF, 0 for none.
        gpl_compatible: whether its licence is.
        run_count, run_time_ns: filled while kernel.bpf_stats_enabled is 1.
    """

    id: int
    type: int
    name: str
    tag: bytes
    xlated_bytes: int
    jited_bytes: int
    verified_insns: int
    map_ids: tuple[int, ...]
    btf_id: int
    gpl_compatible: bool
    run_count: int
    run_time_ns: int


@dataclass(frozen=True, slots=True)
class MapInfo:
    """One live map; ``btf_id`` and the type ids are 0 where it has no types."""

    id: int
    type: int
    name: str
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    map_extra: int
    btf_id: int
    key_type: int
    value_type: int


def program_info(fd: Fd) -> ProgramInfo:
    """Ask about a program."""
    first = bpf.obj_get_info(fd, attr.PROG_INFO)
    fields = attr.PROG_INFO.unpack(first)
    map_ids = (ctypes.c_uint32 * fields["nr_map_ids"])()
    if len(map_ids):
        bpf.obj_get_info(fd, attr.PROG_INFO, {"nr_map_ids": len(map_ids), "map_ids": ctypes.addressof(map_ids)})
    return ProgramInfo(
        id=fields["id"],
        type=fields["type"],
        name=_text(attr.PROG_INFO.unpack_bytes(first, "name")),
        tag=attr.PROG_INFO.unpack_bytes(first, "tag"),
        xlated_bytes=fields["xlated_prog_len"],
        jited_bytes=fields["jited_prog_len"],
        verified_insns=fields["verified_insns"],
        map_ids=tuple(map_ids),
        btf_id=fields["btf_id"],
        gpl_compatible=bool(fields["bits"] & 1),
        run_count=fields["run_cnt"],
        run_time_ns=fields["run_time_ns"],
    )


def map_info(fd: Fd) -> MapInfo:
    """Ask about a map."""
    data = bpf.obj_get_info(fd, attr.MAP_INFO)
    fields = attr.MAP_INFO.unpack(data)
    return MapInfo(
        id=fields["id"],
        type=fields["type"],
        name=_text(attr.MAP_INFO.unpack_bytes(data, "name")),
        key_size=fields["key_size"],
        value_size=fields["value_size"],
        max_entries=fields["max_entries"],
        flags=fields["map_flags"],
        map_extra=fields["map_extra"],
        btf_id=fields["btf_id"],
        key_type=fields["btf_key_type_id"],
        value_type=fields["btf_value_type_id"],
    )


def btf_data(btf_id: int) -> bytes:
    """The bytes of a loaded BTF, by its number (needs CAP_SYS_ADMIN)."""
    with bpf.btf_get_fd_by_id(btf_id) as fd:
        size = attr.BTF_INFO.unpack(bpf.obj_get_info(fd, attr.BTF_INFO))["btf_size"]
        data = ctypes.create_string_buffer(size)
        bpf.obj_get_info(fd, attr.BTF_INFO, {"btf": ctypes.addressof(data), "btf_size": size})
        return data.raw


def _text(name: bytes) -> str:
    return name.partition(b"\0")[0].decode("utf-8", "replace")
