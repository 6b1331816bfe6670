"""Every operator on the online-retail log: a view, and its values said in SQL."""

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

SHOP_EVENTS = ["item_purchased", "item_returned"]
BOUGHT, RETURNED = "event = 'item_purchased'", "event = 'item_returned'"
RETURN = "case event when 'item_returned' then -3 else 1 end"
RETURN_WEIGHTS = {"item_returned": -3}
WORD_TASTE: dict[str, Any] = {
    "events": SHOP_EVENTS,
    "of": "item.words",
    "vocabulary": "words",
    "weights": RETURN_WEIGHTS,
}
OF_WORDS = {"of": "text", "vocabulary": "words", "source": "seen_texts"}


def word_taste(log: RealLog, entering: str = "true") -> Numbers:
    return log.weights(entering=entering, weight=RETURN, **OF_WORDS)


def word_shares(entering: str) -> Expected:
    return lambda log: shares(word_taste(log, entering))


def word_shares_halved(half_life: int) -> Expected:
    return lambda log: shares(halved_weights(log, entering="true", half_life=half_life, weight=RETURN, **OF_WORDS))


def words_combined(how: str, entering: str) -> Expected:
    return lambda log: combined(log, word_taste(log, entering), "words", "words", how)


def paid(log: RealLog) -> Numbers:
    return log.numbers("max(price)", f"{BOUGHT} and price is not null and age < days(90)", empty=-1)


