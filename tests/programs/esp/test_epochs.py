"""programs.esp.epochs: nothing is used twice, whatever is killed or damaged."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bpfcrypto import ConfigError
from bpfcrypto.programs.esp import state_file
from bpfcrypto.programs.esp.epochs import EpochStore

NAME, OTHER = "0123456789abcdef", "fedcba9876543210"
LIVES = 50

SCOPED = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

CLAIMER = f"""
import sys
from pathlib import Path
from bpfcrypto.programs.esp.epochs import EpochStore
store = EpochStore(Path(sys.argv[1]), "left")
epoch = store.highest(1, "{NAME}")
while True:
    epoch += 1
    store.claim(1, "{NAME}", epoch)
    print(epoch, flush=True)
"""

HOLDER = """
import sys
from pathlib import Path
from bpfcrypto.programs.esp.epochs import EpochStore
with EpochStore(Path(sys.argv[1]), "left").locked():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def store(tmp_path: Path) -> EpochStore:
    return EpochStore(tmp_path / "state" / "esp", "left")


def start(code: str, folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def test_epochs_go_up(store: EpochStore) -> None:
    """What was claimed, and what is below it, is never claimed again; secrets and peers have epochs of their own."""
    assert store.highest(1, NAME) == 0
    store.claim(1, NAME, 1)
    store.claim(1, NAME, 7)
    store.claim(2, NAME, 3)
    store.claim(1, OTHER, 2)

    assert [store.highest(1, NAME), store.highest(2, NAME), store.highest(1, OTHER)] == [7, 3, 2]
    for epoch in (1, 6, 7):
        with pytest.raises(ConfigError, match=f"epoch {epoch} of peer 1 was used before: the highest is 7") as caught:
            store.claim(1, NAME, epoch)
        assert caught.value.hint == "begin with epoch 8"


def test_other_links_and_names_share_what_was_used(tmp_path: Path) -> None:
    """A link with another name begins where the former one has ended."""
    EpochStore(tmp_path, "left").claim(1, NAME, 5)

    assert EpochStore(tmp_path, "west").highest(1, NAME) == 5
    with pytest.raises(ConfigError, match="was used before"):
        EpochStore(tmp_path, "west").claim(1, NAME, 5)


def test_the_last_epoch(store: EpochStore) -> None:
    """Behind it only a new secret helps."""
    store.claim(1, NAME, (1 << 24) - 1)
    with pytest.raises(ConfigError) as caught:
        store.claim(1, NAME, 1)
    assert caught.value.hint == "all are used: a new secret is needed"


@pytest.mark.parametrize(
    ("peer", "name", "epoch", "message"),
    [(0, NAME, 1, "peer 0"), (256, NAME, 1, "peer 256"), (1, NAME, 0, "epoch 0"), (1, NAME, 1 << 24, "epoch 16777216")],
)
def test_arguments_out_of_range(store: EpochStore, peer: int, name: str, epoch: int, message: str) -> None:
    """They are mistakes of the caller."""
    with pytest.raises(ValueError, match=f"{message} is not within"):
        store.claim(peer, name, epoch)
    with pytest.raises(ValueError, match="16 hexadecimal digits"):
        store.claim(1, "key", 1)
    with pytest.raises(ValueError, match="sequence number -1"):
        store.claim_key(NAME, -1)


def test_explicit_keys_are_installed_once(store: EpochStore) -> None:
    """The same key is taken again only from a higher sequence number on."""
    store.claim_key(NAME)
    with pytest.raises(ConfigError, match="was installed before, with sequence = 0") as caught:
        store.claim_key(NAME)
    assert "take a new key" in (caught.value.hint or "")
    store.claim_key(NAME, 5000)
    with pytest.raises(ConfigError, match="with sequence = 5000"):
        store.claim_key(NAME, 5000)
    store.claim_key(OTHER)


@SCOPED
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 8)), max_size=12))
def test_any_claims(tmp_path_factory: pytest.TempPathFactory, claims: list[tuple[int, int]]) -> None:
    """Of any claims exactly those are taken that are above all before, and a new store knows the same."""
    folder = tmp_path_factory.mktemp("state")
    highest: dict[int, int] = {}
    for peer, epoch in claims:
        try:
            EpochStore(folder, "left").claim(peer, NAME, epoch)
        except ConfigError:
            assert epoch <= highest[peer]
        else:
            assert epoch > highest.get(peer, 0)
            highest[peer] = epoch
        assert EpochStore(folder, "left").highest(peer, NAME) == highest[peer]


def test_modes(store: EpochStore) -> None:
    """The folder is for its owner only, and so is what is in it; one that others can write in is refused."""
    store.claim(1, NAME, 1)
    with store.locked():
        pass
    folder = store.path.parent
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {each.stat().st_mode & 0o777 for each in folder.iterdir()} == {0o600}
    assert {each.name for each in folder.iterdir()} == {"epochs.json", "epochs.lock", "lock.left"}

    folder.chmod(0o770)
    with pytest.raises(ConfigError, match="others can change the state in it") as caught:
        store.claim(1, NAME, 2)
    assert caught.value.hint == f"chmod 700 '{folder}'"


