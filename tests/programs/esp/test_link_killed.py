"""kill -9 of a control plane at any moment: traffic goes on, the next one takes over, and no number comes twice with one key."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfcrypto.programs.esp.deployment import Deployment, pins
from support.esp_control import lives
from support.esp_link import PEER, EspLink, Options, esp_link, what_is_left
from support.esp_witness import SOURCE, witnessed
from support.traffic import MARK, ping
from support.udp_load import both_ways, finish

pytestmark = pytest.mark.kernel

RUNNING, STARTING = 60, 40
LONGEST = 0.2  # seconds that a life may go on when everything is up: some rotations
RATE = 500


def take_over(link: EspLink) -> Deployment:
    """A control plane that goes on from what it finds."""
    deployment, _ = Deployment.up(link.left.config, link.left.netns)
    return deployment


def time_to_come_up(link: EspLink) -> float:
    """Seconds, with everything taken away before."""
    Deployment.down(link.left.config, link.left.netns)
    begin = time.monotonic()
    with take_over(link):
        return time.monotonic() - begin


def test_killed_while_it_rotates(compile_bpf: Callable[..., bytes], bpf_directory: Path, tmp_path: Path) -> None:
    """What is up stays up: of the traffic nothing is lost, nor in the clear, whoever dies how often."""
    dice = random.Random(3)
    with (
        esp_link(tmp_path, bpf_directory, Options(grace=0.2), tended=["right"]) as link,
        witnessed(compile_bpf(SOURCE), link.network) as witness,
        lives(link.left.config.source, link.left.netns) as control,
    ):
        whole = time_to_come_up(link)
        with take_over(link) as deployment:
            assert deployment.control.wait({"right": 1}, 5.0) == {"right": True}
            first = deployment.control.peers["right"].epoch
        clear = witness.clear  # a complaint about ESP, perhaps, while there was none
        with both_ways(link.ends(), RATE) as loads:
            for _ in range(RUNNING):
                control.live_and_die(dice.uniform(0, whole + LONGEST))
            with take_over(link) as deployment:
                assert deployment.control.wait({"right": first}, 5.0) == {"right": True}
                epoch = deployment.control.peers["right"].epoch
                assert deployment.control.rotate(["right"], 5.0) == {"right": True}
                assert deployment.control.peers["right"].epoch == epoch + 1
            accounts = finish(loads)
        print(f"{epoch - first} rotations by {RUNNING} control planes, {witness.sealed} packets; {accounts}")

        assert epoch - first > RUNNING / 4
        for here, there in (accounts, accounts[::-1]):
            assert (there.came, there.again, there.wrong, here.refused) == (here.sent, 0, 0, 0)
        assert witness.sealed > sum(account.sent for account in accounts)
        assert (witness.clear, witness.repeated, witness.missed) == (clear, 0, 0)
        for side in link.sides:
            assert not {"NO_KEY", "BAD_TAG", "NESTED", "REPLAY"} & set(side.verdicts())


def test_killed_while_it_comes_up(compile_bpf: Callable[..., bytes], bpf_directory: Path, tmp_path: Path) -> None:
    """From nothing, with the state on disk: the next one brings up what there is half of, with keys that nobody had."""
    dice = random.Random(4)
    states: Counter[frozenset[str] | None] = Counter()
    begins = set()
    with (
        esp_link(tmp_path, bpf_directory, Options(), tended=["right"]) as link,
        witnessed(compile_bpf(SOURCE), link.network) as witness,
        lives(link.left.config.source, link.left.netns) as control,
        link.network.captured("left") as capture,
    ):
        config, netns, whole = link.left.config, link.left.netns, time_to_come_up(link)
        for life in range(STARTING):
            Deployment.down(config, netns)
            assert what_is_left(config, netns) == [], f"life {life}"
            control.live_and_die(dice.uniform(0.4, 1.2) * whole)
            folder = pins(config)
            states[frozenset(each.name for each in folder.iterdir()) if folder.exists() else None] += 1

            if life % 2:
                continue  # and what is half there is taken away
            with take_over(link) as deployment:
                slot = deployment.program.sender(PEER)
                association = deployment.program.association(slot)
                assert association is not None
                begins.add(association.spi)
                if life % 8 == 6:
                    assert deployment.control.wait({"right": 1}, 5.0) == {"right": True}
                    assert ping(link.ends(), MARK) == MARK
        print(f"lives by what was pinned: {sorted(states.values())}; {len(begins)} SPIs, {witness.sealed} packets")

        assert len(begins) == STARTING / 2, "maps were lost each time, so that each begins with new keys"
        assert len(states) > 2, "the moments were not random enough"
        assert witness.sealed > STARTING / 2
        assert (witness.repeated, witness.missed) == (0, 0)
        assert not capture.shows(), "only complaints are in the clear, of a host that does not speak ESP for the moment"
        for side in link.sides:
            Deployment.down(side.config, side.netns)
            assert what_is_left(side.config, side.netns) == []
        with pytest.raises(TimeoutError):
            ping(link.ends(), MARK, timeout=0.2)
