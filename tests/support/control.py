"""A control process to be killed: attaches, replaces and detaches for ever.

Imports take longer than what is to be interrupted, so a process that has them already makes a copy of itself for each life.

    python -m support.control OBJECT PROGRAM INTERFACE HOOK NETNS PIN [clsact]

Each line of standard input starts a life, and its process id is printed; the next line follows its death.
"""

from __future__ import annotations

import os
import random
import sys
from contextlib import suppress

from bpfcrypto.abi.hooks import Hook
from bpfcrypto.errors import BpfCryptoError
from bpfcrypto.kernel import clsact
from bpfcrypto.kernel.engine import KernelEngine


def live(path: str, program: str, interface: str, hook: str, netns: str, pin: str) -> None:
    """One life, which ends by a signal."""
    while True:
        with KernelEngine() as engine:
            if random.random() < 0.6:
                with engine.load(path, programs=[program]) as collection:
                    collection.programs[program].attach(
                        interface, Hook(hook), netns=netns, pin=pin, replace=True
                    ).close()
            else:
                with suppress(BpfCryptoError), engine.open_link(pin, netns) as link:
                    link.detach()


def main() -> None:
    arguments = sys.argv[1:7]
    if sys.argv[7:] == ["clsact"]:
        clsact.has_tcx = lambda: False  # type: ignore[assignment]
    with KernelEngine() as engine, engine.load(arguments[0], programs=[arguments[1]]):
        pass  # everything is imported, and what is kept about the kernel is known
    import pyroute2.iproute.linux  # noqa: F401

    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            random.seed(line)
            live(*arguments)
        print(pid, flush=True)
        os.waitpid(pid, 0)
        print("dead", flush=True)


if __name__ == "__main__":
    main()
