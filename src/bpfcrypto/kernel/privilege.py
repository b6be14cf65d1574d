"""What this process may do, and why not: capabilities, sysctls, seccomp and lockdown, in words.

bpf(2) answers EPERM for all of these alike; the files under /proc and /sys tell them apart.
"""

from __future__ import annotations

from pathlib import Path

# include/uapi/linux/capability.h
CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}


def read_text(path: str) -> str:
    """The stripped text of a small file of the kernel, "" where it cannot be read."""
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _status(field: str) -> str:
    for line in read_text("/proc/self/status").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return value.strip()
    return ""


def effective() -> frozenset[str]:
    """The capabilities of the table above that are effective now. CAP_SYS_ADMIN implies the ones it was split into."""
    bits = int(_status("CapEff") or "0", 16)
    held = {name for name, bit in CAPABILITIES.items() if bits >> bit & 1}
    return frozenset(held | {"CAP_BPF", "CAP_PERFMON"} if "CAP_SYS_ADMIN" in held else held)


def missing(*wanted: str) -> tuple[str, ...]:
    """Those of ``wanted`` that are not effective."""
    held = effective()
    return tuple(name for name in wanted if name not in held)


def denial() -> str:
    """Why a process that has the capabilities is refused nevertheless: the suspects, in words."""
    suspects = []
    if _status("Seccomp") == "2":
        suspects.append("a seccomp filter (container runtimes forbid bpf(2) by default)")
    if "[none]" not in (lockdown := read_text("/sys/kernel/security/lockdown")) and lockdown:
        suspects.append(f"kernel lockdown ({lockdown})")
    if read_text("/proc/self/uid_map").split() != ["0", "0", "4294967295"]:
        suspects.append("a user namespace, where capabilities do not reach bpf(2) without a BPF token")
    suspects.append("a security module, or before Linux 5.11 the limit on locked memory ('ulimit -l')")
    return "; ".join(suspects)


def how_to_get(names: tuple[str, ...]) -> str:
    """What to do about missing capabilities."""
    hint = f"run as root, or give the interpreter {' and '.join(names)} (setcap, systemd AmbientCapabilities=)"
    setting = read_text("/proc/sys/kernel/unprivileged_bpf_disabled")
    return f"{hint}; kernel.unprivileged_bpf_disabled is {setting}" if setting else hint
