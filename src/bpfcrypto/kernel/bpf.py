"""One function per bpf(2) command: values in, values or an error out.

Each function builds its argument from the layout table, makes the call and raises what :mod:`~bpfcrypto.kernel.refusal` makes of a
negative answer. Some commands can fail and still have told something, so they return an outcome instead: BPF_PROG_LOAD (the
verifier's log), BPF_PROG_TEST_RUN (a truncated packet) and those that change many elements (how many).
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bpfcrypto.kernel import attr, syscall
from bpfcrypto.kernel.attr import Command, Layout
from bpfcrypto.kernel.fd import Fd
from bpfcrypto.kernel.refusal import refuse

NAME_LENGTH = 15  # BPF_OBJ_NAME_LEN without its NUL
LOG_FIRST = 1 << 16
LOG_LIMIT = 1 << 28  # the kernel takes up to 2^30 - 1 bytes
_LOAD_ATTEMPTS = 5  # EAGAIN: a signal reached the verifier


def address_of(data: bytes) -> int:
    """The address of the bytes of an immutable object, which the caller keeps alive during the call; 0 for b""."""
    return int.from_bytes(ctypes.c_char_p(data), sys.byteorder) if data else 0


def _call(command: Command, layout: Layout, detail: str = "", **values: int | bytes) -> int:
    result = syscall.bpf(command, layout.buffer(values))
    if result < 0:
        raise refuse(command, -result, detail)
    return result


def object_name(name: str) -> bytes:
    """A name as the kernel takes it: at most 15 characters of letters, digits, ``_`` and ``.``; the rest becomes ``_``."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_.") else "_" for c in name[:NAME_LENGTH]).encode()


# -- maps ---------------------------------------------------------------------------------------------------------------------


def map_create(
    map_type: int,
    key_size: int,
    value_size: int,
    max_entries: int,
    *,
    flags: int = 0,
    name: str = "",
    inner_map_fd: int = 0,
    numa_node: int = 0,
    btf_fd: int = 0,
    btf_key_type_id: int = 0,
    btf_value_type_id: int = 0,
    map_extra: int = 0,
) -> Fd:
    """BPF_MAP_CREATE."""
    return Fd(
        _call(
            Command.MAP_CREATE,
            attr.MAP_CREATE,
            f"map '{name}'" if name else "",
            map_type=map_type,
            key_size=key_size,
            value_size=value_size,
            max_entries=max_entries,
            map_flags=flags,
            inner_map_fd=inner_map_fd,
            numa_node=numa_node,
            map_name=object_name(name),
            btf_fd=btf_fd,
            btf_key_type_id=btf_key_type_id,
            btf_value_type_id=btf_value_type_id,
            map_extra=map_extra,
        )
    )


def map_lookup(fd: Fd, key: bytes, value_bytes: int, flags: int = 0) -> bytes:
    """BPF_MAP_LOOKUP_ELEM; ``value_bytes`` is the size as user space sees it. The kernel trusts it: too small a number overruns."""
    return _read_value(Command.MAP_LOOKUP_ELEM, fd, key, value_bytes, flags)


def map_peek(fd: Fd, value: bytes) -> None:
    """BPF_MAP_LOOKUP_ELEM of a Bloom filter, which is asked for a value: ENOENT where it is not there."""
    buffer = ctypes.create_string_buffer(value, len(value))
    _call(Command.MAP_LOOKUP_ELEM, attr.MAP_ELEM, map_fd=fd.fileno(), value=ctypes.addressof(buffer))


def map_lookup_and_delete(fd: Fd, key: bytes, value_bytes: int, flags: int = 0) -> bytes:
    """BPF_MAP_LOOKUP_AND_DELETE_ELEM."""
    return _read_value(Command.MAP_LOOKUP_AND_DELETE_ELEM, fd, key, value_bytes, flags)


