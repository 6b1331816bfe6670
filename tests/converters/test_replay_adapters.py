"""Logs that people have on day one: MovieLens ratings and Segment's calls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.converters.replays import START, RefusedError, event, program_file, run, write

MINUTE = 60_000


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def converted(folder: Path, source: Path, *options: object) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The events of a source, and the report."""
    report = run("events", source, "-o", folder / "made.jsonl", *options)
    return lines(folder / "made.jsonl"), report


# --- MovieLens -------------------------------------------------------------------------------------------------------


@pytest.fixture
def movielens(tmp_path: Path) -> Path:
    folder = tmp_path / "ml"
    folder.mkdir()
    (folder / "ratings.csv").write_text(
        "userId,movieId,rating,timestamp\n1,10,4.0,1700000000\n1,20,2.0,1700000060\n1,30,3.5,1700000120\n"
        "2,10,0.5,1700000000\n"
    )
    (folder / "movies.csv").write_text(
        'movieId,title,genres\n10,Heat (1995),Action|Crime\n20,"Net, The (1995) ",(no genres listed)\n'
        "30,Untitled,Crime\n"
    )
    (folder / "tags.csv").write_text("userId,movieId,tag,timestamp\n1,10,x,1700000000\n")
    return folder


def test_a_rating_is_one_event(tmp_path: Path, movielens: Path) -> None:
    for source in (movielens, movielens / "ratings.csv"):
        found, report = converted(tmp_path, source)
        assert [(e["user"], e["event"], e["item_id"], e["properties"]) for e in found] == [
            ("1", "item_liked", "m_10", {"rating": 4.0}),
            ("1", "item_disliked", "m_20", {"rating": 2.0}),
            ("1", "item_viewed", "m_30", {"rating": 3.5}),
            ("2", "item_disliked", "m_10", {"rating": 0.5}),
        ]
        assert [each["timestamp"] for each in found] == [START, START + MINUTE, START + 2 * MINUTE, START]
        assert report["types"] == {"item_disliked": 2, "item_liked": 1, "item_viewed": 1}


def test_a_replay_of_a_movielens_folder(tmp_path: Path, movielens: Path) -> None:
    liked = ["item_liked", "item_viewed"]
    program = {
        **{"format": 1, "name": "films", "version": "1.0.0", "vocabularies": {"genres": ["Action", "Crime"]}},
        "views": [
            {"op": "affinity", "name": "taste", "events": liked, "of": "item.genres", "vocabulary": "genres"},
            {"op": "mean", "name": "rating", "events": [*liked, "item_disliked"], "value": "properties.rating"},
            {"op": "item", "name": "year", "of": "item.year"},
        ],
    }
    out = tmp_path / "out.parquet"
    arguments = [movielens, "--program", program_file(tmp_path, program), "--items", movielens, "-o", out]
    run("replay", *arguments, "--label-events", "item_viewed,item_disliked")
    table = pq.read_table(out)
    assert table["taste"].to_pylist() == [[0.5, 0.5], [0.5, 0.5], [0.0, 0.0]]
    assert table["rating"].to_pylist() == [4.0, 3.0, 0.0]
    assert table["year"].to_pylist() == [1995.0, 0.0, 1995.0]


@pytest.mark.parametrize("rating", ["", "good", "nan"])
def test_a_rating_that_is_no_number(tmp_path: Path, movielens: Path, rating: str) -> None:
    path = movielens / "ratings.csv"
    path.write_text(path.read_text().replace("3.5", rating))
    with pytest.raises(RefusedError) as refused:
        run("events", movielens, "-o", tmp_path / "made.jsonl")
    assert refused.value.error["place"] == "ratings.csv row 4, 'rating'"
    found, report = converted(tmp_path, movielens, "--skip-malformed")
    assert len(found) == 3
    assert sum(report["skipped"].values()) == 1


# --- Segment ---------------------------------------------------------------------------------------------------------


def call(kind: str = "track", **fields: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "messageId": "m1",
        "anonymousId": "anon",
        "timestamp": "2023-11-14T22:13:20.000Z",
        "receivedAt": "2023-11-14T22:13:25.500Z",
        **fields,
    }


