"""Batch replay of the online-retail log: twelve views as of every invoice, from its Parquet file to a training table.

Everybody reads the same file of 541,909 lines, leaves out the quarter that names no customer, computes what was known
right before each invoice, and writes Parquet. A test asserts that all of them compute the same.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from nearhand.features import ItemTable, compile_program, read_program
from nearhand_converters.replay.columns import TimeRule
from nearhand_converters.replay.events import parse_mapping, read_events, reading_of
from nearhand_converters.replay.files import open_source
from nearhand_converters.replay.run import Labels, replay
from nearhand_converters.replay.zones import Zone, read_zone

LOG = Path(os.environ.get("NEARHAND_DATA", ""), "uci-online-retail", "online_retail.parquet")
BOUGHT = ["item_purchased"]
PROGRAM: dict[str, Any] = {
    **{"format": 1, "name": "retail", "version": "1.0.0"},
    "views": [
        {"op": "count", "name": "lines_7d", "events": BOUGHT, "window": "7d"},
        {"op": "count", "name": "lines_30d", "events": BOUGHT, "window": "30d"},
        {
            **{"op": "count", "name": "returns_90d", "events": BOUGHT, "window": "90d"},
            "where": [{"field": "properties.quantity", "below": 0}],
        },
        {"op": "sum", "name": "quantity_30d", "events": BOUGHT, "value": "properties.quantity", "window": "30d"},
        {"op": "sum", "name": "price_30d", "events": BOUGHT, "value": "properties.price", "window": "30d"},
        {"op": "mean", "name": "price_mean_90d", "events": BOUGHT, "value": "properties.price", "window": "90d"},
        {"op": "max", "name": "price_max_30d", "events": BOUGHT, "value": "properties.price", "window": "30d"},
        {"op": "std", "name": "price_std_90d", "events": BOUGHT, "value": "properties.price", "window": "90d"},
        {"op": "distinct", "name": "items_30d", "events": BOUGHT, "of": "item_id", "window": "30d"},
        {"op": "time_since", "name": "days_since_last", "events": BOUGHT, "unit": "days"},
        {"op": "time_since", "name": "days_since_first", "events": BOUGHT, "unit": "days", "since": "first"},
        {"op": "decay", "name": "recent_lines", "events": BOUGHT, "half_life": "14d"},
    ],
}
FEATURES = [view["name"] for view in PROGRAM["views"]]
MAPPING = (
    "user=CustomerID,item_id=StockCode,timestamp=InvoiceDate,event='item_purchased'",
    "properties.price=UnitPrice,properties.quantity=Quantity",
)

pytestmark = pytest.mark.skipif(not LOG.is_file(), reason="NEARHAND_DATA has no uci-online-retail")


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every invoice of a known customer, as of its first line."""
    path = tmp_path_factory.mktemp("labels") / "labels.parquet"
    query = """
        COPY (SELECT InvoiceNo AS invoice, min(CustomerID)::BIGINT AS "user", min(InvoiceDate) AS timestamp
              FROM read_parquet($log) WHERE CustomerID IS NOT NULL GROUP BY InvoiceNo ORDER BY InvoiceNo)
        TO $out (FORMAT parquet)"""
    duckdb.connect().execute(query.replace("$log", f"'{LOG}'").replace("$out", f"'{path}'"))
    return path


def by_nearhand(labels: Path, out: Path) -> None:
    program = compile_program(read_program(json.dumps(PROGRAM).encode(), place="retail"), ItemTable.empty())
    times, mapping = TimeRule(Zone(read_zone("UTC"))), parse_mapping(MAPPING)
    reading = reading_of(program.program, program.properties, program.context_keys, times=times, mapping=mapping)
    replay(open_source(LOG), read_events, Labels(open_source(labels)), program, reading, out, skip_malformed=True)


def by_pandas(labels: Path, out: Path) -> None:
    """Windows by groupby().rolling() over events and labels together, the rest by joins and cumulative sums."""
    columns = {
        "CustomerID": "user",
        "InvoiceDate": "at",
        "StockCode": "item",
        "UnitPrice": "price",
        "Quantity": "quantity",
    }
    events = pd.read_parquet(LOG, columns=list(columns)).rename(columns=columns).dropna(subset="user")
    events["user"] = events.user.astype("int64")
    events["one"] = 1.0
    events["returned"] = (events.quantity < 0).astype("float64")
    events["square"] = events.price**2
    asked = pd.read_parquet(labels).rename(columns={"timestamp": "at"})
    asked["label"] = np.arange(len(asked))
    both = pd.concat([events, asked], ignore_index=True).sort_values(["user", "at"], kind="stable", ignore_index=True)
    is_label = both.label.notna().to_numpy()
    table = both.loc[is_label, ["user", "at", "invoice", "label"]].copy()

    def rolling(column: str, days: int, how: str) -> Any:
        windows = both.groupby("user").rolling(f"{days}D", on="at", closed="neither", min_periods=1)[column]
        return getattr(windows, how)().to_numpy()[is_label]

    table["lines_7d"] = rolling("one", 7, "sum")
    table["lines_30d"] = rolling("one", 30, "sum")
    table["returns_90d"] = rolling("returned", 90, "sum")
    table["quantity_30d"] = rolling("quantity", 30, "sum")
    table["price_30d"] = rolling("price", 30, "sum")
    table["price_mean_90d"] = rolling("price", 90, "mean")
    table["price_max_30d"] = rolling("price", 30, "max")
    # Its own std drifts: it updates the variance as the window moves.
    table["price_std_90d"] = np.sqrt((rolling("square", 90, "mean") - table.price_mean_90d**2).clip(lower=0))

    pairs = table[["label", "user", "at"]].merge(events[["user", "at", "item"]], on="user", suffixes=("", "_bought"))
    pairs = pairs[(pairs.at_bought < pairs["at"]) & (pairs.at_bought > pairs["at"] - pd.Timedelta("30D"))]
    table["items_30d"] = table.label.map(pairs.groupby("label")["item"].nunique())

    day = pd.Timedelta("1D")
    bought = events[["user", "at"]].sort_values("at").assign(last=lambda each: each["at"])
    latest = pd.merge_asof(table.sort_values("at"), bought, on="at", by="user", allow_exact_matches=False)
    table["days_since_last"] = (table["at"] - table.label.map(latest.set_index("label")["last"])) / day
    first = table.user.map(events.groupby("user")["at"].min())
    table["days_since_first"] = (table["at"] - first.where(first < table["at"])) / day

    age = (both["at"] - both["at"].min()) / day
    weights = np.exp2(age / 14.0) * both.one.fillna(0.0)
    instants = [both.user, both["at"]]
    upto = weights.groupby(both.user).cumsum().groupby(instants).transform("max")
    before = upto - weights.groupby(instants).transform("sum")
    table["recent_lines"] = (before * np.exp2(-age / 14.0)).to_numpy()[is_label]

    nothing = dict.fromkeys(FEATURES, 0.0) | {"days_since_last": -1.0, "days_since_first": -1.0}
    table.fillna(nothing).astype(dict.fromkeys(FEATURES, "float32")).to_parquet(out)


