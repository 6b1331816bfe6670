"""Every operator on ml-latest-small: a view, and its values said in SQL."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tests.conformance.oracles import (
    DAY,
    HOUR,
    MINUTE,
    SESSION,
    STATISTICS,
    UNITS,
    Case,
    Expected,
    Numbers,
    RealLog,
    case,
    circle,
    codes_of_catalogue,
    combined,
    contexts,
    halved,
    halved_weights,
    hashed,
    hours,
    numbers,
    of_candidates,
    of_catalogue,
    over,
    padded,
    session,
    shares,
    spread,
    streak,
    symmetric_log,
    weekdays,
    words,
)

FILM_EVENTS = ["item_liked", "item_viewed", "item_disliked"]
LIKED, DISLIKED = "event = 'item_liked'", "event = 'item_disliked'"
TASTE = "case event when 'item_liked' then 1.5 when 'item_viewed' then 1 else -2 end"
TASTE_WEIGHTS = {"item_liked": 1.5, "item_disliked": -2}
GENRE_TASTE: dict[str, Any] = {
    "events": FILM_EVENTS,
    "of": "item.genres",
    "vocabulary": "genres",
    "weights": TASTE_WEIGHTS,
}
OF_GENRES = {"of": "text", "vocabulary": "genres", "source": "seen_texts"}


def genre_taste(log: RealLog, entering: str = "true") -> Numbers:
    return log.weights(entering=entering, weight=TASTE, **OF_GENRES)


def genre_shares(entering: str) -> Expected:
    return lambda log: shares(genre_taste(log, entering))


def genre_shares_halved(half_life: int) -> Expected:
    return lambda log: shares(halved_weights(log, entering="true", half_life=half_life, weight=TASTE, **OF_GENRES))


def genres_combined(how: str, entering: str) -> Expected:
    return lambda log: combined(log, genre_taste(log, entering), "genres", "genres", how)


def rating_of_the_liked(log: RealLog) -> Numbers:
    return log.numbers("avg(rating)", f"{LIKED} and age < days(7)", empty=3.5)


def year_of_the_liked(log: RealLog) -> Numbers:
    return log.numbers("avg(year)", f"{LIKED} and year is not null", empty=1990)


FILMS: list[Case] = [
    case("count", "count_ever", numbers("count(*)", LIKED), events=["item_liked"]),
    *(
        case(
            "count",
            f"count_{window}",
            numbers("count(*)", f"event <> 'item_viewed' and age < {ms}"),
            events=["item_disliked", "item_liked"],
            window=window,
        )
        for window, ms in (("90s", 90_000), ("1h", HOUR), ("7d", 7 * DAY), ("52w", 364 * DAY))
    ),
    case(
        "count",
        "count_where",
        numbers(
            "count(*)", "rating >= 3.5 and rating < 4.5 and list_has_any(texts, ['Comedy', 'War']) and age < days(30)"
        ),
        events=FILM_EVENTS,
        window="30d",
        where=[
            {"field": "properties.rating", "at_least": 3.5, "below": 4.5},
            {"field": "item.genres", "any_of": ["Comedy", "War"]},
        ],
    ),
    case(
        "count",
        "count_by_the_clock",
        numbers("count(*)", "hour(wall) in (0, 9, 21, 23) and isodow(wall) in (6, 7)"),
        events=FILM_EVENTS,
        where=[
            {"field": "local_hour", "any_of": ["0", "9", "21", "23"]},
            {"field": "weekday", "any_of": ["5", "6"]},
        ],
    ),
    case(
        "count",
        "count_year_and_device",
        numbers("count(*)", "year < 1995 and device in ('phone', 'watch')"),
        events=FILM_EVENTS,
        where=[{"field": "item.year", "below": 1995}, {"field": "context.device", "any_of": ["phone", "watch"]}],
    ),
    case(
        "count",
        "count_kind_and_item",
        numbers("count(*)", f"{LIKED} and item_id in ('296', '318', '593')"),
        events=FILM_EVENTS,
        where=[
            {"field": "event", "any_of": ["item_liked"]},
            {"field": "item_id", "any_of": ["296", "318", "593"]},
        ],
    ),
    *(
        case(
            op,
            f"{op}_{window or 'ever'}",
            numbers(sql.format("rating"), f"age < {ms}", empty=0 if "sum" in sql else -1.5),
            events=FILM_EVENTS,
            value="properties.rating",
            window=window,
            default=None if op == "sum" else -1.5,
        )
        for window, ms in ((None, 2**62), ("1h", HOUR), ("7d", 7 * DAY), ("52w", 364 * DAY))
        for op, sql in STATISTICS.items()
    ),
    case(
        "mean",
        "year_of_the_liked",
        year_of_the_liked,
        events=["item_liked"],
        value="item.year",
        default=1990,
        decimals=0,
    ),
    case(
        "distinct",
        "films_ever",
        numbers("count(distinct item_id)", LIKED),
        of="item_id",
        events=["item_liked"],
    ),
    case(
        "distinct",
        "genres_30d",
        numbers("count(distinct text)", f"{DISLIKED} and age < days(30)", source="seen_texts"),
        events=["item_disliked"],
        of="item.genres",
        window="30d",
    ),
    case(
        "distinct",
        "hours_ever",
        numbers("count(distinct hour(wall))", "true"),
        events=FILM_EVENTS,
        of="local_hour",
    ),
    case(
        "distinct",
        "weekdays_52w",
        numbers("count(distinct isodow(wall))", "age < days(364)"),
        events=FILM_EVENTS,
        of="weekday",
        window="52w",
    ),
    case(
        "distinct",
        "kinds_7d",
        numbers("count(distinct event)", "age < days(7)"),
        events=FILM_EVENTS,
        of="event",
        window="7d",
    ),
    case(
        "ratio",
        "disliked_of_liked",
        lambda log: over(log.numbers("count(*)", DISLIKED), log.numbers("count(*)", LIKED), -1),
        numerator="count_disliked",
        denominator="count_ever",
        default=-1,
    ),
    case("count", "count_disliked", numbers("count(*)", DISLIKED), events=["item_disliked"]),
    case("decay", "decay_1h", numbers(halved("1", HOUR), LIKED), events=["item_liked"], half_life="1h"),
    case("decay", "decay_1d", numbers(halved("1", DAY), "true"), events=FILM_EVENTS, half_life="1d"),
    case(
        "decay",
        "decay_rating_30d",
        numbers(halved("rating", 30 * DAY), "year is not null and year >= 1990"),
        events=FILM_EVENTS,
        half_life="30d",
        value="properties.rating",
        decimals=1,
        where=[{"field": "item.year", "at_least": 1990}],
    ),
    *(
        case(
            "time_since",
            f"{unit}_since_{since}",
            numbers(f"{sql}(age) / {ms}", DISLIKED, empty=-1),
            events=["item_disliked"],
            since=since,
            unit=unit,
        )
        for unit, ms in UNITS.items()
        for since, sql in (("latest", "min"), ("first", "max"))
    ),
    case(
        "recency",
        "recency_2w",
        numbers(f"pow(0.5, min(age) / {14 * DAY})", LIKED),
        events=["item_liked"],
        half_life="2w",
    ),
    case("streak", "streak", streak("true"), events=FILM_EVENTS),
    case("streak", "streak_of_likes", streak(LIKED), events=["item_liked"]),
    case(
        "last_n",
        "last_films",
        lambda log: padded(log.latest("item_id", LIKED, n=20), 20, words(log, "films")),
        events=["item_liked"],
        of="item_id",
        n=20,
        encode={"vocabulary": "films"},
    ),
    case(
        "last_n",
        "last_films_hashed",
        lambda log: padded(log.latest("item_id", "rating < 3", n=5), 5, hashed(1000, 7)),
        events=FILM_EVENTS,
        of="item_id",
        n=5,
        encode={"buckets": 1000, "seed": 7},
        where=[{"field": "properties.rating", "below": 3}],
    ),
    case(
        "last_n",
        "last_genres",
        lambda log: padded(log.latest("text", "true", n=7, source="seen_texts"), 7, words(log, "genres")),
        events=FILM_EVENTS,
        of="item.genres",
        n=7,
        encode={"vocabulary": "genres"},
    ),
    case(
        "last_n",
        "last_distinct_genres",
        lambda log: padded(
            log.latest("text", "true", n=7, distinct=True, source="seen_texts"), 7, hashed(2**30 - 1, 2**32 - 1)
        ),
        events=FILM_EVENTS,
        of="item.genres",
        n=7,
        distinct=True,
        encode={"buckets": 2**30 - 1, "seed": 2**32 - 1},
    ),
    case(
        "last_n",
        "last_distinct_hours",
        lambda log: padded(log.latest("hour(wall)::varchar", "true", n=4, distinct=True), 4, hashed(50, 0)),
        events=FILM_EVENTS,
        of="local_hour",
        n=4,
        distinct=True,
        encode={"buckets": 50},
    ),
    case("affinity", "genres_ever", genre_shares("true"), **GENRE_TASTE),
    *(
        case(
            "affinity",
            f"genres_{window}_window",
            genre_shares(f"age < {ms}"),
            **GENRE_TASTE,
            window=window,
        )
        for window, ms in (("12h", 12 * HOUR), ("7d", 7 * DAY), ("52w", 364 * DAY))
    ),
    *(
        case(
            "affinity",
            f"genres_{half_life}_half_life",
            genre_shares_halved(ms),
            within=1e-9,
            **GENRE_TASTE,
            half_life=half_life,
        )
        for half_life, ms in (("1d", DAY), ("4w", 28 * DAY))
    ),
    case(
        "affinity",
        "devices",
        lambda log: shares(log.weights("device", "rating >= 3", weight="1", vocabulary="devices")),
        events=FILM_EVENTS,
        of="context.device",
        vocabulary="devices",
        where=[{"field": "properties.rating", "at_least": 3}],
    ),
    case("top_n", "top_genres", lambda log: spread(genre_taste(log), 3), **GENRE_TASTE, n=3),
    case(
        "top_n",
        "top_genres_7d",
        lambda log: spread(genre_taste(log, "age < days(7)"), 5),
        **GENRE_TASTE,
        n=5,
        window="7d",
    ),
    *(
        case(
            "session",
            f"session_{measure}_{gap}_{window}",
            session(sql, "true", gap=gap_ms, window=window_ms),
            events=FILM_EVENTS,
            measure=measure,
            gap=gap,
            window=window,
        )
        for gap, gap_ms, window, window_ms in (
            ("30m", 30 * MINUTE, "30d", 30 * DAY),
            ("5s", 5_000, "1h", HOUR),
            ("30m", 30 * MINUTE, "31m", 31 * MINUTE),  # shorter than many sessions
            ("1d", DAY, "52w", 364 * DAY),
        )
        for measure, sql in SESSION.items()
    ),
    case("local_hour", "hour", hours),
    case("local_hour", "hour_on_a_circle", lambda log: circle(hours(log), 24), within=1e-15, encoding="cyclic"),
    case("weekday", "weekday", weekdays),
    case("weekday", "weekday_on_a_circle", lambda log: circle(weekdays(log), 7), within=1e-15, encoding="cyclic"),
    case(
        "context",
        "screen",
        lambda log: contexts(log, "screen", lambda x: x if type(x) in (int, float) else -2.5),
        key="screen",
        default=-2.5,
    ),
    case(
        "context",
        "device",
        lambda log: contexts(
            log, "device", lambda x: 0 if x is None else words(log, "devices")(x[0] if isinstance(x, list) else x)
        ),
        key="device",
        encode={"vocabulary": "devices"},
    ),
    case(
        "pushed",
        "taste",
        lambda log: np.array([label.pushed.get("taste", (0.5, 0.5, 0.5)) for label in log.flat_labels]),
        width=3,
        default=0.5,
    ),
    case("item", "year", of_catalogue("year", empty=1900), of="item.year", default=1900),
    case(
        "item",
        "genres",
        lambda log: codes_of_catalogue(log, "genres", 3, words(log, "genres")),
        of="item.genres",
        n=3,
        encode={"vocabulary": "genres"},
    ),
    case(
        "item",
        "genre_hashed",
        lambda log: codes_of_catalogue(log, "genres", 1, hashed(97, 3)),
        of="item.genres",
        encode={"buckets": 97, "seed": 3},
    ),
    *(
        case(
            "item_affinity",
            f"affinity_{how}_{suffix}",
            genres_combined(how, entering),
            affinity=f"genres_{suffix}",
            combine=how,
            within=1e-15,
        )
        for how in ("sum", "mean", "max")
        for suffix, entering in (("ever", "true"), ("52w_window", "age < days(364)"))
    ),
    case(
        "item_affinity",
        "affinity_mean_4w_half_life",
        lambda log: combined(
            log,
            halved_weights(log, entering="true", half_life=28 * DAY, weight=TASTE, **OF_GENRES),
            "genres",
            "genres",
            "mean",
        ),
        within=1e-9,
        affinity="genres_4w_half_life",
    ),
    case("item_count", "seen_ever", of_candidates("count(*)", "true"), events=FILM_EVENTS),
    case(
        "item_count",
        "liked_52w",
        of_candidates("count(*)", "rating >= 4 and age < days(364)"),
        events=FILM_EVENTS,
        window="52w",
        where=[{"field": "properties.rating", "at_least": 4}],
    ),
    case(
        "item_time_since",
        "hours_since_it_was_seen",
        of_candidates(f"min(age) / {HOUR}", "true", empty=-1),
        events=FILM_EVENTS,
    ),
    case(
        "item_difference",
        "newer_than_liked",
        lambda log: np.where(
            np.isnan(years := log.of_catalogue("year", empty=math.nan)), -99, years - year_of_the_liked(log)[:, None]
        ),
        of="item.year",
        minus="year_of_the_liked",
        default=-99,
    ),
    case(
        "mean",
        "stepped_mean",
        lambda log: np.clip((symmetric_log(rating_of_the_liked(log)) - 1.25) / 0.5, -0.1, 0.75),
        events=["item_liked"],
        value="properties.rating",
        window="7d",
        default=3.5,
        then=[
            {"step": "log"},
            {"step": "normalize", "offset": 1.25, "scale": 0.5},
            {"step": "clip", "low": -0.1, "high": 0.75},
        ],
    ),
    case(
        "item_difference",
        "stepped_difference",
        lambda log: symmetric_log(
            np.where(
                np.isnan(years := log.of_catalogue("year", empty=math.nan)), 0, years - year_of_the_liked(log)[:, None]
            )
        ),
        of="item.year",
        minus="year_of_the_liked",
        then=[{"step": "log"}],
    ),
    case(
        "count",
        "bucketed_count",
        lambda log: (log.numbers("count(*)", "age < days(7)")[:, None] >= np.array([1, 2, 10, 20, 60])).sum(axis=1),
        events=FILM_EVENTS,
        window="7d",
        then=[{"step": "bucket", "boundaries": [1, 2, 10, 20, 60]}],
    ),
    case(
        "item",
        "bucketed_year",
        lambda log: (log.of_catalogue("year")[..., None] >= np.array([0, 1960, 1995, 2000])).sum(axis=2),
        of="item.year",
        then=[{"step": "bucket", "boundaries": [0, 1960, 1995, 2000]}],
    ),
]