def _read_value(command: Command, fd: Fd, key: bytes, value_bytes: int, flags: int) -> bytes:
    value = ctypes.create_string_buffer(value_bytes)
    _call(
        command,
        attr.MAP_ELEM,
        map_fd=fd.fileno(),
        key=address_of(key),
        value=ctypes.addressof(value),
        flags=flags,
    )
    return value.raw


def map_update(fd: Fd, key: bytes, value: bytes, flags: int = 0) -> None:
    """BPF_MAP_UPDATE_ELEM; ``value`` has the size that user space sees."""
    _call(
        Command.MAP_UPDATE_ELEM,
        attr.MAP_ELEM,
        map_fd=fd.fileno(),
        key=address_of(key),
        value=address_of(value),
        flags=flags,
    )


def map_delete(fd: Fd, key: bytes) -> None:
    """BPF_MAP_DELETE_ELEM."""
    _call(Command.MAP_DELETE_ELEM, attr.MAP_ELEM, map_fd=fd.fileno(), key=address_of(key))


def map_get_next_key(fd: Fd, key: bytes | None, key_size: int) -> bytes | None:
    """BPF_MAP_GET_NEXT_KEY: the key after ``key`` (None: the first one), or None at the end."""
    following = ctypes.create_string_buffer(key_size)
    values = {
        "map_fd": fd.fileno(),
        "key": address_of(key) if key is not None else 0,
        "value": ctypes.addressof(following),
    }
    result = syscall.bpf(Command.MAP_GET_NEXT_KEY, attr.MAP_ELEM.buffer(values))
    if result == -errno.ENOENT:
        return None
    if result < 0:
        raise refuse(Command.MAP_GET_NEXT_KEY, -result)
    return following.raw


def map_freeze(fd: Fd) -> None:
    """BPF_MAP_FREEZE: user space can no longer write the map."""
    _call(Command.MAP_FREEZE, attr.MAP_ELEM, map_fd=fd.fileno())


@dataclass(frozen=True, slots=True)
class Batch:
    """One step of a batch read.

    Attributes:
        keys, values: the elements of this step, packed one behind the other.
        count: how many.
        token: where the next step goes on; None after the last one.
    """

    keys: bytes
    values: bytes
    count: int
    token: bytes | None


def map_lookup_batch(
    fd: Fd, token: bytes | None, count: int, key_size: int, value_bytes: int, *, delete: bool = False
) -> Batch:
    """BPF_MAP_LOOKUP_BATCH, or BPF_MAP_LOOKUP_AND_DELETE_BATCH with ``delete``.

    Args:
        fd: the map.
        token: ``token`` of the step before; None at the start.
        count: how many elements to ask for. ENOSPC: a hash bucket holds more than that.
        key_size: bytes of one key.
        value_bytes: bytes of one value as user space sees it.
        delete: also take the elements out.
    """
    command = Command.MAP_LOOKUP_AND_DELETE_BATCH if delete else Command.MAP_LOOKUP_BATCH
    keys = ctypes.create_string_buffer(count * key_size)
    values = ctypes.create_string_buffer(count * value_bytes)
    following = ctypes.create_string_buffer(max(4, key_size))
    argument = attr.MAP_BATCH.buffer(
        {
            "in_batch": address_of(token) if token is not None else 0,
            "out_batch": ctypes.addressof(following),
            "keys": ctypes.addressof(keys),
            "values": ctypes.addressof(values),
            "count": count,
            "map_fd": fd.fileno(),
        }
    )
    result = syscall.bpf(command, argument)
    if result < 0 and result != -errno.ENOENT:
        raise refuse(command, -result)
    done = attr.MAP_BATCH.unpack(argument.raw)["count"]
    return Batch(
        ctypes.string_at(keys, done * key_size),
        ctypes.string_at(values, done * value_bytes),
        done,
        following.raw if result == 0 else None,
    )


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """What a command on many elements answered.

    Attributes:
        errno: 0, or the positive errno of the element that ended it.
        done: how many elements came before that one, or all.
    """

    errno: int
    done: int


