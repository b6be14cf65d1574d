"""Compiled objects on disk: what is kept comes back, and what is not whole or not the user's own is not used."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from bpfcrypto.embedded.jit import cache

NAME = cache.key("a", b"b")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    found = tmp_path / "cache"
    monkeypatch.setenv("BPFCRYPTO_CACHE", str(found))
    return found


def test_what_is_kept_comes_back(place: Path) -> None:
    """Bytes are found under their name and no other, in files that nobody else can read."""
    assert cache.read(NAME) is None
    cache.write(NAME, b"machine code")

    assert cache.read(NAME) == b"machine code"
    assert cache.read(cache.key("a", b"c")) is None
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert [stat.S_IMODE(each.stat().st_mode) for each in place.iterdir()] == [0o600]


def test_names_depend_on_each_part() -> None:
    """Parts that run together are not the same as parts that are cut elsewhere."""
    assert len({cache.key("ab", "c"), cache.key("a", "bc"), cache.key("abc"), cache.key("ab", "c", "")}) == 4


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data[:40] + b"x" + data[41:], lambda _: b""])
def test_a_damaged_entry_is_none(place: Path, change: object) -> None:
    """An entry that was cut or changed is made again."""
    cache.write(NAME, bytes(100))
    file = place / NAME
    file.write_bytes(change(file.read_bytes()))  # type: ignore[operator]

    assert cache.read(NAME) is None
    assert cache.remembered(NAME, lambda: b"anew") == b"anew"
    assert cache.read(NAME) == b"anew"


def test_a_folder_of_others_is_not_used(place: Path) -> None:
    """Where others could write, nothing is read and nothing is kept."""
    cache.write(NAME, b"code")
    place.chmod(0o777)

    assert cache.read(NAME) is None
    cache.write(cache.key("z"), b"code")
    assert len(list(place.iterdir())) == 1


def test_a_link_in_its_place_is_not_followed(place: Path, tmp_path: Path) -> None:
    """A folder that is a link to another user's place is judged by that place."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o777)
    elsewhere.chmod(0o777)
    place.symlink_to(elsewhere)
    cache.write(NAME, b"code")

    assert list(elsewhere.iterdir()) == []


def test_nothing_is_kept_if_not_wanted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty BPFCRYPTO_CACHE, or a folder that cannot be made, keeps nothing and harms nothing."""
    for value in ("", str(tmp_path / "file" / "cache")):
        (tmp_path / "file").write_text("in the way")
        monkeypatch.setenv("BPFCRYPTO_CACHE", value)
        cache.write(NAME, b"code")
        assert cache.read(NAME) is None


def test_writers_do_not_disturb_each_other(place: Path) -> None:
    """Many writers of one entry: a reader finds one whole text at any time, and no other file stays behind."""
    texts = [bytes([each]) * 5000 for each in range(8)]
    wrong: list[bytes] = []

    def work(text: bytes) -> None:
        for _ in range(50):
            cache.write(NAME, text)
            found = cache.read(NAME)
            if found not in texts:
                wrong.append(found or b"")

    threads = [threading.Thread(target=work, args=(text,)) for text in texts]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert wrong == []
    assert os.listdir(place) == [NAME]


def test_it_does_not_grow_for_ever(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond its limit, the oldest half goes."""
    monkeypatch.setattr(cache, "_MOST_ENTRIES", 10)
    for number in range(11):
        cache.write(cache.key(str(number)), b"x")
        os.utime(place / cache.key(str(number)), (number, number))
    cache.write(cache.key("last"), b"x")

    assert cache.read(cache.key("0")) is None
    assert cache.read(cache.key("10")) == b"x"
    assert cache.read(cache.key("last")) == b"x"
