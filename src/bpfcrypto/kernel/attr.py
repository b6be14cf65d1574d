"""The memory layout of bpf(2)'s arguments, as tables.

``union bpf_attr`` holds one anonymous structure per group of commands (include/uapi/linux/bpf.h). Each is a list of fields with
struct-module codes and natural alignment, so one class packs and unpacks all of them. A field that is not named is zero, which is
what the kernel demands of everything it does not expect; and since it accepts longer arguments whose tail is zero, one layout
serves every release.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping
from enum import IntEnum


class Command(IntEnum):
    """enum bpf_cmd."""

    MAP_CREATE = 0
    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    MAP_DELETE_ELEM = 3
    MAP_GET_NEXT_KEY = 4
    PROG_LOAD = 5
    OBJ_PIN = 6
    OBJ_GET = 7
    PROG_TEST_RUN = 10
    PROG_GET_FD_BY_ID = 13
    MAP_GET_FD_BY_ID = 14
    OBJ_GET_INFO_BY_FD = 15
    PROG_QUERY = 16
    BTF_LOAD = 18
    BTF_GET_FD_BY_ID = 19
    MAP_LOOKUP_AND_DELETE_ELEM = 21
    MAP_FREEZE = 22
    MAP_LOOKUP_BATCH = 24
    MAP_LOOKUP_AND_DELETE_BATCH = 25
    MAP_UPDATE_BATCH = 26
    MAP_DELETE_BATCH = 27
    LINK_CREATE = 28
    LINK_UPDATE = 29
    LINK_GET_FD_BY_ID = 30
    LINK_GET_NEXT_ID = 31
    LINK_DETACH = 34
    TOKEN_CREATE = 36


class Layout:
    """A C structure: field names with struct codes (``I`` u32, ``i`` s32, ``Q`` u64, ``16s`` bytes) at their natural alignment.

    Args:
        fields: ``name:code`` pairs separated by white space.
    """

    def __init__(self, fields: str) -> None:
        pairs = [field.split(":") for field in fields.split()]
        self.names: tuple[str, ...] = tuple(name for name, _ in pairs)
        self.struct = struct.Struct("@" + "".join(code for _, code in pairs))
        self.size: int = self.struct.size
        self._defaults = {name: b"" if code.endswith("s") else 0 for name, code in pairs}
        self.codes: dict[str, str] = {field[0]: field[1] for field in pairs}
        self._integers = [(name, i) for i, name in enumerate(self.names) if not self.codes[name].endswith("s")]
        self._array = ctypes.c_char * self.size

    def offsets(self) -> dict[str, int]:
        """Byte offset of each field."""
        result = {}
        for position, name in enumerate(self.names):
            before = "".join(self.codes[earlier] for earlier in self.names[:position])
            code = self.codes[name]
            result[name] = struct.calcsize("@" + before + code) - struct.calcsize("@" + code)
        return result

    def pack(self, values: Mapping[str, int | bytes]) -> bytes:
        """The structure's bytes; fields that are not given are zero."""
        return self.struct.pack(*{**self._defaults, **values}.values())

    def buffer(self, values: Mapping[str, int | bytes]) -> ctypes.Array[ctypes.c_char]:
        """The structure in memory that the kernel can write."""
        return self._array.from_buffer_copy(self.pack(values))

    def unpack(self, data: bytes) -> dict[str, int]:
        """All integer fields of ``data``, which may be longer or (from an older kernel) shorter than the structure."""
        values = self.struct.unpack(self._whole(data))
        return {name: values[position] for name, position in self._integers}

    def _whole(self, data: bytes) -> bytes:
        return data if len(data) == self.size else data[: self.size].ljust(self.size, b"\0")

    def unpack_bytes(self, data: bytes, name: str) -> bytes:
        """One byte-array field of ``data``."""
        value = self.struct.unpack(self._whole(data))[self.names.index(name)]
        assert isinstance(value, bytes)
        return value