SHOP: list[Case] = [
    case("count", "bought_ever", numbers("count(*)", BOUGHT), events=["item_purchased"]),
    case("count", "returned_ever", numbers("count(*)", RETURNED), events=["item_returned"]),
    *(
        case(
            "count",
            f"bought_{window}",
            numbers("count(*)", f"{BOUGHT} and age < {ms}"),
            events=["item_purchased"],
            window=window,
        )
        for window, ms in (("1m", MINUTE), ("12h", 12 * HOUR), ("7d", 7 * DAY), ("13w", 91 * DAY))
    ),
    case(
        "count",
        "count_where",
        numbers(
            "count(*)",
            "price >= 2 and quantity < 12 and hour(invoiced) in (8, 12) and country in ('United Kingdom', 'EIRE')",
        ),
        events=SHOP_EVENTS,
        where=[
            {"field": "properties.line.price", "at_least": 2},
            {"field": "properties.quantity", "below": 12},
            {"field": "local_hour", "any_of": ["8", "12"]},
            {"field": "context.country", "any_of": ["United Kingdom", "EIRE"]},
        ],
    ),
    *(
        case(
            op,
            f"{op}_price_{window or 'ever'}",
            numbers(sql.format("price"), f"price is not null and age < {ms}"),
            events=SHOP_EVENTS,
            value="properties.line.price",
            window=window,
        )
        for window, ms in ((None, 2**62), ("12h", 12 * HOUR), ("30d", 30 * DAY), ("13w", 91 * DAY))
        for op, sql in STATISTICS.items()
    ),
    *(
        case(
            op,
            f"{op}_quantity_{window or 'ever'}",
            numbers(sql.format("quantity"), f"age < {ms}"),
            events=SHOP_EVENTS,
            value="properties.quantity",
            decimals=0,
            window=window,
        )
        for window, ms in ((None, 2**62), ("30d", 30 * DAY))
        for op, sql in STATISTICS.items()
    ),
    case(
        "sum",
        "sum_of_rounded_prices",
        numbers("sum(round_even(price, 1)::decimal(18, 1))", "price is not null"),
        events=SHOP_EVENTS,
        value="properties.line.price",
        decimals=1,
    ),
    *(
        case(
            op,
            f"{op}_clipped",
            numbers(f"{op}(greatest(least(quantity * 1e13, 1e15), -1e15))", "true"),
            events=SHOP_EVENTS,
            value="properties.huge",
            decimals=6,
        )
        for op in ("min", "max")
    ),
    case(
        "distinct",
        "items_ever",
        numbers("count(distinct item_id)", "true"),
        of="item_id",
        events=SHOP_EVENTS,
    ),
    *(
        case(
            "distinct",
            f"words_{window}",
            numbers("count(distinct text)", f"{BOUGHT} and age < {ms}", source="seen_texts"),
            events=["item_purchased"],
            of="item.words",
            window=window,
        )
        for window, ms in (("12h", 12 * HOUR), ("30d", 30 * DAY))
    ),
    case(
        "distinct",
        "quantities",
        numbers("count(distinct quantity)", "true"),
        events=SHOP_EVENTS,
        of="properties.quantity",
    ),
    case(
        "ratio",
        "returned_of_bought",
        lambda log: over(log.numbers("count(*)", RETURNED), log.numbers("count(*)", BOUGHT), 0),
        numerator="returned_ever",
        denominator="bought_ever",
    ),
    case(
        "ratio",
        "dearest_of_30d",
        lambda log: over(
            log.numbers("sum(price)", "price is not null and age < days(30)"),
            log.numbers("sum(price)", "price is not null"),
            -1,
        ),
        numerator="sum_price_30d",
        denominator="sum_price_ever",
        default=-1,
    ),
    *(
        case(
            "decay",
            f"decay_price_{half_life}",
            numbers(halved("price::double", ms), f"{BOUGHT} and price is not null"),
            events=["item_purchased"],
            half_life=half_life,
            value="properties.line.price",
        )
        for half_life, ms in (("12h", 12 * HOUR), ("1d", DAY), ("13w", 91 * DAY))
    ),
    case(
        "decay",
        "decay_quantity_with_returns",
        numbers(halved("quantity", 30 * DAY), "true"),
        within=1e-5,  # of thousands bought and brought back
        events=SHOP_EVENTS,
        half_life="30d",
        value="properties.quantity",
    ),
    case(
        "time_since",
        "hours_since_bought",
        numbers(f"min(age) / {HOUR}", BOUGHT, empty=-1),
        events=["item_purchased"],
    ),
    case(
        "time_since",
        "days_since_first_dear",
        numbers(f"max(age) / {DAY}", "price >= 10", empty=1000),
        events=SHOP_EVENTS,
        since="first",
        unit="days",
        default=1000,
        where=[{"field": "properties.line.price", "at_least": 10}],
    ),
    case(
        "recency",
        "recency_1d",
        numbers(f"pow(0.5, min(age) / {DAY})", BOUGHT),
        events=["item_purchased"],
        half_life="1d",
        within=1e-45,  # float32's smallest number
    ),
    case("streak", "streak", streak("true"), events=SHOP_EVENTS),
    case(
        "last_n",
        "last_items",
        lambda log: padded(log.latest("item_id", BOUGHT, n=10), 10, words(log, "codes")),
        events=["item_purchased"],
        of="item_id",
        n=10,
        encode={"vocabulary": "codes"},
    ),
    case(
        "last_n",
        "last_distinct_items",
        lambda log: padded(log.latest("item_id", "true", n=10, distinct=True), 10, hashed(5000, 1)),
        events=SHOP_EVENTS,
        of="item_id",
        n=10,
        distinct=True,
        encode={"buckets": 5000, "seed": 1},
    ),
    case(
        "last_n",
        "last_distinct_quantities",
        lambda log: padded(log.latest("quantity::varchar", "true", n=6, distinct=True), 6, hashed(5000, 0)),
        events=SHOP_EVENTS,
        of="properties.quantity",
        n=6,
        distinct=True,
        encode={"buckets": 5000},
    ),
    case("affinity", "words_ever", word_shares("true"), **WORD_TASTE),
    *(
        case(
            "affinity",
            f"words_{window}_window",
            word_shares(f"age < {ms}"),
            **WORD_TASTE,
            window=window,
        )
        for window, ms in (("12h", 12 * HOUR), ("30d", 30 * DAY))
    ),
    *(
        case(
            "affinity",
            f"words_{half_life}_half_life",
            word_shares_halved(ms),
            within=1e-9,
            **WORD_TASTE,
            half_life=half_life,
        )
        for half_life, ms in (("12h", 12 * HOUR), ("13w", 91 * DAY))
    ),
    case("top_n", "top_words", lambda log: spread(word_taste(log), 8), **WORD_TASTE, n=8),
    case(
        "top_n",
        "top_words_30d",
        lambda log: spread(word_taste(log, "age < days(30)"), 8),
        **WORD_TASTE,
        n=8,
        window="30d",
    ),
    case(
        "top_n",
        "top_countries_4w_half_life",
        lambda log: spread(
            halved_weights(log, "country", "true", half_life=28 * DAY, weight="1", vocabulary="countries"), 2
        ),
        events=SHOP_EVENTS,
        of="context.country",
        vocabulary="countries",
        n=2,
        half_life="4w",
    ),
    *(
        case(
            "session",
            f"session_{measure}_{gap}_{window}",
            session(sql, BOUGHT, gap=gap_ms, window=window_ms),
            events=["item_purchased"],
            measure=measure,
            gap=gap,
            window=window,
        )
        for gap, gap_ms, window, window_ms in (
            ("30m", 30 * MINUTE, "30d", 30 * DAY),
            ("7d", 7 * DAY, "13w", 91 * DAY),
        )
        for measure, sql in SESSION.items()
    ),
    case("local_hour", "hour", hours),
    case("local_hour", "hour_on_a_circle", lambda log: circle(hours(log), 24), within=1e-15, encoding="cyclic"),
    case("weekday", "weekday", weekdays),
    case("weekday", "weekday_on_a_circle", lambda log: circle(weekdays(log), 7), within=1e-15, encoding="cyclic"),
    case(
        "context",
        "stepped_screen",
        lambda log: np.clip(contexts(log, "screen", lambda x: x if type(x) in (int, float) else 7), 5, 100),
        key="screen",
        default=7,
        then=[{"step": "clip", "low": 5, "high": 100}],
    ),
    case(
        "context",
        "device_hashed",
        lambda log: contexts(
            log, "device", lambda x: 0 if x is None else hashed(10, 5)(x[0] if isinstance(x, list) else x)
        ),
        key="device",
        encode={"buckets": 10, "seed": 5},
    ),
    case(
        "pushed",
        "taste",
        lambda log: np.array([label.pushed.get("taste", (0, 0, 0)) for label in log.flat_labels]),
        width=3,
    ),
    case("item", "usual", of_catalogue("usual", empty=-1), of="item.usual", default=-1),
    case(
        "item",
        "words",
        lambda log: codes_of_catalogue(log, "words", 4, words(log, "words")),
        of="item.words",
        n=4,
        encode={"vocabulary": "words"},
    ),
    *(
        case(
            "item_affinity",
            f"affinity_{how}_{suffix}",
            words_combined(how, entering),
            within=1e-15,
            affinity=f"words_{suffix}",
            combine=how,
        )
        for how in ("sum", "mean", "max")
        for suffix, entering in (("ever", "true"), ("30d_window", "age < days(30)"))
    ),
    case("item_count", "about_it_ever", of_candidates("count(*)", "true"), events=SHOP_EVENTS),
    *(
        case(
            "item_count",
            f"it_{window}",
            of_candidates("count(*)", f"{BOUGHT} and age < {ms}"),
            events=["item_purchased"],
            window=window,
        )
        for window, ms in (("7d", 7 * DAY), ("13w", 91 * DAY))
    ),
    case(
        "item_time_since",
        "days_since_it",
        of_candidates(f"min(age) / {DAY}", "quantity >= 6", empty=500),
        events=SHOP_EVENTS,
        unit="days",
        default=500,
        where=[{"field": "properties.quantity", "at_least": 6}],
    ),
    case(
        "max",
        "dearest_90d",
        lambda log: (paid(log) - 2) / 3,
        events=["item_purchased"],
        value="properties.line.price",
        window="90d",
        default=-1,
        then=[{"step": "normalize", "offset": 2, "scale": 3}],
    ),
    case(
        "item_difference",
        "dearer_than_paid",
        lambda log: np.where(
            np.isnan(usual := log.of_catalogue("usual", empty=math.nan)), 0, usual - paid(log)[:, None]
        ),
        of="item.usual",
        minus="dearest_90d",
    ),
    case(
        "sum",
        "log_of_a_sum_that_can_be_negative",
        lambda log: symmetric_log(log.numbers("sum(quantity)", "age < days(30)")),
        events=SHOP_EVENTS,
        value="properties.quantity",
        window="30d",
        then=[{"step": "log"}],
    ),
    case(
        "sum",
        "bucketed_sum",
        lambda log: (log.numbers("sum(quantity)", "age < days(30)")[:, None] >= np.array([-5, 0, 1, 12, 144])).sum(
            axis=1
        ),
        events=SHOP_EVENTS,
        value="properties.quantity",
        window="30d",
        then=[{"step": "bucket", "boundaries": [-5, 0, 1, 12, 144]}],
    ),
]
