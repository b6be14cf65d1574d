"""Settings of a network namespace: the files below /proc/sys/net, which show each thread those of its own namespace."""

from __future__ import annotations

import errno
from pathlib import Path

from bpfcrypto.errors import LinkError, PrivilegeError
from bpfcrypto.kernel import privilege

_ROOT = Path("/proc/sys/net")


def read(name: str) -> str | None:
    """A setting, such as ``ipv4/conf/all/rp_filter``; None where the kernel does not have it."""
    try:
        return (_ROOT / name).read_text().strip()
    except FileNotFoundError:
        return None


def write(name: str, value: str | int) -> None:
    """Set it where the kernel has it, unless it has that value: a container may see what it cannot write.

    Raises:
        PrivilegeError: this process may not.
        LinkError: it can only be read.
    """
    if read(name) in (None, str(value)):
        return
    try:
        (_ROOT / name).write_text(str(value))
    except PermissionError:
        raise PrivilegeError(
            f"'{_ROOT / name}' cannot be written: CAP_NET_ADMIN is missing",
            hint=privilege.how_to_get(("CAP_NET_ADMIN",)),
        ) from None
    except OSError as error:
        raise LinkError(
            f"'{_ROOT / name}' cannot be set to {value}: {(error.strerror or str(error)).lower()}",
            errno=error.errno or errno.EINVAL,
            hint="in a container, /proc/sys must be writable" if error.errno == errno.EROFS else None,
        ) from None
