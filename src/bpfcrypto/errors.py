"""Every exception bpfcrypto raises.

    BpfCryptoError              has .hint: what to do about it; never raised itself
      ObjectError               a BPF object (or its source) cannot be used: .source .section .offset
        ElfError                  not an ELF64 little-endian BPF object, or a damaged one
        BtfError                  malformed or unsupported type information
        RelocationError           a reference that cannot be resolved
        CompileError              the C compiler refused the source; .log holds what it printed
      AssembleError             text that is not BPF assembly: .span
      VerifierError             the program breaks the kernel's rules: .diagnostic .log .program .errno
      NotSupportedError         a probe said no: .feature .requires
      PrivilegeError            a capability is missing (also PermissionError)
      SyscallError              the kernel (or the embedded engine in its place) refused a command (also OSError)
        PinError                  nothing can be pinned there, or nothing of that kind is
      MapError                  a map operation failed: .errno
        KeyNotFoundError          no such key (also KeyError)
        MapFullError              no room for another element
        MapTypeError              the operation or the value does not fit this map
      RunError                  a running program broke a rule that only shows at run time: .insn
      ContextError              bpf_crypto_ctx_create refused: .errno
      LinkError                 a program cannot be attached there, or a link cannot be changed so: .errno
      ConfigError               a configuration, or a file that it names, cannot be used: .source .place
      CaptureError              a capture file that cannot be read or written: .offset
      InternalError             a defect of bpfcrypto; please report it

Texts are lower case without a full stop, carry the offending values and quote names. Wrap outwards, one fact per layer.
Keys never appear in them.
"""

from __future__ import annotations

import errno as _errno
import os


def _errno_name(value: int) -> str:
    """The kernel's name of an errno. Python calls 95 by its other name and does not know 524; see :mod:`bpfcrypto.abi.errno`."""
    return {95: "EOPNOTSUPP", 524: "ENOTSUPP"}.get(value) or _errno.errorcode.get(value, f"errno {value}")


