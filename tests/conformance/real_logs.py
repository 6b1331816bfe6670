"""Two real logs as what happened on devices, and the same as tables of DuckDB.

The tables come from the data sets' files in SQL; Python adds when an event was recorded, and the wall clocks, which are
:mod:`zoneinfo`'s.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import duckdb
import numpy as np

from nearhand.features import ItemTable, Label, ReplayEvent
from tests.conformance.oracles import DAY, HOUR, MINUTE, RealLog

LONDON = ZoneInfo("Europe/London")
# A journey between them crosses a date, half hours, and a daylight saving of half an hour.
ZONES = [ZoneInfo(name) for name in ("America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Europe/London")]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_SEEN = """
create macro days(n) as cast(n as bigint) * 86400000;
create table arrived as
    select label, instant, events.* from labels join events using (profile)
    where recorded_at < instant and timestamp <= instant;
create table seen as
    select arrived.* exclude (item_id), arrived.item_id, instant - timestamp as age,
        make_timestamp(wall_ms * 1000) as wall, items.* exclude (item_id)
    from arrived join (select label, max(epoch) as epoch from arrived group by label) using (label, epoch)
    left join items on items.item_id = arrived.item_id
    where event <> 'preferences_reset';
create table seen_texts as select * from (select *, unnest(texts) as text, generate_subscripts(texts, 1) as place
    from seen);
