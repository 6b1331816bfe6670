"""The journal of lists: what is kept comes back, and an event finds the list that caused it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nearhand.cipher import AesGcm
from nearhand.errors import StorageError, UsageError
from nearhand.events import Event, EventLog
from nearhand.learning import Exposure, Exposures
from nearhand.learning.exposures import packed, unpacked
from nearhand.profile import ProfileStore
from nearhand.testing.clock import ManualClock

NOW = 1_700_000_000_000
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
FINITE = st.floats(allow_nan=False)
SCALAR = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)


@st.composite
def any_exposure(draw: st.DrawFn) -> Exposure:
    item_ids = draw(st.lists(TEXT, max_size=6, unique=True))
    k, d = len(item_ids), draw(st.integers(0, 5))
    numbers = st.lists(FINITE, min_size=k, max_size=k).map(tuple)
    return Exposure(
        recommendation_id=draw(st.from_regex(r"[0-9a-f]{1,32}", fullmatch=True)),
        at=draw(st.integers(-(2**63), 2**63 - 1)),
        source=draw(TEXT),
        item_ids=tuple(item_ids),
        propensities=draw(numbers),
        scores=draw(numbers),
        features=draw(hnp.arrays(np.float32, (k, d), elements=st.floats(width=32))),
        context=draw(st.dictionaries(TEXT, SCALAR, max_size=3)),
        space=draw(TEXT),
    )


def films(recommendation_id: str = "r1", *, k: int = 3, **fields: Any) -> Exposure:
    given_fields: dict[str, Any] = {
        "at": NOW,
        "source": "local",
        "item_ids": tuple(f"m_{number}" for number in range(k)),
        "propensities": (0.5,) * k,
        "scores": tuple(float(-number) for number in range(k)),
        "features": np.arange(2 * k, dtype=np.float32).reshape(k, 2),
        "context": {"hour": 21, "device": "tv"},
        "space": "s1",
        **fields,
    }
    return Exposure(recommendation_id, **given_fields)


def same(one: Exposure | None, other: Exposure | None) -> bool:
    """Equal in every field, and the features to the bit."""
    if one is None or other is None:
        return one is other
    ones, others = dict(vars(one)), dict(vars(other))
    a, b = ones.pop("features"), others.pop("features")
    return ones == others and (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ProfileStore]:
    with closing(ProfileStore(tmp_path / "profile.db", durability="process")) as opened:
        yield opened


@given(any_exposure())
def test_any_list_is_read_back_as_it_was_given(exposure: Exposure) -> None:
    assert same(unpacked(exposure.recommendation_id, packed(exposure)), exposure)


@given(any_exposure(), st.data())
def test_bytes_that_are_cut_short_or_go_on_are_refused(exposure: Exposure, data: st.DataObject) -> None:
    content = packed(exposure)
    cut = data.draw(st.integers(0, len(content) - 1))
    for damaged in (content[:cut], content + b"\0", b"\x02" + content[1:]):
        with pytest.raises(StorageError, match="is not an exposure of version 1"):
            unpacked("r1", damaged)


def test_damaged_json_is_refused(store: ProfileStore) -> None:
    content = packed(films())
    store.append("exposure", "r1", NOW, content.replace(b'["m_0"', b'{"m_0"'), keep=10)
    with pytest.raises(StorageError, match="exposure r1: is not an exposure"):
        Exposures(store, ManualClock(NOW)).find("r1")


def test_a_list_of_ten_films_is_small() -> None:
    exposure = films("0" * 32, k=10, features=np.ones((10, 33), np.float32))
    assert len(packed(exposure)) < 10 * 33 * 4 + 10 * 16 + 200


def test_lists_are_kept_over_a_restart(tmp_path: Path) -> None:
    given_lists = [films("r1"), films("r2", k=0), films("r3", features=np.zeros((3, 0), np.float32))]
    with closing(ProfileStore(tmp_path / "p.db", durability="process")) as store:
        for exposure in given_lists:
            Exposures(store, ManualClock(NOW)).log(exposure)
    with closing(ProfileStore(tmp_path / "p.db", durability="process")) as store:
        exposures = Exposures(store, ManualClock(NOW))
        for exposure in given_lists:
            assert same(exposures.find(exposure.recommendation_id), exposure)
        assert [exposure.recommendation_id for exposure in exposures.all()] == ["r1", "r2", "r3"]
        assert exposures.kept() == {"r1", "r2", "r3"}
        assert exposures.find("r4") is None


def test_only_the_latest_lists_are_kept(store: ProfileStore) -> None:
    exposures = Exposures(store, ManualClock(NOW), keep=20)
    for number in range(200):
        exposures.log(films(f"r{number}"))
        assert 20 <= len(exposures.kept()) <= 20 + 63 or number < 20
    assert exposures.find("r0") is None
    assert exposures.find("r180") is not None


def test_a_line_tells_when_it_was_written(store: ProfileStore) -> None:
    Exposures(store, ManualClock(NOW + 5)).log(films(at=NOW))
    assert [entry.at for entry in store.entries("exposure")] == [NOW + 5]


def test_lists_are_encrypted_with_the_store(tmp_path: Path) -> None:
    path = tmp_path / "p.db"
    with closing(ProfileStore(path, durability="process", cipher=AesGcm(b"k" * 32))) as store:
        Exposures(store, ManualClock(NOW)).log(films(item_ids=("secret_0", "secret_1", "secret_2")))
        assert Exposures(store, ManualClock(NOW)).find("r1") is not None
    assert b"secret" not in path.read_bytes()


@pytest.mark.parametrize(
    ("event", "position"),
    [
        (Event("item_clicked", "m_0", recommendation_id="r1"), 0),
        (Event("impression", "m_2", recommendation_id="r1"), 2),
        (Event("item_clicked", "m_3", recommendation_id="r1"), None),
        (Event("item_clicked", "m_0", recommendation_id="r2"), None),
        (Event("item_clicked", "m_0"), None),
        (Event("session_started", recommendation_id="r1"), None),
    ],
)
def test_an_event_finds_its_list_and_place(
    store: ProfileStore, tmp_path: Path, event: Event, position: int | None
) -> None:
    exposures = Exposures(store, ManualClock(NOW))
    exposures.log(films())
    with EventLog(tmp_path / "events.db", clock=ManualClock(NOW), durability="process") as log:
        found = exposures.attributed(log.append(event))
    if position is None:
        assert found is None
    else:
        assert found is not None
        assert same(found[0], films())
        assert found[1] == position


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"propensities": (0.5,)}, r"Exposure.propensities: has 1 numbers for 3 items; give one of each"),
        ({"scores": ()}, r"Exposure.scores: has 0 numbers for 3 items"),
        ({"features": np.zeros((2, 2), np.float32)}, r"Exposure.features: is float32 \[2, 2\], not float32 \[3, d\]"),
        ({"features": np.zeros((3, 2))}, r"Exposure.features: is float64"),
        ({"features": np.zeros(3, np.float32)}, r"Exposure.features: is float32 \[3\]"),
        ({"item_ids": ("m_0", "m_1", "m_0")}, r"Exposure.item_ids: has an item twice; show each item once"),
    ],
)
def test_a_malformed_list_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        films(**fields)


@pytest.mark.parametrize("context", [{"hour": float("nan")}, {"place": b"home"}, {"name": "\ud800"}])
def test_a_context_that_is_not_json_is_refused(store: ProfileStore, context: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="exposure context: is not JSON"):
        Exposures(store, ManualClock(NOW)).log(films(context=context))