def by_duckdb(labels: Path, out: Path) -> None:
    """Window functions over events and labels together; all processors."""

    def window(days: int) -> str:
        inside = days * 86_400_000_000 - 1
        return f"""(PARTITION BY "user" ORDER BY instant RANGE BETWEEN INTERVAL '{inside} microseconds' PRECEDING
                    AND INTERVAL '1 microsecond' PRECEDING)"""

    query = f"""
        COPY (
        WITH joined AS (
            SELECT CustomerID::BIGINT AS "user", InvoiceDate AS instant, StockCode AS item, UnitPrice AS price,
                   Quantity AS quantity, 1 AS one, instant AS bought, NULL AS invoice
            FROM read_parquet('{LOG}') WHERE CustomerID IS NOT NULL
            UNION ALL BY NAME SELECT invoice, "user", timestamp AS instant FROM read_parquet('{labels}')
        ), features AS (
            SELECT "user", instant, invoice,
                coalesce(sum(one) OVER days_7, 0) AS lines_7d,
                coalesce(sum(one) OVER days_30, 0) AS lines_30d,
                coalesce(count(*) FILTER (quantity < 0) OVER days_90, 0) AS returns_90d,
                coalesce(sum(quantity) OVER days_30, 0) AS quantity_30d,
                coalesce(sum(price) OVER days_30, 0) AS price_30d,
                coalesce(avg(price) OVER days_90, 0) AS price_mean_90d,
                coalesce(max(price) OVER days_30, 0) AS price_max_30d,
                coalesce(stddev_pop(price) OVER days_90, 0) AS price_std_90d,
                coalesce(count(DISTINCT item) OVER days_30, 0) AS items_30d,
                coalesce(epoch_us(instant) - epoch_us(max(bought) OVER ever), -86400e6) / 86400e6 AS days_since_last,
                coalesce(epoch_us(instant) - epoch_us(min(bought) OVER ever), -86400e6) / 86400e6 AS days_since_first,
                coalesce(sum(one * pow(2, epoch_us(bought) / 1209600e6 - 1060)) OVER ever, 0)
                    * pow(2, 1060 - epoch_us(instant) / 1209600e6) AS recent_lines
            FROM joined
            WINDOW days_7 AS {window(7)}, days_30 AS {window(30)}, days_90 AS {window(90)},
                   ever AS (PARTITION BY "user" ORDER BY instant RANGE BETWEEN UNBOUNDED PRECEDING
                            AND INTERVAL '1 microsecond' PRECEDING)
        )
        SELECT invoice, "user", instant, {", ".join(f"{name}::FLOAT AS {name}" for name in FEATURES)}
        FROM features WHERE invoice IS NOT NULL
        ) TO '{out}' (FORMAT parquet)"""
    duckdb.connect().execute(query)


CONTENDERS: dict[str, Callable[[Path, Path], None]] = {
    "nearhand replay": by_nearhand,
    "pandas by hand": by_pandas,
    "DuckDB SQL, all processors": by_duckdb,
}


@pytest.mark.parametrize("contender", CONTENDERS)
def test_replay(benchmark: BenchmarkFixture, contender: str, labels: Path, tmp_path: Path) -> None:
    benchmark.group = "replay of 541,909 lines, 12 views as of 22,190 invoices"
    out = tmp_path / "table.parquet"
    benchmark.pedantic(CONTENDERS[contender], (labels, out), rounds=3, warmup_rounds=1)  # type: ignore[no-untyped-call]
    found, wanted = features(out), reference(labels, tmp_path)
    assert found.index.equals(wanted.index)
    for name in FEATURES:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-5, atol=1e-5, err_msg=name)


def reference(labels: Path, folder: Path) -> Any:
    """What Nearhand computes."""
    by_nearhand(labels, folder / "reference.parquet")
    return features(folder / "reference.parquet")


def features(path: Path) -> Any:
    return pq.read_table(path).to_pandas().set_index("invoice")[FEATURES].sort_index()
