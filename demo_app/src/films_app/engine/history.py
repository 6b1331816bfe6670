"""What the user did, as the screens tell it, and the taste that it makes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from films_app.engine.catalogue import Catalogue
from films_app.engine.facts import Moment, Taste, TasteShare
from nearhand.events import RESET, RecordedEvent

_WEIGHTS = {"item_liked": 2.0, "item_viewed": 1.0, "item_disliked": -1.5}
_DAYS = 14


def moments(events: Sequence[RecordedEvent], films: Catalogue) -> list[Moment]:
    """Events as the screens show them, the latest first."""
    epoch = events[-1].epoch if events else 0
    return [_moment(event, epoch, films) for event in reversed(events)]


def local(at_ms: int, offset_minutes: int) -> datetime:
    """A moment as the clock on the wall has it."""
    return datetime.fromtimestamp(at_ms / 1000, UTC) + timedelta(minutes=offset_minutes)


def _moment(event: RecordedEvent, epoch: int, films: Catalogue) -> Moment:
    at = local(event.timestamp, event.utc_offset_minutes)
    return Moment(
        event_id=event.event_id,
        event=event.event,
        film=films.get(event.item_id),
        at_ms=event.timestamp,
        day=f"{at:%Y-%m-%d}",
        time=f"{at:%H:%M}",
        detail=str(event.properties.get("query", "")),
        is_past=event.epoch < epoch and event.event != RESET,
    )


def taste_of(happened: Sequence[Moment]) -> Taste:
    """Likes count twice as much as films that were watched; a dislike takes away."""
    days: dict[str, defaultdict[str, float]] = {}
    total: defaultdict[str, float] = defaultdict(float)
    for moment in reversed(happened):
        weight = _WEIGHTS.get(moment.event, 0.0)
        if moment.film is None or not weight:
            continue
        day = days.setdefault(moment.day, defaultdict(float))
        for genre in moment.film.genres:
            part = weight / len(moment.film.genres)
            total[genre] += part
            day[genre] += part
    whole = sum(amount for amount in total.values() if amount > 0)
    if not whole:
        return Taste((), ())
    lively = {day: amounts for day, amounts in days.items() if any(amount > 0 for amount in amounts.values())}
    last = dict(list(lively.items())[-_DAYS:])
    sums = {day: sum(amount for amount in amounts.values() if amount > 0) for day, amounts in last.items()}
    shares = tuple(
        TasteShare(
            genre,
            amount / whole,
            tuple(max(last[day].get(genre, 0.0), 0.0) / (sums[day] or 1.0) for day in last),
        )
        for genre, amount in sorted(total.items(), key=lambda one: -one[1])
        if amount > 0
    )
    return Taste(shares, tuple(last))