def map_update_batch(fd: Fd, keys: bytes, values: bytes, count: int, *, elem_flags: int = 0) -> BatchOutcome:
    """BPF_MAP_UPDATE_BATCH of ``count`` packed keys and values."""
    return _change_batch(
        Command.MAP_UPDATE_BATCH, fd, count, keys=address_of(keys), values=address_of(values), elem_flags=elem_flags
    )


def map_delete_batch(fd: Fd, keys: bytes, count: int) -> BatchOutcome:
    """BPF_MAP_DELETE_BATCH of ``count`` packed keys."""
    return _change_batch(Command.MAP_DELETE_BATCH, fd, count, keys=address_of(keys))


def _change_batch(command: Command, fd: Fd, count: int, **values: int | bytes) -> BatchOutcome:
    argument = attr.MAP_BATCH.buffer({"map_fd": fd.fileno(), "count": count, **values})
    result = syscall.bpf(command, argument)
    if result >= 0:
        return BatchOutcome(0, count)
    done = attr.MAP_BATCH.unpack(argument.raw)["count"]
    return BatchOutcome(-result, done if done < count else 0)  # a refusal before the first element leaves the count


# -- programs -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """What BPF_PROG_LOAD is asked for.

    Attributes:
        prog_type: a program type.
        insns: the encoded instructions.
        license: the licence string.
        name: the program's name; the kernel keeps 15 characters.
        flags: prog_flags.
        expected_attach_type: where the type needs one.
        btf_fd: the object's BTF, 0 for none.
        func_info, line_info: packed records of 8 and 16 bytes that refer to that BTF.
    """

    prog_type: int
    insns: bytes
    license: str = "GPL"
    name: str = ""
    flags: int = 0
    expected_attach_type: int = 0
    btf_fd: int = 0
    func_info: bytes = b""
    line_info: bytes = b""


FUNC_INFO_SIZE = 8
LINE_INFO_SIZE = 16


@dataclass(frozen=True, slots=True)
class LoadOutcome:
    """What BPF_PROG_LOAD answered.

    Attributes:
        fd: the program, or None.
        errno: 0, or the positive errno.
        log: the whole log; "" when none was asked for.
    """

    fd: Fd | None
    errno: int
    log: str = ""


def prog_load(request: LoadRequest, *, log_level: int = 0, log_size: int = LOG_FIRST) -> LoadOutcome:
    """BPF_PROG_LOAD.

    A log that does not fit makes the kernel answer ENOSPC whatever the verdict, so the buffer grows until it fits: to the size the
    kernel reports (``log_true_size``, since 6.4), before that four times as much each time.

    Args:
        request: the program.
        log_level: 0 none, 1 log, 2 every instruction, 4 statistics only.
        log_size: first size of the log's buffer in bytes, at least 128.
    """
    license_text = request.license.encode() + b"\0"
    values: dict[str, int | bytes] = {
        "prog_type": request.prog_type,
        "insn_cnt": len(request.insns) // 8,
        "insns": address_of(request.insns),
        "license": address_of(license_text),
        "prog_flags": request.flags,
        "prog_name": object_name(request.name),
        "expected_attach_type": request.expected_attach_type,
        "prog_btf_fd": request.btf_fd,
    }
    if request.func_info:
        values |= _records("func_info", request.func_info, FUNC_INFO_SIZE)
    if request.line_info:
        values |= _records("line_info", request.line_info, LINE_INFO_SIZE)
    if not log_level:
        return _outcome(_load(values)[0], "")
    while True:
        log = ctypes.create_string_buffer(log_size)
        result, true_size = _load(
            values | {"log_level": log_level, "log_size": log_size, "log_buf": ctypes.addressof(log)}
        )
        if result != -errno.ENOSPC or log_size >= LOG_LIMIT:
            return _outcome(result, log.value.decode("utf-8", "replace"))
        log_size = min(max(true_size, log_size * 4), LOG_LIMIT)


def _records(name: str, data: bytes, size: int) -> dict[str, int | bytes]:
    return {name: address_of(data), f"{name}_cnt": len(data) // size, f"{name}_rec_size": size}


def _load(values: Mapping[str, int | bytes]) -> tuple[int, int]:
    for _ in range(_LOAD_ATTEMPTS):
        argument = attr.PROG_LOAD.buffer(values)
        result = syscall.bpf(Command.PROG_LOAD, argument)
        if result != -errno.EAGAIN:
            break
    return result, attr.PROG_LOAD.unpack(argument.raw)["log_true_size"]


def _outcome(result: int, log: str) -> LoadOutcome:
    return LoadOutcome(Fd(result), 0, log) if result >= 0 else LoadOutcome(None, -result, log)


@dataclass(frozen=True, slots=True)
class TestRun:
    """What BPF_PROG_TEST_RUN answered.

    Attributes:
        errno: 0, or the positive errno. With ENOSPC (a buffer was too small) the run did take place.
        retval: the program's r0, unsigned.
        duration: average nanoseconds per repetition.
        data, ctx: what was written to the output buffers.
        data_size, ctx_size: the full sizes, also of what did not fit.
        ctx_in: the bytes of the ctx_in buffer after the run: syscall programs get their context copied back.
    """

    __test__ = False

    errno: int
    retval: int = 0
    duration: int = 0
    data: bytes = b""
    ctx: bytes = b""
    data_size: int = 0
    ctx_size: int = 0
    ctx_in: bytes = b""


def prog_test_run(
    fd: Fd,
    *,
    data: bytes | None = None,
    data_out: ctypes.Array[ctypes.c_char] | None = None,
    ctx: bytes | bytearray | None = None,
    ctx_out: ctypes.Array[ctypes.c_char] | None = None,
    repeat: int = 0,
    flags: int = 0,
    cpu: int = 0,
    batch_size: int = 0,
    fields: Mapping[str, int] | None = None,
) -> TestRun:
    """BPF_PROG_TEST_RUN; everything that is not given is zero, as the kernel demands of fields that a program type does not use.

    Args:
        fd: the program.
        data: the packet.
        data_out: buffer for the packet afterwards. Its size must not be 0: the kernel would write without bounds.
        ctx: the context; bytes are copied, a bytearray is what the kernel reads and, for syscall programs, writes.
        ctx_out: buffer for the context afterwards.
        repeat: how many runs; 0 is one.
        flags: BPF_F_TEST_*.
        cpu: where to run, for the types that can choose.
        batch_size: frames per batch of a live-frame run.
        fields: raw values that replace those computed here, for probing what the kernel does with odd ones.

    Raises:
        ValueError: ``data_out`` has no room at all.
    """
    if data_out is not None and not len(data_out):
        raise ValueError("an output buffer of 0 bytes makes the kernel write without bounds")
    ctx_in: ctypes.Array[ctypes.c_char] | None = None
    if ctx:
        own = ctx if isinstance(ctx, bytearray) else bytearray(ctx)
        ctx_in = (ctypes.c_char * len(own)).from_buffer(own)
    values: dict[str, int | bytes] = {
        "prog_fd": fd.fileno(),
        "data_in": address_of(data) if data else 0,
        "data_size_in": len(data) if data else 0,
        "repeat": repeat,
        "flags": flags,
        "cpu": cpu,
        "batch_size": batch_size,
    }
    buffers = {"data_out": data_out, "ctx_in": ctx_in, "ctx_out": ctx_out}
    sizes = {"data_out": "data_size_out", "ctx_in": "ctx_size_in", "ctx_out": "ctx_size_out"}
    for name, buffer in buffers.items():
        if buffer is not None:
            values |= {name: ctypes.addressof(buffer), sizes[name]: len(buffer)}
    argument = attr.TEST_RUN.buffer({**values, **(fields or {})})
    result = syscall.bpf(Command.PROG_TEST_RUN, argument)
    if result < 0 and result != -errno.ENOSPC:
        return TestRun(-result)
    answer = attr.TEST_RUN.unpack(argument.raw)
    return TestRun(
        errno=-result,
        retval=answer["retval"],
        duration=answer["duration"],
        data=ctypes.string_at(data_out, min(answer["data_size_out"], len(data_out))) if data_out is not None else b"",
        ctx=ctypes.string_at(ctx_out, min(answer["ctx_size_out"], len(ctx_out))) if ctx_out is not None else b"",
        data_size=answer["data_size_out"],
        ctx_size=answer["ctx_size_out"],
        ctx_in=ctx_in.raw if ctx_in is not None and not isinstance(ctx, bytearray) else b"",
    )


# -- types, pins and information ----------------------------------------------------------------------------------------------


def btf_load(data: bytes, *, log_size: int = LOG_FIRST) -> Fd:
    """BPF_BTF_LOAD; on failure it is asked once more for the reason, whose last line is in the error's text."""
    values: dict[str, int | bytes] = {"btf": address_of(data), "btf_size": len(data)}
    result = syscall.bpf(Command.BTF_LOAD, attr.BTF_LOAD.buffer(values))
    if result >= 0:
        return Fd(result)
    log = ctypes.create_string_buffer(log_size)
    values |= {"btf_log_level": 1, "btf_log_size": log_size, "btf_log_buf": ctypes.addressof(log)}
    again = syscall.bpf(Command.BTF_LOAD, attr.BTF_LOAD.buffer(values))
    if again >= 0:
        return Fd(again)
    lines = log.value.decode("utf-8", "replace").strip().splitlines()
    raise refuse(Command.BTF_LOAD, -result, lines[-1] if lines else f"{len(data)} bytes of type information")


