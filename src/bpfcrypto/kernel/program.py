"""Live programs: test runs, pins and information.

A run has happened when the kernel reports that a buffer was too small, so there is no second try: the packet buffer is larger than
any packet that a program can make here (73 152 bytes and metadata for XDP, less for TC).
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from contextlib import nullcontext
from functools import cached_property
from typing import TYPE_CHECKING

from bpfcrypto.abi.progs import ProgType, RunFlag
from bpfcrypto.engine import RunResult
from bpfcrypto.errors import BpfCryptoError, SyscallError
from bpfcrypto.kernel import bpf, pin
from bpfcrypto.kernel.attr import Command
from bpfcrypto.kernel.cpu import bound_to
from bpfcrypto.kernel.fd import Fd
from bpfcrypto.kernel.info import ProgramInfo, program_info
from bpfcrypto.kernel.refusal import refuse
from bpfcrypto.many import PacketBuffer, RunResults, run_each

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bpfcrypto.abi.hooks import Hook
    from bpfcrypto.kernel.clsact import FilterLink
    from bpfcrypto.kernel.links import KernelLink
    from bpfcrypto.kernel.netns import Netns
    from bpfcrypto.link import Order
    from bpfcrypto.many import Bytes
    from bpfcrypto.spec import ProgramSpec

DATA_OUT_BYTES = 1 << 17
CTX_OUT_BYTES = 512
ETHERNET_HEADER = 14

_ANYWHERE = nullcontext()

# Why a test run is refused with EINVAL, by what was given (net/bpf/test_run.c).
_PACKET_RULES = (
    "a packet starts with its Ethernet header (14 bytes; TC also wants the whole header of IPv4 or IPv6: 34 or 54 bytes), "
    "and of the context only some fields may be set"
)
_SYSCALL_RULES = (
    "a syscall program takes a context of at most 65535 bytes, at least as long as what it reads, and one repetition"
)


class _Buffers(threading.local):
    """Output buffers of this thread: a run fills them, its result is a copy."""

    def __init__(self) -> None:
        self.data = ctypes.create_string_buffer(DATA_OUT_BYTES)
        self.ctx = ctypes.create_string_buffer(CTX_OUT_BYTES)


_buffers = _Buffers()


class KernelProgram:
    """A program in the kernel.

    Args:
        fd: the program, which from now on belongs to this object.
        spec: what it is.
        log: the verifier's log, where one was asked for.
    """

    def __init__(self, fd: Fd, spec: ProgramSpec, log: str = "") -> None:
        self.fd = fd
        self.log = log
        self._spec = spec

    def __repr__(self) -> str:
        return f"<KernelProgram '{self.name}': {self.type.name}>"

    @property
    def spec(self) -> ProgramSpec:
        return self._spec

    @property
    def name(self) -> str:
        return self._spec.name

    @property
    def type(self) -> ProgType:
        return self._spec.type

    @cached_property
    def id(self) -> int:
        """The program's number in this kernel."""
        return self.info.id

    @property
    def info(self) -> ProgramInfo:
        """What the kernel says of it."""
        return program_info(self.fd)

    def run(
        self,
        data: bytes = b"",
        *,
        ctx: bytes | bytearray = b"",
        repeat: int = 1,
        cpu: int | None = None,
        flags: RunFlag = RunFlag.NONE,
    ) -> RunResult:
        """Run the program once, or ``repeat`` times on the same packet (BPF_PROG_TEST_RUN).

        Args:
            data: the packet, from its Ethernet header; nothing for syscall programs.
            ctx: struct __sk_buff, struct xdp_md, or a syscall program's context. A syscall program works on a bytearray itself,
                of which no copy is made here.
            repeat: 0 or 1 is one run; syscall programs take no more.
            cpu: where it runs: this thread is bound to that CPU for the call. None leaves the thread where it is.
            flags: CHECKSUM_COMPLETE, for skbs.

        Returns:
            What the run gave. ``ctx`` is filled only when one was given, since asking for it changes what the program sees, and
            it is not the caller's own memory.

        Raises:
            SyscallError: the kernel refuses the arguments; ENXIO: there is no such CPU; EBADMSG: the program broke the known sum.
        """
        packet = self.type is not ProgType.SYSCALL
        with _ANYWHERE if cpu is None else bound_to(cpu):
            outcome = bpf.prog_test_run(
                self.fd,
                data=data,
                data_out=_buffers.data if packet else None,
                ctx=ctx,
                ctx_out=_buffers.ctx if packet and ctx else None,
                repeat=repeat if repeat != 1 else 0,
                flags=flags,
            )
        if outcome.errno:
            raise self._refusal(outcome.errno, data)
        return RunResult(
            outcome.retval, outcome.data, outcome.ctx if packet else outcome.ctx_in, outcome.duration if packet else 0
        )

    def run_many(self, packets: Iterable[Bytes] | object, *, cpu: int | None = None) -> RunResults:
        """Run the program once on each packet, in order: one call of the kernel for each.

        Args:
            packets: bytes-like objects, or one object with a contiguous buffer of two dimensions.
            cpu: as of :meth:`run`.

        Raises:
            SyscallError: the kernel refuses the runs for another reason than a packet's size.
        """
        return run_each(self, PacketBuffer(packets), cpu=cpu)

    def _refusal(self, number: int, data: bytes) -> BpfCryptoError:
        detail = f"program '{self.name}'" + (f", {len(data)} bytes of data" if data else "")
        if number == errno.EINVAL:
            hint = _SYSCALL_RULES if self.type is ProgType.SYSCALL else _PACKET_RULES
            return SyscallError("BPF_PROG_TEST_RUN", number, detail=detail, hint=hint)
        return refuse(Command.PROG_TEST_RUN, number, detail)

    def pin(self, path: str | os.PathLike[str]) -> None:
        """Give the program a name in a BPF file system, which keeps it and its maps alive.

        Raises:
            SyscallError: the path exists, its directory does not, or it is not in a BPF file system.
        """
        pin.pin(self.fd, path)

    def attach(
        self,
        interface: str,
        hook: Hook | None = None,
        *,
        netns: Netns = None,
        pin: str | os.PathLike[str] | None = None,
        order: Order | None = None,
        replace: bool = False,
    ) -> KernelLink | FilterLink:
        """Attach the program to an interface; :meth:`bpfcrypto.link.Attachable.attach` says how."""
        from bpfcrypto.kernel.links import attach

        return attach(self, interface, hook, netns=netns, pinned=pin, order=order, replace=replace)

    def close(self) -> None:
        """Give up this process's hold on the program."""
        self.fd.close()
