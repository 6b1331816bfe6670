"""Pushed features, encrypted: as in the clear, and nothing of them is in the file."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearhand.cipher import AesGcm, Cipher
from nearhand.errors import EncryptionError
from nearhand.features.cache import PushedFeatures
from nearhand.monitoring import Meter
from nearhand.testing import ManualClock
from tests.sdk.event_logs import sql

KEY, OTHER_KEY = bytes(range(32)), b"k" * 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "profile" / "pushed.db"


def opened(path: Path, cipher: Cipher | None, budget_bytes: int = 10_000) -> PushedFeatures:
    clock = ManualClock()
    return PushedFeatures(path, clock=clock, meter=Meter(clock), budget_bytes=budget_bytes, cipher=cipher)


@pytest.fixture
def pushed(path: Path) -> Iterator[PushedFeatures]:
    with closing(opened(path, AesGcm(KEY))) as pushed:
        yield pushed


def raw(folder: Path) -> bytes:
    """All bytes of all files. By another process: closing a file here would drop SQLite's locks on it."""
    return subprocess.run(["cat", *sorted(folder.iterdir())], capture_output=True, check=True).stdout


def put(pushed: PushedFeatures, name: str = "planted name") -> None:
    pushed.put(name, [1.5, -2.25, 1e30], ttl_ms=1000, source="planted source")


def test_nothing_is_in_the_clear_after_any_operation(path: Path, pushed: PushedFeatures) -> None:
    values = b"\x00\x00\xc0?\x00\x00\x10\xc0"  # the first two

    def check() -> None:
        assert b"planted" not in raw(path.parent)
        assert values not in raw(path.parent)

    for n in range(200):  # the budget has no room for all of them
        put(pushed, f"planted {n}")
        if n % 50 == 0:
            check()
    assert pushed.status().evicted > 50
    assert pushed.get("planted 199") is not None
    check()
    pushed.clear()
    put(pushed)
    pushed.close()
    check()
    with closing(opened(path, AesGcm(KEY))) as again:
        found = again.get("planted name")
        assert found is not None
        assert (found.values[:2], found.source, found.name) == ((1.5, -2.25), "planted source", "planted name")
        check()
    with closing(opened(path.parent / "plain.db", None)) as plain:
        put(plain)
        assert raw(path.parent).count(b"planted") >= 2
        assert values in raw(path.parent)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared") / "pushed.db"


@given(
    name=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    source=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    values=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20),
)
def test_every_feature_comes_back(shared: Path, name: str, source: str, values: list[float]) -> None:
    with closing(opened(shared, AesGcm(KEY))) as pushed:
        feature = pushed.put(name, values, ttl_ms=1000, source=source)
        assert pushed.get(name) == feature
        assert feature.values == tuple(values)


@pytest.mark.parametrize("is_empty", [True, False])
def test_another_key_or_none_opens_nothing_and_changes_nothing(path: Path, is_empty: bool) -> None:
    for cipher, others in ((AesGcm(KEY), (AesGcm(OTHER_KEY), None)), (None, (AesGcm(KEY),))):
        path.unlink(missing_ok=True)
        with closing(opened(path, cipher)) as pushed:
            if not is_empty:
                put(pushed)
        before = path.read_bytes()
        for other in others:
            with pytest.raises(EncryptionError, match=r"pushed\.db: "):
                opened(path, other)
        assert path.read_bytes() == before
        assert [file.name for file in path.parent.iterdir()] == ["pushed.db"]


@pytest.mark.degrades
@pytest.mark.parametrize(
    "change",
    [
        """UPDATE pushed SET "values" = (SELECT min("values") FROM pushed)""",
        """UPDATE pushed SET "values" = (SELECT max("values") FROM pushed)""",
        """UPDATE pushed SET "values" = x'00'""",
        "UPDATE pushed SET expires_at = expires_at + 1000",
    ],
)
def test_a_value_that_was_moved_or_altered_is_damage(path: Path, pushed: PushedFeatures, change: str) -> None:
    put(pushed, "a")
    put(pushed, "b")
    sql(path, change)
    assert None in [pushed.get("a"), pushed.get("b")]
    assert pushed.status().failures == 1
    put(pushed, "a")
    assert pushed.get("a") is not None
    with pytest.raises(EncryptionError):  # the fresh one is for the same key
        opened(path, AesGcm(OTHER_KEY))


class Keystore(AesGcm):
    """A cipher whose key can be taken away."""

    is_there = True

    def open(self, sealed: bytes, place: str) -> bytes:
        if not self.is_there:
            raise EncryptionError("is locked", place="the keystore", remedy="unlock it")
        return super().open(sealed, place)


@pytest.mark.degrades
def test_a_key_that_goes_away_is_not_damage(path: Path) -> None:
    keystore = Keystore(KEY)
    with closing(opened(path, keystore)) as pushed:
        put(pushed)
        keystore.is_there = False
        assert pushed.get("planted name") is None
        assert pushed.status().failures == 1
    keystore.is_there = True
    with closing(opened(path, keystore)) as pushed:
        assert pushed.get("planted name") is not None
