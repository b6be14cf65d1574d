"""Rotation and numbers on a real link: keys change under load and nothing is lost, and no number comes twice with one key."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from bpfcrypto.programs.esp.deployment import Deployment
from support.esp_link import Options, esp_link
from support.esp_witness import SOURCE, witnessed
from support.need import skip_or_fail
from support.udp_load import both_ways, finish, load

pytestmark = pytest.mark.kernel

SECONDS, INTERVAL, RATE = 10.0, 0.1, 1500
PACKETS = {"chacha20-poly1305": 200_000, "aes-128-ccm-16": 30_000}


def test_rotation_under_load(compile_bpf: Callable[..., bytes], bpf_directory: Path, tmp_path: Path) -> None:
    """An operator rotates every 100 ms for 10 s, while both sides have somebody who looks after them: nothing is lost, or in the clear."""
    options = Options(suite="aes-128-ccm-16", grace=0.5)
    longest, number = 0.0, 0
    with (
        esp_link(tmp_path, bpf_directory, options) as link,
        witnessed(compile_bpf(SOURCE), link.network) as witness,
        both_ways(link.ends(), RATE) as loads,
        Deployment.opened(link.left.config, link.left.netns) as operator,
    ):
        begin = time.monotonic()
        first = operator.control.peers["right"].epoch
        while (due := begin + number * INTERVAL) < begin + SECONDS:
            time.sleep(max(0.0, due - time.monotonic()))
            start = time.monotonic()
            assert operator.control.rotate(["right"], 5.0) == {"right": True}
            longest = max(longest, time.monotonic() - start)
            number += 1
        accounts = finish(loads)
        print(f"{number} rotations, the longest took {longest * 1000:.0f} ms; {accounts}")

        assert operator.control.peers["right"].epoch == first + number
        assert number > 0.6 * SECONDS / INTERVAL
        for here, there in (accounts, accounts[::-1]):
            assert (there.came, there.again, there.wrong) == (here.sent, 0, 0)
            assert here.sent > 0.9 * SECONDS * RATE
        assert (witness.clear, witness.repeated, witness.missed) == (0, 0, 0)
        assert witness.sealed >= sum(account.sent for account in accounts)
        for side in link.sides:
            assert not {"NO_SA", "NO_KEY", "BAD_TAG", "NESTED", "REPLAY"} & set(side.verdicts())


@pytest.mark.parametrize("suite", PACKETS)
def test_two_cpus_send_with_one_key(
    compile_bpf: Callable[..., bytes], bpf_directory: Path, tmp_path: Path, suite: str
) -> None:
    """No number comes twice, and everything is authentic."""
    if len(cpus := sorted(os.sched_getaffinity(0))) < 2:
        skip_or_fail("needs two CPUs")
    with (
        esp_link(tmp_path, bpf_directory, Options(suite=suite)) as link,
        witnessed(compile_bpf(SOURCE), link.network) as witness,
        ExitStack() as stack,
    ):
        ends = link.ends()
        assert ends.source is not None
        slot, before = link.left.sending()  # of what was sent so far the other end may have missed something
        receiving = link.right.receiving(before.spi)
        earlier = link.right.verdicts(receiving)
        loads = [stack.enter_context(load(ends.client, ends.source, ends.target, 0, cpu)) for cpu in cpus[:2]]
        for each in loads:
            each.begin()
        until = time.monotonic() + 20
        while witness.sealed < PACKETS[suite]:
            assert time.monotonic() < until
            time.sleep(0.02)
        sent = sum(account.sent for account in finish(tuple(loads)))
        _, association = link.left.sending()
        numbers = association.sequence - before.sequence
        came = link.right.verdicts(receiving) - earlier
        print(f"{sent} sent, {witness.sealed} seen, {numbers} numbers used, came: {came}")

        assert numbers >= sent
        assert association.sequence == link.left.verdicts(slot)["SEALED"]
        assert witness.sealed >= PACKETS[suite]
        assert (witness.clear, witness.repeated, witness.missed) == (0, 0, 0)
        assert set(came) <= {"OPENED", "DUMMY"}
        assert came.total() == numbers
        for side in link.sides:
            assert "NESTED" not in side.verdicts()
