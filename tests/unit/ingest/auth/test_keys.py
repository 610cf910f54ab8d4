"""API keys: kept as hashes, read again by running services, compared in constant time."""

import stat
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ingest.auth.keys import CHECK_EVERY_S, KEY, KeyFile, KeyRing, KeysError, new_key


class Now:
    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s

    def pass_(self) -> None:
        self.s += CHECK_EVERY_S


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "keys.json"


def test_a_key_is_kept_as_a_hash_that_its_owner_alone_can_read(path: Path) -> None:
    text, key = new_key("shop", ["ingest"])
    KeyFile(path).add(key)
    assert KEY.fullmatch(text)
    assert text.rpartition("_")[2] not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert KeyFile(path).read() == [key]


def test_keys_come_and_go_in_a_ring_that_runs(path: Path) -> None:
    now = Now()
    ring = KeyRing(path, now)
    assert not ring.required
    text, key = new_key("shop", ["ingest"], origins=["https://shop.example.com"])
    KeyFile(path).add(key)
    now.pass_()
    assert ring.required
    assert ring.find(text) == key
    assert ring.origins() == {"https://shop.example.com"}
    KeyFile(path).revoke(key.id)
    now.pass_()
    assert ring.find(text) is None
    assert ring.origins() == set()
    assert ring.required  # although no valid key is left
    path.unlink()
    now.pass_()
    assert ring.required


def test_a_file_that_can_not_be_read_changes_nothing_and_says_so_at_the_start(path: Path) -> None:
    now = Now()
    text, key = new_key("shop", ["ingest"])
    KeyFile(path).add(key)
    ring = KeyRing(path, now)
    path.write_text("[{")
    now.pass_()
    assert ring.find(text) == key
    with pytest.raises(KeysError, match="can't be read"):
        KeyRing(path)
    with pytest.raises(KeysError, match="can't be read"):
        KeyFile(path).add(key)


@pytest.mark.parametrize("change", ["", "x", "es_", "last letter", "other id", "é"])
def test_what_is_not_the_key_is_no_key(path: Path, change: str) -> None:
    text, key = new_key("shop", ["ingest"])
    KeyFile(path).add(key)
    ring = KeyRing(path)
    wrong = {
        "last letter": text[:-1] + ("A" if text[-1] != "A" else "B"),
        "other id": text.replace(key.id, "0" * 12),
    }.get(change, change)
    assert ring.find(wrong) is None
    assert ring.find(text + "\n") is None


def test_revoking_what_there_is_not_is_said(path: Path) -> None:
    _, key = new_key("shop", ["ingest"])
    KeyFile(path).add(key)
    KeyFile(path).revoke(key.id)
    for key_id in (key.id, "nobody"):
        with pytest.raises(KeysError, match="no key"):
            KeyFile(path).revoke(key_id)


def test_commands_at_the_same_time_lose_no_key(path: Path) -> None:
    keys = [new_key(str(number), ["query"])[1] for number in range(20)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda key: KeyFile(path).add(key), keys))
    assert {key.id for key in KeyFile(path).read()} == {key.id for key in keys}


def test_a_wrong_key_takes_as_long_however_much_of_it_is_right(path: Path) -> None:
    """Compare the median times of 5,000 attempts with each kind of wrong key.

    A comparison letter by letter, or one that stops at a wrong id, would show different times.
    """
    text, key = new_key("shop", ["ingest"])
    KeyFile(path).add(key)
    ring = KeyRing(path)
    secret = text.rpartition("_")[2]
    wrong = {
        "another id": text.replace(key.id, "f" * 12),
        "nothing of the secret": text.replace(secret, "A" * 43),
        "all but the last": text[:-1] + ("A" if text[-1] != "A" else "B"),
    }
    taken_ns: dict[str, list[int]] = {kind: [] for kind in wrong}
    for _ in range(5_000):
        for kind, candidate in wrong.items():
            started_ns = time.perf_counter_ns()
            ring.find(candidate)
            taken_ns[kind].append(time.perf_counter_ns() - started_ns)
    medians = [statistics.median(values) for values in taken_ns.values()]
    assert max(medians) < 1.3 * min(medians)