def tracked(name: str, properties: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return call(event=name, properties=properties, **fields)


def test_calls_become_events(tmp_path: Path) -> None:
    product = {"product_id": "p1", "sku": "s1", "price": 9.5}
    calls = [
        tracked("Product Viewed", product),
        tracked("Product Clicked", {"sku": "s1"}, userId="ann"),
        tracked("Product Added", product),
        tracked("Products Searched", {"query": "shoes"}),
        call("page", name="Home", properties={"path": "/"}),
        call("screen", name="Cart"),
        call("identify", traits={"email": "x@example.com"}),
        tracked("Checkout Started", {}),
        call("group"),
    ]
    found, report = converted(tmp_path, write(tmp_path / "calls.jsonl", calls))
    assert [(e["event"], e.get("item_id"), e["user"], e["properties"]) for e in found] == [
        ("item_viewed", "p1", "anon", product),
        ("item_clicked", "s1", "ann", {"sku": "s1"}),
        ("item_saved", "p1", "anon", product),
        ("search", None, "anon", {"query": "shoes"}),
        ("navigated", None, "anon", {"path": "/", "name": "Home"}),
        ("navigated", None, "anon", {"name": "Cart"}),
    ]
    assert {(e["timestamp"], e["recorded_at"], e["event_id"]) for e in found} == {(START, START + 5500, "m1")}
    assert report["skipped"] == {"no event: Checkout Started": 1, "no event: group": 1, "no event: identify": 1}


def test_an_order_is_one_purchase_for_each_product(tmp_path: Path) -> None:
    products = [{"product_id": "p1", "price": 5, "quantity": 2}, {"sku": "s2", "price": 7}]
    calls = [tracked("Order Completed", {"order_id": "o", "total": 17, "products": products})]
    found, _ = converted(tmp_path, write(tmp_path / "calls.jsonl", calls))
    assert [(e["event"], e["item_id"], e["event_id"]) for e in found] == [
        ("item_purchased", "p1", "m1:0"),
        ("item_purchased", "s2", "m1:1"),
    ]
    assert found[0]["properties"] == {"order_id": "o", "total": 17, "product_id": "p1", "price": 5, "quantity": 2}


def test_the_context_that_is_kept_and_the_time_zone(tmp_path: Path) -> None:
    context = {
        **{"ip": "203.0.113.9", "userAgent": "x", "locale": "de-AT", "timezone": "Europe/Vienna"},
        **{"device": {"type": "ios", "id": "secret"}, "os": {"name": "iOS"}, "app": {"version": "2.1"}},
    }
    summer = {"timestamp": "2024-07-01T12:00:00Z", "originalTimestamp": "2020-01-01T00:00:00Z"}
    calls = [
        tracked("Product Viewed", {"sku": "s"}, context=context),
        tracked("Product Viewed", {"sku": "s"}, context=context, **summer),
        tracked("Product Viewed", {"sku": "s"}, context={"timezone": "Not/AZone"}),
        tracked("Product Viewed", {"sku": "s"}, context="?"),
    ]
    found, _ = converted(tmp_path, write(tmp_path / "calls.jsonl", calls), "--time-zone", "Asia/Tokyo")
    kept = {"locale": "de-AT", "timezone": "Europe/Vienna", "device": "ios", "os": "iOS", "app_version": "2.1"}
    assert [each["context"] for each in found] == [kept, kept, {"timezone": "Not/AZone"}, {}]
    assert [each["utc_offset_minutes"] for each in found] == [60, 120, 540, 540]


@pytest.mark.parametrize("missing", ["timestamp", "receivedAt", "messageId"])
def test_what_a_call_may_lack(tmp_path: Path, missing: str) -> None:
    one = tracked("Product Viewed", {"sku": "s"}, originalTimestamp="2023-11-14T22:13:21Z")
    del one[missing]
    (found,), _ = converted(tmp_path, write(tmp_path / "calls.jsonl", [one]))
    assert found["timestamp"] == START + (1000 if missing == "timestamp" else 0)
    assert found["recorded_at"] == (found["timestamp"] if missing == "receivedAt" else START + 5500)
    assert ("event_id" in found) == (missing != "messageId")


def test_names_of_ones_own(tmp_path: Path) -> None:
    calls = write(tmp_path / "calls.jsonl", [tracked("Song=Played", {"product_id": "x"}), call("page")])
    found, report = converted(tmp_path, calls, "--track", "Song=Played=item_viewed", "--track", "Unused=item_liked")
    assert [each["event"] for each in found] == ["item_viewed", "navigated"]
    assert report["skipped"] == {}


def test_malformed_calls_are_named_or_counted(tmp_path: Path) -> None:
    good = tracked("Product Viewed", {"sku": "s"})
    bad = [{**good, "timestamp": "soon"}, {**good, "anonymousId": None}, {**good, "messageId": {"a": 1}}]
    path = write(tmp_path / "calls.jsonl", [good, *bad])
    with pytest.raises(RefusedError) as refused:
        run("events", path, "-o", tmp_path / "made.jsonl")
    assert refused.value.error["place"].startswith("calls.jsonl line ")
    found, report = converted(tmp_path, path, "--skip-malformed")
    assert len(found) == 1
    assert sum(report["skipped"].values()) == 3


def test_segment_and_plain_events_are_told_apart(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.jsonl", [event("u", 0)])
    assert [each["event"] for each in converted(tmp_path, plain)[0]] == ["item_viewed"]
    csv = write(tmp_path / "calls.csv", [{"user": "u", "timestamp": START, "event": "x"}])
    with pytest.raises(RefusedError) as refused:
        run("events", csv, "-o", tmp_path / "made.jsonl", "--format", "segment")
    assert "JSON lines" in refused.value.error["problem"]
    for option in (["--map", "user=user", "--format", "segment"], ["--map", "user=user", "--format", "movielens"]):
        with pytest.raises(RefusedError) as refused:
            run("events", plain, "-o", tmp_path / "made.jsonl", *option)
        assert refused.value.error["place"] == "--map"


# --- the events command ----------------------------------------------------------------------------------------------


def test_events_refuses_other_endings_and_its_own_input(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.jsonl", [event("u", 0)])
    for out, problem in ((tmp_path / "made.csv", "not .jsonl or .parquet"), (plain, "is what is read")):
        with pytest.raises(RefusedError) as refused:
            run("events", plain, "-o", out)
        assert problem in refused.value.error["problem"]
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(RefusedError) as refused:
        run("events", tmp_path / "empty.jsonl", "-o", tmp_path / "made.jsonl")
    assert refused.value.error["problem"] == "has no event"


def test_numbers_in_cells_of_csv(tmp_path: Path) -> None:
    cells = ["2.50", "7", "007", "-0.5", "1e3", "text", "12345678901234567890", "nan", "", "-07"]
    rows = [{"user": "u", "timestamp": START, "event": "x", "properties.v": cell} for cell in cells]
    found, _ = converted(tmp_path, write(tmp_path / "e.csv", rows))
    values = [each["properties"].get("v") for each in found]
    assert values == [2.5, 7, "007", -0.5, 1000.0, "text", "12345678901234567890", "nan", None, "-07"]