def obj_pin(fd: Fd, path: str | os.PathLike[str]) -> None:
    """BPF_OBJ_PIN: give an object a name in a BPF file system."""
    text = os.fsencode(path) + b"\0"
    _call(Command.OBJ_PIN, attr.OBJ, f"'{os.fspath(path)}'", pathname=address_of(text), bpf_fd=fd.fileno())


def obj_get(path: str | os.PathLike[str], flags: int = 0) -> Fd:
    """BPF_OBJ_GET: open a pinned object."""
    text = os.fsencode(path) + b"\0"
    return Fd(_call(Command.OBJ_GET, attr.OBJ, f"'{os.fspath(path)}'", pathname=address_of(text), file_flags=flags))


def obj_get_info(fd: Fd, layout: Layout, wanted: Mapping[str, int] | None = None) -> bytes:
    """BPF_OBJ_GET_INFO_BY_FD.

    Args:
        fd: a program, map or BTF.
        layout: ``attr.PROG_INFO``, ``attr.MAP_INFO`` or ``attr.BTF_INFO``.
        wanted: fields to set before the call: addresses and sizes of arrays that the kernel shall fill.

    Returns:
        The structure's bytes; zero where an older kernel has no such field.
    """
    info = layout.buffer(dict(wanted or {}))
    _call(
        Command.OBJ_GET_INFO_BY_FD,
        attr.INFO,
        bpf_fd=fd.fileno(),
        info_len=layout.size,
        info=ctypes.addressof(info),
    )
    return info.raw