"""


@dataclass(frozen=True)
class _Line:
    """A line of a data set: ``row`` is its place in the table ``lines``."""

    row: int
    instant: int
    recorded_at: int
    zone: ZoneInfo
    event: str
    item_id: str
    context: Mapping[str, Any]
    properties: Mapping[str, Any]


def films_log(folder: Path) -> RealLog:
    """A third of ml-latest-small's users. Every fifth resets their preferences; all of them travel."""
    database = duckdb.connect()
    database.execute(f"create table lines as select row_number() over () as row, * from '{folder / 'ratings.csv'}'")
    database.execute(
        f"""create table items as select movieId::varchar as item_id,
            try_cast(regexp_extract(title, '\\(([0-9]{{4}})\\)\\s*$', 1) as int) as year,
            case when genres <> '(no genres listed)' then string_split(genres, '|') end as texts
        from '{folder / "movies.csv"}' order by movieId"""
    )
    catalogue = database.execute("select item_id, year, texts from items").fetchall()
    genres = sorted({genre for *_, found in catalogue for genre in found or ()})
    items = ItemTable(
        tuple(item_id for item_id, *_ in catalogue),
        {
            "year": [year for _, year, _ in catalogue],
            "genres": [tuple(found) if found else None for *_, found in catalogue],
        },
    )
    query = "select userId, row, movieId, rating, timestamp from lines where userId % 3 = 1 order by all"
    lines: dict[str, list[_Line]] = defaultdict(list)
    for user, row, film, rating, seconds in database.execute(query).fetchall():
        at, profile = seconds * 1000, lines[str(user)]
        # One in seven was sent late; one in eleven while the clock ran ahead.
        recorded_at = at + 3 * DAY if row % 7 == 0 else at - 2 * HOUR if row % 11 == 0 else at
        event = "item_liked" if rating >= 4 else "item_disliked" if rating <= 2.5 else "item_viewed"
        context = {"device": ["phone", "tablet", "watch"][film % 3]} if film % 5 else {}
        zone = ZONES[(user + len(profile) // 40) % 4]
        profile.append(_Line(row, at, recorded_at, zone, event, str(film), context, {"rating": rating}))
    vocabularies = {
        # Without the most usual one, so that there are texts outside it; and last of all one that no film has.
        "genres": [*(genre for genre in reversed(genres) if genre != "Drama"), "Opera"],
        "films": [item_id for item_id, *_ in catalogue][:2000:2],
        "devices": ["tablet", "phone"],
    }
    extra = """movieId::varchar as item_id, rating,
        case when rating >= 4 then 'item_liked' when rating > 2.5 then 'item_viewed' else 'item_disliked' end as event,
        case when movieId % 5 <> 0 then
        case movieId % 3 when 0 then 'phone' when 1 then 'tablet' else 'watch' end end as device"""
    return _log(database, lines, items, vocabularies, extra, resets=lambda profile: int(profile) % 5 == 0)


def shop_log(path: Path) -> RealLog:
    """Every twentieth customer of online_retail.parquet, whose times are a wall clock's in the United Kingdom."""
    database = duckdb.connect()
    database.execute(f"create table lines as select row_number() over () as row, * from '{path}'")
    database.execute(
        """create table items as select StockCode as item_id,
            if(count(*) > 2, median(UnitPrice)::decimal(18, 3), null) as usual,
            list_sort(list_distinct(flatten(list(distinct string_split(trim(Description), ' '))))) as texts
        from lines where CustomerID is not null group by StockCode order by StockCode"""
    )
    catalogue = database.execute("select item_id, usual::double, texts from items").fetchall()
    items = ItemTable(
        tuple(item_id for item_id, *_ in catalogue),
        {
            "usual": [usual for _, usual, _ in catalogue],
            "words": [tuple(words) for *_, words in catalogue],
        },
    )
    query = """select CustomerID::int, InvoiceDate, row, InvoiceNo, StockCode, Quantity, UnitPrice, Country
        from lines where CustomerID % 20 = 5 order by all"""
    lines: dict[str, list[_Line]] = defaultdict(list)
    for customer, wall, row, invoice, code, quantity, price, country in database.execute(query).fetchall():
        at = _milliseconds(wall.replace(tzinfo=LONDON))
        event = "item_purchased" if quantity > 0 else "item_returned"
        properties = {"quantity": quantity, "huge": quantity * 1e13, "line": {"price": price} if price else "free"}
        # The till was offline for one invoice in nine.
        recorded_at = at + 6 * HOUR if int(invoice.strip("C")) % 9 == 0 else at
        context = {"country": country}
        lines[str(customer)].append(_Line(row, at, recorded_at, LONDON, event, code, context, properties))
    words = database.execute(
        "select word from items, unnest(texts) as t(word) group by word order by count(*) desc, word limit 60"
    ).fetchall()
    vocabularies = {
        "words": [word for (word,) in words[::2]],  # every other one: the rest are texts outside it
        "codes": [item_id for item_id, *_ in catalogue][::3],
        "countries": ["France", "United Kingdom"],
    }
    extra = """StockCode as item_id, Quantity as quantity,
        if(Quantity > 0, 'item_purchased', 'item_returned') as event, nullif(UnitPrice, 0)::decimal(18, 3) as price,
        Country as country, InvoiceDate as invoiced"""
    return _log(database, lines, items, vocabularies, extra, resets=lambda profile: False)


class _Stored(NamedTuple):
    """An event of a profile's log; ``row`` is 0 for a reset."""

    event: ReplayEvent
    row: int
    wall_ms: int


class _Asked(NamedTuple):
    label: Label
    candidates: list[str]
    wall: datetime


def _log(
    database: duckdb.DuckDBPyConnection,
    lines: Mapping[str, list[_Line]],
    items: ItemTable,
    vocabularies: Mapping[str, Sequence[str]],
    extra: str,
    *,
    resets: Callable[[str], bool],
) -> RealLog:
    """What was stored and what is asked, and the tables of it.

    Args:
        lines: profile → its lines, in the order of their instants.
        extra: what of a line the table of events has.
    """
    stored = {profile: _stored(found, reset=resets(profile)) for profile, found in lines.items()}
    asked = {profile: _asked(found, items, at) for at, (profile, found) in enumerate(lines.items())}
    every = [one for found in asked.values() for one in found]
    _make_tables(database, list(stored.values()), list(asked.values()), extra)
    return RealLog(
        items,
        vocabularies,
        {profile: [one.event for one in found] for profile, found in stored.items()},
        {profile: [one.label for one in found] for profile, found in asked.items()},
        [one.candidates for one in every],
        [one.wall for one in every],
        database,
    )


def _stored(lines: Sequence[_Line], *, reset: bool) -> list[_Stored]:
    """The events in the order in which they were recorded; two thirds of the way there is a reset."""
    ordered = sorted(lines, key=lambda line: line.recorded_at)
    reset_at = 2 * len(ordered) // 3 if reset else -1
    stored = []
    for place, line in enumerate(ordered):
        now, offset = line.recorded_at, _offset_minutes(line.instant, line.zone)
        if place == reset_at:
            marker = ReplayEvent(now, place, now, offset, 1, "preferences_reset", None, {}, {})
            stored.append(_Stored(marker, 0, 0))
        epoch = int(0 <= reset_at <= place)
        about = (line.event, line.item_id, line.context, line.properties)
        event = ReplayEvent(line.instant, place + epoch, now, offset, epoch, *about)
        stored.append(_Stored(event, line.row, _wall_ms(line.instant, line.zone)))
    return stored


def _asked(lines: Sequence[_Line], items: ItemTable, profile: int) -> list[_Asked]:
    """Labels, each with items that the profile knows, others, one of which little is known, and one not even known."""
    cells = zip(items.item_ids, *items.columns.values(), strict=True)
    vague = next(item_id for item_id, *known in cells if None in known)
    asked = []
    for place, at in enumerate(_instants(lines)):
        n = 18 * profile + place
        zone = lines[(place * 37) % len(lines)].zone
        mine = [lines[(n * step) % len(lines)].item_id for step in (1, 3, 7)]
        others = [items.item_ids[(n * step) % len(items.item_ids)] for step in (31, 57)]
        label = Label(at, _offset_minutes(at, zone), mine[0], _context(n), _pushed(n))
        asked.append(
            _Asked(label, [*mine, *others, vague, "of no catalogue"], datetime.fromtimestamp(at // 1000, zone))
        )
    return asked


def _make_tables(
    database: duckdb.DuckDBPyConnection,
    stored: Sequence[Sequence[_Stored]],
    asked: Sequence[Sequence[_Asked]],
    extra: str,
) -> None:
    """The tables of a :class:`RealLog`; a profile is its place in ``stored``."""
    names = ("timestamp", "sequence", "recorded_at", "epoch", "row", "wall_ms", "profile")
    rows = [
        (event.timestamp, event.sequence, event.recorded_at, event.epoch, row, wall_ms, profile)
        for profile, found in enumerate(stored)
        for event, row, wall_ms in found
    ]
    database.register("stored", dict(zip(names, np.array(rows).T.copy(), strict=True)))
    database.execute(
        f"""create table events as
        select stored.* exclude (row), coalesce(event, 'preferences_reset') as event, extra.* exclude (row, event)
        from stored left join (select row, {extra} from lines) as extra using (row)"""
    )
    labels = [
        (label, profile, one.label.timestamp, (one.wall.date() - _EPOCH.date()).days)
        for label, (profile, one) in enumerate((profile, one) for profile, found in enumerate(asked) for one in found)
    ]
    columns = ("label", "profile", "instant", "day")
    database.register("asked", dict(zip(columns, np.array(labels).T.copy(), strict=True)))
    database.execute("create table labels as select * exclude (day), date '1970-01-01' + day::int as today from asked")
    item_ids = np.array([one.candidates for found in asked for one in found], object)
    label, place = np.indices(item_ids.shape)
    wanted = {"label": label.ravel(), "place": place.ravel(), "item_id": item_ids.ravel()}
    database.register("wanted", wanted)
    database.execute("create table candidates as select * from wanted")
    database.execute(_SEEN)


def _instants(lines: Sequence[_Line]) -> list[int]:
    """The instants that a profile is asked about: in the middle, on the dot of what a rule turns on, and far away."""
    times = [line.instant for line in lines]
    first, middle, later, last = times[0], times[len(times) // 2], times[3 * len(times) // 4], times[-1]
    midnight = datetime.fromtimestamp(later // 1000, lines[0].zone).replace(hour=0, minute=0, second=0)
    instants = [
        first - 1,
        middle,
        middle + 1,
        middle + 23 * HOUR,
        later + 1,
        later + 7 * DAY - 1,
        later + 7 * DAY,
        _milliseconds(midnight + timedelta(days=1)) - 1,
        _milliseconds(midnight + timedelta(days=1)),
        last + 30 * MINUTE,
        last + 30 * MINUTE + 1,
        last + 32 * DAY,
        last + 33 * DAY,
        last + 400 * DAY,
        _milliseconds(datetime(2011, 3, 27, 1, tzinfo=UTC)) - 1,  # a clock in London springs from 0:59 to 2:00
        _milliseconds(datetime(2011, 3, 27, 1, tzinfo=UTC)),
        _milliseconds(datetime(2011, 10, 30, 0, 30, tzinfo=UTC)),  # 1:30 in London, and an hour later again
        _milliseconds(datetime(2011, 10, 30, 1, 30, tzinfo=UTC)),
    ]
    return sorted(instants)


def _context(n: int) -> dict[str, Any]:
    """A request's context, in every kind that could come."""
    screens: list[dict[str, Any]] = [{"screen": n / 8}, {"screen": n}, {"screen": "wide"}, {"screen": True}, {}]
    devices: list[dict[str, Any]] = [{"device": "phone"}, {"device": ["tablet", "phone"]}, {"device": "watch"}, {}]
    return screens[n % 5] | devices[n % 4]


def _pushed(n: int) -> dict[str, Sequence[float]]:
    return {"taste": (n / 3, -n / 7, 0.25)} if n % 3 else {}


def _milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _wall_ms(at: int, zone: ZoneInfo) -> int:
    """A local time as if it were UTC's."""
    return _milliseconds(datetime.fromtimestamp(at // 1000, zone).replace(tzinfo=UTC)) + at % 1000


def _offset_minutes(at: int, zone: ZoneInfo) -> int:
    return (_wall_ms(at, zone) - at) // MINUTE
