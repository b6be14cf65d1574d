"""Raw commands: arguments go in, answers come out, failures are named."""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Callable

import pytest

from bpfcrypto.abi.maps import MapType, UpdateFlag
from bpfcrypto.abi.progs import ProgFlag, ProgType
from bpfcrypto.errors import SyscallError
from bpfcrypto.kernel import attr, bpf
from bpfcrypto.kernel.bpf import LoadRequest
from bpfcrypto.kernel.fd import Fd

pytestmark = pytest.mark.kernel

Bytecode = Callable[[str], bytes]
RETURN_7 = "r0 = 7\nexit"


def key(number: int) -> bytes:
    return number.to_bytes(4, "little")


def test_elements() -> None:
    """Update, look up, step, take out and delete elements of a hash."""
    with bpf.map_create(MapType.HASH, 4, 8, 4, name="h") as fd:
        for number in range(3):
            bpf.map_update(fd, key(number), bytes([number] * 8), UpdateFlag.NOEXIST)
        assert bpf.map_lookup(fd, key(2), 8) == b"\2" * 8
        assert bpf.map_lookup_and_delete(fd, key(2), 8) == b"\2" * 8
        bpf.map_delete(fd, key(1))

        assert bpf.map_get_next_key(fd, None, 4) == key(0)
        assert bpf.map_get_next_key(fd, key(0), 4) is None