def test_folders_that_cannot_be_made(tmp_path: Path) -> None:
    """The error says why."""
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ConfigError, match="folder of the state cannot be made: "),
        EpochStore(tmp_path / "file" / "esp", "left").locked(),
    ):
        pass


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("   7,", "   6,", "its check sum is wrong"),
        (NAME, OTHER, "its check sum is wrong"),
        ("{", "", "it is not JSON"),
        ('"format": 1', '"format": 2', "its format is 2, and this version knows 1"),
        ('"format": 1', '"form": 1', "it is not a file of epochs"),
        ('"keys"', '"kyes"', "its check sum is wrong"),
    ],
)
def test_a_damaged_file(store: EpochStore, before: str, after: str, message: str) -> None:
    """The error says what it means and what to do, and nothing is claimed before that is done."""
    store.claim(1, NAME, 7)
    text = store.path.read_text()
    assert before in text
    store.path.write_text(text.replace(before, after, 1))

    for action in (lambda: store.highest(1, NAME), lambda: store.claim(1, NAME, 8), lambda: store.claim_key(NAME)):
        with pytest.raises(ConfigError, match=f"damaged: {message}") as caught:
            action()
        assert caught.value.source == str(store.path)
        assert "could be used again: move the file away, then give every peer a new secret" in (caught.value.hint or "")


@SCOPED
@given(st.data())
def test_any_damage(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever becomes of the file's bytes: the right epoch, or an error."""
    store = EpochStore(tmp_path_factory.mktemp("state"), "left")
    store.claim(1, NAME, 7)
    raw = bytearray(store.path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    store.path.write_bytes(raw[: data.draw(st.sampled_from([len(raw), len(raw) // 2, 0]))])

    try:
        found = store.highest(1, NAME)
    except ConfigError:
        return
    assert found == 7


def test_killed_at_any_moment(store: EpochStore) -> None:
    """kill -9 during claims, 50 times: the file is readable, and never behind what was acknowledged."""
    draw, folder = random.Random(4), store.path.parent
    acknowledged = 0
    for life in range(LIVES):
        process = start(CLAIMER, folder)
        assert process.stdout is not None
        if life % 10 != 1:  # the others are killed while they start
            acknowledged = int(process.stdout.readline())
        time.sleep(draw.random() * 0.02)
        process.kill()
        rest = process.communicate()[0].splitlines()
        acknowledged = max([acknowledged, *(int(line) for line in rest if line)])

        assert acknowledged <= store.highest(1, NAME) <= acknowledged + 1
        assert json.loads(store.path.read_bytes())["format"] == 1
    assert acknowledged >= LIVES - LIVES // 10
    store.claim(1, NAME, store.highest(1, NAME) + 1)


def test_claims_at_the_same_time(store: EpochStore) -> None:
    """Of many that claim the same epochs, each epoch is given to one."""
    won: list[int] = []

    def claim() -> None:
        for epoch in range(1, 16):
            try:
                EpochStore(store.path.parent, "left").claim(1, NAME, epoch)
            except ConfigError:
                continue
            won.append(epoch)

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(won) == sorted(set(won))
    assert store.highest(1, NAME) == max(won) == 15


def test_an_epoch_belongs_to_who_has_claimed_it(store: EpochStore) -> None:
    """Its owner may come again, with what is below it too; nobody else may, and who claims the next owns all of them."""
    store.claim(1, NAME, 7, "ours")
    store.claim(1, NAME, 7, "ours")
    store.claim(1, NAME, 3, "ours")
    for owner in ("theirs", ""):
        with pytest.raises(ConfigError, match="epoch 7 of peer 1 was used before"):
            store.claim(1, NAME, 7, owner)
    store.claim(1, NAME, 8, "theirs")
    with pytest.raises(ConfigError, match="epoch 8 of peer 1 was used before"):
        store.claim(1, NAME, 8, "ours")

    assert store.highest(1, NAME) == 8


def test_one_control_plane_of_a_link(store: EpochStore) -> None:
    """A second one waits, then says who it is; other links are not concerned, and the lock goes with its holder."""
    process = start(HOLDER, store.path.parent)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    message = f"link 'left' is in the hands of process {process.pid}, and still was after 0.1 seconds"
    with pytest.raises(ConfigError, match=message), store.locked(timeout=0.1):
        pass
    with EpochStore(store.path.parent, "right").locked(timeout=0):
        pass
    store.claim(1, NAME, 1)

    process.kill()
    process.communicate()
    another = EpochStore(store.path.parent, "left")
    with store.locked(timeout=0), pytest.raises(ConfigError, match=f"process {os.getpid()}"), another.locked(timeout=0):
        pass
    with store.locked(timeout=0):
        pass


def test_the_lock_is_a_threads_own(store: EpochStore) -> None:
    """It may be taken again by who has it, and keeps out another thread with the same object until the outermost is done."""
    refused = []

    def other() -> None:
        try:
            with store.locked(timeout=0):
                pass
        except ConfigError:
            refused.append(True)

    with store.locked(timeout=0):
        with store.locked(timeout=0):
            pass
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    assert refused == [True]


def test_the_second_waits_for_the_first(store: EpochStore) -> None:
    """It goes on as soon as the first one has ended."""
    process = start(HOLDER, store.path.parent)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    threading.Timer(0.2, process.kill).start()

    with store.locked(timeout=30):
        process.communicate()


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fails(store: EpochStore, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """What is not on disk is not claimed: the error comes instead, and the former content stays."""
    store.claim(1, NAME, 1)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(state_file.os, call, fail)
        with pytest.raises(ConfigError, match=r"epochs\.json: cannot be written: No space left on device"):
            store.claim(1, NAME, 2)
    assert store.highest(1, NAME) == 1
    store.claim(1, NAME, 2)