class BpfCryptoError(Exception):
    """Base of every error of this package.

    Args:
        message: what is wrong, with values.
        hint: what the user can do about it; printed on its own line.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class ObjectError(BpfCryptoError):
    """A BPF object cannot be used.

    Args:
        message: what is wrong.
        source: the file's name, or ``<bytes>``.
        section: the ELF section, where one is concerned.
        offset: byte offset within the section (within the file where there is no section).
        hint: what to do.
    """

    def __init__(
        self,
        message: str,
        *,
        source: str | None = None,
        section: str | None = None,
        offset: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.source = source
        self.section = section
        self.offset = offset

    def __str__(self) -> str:
        where = [self.source] if self.source else []
        if self.section is not None:
            where.append(f"section '{self.section}'")
        if self.offset is not None:
            where.append(f"offset {self.offset:#x}")
        return ": ".join([*where, self.message])


class ElfError(ObjectError):
    """Not an ELF64 little-endian BPF object, or a damaged one."""


class BtfError(ObjectError):
    """Type information that is malformed or of a kind nobody knows."""


class RelocationError(ObjectError):
    """A reference to a map, function, variable or kernel type that cannot be resolved."""


class CompileError(ObjectError):
    """The C compiler refused the source; ``log`` is what it printed."""

    def __init__(self, message: str, *, source: str | None = None, log: str = "", hint: str | None = None) -> None:
        super().__init__(message, source=source, hint=hint)
        self.log = log


class AssembleError(BpfCryptoError):
    """Text that is not BPF assembly. ``span`` is (line, first column, last column), all counted from 1."""

    def __init__(self, message: str, *, span: tuple[int, int, int], line: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.span = span
        self.line = line

    def __str__(self) -> str:
        row, first, last = self.span
        text = f"line {row}, column {first}: {self.message}"
        if self.line:
            text += f"\n  {self.line}\n  {' ' * (first - 1)}{'^' * max(1, last - first + 1)}"
        return text


class VerifierError(BpfCryptoError):
    """The program breaks the kernel's rules.

    Args:
        message: the verifier's last word, the line before ``processed N insns``.
        program: the program's name.
        errno: the errno of BPF_PROG_LOAD, positive.
        log: the whole log.
        diagnostic: a structured explanation where there is one.
        hint: what to do.
    """

    def __init__(
        self,
        message: str,
        *,
        program: str,
        errno: int,
        log: str = "",
        diagnostic: object | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.program = program
        self.errno = errno
        self.log = log
        self.diagnostic = diagnostic

    def __str__(self) -> str:
        return f"program '{self.program}': rejected by the verifier ({_errno_name(self.errno)}): {self.message}"


class NotSupportedError(BpfCryptoError):
    """Something this machine, kernel or installation does not have.

    Args:
        feature: what was asked for.
        requires: what would provide it ("requires Linux >= 6.10", "install bpfcrypto[cc]").
        hint: what to do.
    """

    def __init__(self, feature: str, *, requires: str | None = None, hint: str | None = None) -> None:
        super().__init__(f"{feature} is not supported here" + (f": {requires}" if requires else ""), hint=hint)
        self.feature = feature
        self.requires = requires


class PrivilegeError(BpfCryptoError, PermissionError):
    """The process may not do that; the message names the missing capability."""


class SyscallError(BpfCryptoError, OSError):
    """A bpf(2) command failed; the embedded engine raises it where the kernel would.

    Args:
        command: the command's kernel name, such as ``BPF_PROG_TEST_RUN``.
        errno: the positive errno.
        detail: what was being done, with names and values.
        hint: what to do.
    """

    def __init__(self, command: str, errno: int, *, detail: str = "", hint: str | None = None) -> None:
        text = (
            f"{command}: {_errno_name(errno)} ({os.strerror(errno) if errno != 524 else 'operation is not supported'})"
        )
        BpfCryptoError.__init__(self, f"{text}: {detail}" if detail else text, hint=hint)
        self.command = command
        self.errno = errno


class PinError(SyscallError):
    """Nothing can be pinned at that place, or nothing of that kind is."""


class MapError(BpfCryptoError):
    """A map operation failed.

    Attributes:
        errno: the positive errno that the kernel gives for it.
        done: elements of a batch that were stored or deleted before.
    """

    done = 0

    def __init__(self, message: str, *, errno: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.errno = errno


class KeyNotFoundError(MapError, KeyError):
    """The map holds no such key (ENOENT)."""

    def __init__(self, message: str, *, errno: int = _errno.ENOENT, hint: str | None = None) -> None:
        super().__init__(message, errno=errno, hint=hint)


class MapFullError(MapError):
    """The map has no room for another element (E2BIG, ENOSPC)."""

    def __init__(self, message: str, *, errno: int = _errno.E2BIG, hint: str | None = None) -> None:
        super().__init__(message, errno=errno, hint=hint)


class MapTypeError(MapError):
    """The operation, key or value does not fit this type of map (EINVAL, ENOTSUPP)."""

    def __init__(self, message: str, *, errno: int = _errno.EINVAL, hint: str | None = None) -> None:
        super().__init__(message, errno=errno, hint=hint)


class RunError(BpfCryptoError):
    """A running program did what no verified program can do, or ran past the step limit.

    Args:
        message: the broken rule, with addresses and sizes.
        program: the program's name.
        insn: index of the instruction (in 8-byte slots).
        where: the instruction in the kernel's text form and its source line, where known.
        registers: r0..r10 at that moment.
        hint: what to do.
    """

    def __init__(
        self,
        message: str,
        *,
        program: str = "",
        insn: int = -1,
        where: str = "",
        registers: tuple[int, ...] = (),
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.program = program
        self.insn = insn
        self.where = where
        self.registers = registers

    def __str__(self) -> str:
        text = f"program '{self.program}': instruction {self.insn}: {self.message}" if self.program else self.message
        if self.where:
            text += f"\n  {self.where}"
        if self.registers:
            text += "\n  " + " ".join(f"r{i}={value:#x}" for i, value in enumerate(self.registers))
        return text


class ContextError(BpfCryptoError):
    """A crypto context cannot be made, or is not where it should be.

    Args:
        message: what was refused, and what is allowed here; never anything of a key but its length.
        errno: positive.
        parameter: which parameter of bpf_crypto_ctx_create was refused: ``algorithm`` or ``key``; "" where none was, or where it is not
            known.
        hint: what to do.
    """

    def __init__(self, message: str, *, errno: int, parameter: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.errno = errno
        self.parameter = parameter


class LinkError(BpfCryptoError):
    """A program cannot be attached there, or a link cannot be changed so. ``errno`` is positive."""

    def __init__(self, message: str, *, errno: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.errno = errno


class ConfigError(BpfCryptoError):
    """A configuration, or a file that it names, cannot be used.

    Args:
        message: what is wrong, with the value, and what is allowed; never anything of a key but its length.
        source: the file's name.
        place: the table and the key in it, as in ``[link] mtu``; "" where none is concerned.
        hint: what to do.
    """

    def __init__(self, message: str, *, source: str | None = None, place: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.source = source
        self.place = place

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.source, self.place, self.message)))


class CaptureError(BpfCryptoError):
    """A capture file that cannot be read or written; what was read before ``offset`` stays valid."""

    def __init__(
        self, message: str, *, source: str | None = None, offset: int | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.source = source
        self.offset = offset

    def __str__(self) -> str:
        where = [self.source] if self.source else []
        if self.offset is not None:
            where.append(f"offset {self.offset:#x}")
        return ": ".join([*where, self.message])


class InternalError(BpfCryptoError):
    """A defect of bpfcrypto itself."""

    def __init__(self, message: str, *, state: str = "") -> None:
        super().__init__(
            message,
            hint="this is a defect of bpfcrypto: please report it with this text" + (f"\n{state}" if state else ""),
        )
        self.state = state