MAP_CREATE = Layout(
    "map_type:I key_size:I value_size:I max_entries:I map_flags:I inner_map_fd:I numa_node:I map_name:16s map_ifindex:I "
    "btf_fd:I btf_key_type_id:I btf_value_type_id:I btf_vmlinux_value_type_id:I map_extra:Q value_type_btf_obj_fd:i "
    "map_token_fd:i"
)
MAP_ELEM = Layout("map_fd:I key:Q value:Q flags:Q")
MAP_BATCH = Layout("in_batch:Q out_batch:Q keys:Q values:Q count:I map_fd:I elem_flags:Q flags:Q")
PROG_LOAD = Layout(
    "prog_type:I insn_cnt:I insns:Q license:Q log_level:I log_size:I log_buf:Q kern_version:I prog_flags:I prog_name:16s "
    "prog_ifindex:I expected_attach_type:I prog_btf_fd:I func_info_rec_size:I func_info:Q func_info_cnt:I "
    "line_info_rec_size:I line_info:Q line_info_cnt:I attach_btf_id:I attach_prog_fd:I core_relo_cnt:I fd_array:Q "
    "core_relos:Q core_relo_rec_size:I log_true_size:I prog_token_fd:i fd_array_cnt:I"
)
OBJ = Layout("pathname:Q bpf_fd:I file_flags:I path_fd:i")
TEST_RUN = Layout(
    "prog_fd:I retval:I data_size_in:I data_size_out:I data_in:Q data_out:Q repeat:I duration:I ctx_size_in:I "
    "ctx_size_out:I ctx_in:Q ctx_out:Q flags:I cpu:I batch_size:I"
)
GET_ID = Layout("id:I next_id:I open_flags:I")
INFO = Layout("bpf_fd:I info_len:I info:Q")
BTF_LOAD = Layout("btf:Q btf_log_buf:Q btf_size:I btf_log_size:I btf_log_level:I btf_log_true_size:I")
TOKEN_CREATE = Layout("flags:I bpffs_fd:I")
LINK_CREATE = Layout("prog_fd:I target_ifindex:I attach_type:I flags:I relative_fd:I expected_revision:Q")
LINK_UPDATE = Layout("link_fd:I new_prog_fd:I flags:I old_prog_fd:I")
LINK_DETACH = Layout("link_fd:I")
PROG_QUERY = Layout(
    "target_ifindex:I attach_type:I query_flags:I attach_flags:I prog_ids:Q prog_cnt:I prog_attach_flags:Q link_ids:Q "
    "link_attach_flags:Q revision:Q"
)

# What BPF_OBJ_GET_INFO_BY_FD writes. A bit field shares its u32: gpl_compatible is bit 0 of "bits".
PROG_INFO = Layout(
    "type:I id:I tag:8s jited_prog_len:I xlated_prog_len:I jited_prog_insns:Q xlated_prog_insns:Q load_time:Q "
    "created_by_uid:I nr_map_ids:I map_ids:Q name:16s ifindex:I bits:I netns_dev:Q netns_ino:Q nr_jited_ksyms:I "
    "nr_jited_func_lens:I jited_ksyms:Q jited_func_lens:Q btf_id:I func_info_rec_size:I func_info:Q nr_func_info:I "
    "nr_line_info:I line_info:Q jited_line_info:Q nr_jited_line_info:I line_info_rec_size:I jited_line_info_rec_size:I "
    "nr_prog_tags:I prog_tags:Q run_time_ns:Q run_cnt:Q recursion_misses:Q verified_insns:I"
)
MAP_INFO = Layout(
    "type:I id:I key_size:I value_size:I max_entries:I map_flags:I name:16s ifindex:I btf_vmlinux_value_type_id:I "
    "netns_dev:Q netns_ino:Q btf_id:I btf_key_type_id:I btf_value_type_id:I btf_vmlinux_id:I map_extra:Q"
)
BTF_INFO = Layout("btf:Q btf_size:I id:I name:Q name_len:I kernel_btf:I")
LINK_INFO = Layout("type:I id:I prog_id:I unused:I ifindex:I attach_type:I")  # of a link on an interface
