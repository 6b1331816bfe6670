"""Personalizers on the small complete bundle, for tests of serving: one data folder, a new profile each time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from nearhand import Config, Event, Personalizer, Recommendation
from nearhand.clock import Clock, SystemClock
from nearhand.events import EventLog, RecordedEvent
from nearhand.learning import Exposure, Exposures
from nearhand.profile import ProfileStore
from tests.sdk.hooked_runtime import HookedRuntime
from tests.tiny import ITEMS, taste_of

PLAIN = Config(durability="process", seed=5)
CAP = 4  # of serving_factory.LISTING


@dataclass
class Device:
    """Where bundles are installed; golden vectors run once for each of them.

    Attributes:
        bundle: the one that is opened; folder: its data folder.
    """

    bundle: Path
    folder: Path
    _numbers: Iterator[int] = field(default_factory=count)

    def new_profile(self) -> str:
        """The name of a profile that nothing is known of."""
        return f"p{next(self._numbers)}"

    @contextmanager
    def opened(
        self,
        runtime: HookedRuntime | None = None,
        config: Config = PLAIN,
        *,
        profile: str | None = None,
        clock: Clock | None = None,
        bundle: Path | None = None,
        **options: Any,
    ) -> Iterator[Personalizer]:
        """A Personalizer of a new profile, or of the one that is named; ``options`` are those of ``open``."""
        runtime = runtime or HookedRuntime()
        config = replace(config, profile=profile or self.new_profile())
        with Personalizer.open(
            bundle or self.bundle, self.folder, config=config, clock=clock, runtimes=runtime.runtimes, **options
        ) as one:
            yield one

    def path(self, one: Personalizer, name: str) -> Path:
        """A file of its profile."""
        return self.folder / "profiles" / one.status().profile / name

    def exposures(self, one: Personalizer) -> list[Exposure]:
        """What its profile's journal has of lists, read through another connection."""
        store = ProfileStore(self.path(one, "profile.db"), durability="process")
        try:
            return Exposures(store, SystemClock()).all()
        finally:
            store.close()

    def events(self, one: Personalizer) -> list[RecordedEvent]:
        """What its profile's log has, read through another connection."""
        with EventLog(self.path(one, "events.db"), clock=SystemClock(), durability="process") as log:
            return log.since(0)


def record(one: Personalizer, event: str, rows: Iterable[int]) -> list[RecordedEvent]:
    """One event for each row."""
    return one.record_many([Event(event, f"m_{row}") for row in rows])


def rows_of(recommendations: Iterable[Recommendation]) -> list[int]:
    return [int(one.item_id.removeprefix("m_")) for one in recommendations]


def plain(recommendations: Iterable[Recommendation]) -> list[Recommendation]:
    """Without the identifier, which is another for every list."""
    return [replace(one, recommendation_id="") for one in recommendations]


def assert_valid(recommendations: list[Recommendation], k: int, *, absent: Iterable[int] = ()) -> None:
    """A list of this length, of different items that may be shown, with each category within its cap."""
    rows = rows_of(recommendations)
    assert len(rows) == len(set(rows)) == k
    assert set(rows) <= set(range(ITEMS))
    assert not set(rows) & set(absent)
    tastes = [taste_of(row) for row in rows]
    assert max(map(tastes.count, tastes)) <= CAP
    assert [one.position for one in recommendations] == list(range(k))
    assert len({one.recommendation_id for one in recommendations}) == 1
    assert all(0 < one.propensity <= 1 for one in recommendations)
    assert {one.source for one in recommendations} <= {"local", "cloud", "fallback"}
    assert [one.title for one in recommendations] == [f"Film {row}" for row in rows]