def btf_get_fd_by_id(btf_id: int) -> Fd:
    """BPF_BTF_GET_FD_BY_ID."""
    return Fd(_call(Command.BTF_GET_FD_BY_ID, attr.GET_ID, f"BTF id {btf_id}", id=btf_id))


def map_get_fd_by_id(map_id: int) -> Fd:
    """BPF_MAP_GET_FD_BY_ID."""
    return Fd(_call(Command.MAP_GET_FD_BY_ID, attr.GET_ID, f"map id {map_id}", id=map_id))


def token_create(bpffs_fd: int) -> Fd:
    """BPF_TOKEN_CREATE: a delegation from a BPF file system that was mounted for it."""
    return Fd(_call(Command.TOKEN_CREATE, attr.TOKEN_CREATE, bpffs_fd=bpffs_fd))


# -- links --------------------------------------------------------------------------------------------------------------------


def link_create(prog: Fd, ifindex: int, attach_type: int, *, flags: int = 0, relative: Fd | None = None) -> Fd:
    """BPF_LINK_CREATE on an interface of the calling thread's network namespace.

    Args:
        prog: the program.
        ifindex: the interface.
        attach_type: which hook.
        flags: the mode of XDP, or the order among the programs of a TCX hook.
        relative: the link that the order is about.
    """
    return Fd(
        _call(
            Command.LINK_CREATE,
            attr.LINK_CREATE,
            prog_fd=prog.fileno(),
            target_ifindex=ifindex,
            attach_type=attach_type,
            flags=flags,
            relative_fd=relative.fileno() if relative is not None else 0,
        )
    )