@pytest.mark.parametrize(
    ("call", "command", "number"),
    [
        (lambda fd: bpf.map_lookup(fd, key(9), 8), "BPF_MAP_LOOKUP_ELEM", errno.ENOENT),
        (lambda fd: bpf.map_delete(fd, key(9)), "BPF_MAP_DELETE_ELEM", errno.ENOENT),
        (lambda fd: bpf.map_update(fd, key(1), bytes(8), 99), "BPF_MAP_UPDATE_ELEM", errno.EINVAL),
        (lambda fd: bpf.obj_pin(fd, "/nowhere/x"), "BPF_OBJ_PIN", errno.ENOENT),
        (lambda _: bpf.obj_get("/nowhere"), "BPF_OBJ_GET", errno.ENOENT),
        (lambda _: bpf.btf_load(b"nonsense"), "BPF_BTF_LOAD", errno.EINVAL),
        (lambda _: bpf.btf_get_fd_by_id(0x7FFFFFFF), "BPF_BTF_GET_FD_BY_ID", errno.ENOENT),
        (lambda _: bpf.map_get_fd_by_id(0x7FFFFFFF), "BPF_MAP_GET_FD_BY_ID", errno.ENOENT),
        (lambda _: bpf.map_create(MapType.HASH, 0, 8, 4), "BPF_MAP_CREATE", errno.EINVAL),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_failures_name_the_command(call: Callable[[object], object], command: str, number: int) -> None:
    """The error carries the command and the kernel's errno."""
    with bpf.map_create(MapType.HASH, 4, 8, 4) as fd, pytest.raises(SyscallError) as caught:
        call(fd)

    assert (caught.value.command, caught.value.errno) == (command, number)


def test_batches() -> None:
    """A batch read gives every element once, in steps, and can take them out."""
    with bpf.map_create(MapType.HASH, 4, 4, 500) as fd:
        numbers = range(500)
        packed = b"".join(map(key, numbers))
        bpf.map_update_batch(fd, packed, packed, 500)
        found: list[int] = []
        token, steps = None, 0
        while True:
            batch = bpf.map_lookup_batch(fd, token, 100, 4, 4)
            assert batch.keys == batch.values
            found += struct.unpack(f"<{batch.count}I", batch.keys)
            token, steps = batch.token, steps + 1
            if token is None:
                break
        assert sorted(found) == list(numbers)
        assert steps > 4

        bpf.map_delete_batch(fd, packed[:400], 100)
        rest = bpf.map_lookup_batch(fd, None, 500, 4, 4, delete=True)
        assert rest.count == 400
        assert bpf.map_get_next_key(fd, None, 4) is None


def test_freeze() -> None:
    """A frozen map cannot be written."""
    with bpf.map_create(MapType.ARRAY, 4, 8, 1) as fd:
        bpf.map_freeze(fd)
        with pytest.raises(SyscallError) as caught:
            bpf.map_update(fd, key(0), bytes(8))

    assert caught.value.errno == errno.EPERM


def test_log_grows_until_it_fits(bytecode: Bytecode) -> None:
    """However small the first buffer, the verdict is the true one and the log is whole."""
    text = "\n".join(["r0 = 1"] * 300 + ["r0 = *(u32 *)(r0 + 0)", "exit"])
    request = LoadRequest(ProgType.XDP, bytecode(text))

    small = bpf.prog_load(request, log_level=1, log_size=128)
    large = bpf.prog_load(request, log_level=1, log_size=1 << 20)

    assert small.fd is None
    assert small.errno == errno.EACCES
    assert small.log == large.log
    assert len(small.log) > 10_000


def test_load_without_log(bytecode: Bytecode) -> None:
    """Level 0 asks for no log and gets none."""
    outcome = bpf.prog_load(LoadRequest(ProgType.XDP, bytecode(RETURN_7), name="seven"))

    assert outcome.fd is not None
    assert (outcome.errno, outcome.log) == (0, "")
    outcome.fd.close()


@pytest.mark.parametrize("name", ["a" * 40, "has-dash", "ümlaut", ".bss.x"])
def test_any_name_is_accepted(name: str) -> None:
    """Names are cut and cleaned to what the kernel takes."""
    with bpf.map_create(MapType.ARRAY, 4, 4, 1, name=name) as fd:
        stored = attr.MAP_INFO.unpack_bytes(bpf.obj_get_info(fd, attr.MAP_INFO), "name").rstrip(b"\0")

    assert stored == bpf.object_name(name)
    assert len(stored) <= bpf.NAME_LENGTH


class TestRuns:
    """BPF_PROG_TEST_RUN with every field."""

    def load(self, bytecode: Bytecode, kind: ProgType, text: str = RETURN_7, flags: int = 0) -> Fd:
        outcome = bpf.prog_load(LoadRequest(kind, bytecode(text), flags=flags), log_level=1)
        assert outcome.fd is not None, outcome.log
        return outcome.fd

    def test_packet(self, bytecode: Bytecode) -> None:
        """Packet, context and duration come back."""
        with self.load(bytecode, ProgType.SCHED_CLS, "*(u32 *)(r1 + 8) = 5\nr0 = 7\nexit") as fd:
            run = bpf.prog_test_run(
                fd,
                data=bytes(64),
                data_out=ctypes.create_string_buffer(100),
                ctx=bytes(192),
                ctx_out=ctypes.create_string_buffer(200),
                repeat=3,
            )

        assert (run.errno, run.retval, run.data, run.data_size) == (0, 7, bytes(64), 64)
        assert (len(run.ctx), run.ctx[8]) == (192, 5)

    def test_small_buffer(self, bytecode: Bytecode) -> None:
        """ENOSPC reports what there was, cut to the buffer."""
        with self.load(bytecode, ProgType.XDP) as fd:
            run = bpf.prog_test_run(fd, data=b"\1" * 64, data_out=ctypes.create_string_buffer(20))

        assert (run.errno, run.retval, run.data, run.data_size) == (errno.ENOSPC, 7, b"\1" * 20, 64)

    def test_no_room_at_all(self, bytecode: Bytecode) -> None:
        """A buffer of no bytes would be written without bounds, so it never reaches the kernel."""
        with self.load(bytecode, ProgType.XDP) as fd, pytest.raises(ValueError, match="without bounds"):
            bpf.prog_test_run(fd, data=bytes(64), data_out=ctypes.create_string_buffer(0))

    def test_syscall_context_is_copied_back(self, bytecode: Bytecode) -> None:
        """A syscall program's changes appear in a copy, not in the bytes that were given."""
        given = bytes(8)
        with self.load(
            bytecode, ProgType.SYSCALL, "*(u32 *)(r1 + 4) = 9\nr0 = 0\nexit", flags=ProgFlag.SLEEPABLE
        ) as fd:
            run = bpf.prog_test_run(fd, ctx=given)

        assert run.ctx_in == bytes(4) + key(9)
        assert given == bytes(8)

    @pytest.mark.parametrize(
        "field", ["data_out", "ctx_out", "ctx_size_out", "repeat", "duration", "flags", "batch_size"]
    )
    def test_fields_a_syscall_program_must_not_have(self, bytecode: Bytecode, field: str) -> None:
        """Each of them alone, set by hand, is refused: so none is ever set by us."""
        with self.load(bytecode, ProgType.SYSCALL, flags=ProgFlag.SLEEPABLE) as fd:
            assert bpf.prog_test_run(fd).errno == 0
            assert bpf.prog_test_run(fd, fields={field: 1}).errno == errno.EINVAL

    @pytest.mark.parametrize(
        ("options", "number"),
        [
            ({"flags": 4}, 0),
            ({"flags": 1}, errno.EINVAL),
            ({"cpu": 1}, errno.EINVAL),
            ({"batch_size": 1}, errno.EINVAL),
        ],
    )
    def test_options_of_packet_programs(self, bytecode: Bytecode, options: dict[str, int], number: int) -> None:
        """Flags, CPU and batch size reach the kernel."""
        with self.load(bytecode, ProgType.SCHED_CLS) as fd:
            run = bpf.prog_test_run(fd, data=bytes(64), **options)  # type: ignore[arg-type]

        assert run.errno == number
