"""kill -9 at any moment: afterwards a program is attached and pinned, or neither, and the next start takes over."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bpfcrypto.abi.hooks import HOOKS, Hook
from bpfcrypto.kernel import bpf, clsact, netns
from bpfcrypto.kernel.engine import KernelEngine
from bpfcrypto.kernel.interfaces import interface, netlink
from support.lab import veth

pytestmark = pytest.mark.kernel

OBJECT = Path(__file__).parents[2] / "examples/encrypted_link.bpf.o"
SUPPORT = Path(__file__).parents[1]
MOMENTS = 100
LONGEST = 0.06  # seconds: several rounds of attaching and detaching


@contextmanager
def control(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The process that makes lives."""
    process = subprocess.Popen(
        [sys.executable, "-m", "support.control", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SUPPORT), *sys.path])},
    )
    try:
        with process:
            yield process
            assert process.stdin
            process.stdin.close()
    finally:
        process.kill()


def live_and_die(process: subprocess.Popen[str], life: int, moment: float) -> None:
    """One life, killed after some seconds."""
    assert process.stdin
    assert process.stdout
    print(life, file=process.stdin, flush=True)
    pid = int(process.stdout.readline())
    time.sleep(moment)
    os.kill(pid, signal.SIGKILL)
    assert process.stdout.readline() == "dead\n"


def running(network: str, hook: Hook) -> int:
    """How many programs the interface runs there, asked of the kernel."""

    def ask() -> int:
        target = interface("a")
        if HOOKS[hook].parent:
            return len(bpf.prog_query(target.index, HOOKS[hook].attach_type))
        return len(target.xdp)

    return netns.within(network, ask)


def settled(network: str, hook: Hook, pin: Path) -> int:
    """The same once the kernel has let go of what a dead process had just unpinned, for which it waits for RCU."""
    until = time.monotonic() + 2
    while (found := running(network, hook)) > pin.exists() and time.monotonic() < until:
        time.sleep(0.01)
    return found


@pytest.mark.parametrize(("program", "hook"), [("send", Hook.EGRESS), ("xdp_receive", Hook.XDP)])
def test_attached_and_pinned_or_nothing(bpf_directory: Path, program: str, hook: Hook) -> None:
    """A hundred lives, each ended at a random moment."""
    pin = bpf_directory / "link"
    dice = random.Random(1)
    states = []
    with veth() as network, control(str(OBJECT), program, "a", hook, network, str(pin)) as process:
        for life in range(MOMENTS):
            live_and_die(process, life, dice.uniform(0, LONGEST))

            attached = settled(network, hook, pin)
            assert attached == pin.exists(), f"life {life}: {attached} programs attached, pinned: {pin.exists()}"
            with KernelEngine() as engine:
                said = [each for each in engine.attachments() if each.netns == network or each.pinned == pin]
                assert [(each.interface, each.hook, each.pinned) for each in said] == [("a", hook, pin)] * attached
                if life % 10 == 9:
                    with engine.load(OBJECT, programs=[program]) as collection:
                        chosen = collection.programs[program]
                        chosen.attach("a", hook, netns=network, pin=pin, replace=True).close()
                        assert [each.program for each in engine.attachments() if each.pinned == pin] == [chosen.id]
            states.append(attached)
    assert {0, 1} <= set(states), "the moments were not random enough to see both"


def test_filter_with_its_qdisc_or_nothing() -> None:
    """The same where there is no TCX: never a qdisc without the filter that it was made for."""
    pin = "/sys/fs/bpf/bpfcrypto-killed"
    dice = random.Random(2)
    states = []

    def ask() -> tuple[int, bool]:
        index = interface("a").index
        with netlink() as request:
            kinds = [each.get_attr("TCA_KIND") for each in request.get_qdiscs(index=index)]
        return len(clsact.filters(index)), "clsact" in kinds

    with veth() as network, control(str(OBJECT), "send", "a", Hook.EGRESS, network, pin, "clsact") as process:
        for life in range(MOMENTS):
            live_and_die(process, life, dice.uniform(0, LONGEST))

            filters, qdisc = netns.within(network, ask)
            assert (filters, qdisc) in ((0, False), (1, True)), f"life {life}"
            states.append(filters)
    assert {0, 1} <= set(states)


def test_the_command_can_be_killed(bpf_directory: Path) -> None:
    """``bpfcrypto attach`` at ten moments from its start to its end."""
    pin = bpf_directory / "link"
    with veth() as network:
        command = [sys.executable, "-m", "bpfcrypto.cli", "attach", str(OBJECT), "-p", "send", "-i", "a"]
        command += ["--netns", network, "--pin", str(pin)]
        started = time.monotonic()
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        whole = time.monotonic() - started
        for tenth in range(1, 11):
            if pin.exists():
                with KernelEngine() as engine, engine.open_link(pin) as link:
                    link.detach()
            assert settled(network, Hook.EGRESS, pin) == 0
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
                time.sleep(whole * (0.6 + tenth / 20))  # before that it is not even loaded
                process.kill()
            assert settled(network, Hook.EGRESS, pin) == pin.exists()
        subprocess.run([*command, "--replace"], check=True, capture_output=True, timeout=60)
        assert running(network, Hook.EGRESS) == pin.exists() == 1