def link_update(link: Fd, prog: Fd) -> None:
    """BPF_LINK_UPDATE: another program in its place, with no packet in between that meets none."""
    _call(Command.LINK_UPDATE, attr.LINK_UPDATE, link_fd=link.fileno(), new_prog_fd=prog.fileno())


def link_detach(link: Fd) -> None:
    """BPF_LINK_DETACH: the program is off the interface, whoever else holds the link."""
    _call(Command.LINK_DETACH, attr.LINK_DETACH, link_fd=link.fileno())


def link_ids() -> Iterator[int]:
    """The numbers of all links of this kernel (BPF_LINK_GET_NEXT_ID)."""
    found = 0
    while True:
        argument = attr.GET_ID.buffer({"id": found})
        result = syscall.bpf(Command.LINK_GET_NEXT_ID, argument)
        if result == -errno.ENOENT:
            return
        if result < 0:
            raise refuse(Command.LINK_GET_NEXT_ID, -result)
        found = attr.GET_ID.unpack(argument.raw)["next_id"]
        yield found


def link_get_fd_by_id(link_id: int) -> Fd:
    """BPF_LINK_GET_FD_BY_ID."""
    return Fd(_call(Command.LINK_GET_FD_BY_ID, attr.GET_ID, f"link id {link_id}", id=link_id))


def prog_get_fd_by_id(prog_id: int) -> Fd:
    """BPF_PROG_GET_FD_BY_ID."""
    return Fd(_call(Command.PROG_GET_FD_BY_ID, attr.GET_ID, f"program id {prog_id}", id=prog_id))


_QUERY_FIRST = 64  # the kernel takes as many programs on one TCX hook


def prog_query(ifindex: int, attach_type: int) -> tuple[tuple[int, int], ...]:
    """BPF_PROG_QUERY of a TCX hook: program and link number of each, in their order; the link is 0 where there is none."""
    programs, links = (ctypes.c_uint32 * _QUERY_FIRST)(), (ctypes.c_uint32 * _QUERY_FIRST)()
    argument = attr.PROG_QUERY.buffer(
        {
            "target_ifindex": ifindex,
            "attach_type": attach_type,
            "prog_cnt": _QUERY_FIRST,
            "prog_ids": ctypes.addressof(programs),
            "link_ids": ctypes.addressof(links),
        }
    )
    result = syscall.bpf(Command.PROG_QUERY, argument)
    if result < 0:
        raise refuse(Command.PROG_QUERY, -result, f"interface index {ifindex}")
    count = attr.PROG_QUERY.unpack(argument.raw)["prog_cnt"]
    return tuple(zip(programs[:count], links[:count], strict=True))
