"""Event and label files: the same log in any form gives the same table, and a malformed row is named or counted."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearhand.events import RecordedEvent, recorded_to_json
from nearhand_converters.replay.zones import Zone
from tests.converters.replays import (
    DAY,
    HOUR,
    PROGRAM,
    START,
    RefusedError,
    event,
    program_file,
    run,
    table_of,
    write,
)

EVENTS = [
    event("u", 0, sequence=1, properties={"price": 2.5, "shop": "a"}, context={"device": "phone"}),
    event("u", HOUR, "item_liked", "b", sequence=2, properties={"price": -1.25, "shop": "007"}, context={}),
    event('v, "w"', 2 * HOUR, item="c", sequence=3, properties={"price": 3.0}, context={"device": "tablet"}),
    event("u", 3 * HOUR, "search", None, sequence=4, properties={"shop": 'b,\n"'}, context={"device": "phone"}),
]
LABELS = [
    {"user": user, "timestamp": START + 5 * HOUR, "item_id": "b", "context": {"battery": 0.25}, "note": "x"}
    for user in ("u", 'v, "w"')
]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The table of EVENTS and LABELS as JSON lines."""
    folder = tmp_path_factory.mktemp("reference")
    table = table_of(folder, write(folder / "e.jsonl", EVENTS), write(folder / "l.jsonl", LABELS))
    assert table["price_7d"].to_pylist() == [1.25, 3.0]
    assert table["last"].to_pylist() == [[3, 2, 0], [4, 0, 0]]
    assert table["battery"].to_pylist() == [0.25, 0.25]
    return table


# --- forms of one log ------------------------------------------------------------------------------------------------


def as_json_column(path: Path, rows: list[dict[str, Any]]) -> Path:
    """CSV or Parquet with ``properties`` and ``context`` as texts of JSON."""
    return write(path, [{k: json.dumps(v) if isinstance(v, dict) else v for k, v in row.items()} for row in rows])


def as_gzip(path: Path, rows: list[dict[str, Any]]) -> Path:
    plain = write(path.with_suffix(""), rows)
    path.write_bytes(gzip.compress(plain.read_bytes()))
    return path


def as_parts(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A folder as Spark leaves it."""
    path.mkdir()
    (path / "_SUCCESS").touch()
    for place, row in enumerate(rows):
        write(path / f"part-{place}.jsonl", [row])
    return path


def as_map(path: Path, rows: list[dict[str, Any]]) -> Path:
    table = pa.Table.from_pylist(
        [{**row, "context": list(row["context"].items())} for row in rows],
        pa.Table.from_pylist(rows).schema.set(
            list(rows[0]).index("context"), pa.field("context", pa.map_(pa.string(), pa.string()))
        ),
    )
    pq.write_table(table, path)
    return path


def as_pandas(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Numbers as floats with NaN, texts as a dictionary and as large strings, times with a zone."""
    table = pa.Table.from_pylist(rows).flatten()
    for name, kind in (("sequence", pa.float64()), ("properties.price", pa.float32()), ("user", pa.large_string())):
        table = table.set_column(table.column_names.index(name), name, table[name].cast(kind))
    table = table.set_column(table.column_names.index("event"), "event", table["event"].dictionary_encode())
    zoned = table["timestamp"].cast(pa.timestamp("ms", "Asia/Tokyo")).cast(pa.timestamp("ns", "Asia/Tokyo"))
    pq.write_table(table.set_column(table.column_names.index("timestamp"), "timestamp", zoned), path)
    return path


FORMS = [
    ("events.jsonl", write),
    ("events.csv", write),
    ("events.parquet", write),
    ("json.csv", as_json_column),
    ("json.parquet", as_json_column),
    ("events.jsonl.gz", as_gzip),
    ("events.csv.gz", as_gzip),
    ("parts", as_parts),
    ("map.parquet", as_map),
    ("pandas.parquet", as_pandas),
]


@pytest.mark.parametrize(("name", "make"), FORMS, ids=[name for name, _ in FORMS])
def test_every_form_of_a_log_gives_the_same_table(tmp_path: Path, reference: Any, name: str, make: Any) -> None:
    events = make(tmp_path / name, EVENTS)
    labels = (
        write(tmp_path / f"labels{events.suffix}", LABELS)
        if make is write
        else write(tmp_path / "labels.jsonl", LABELS)
    )
    table = table_of(tmp_path, events, labels)
    assert table.equals(reference)


def test_the_events_command_converts_into_what_replay_reads(tmp_path: Path, reference: Any) -> None:
    for source in ("e.csv", "e.parquet", "e.jsonl"):
        events = write(tmp_path / source, EVENTS)
        for name in ("made.jsonl", "made.parquet"):
            report = run("events", events, "-o", tmp_path / name)
            assert report["events"] == 4
            assert report["types"] == {"item_liked": 1, "item_viewed": 2, "search": 1}
            labels = write(tmp_path / "labels.jsonl", LABELS)
            assert table_of(tmp_path, tmp_path / name, labels).equals(reference), (source, name)
            again = run("events", tmp_path / name, "-o", tmp_path / "again.jsonl")
            assert again["events"] == 4
            if name == "made.jsonl":
                assert (tmp_path / name).read_bytes() == (tmp_path / "again.jsonl").read_bytes()


def test_the_export_of_a_device(tmp_path: Path) -> None:
    """Its clock may say anything, also a time that would be taken for seconds elsewhere."""
    recorded = [
        RecordedEvent(
            event_id=f"e{n}",
            sequence=n,
            timestamp=at,
            recorded_at=at,
            utc_offset_minutes=60,
            epoch=0,
            event="item_viewed",
            item_id="a",
            user=None,
            recommendation_id=None,
            context={"device": "phone"},
            properties={"price": 1.5},
        )
        for n, at in enumerate((5_000, 6_000, 7_000), 1)
    ]
    path = tmp_path / "export.jsonl"
    path.write_text("".join(f"{recorded_to_json(each)}\n" for each in recorded), encoding="utf-8")
    labels = write(tmp_path / "labels.csv", [{"user": "me", "timestamp": "1970-01-01T00:00:06.001Z"}])
    table = table_of(tmp_path, path, labels, "--profile", "me")
    assert table["timestamp"].to_pylist() == [6_001]
    assert table["views_1d"].to_pylist() == [2.0]
    assert table["price_7d"].to_pylist() == [3.0]


def test_columns_of_any_name_by_a_mapping(tmp_path: Path) -> None:
    rows = [{"Who": 17, "When": "14/11/2023 22:13", "What, it": 5, "£": "2.5", "noise": "x"}]
    mapping = "user=Who,timestamp=When,item_id=\"What, it\",event='item_liked',properties.price=£"
    labels = write(tmp_path / "labels.jsonl", [{"user": 17, "timestamp": START + HOUR}])
    options = (
        "--map",
        mapping,
        "--map",
        "context.device='phone'",
        "--timestamp-format",
        "%d/%m/%Y %H:%M",
        "--time-zone",
        "UTC",
    )
    for name in ("e.csv", "e.jsonl", "e.parquet"):
        table = table_of(tmp_path, write(tmp_path / name, rows), labels, *options)
        assert table["user"].to_pylist() == ["17"]
        assert table["price_liked"].to_pylist() == [2.5 if name != "e.jsonl" else 0.0], "JSON says what is a number"
        assert table["devices"].to_pylist() == [[1.0, 0.0]]
        assert table["since"].to_pylist() == [pytest.approx(60 + 1 / 3)]


# --- times -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "options"),
    [
        ("1700000000", ()),
        ("1700000000.000", ()),
        ("1700000000000", ()),
        ("2023-11-14T22:13:20Z", ()),
        ("2023-11-14 23:13:20+01:00", ()),
        ("2023-11-14T23:13:20", ("--time-zone", "Europe/Berlin")),
        ("14.11.2023 17:13:20", ("--time-zone", "America/New_York", "--timestamp-format", "%d.%m.%Y %H:%M:%S")),
        ("14.11.2023 17:13:20 -0500", ("--timestamp-format", "%d.%m.%Y %H:%M:%S %z")),
    ],
)
def test_times_of_texts(tmp_path: Path, written: str, options: tuple[str, ...]) -> None:
    events = write(tmp_path / "e.csv", [{"user": "u", "event": "item_viewed", "timestamp": written}])
    out = tmp_path / "out.jsonl"
    run("events", events, "-o", out, *options)
    assert json.loads(out.read_text())["timestamp"] == START


@pytest.mark.parametrize(
    ("value", "options"),
    [
        (1_700_000_000, ()),
        (1_700_000_000.0, ()),
        (START, ()),
        (datetime.fromtimestamp(START / 1000, UTC), ()),
        (datetime(2023, 11, 14, 23, 13, 20), ("--time-zone", "Europe/Berlin")),
    ],
    ids=["seconds", "float", "milliseconds", "zoned", "local"],
)
def test_times_of_parquet(tmp_path: Path, value: Any, options: tuple[str, ...]) -> None:
    path, out = tmp_path / "e.parquet", tmp_path / "out.jsonl"
    pq.write_table(pa.table({"user": ["u"], "event": ["item_viewed"], "timestamp": [value]}), path)
    run("events", path, "-o", out, *options)
    assert json.loads(out.read_text())["timestamp"] == START


def test_a_day_is_its_midnight(tmp_path: Path) -> None:
    path, out = tmp_path / "e.parquet", tmp_path / "out.jsonl"
    pq.write_table(pa.table({"user": ["u"], "event": ["item_viewed"], "timestamp": [date(2024, 7, 1)]}), path)
    run("events", path, "-o", out, "--time-zone", "Europe/Berlin")
    expected = datetime(2024, 7, 1, tzinfo=ZoneInfo("Europe/Berlin"))
    found = json.loads(out.read_text())
    assert (found["timestamp"], found["utc_offset_minutes"]) == (expected.timestamp() * 1000, 120)


def test_local_time_follows_the_zone_across_the_change_to_summer_time(tmp_path: Path) -> None:
    labels: list[dict[str, Any]] = [
        {"user": "u", "timestamp": f"2024-03-31T{utc}Z"} for utc in ("00:59:59", "01:00:00")
    ]
    labels.append({"user": "u", "timestamp": "2024-03-31T01:00:00Z", "utc_offset_minutes": -120})
    events = write(tmp_path / "e.jsonl", [event("u", 0)])
    table = table_of(tmp_path, events, write(tmp_path / "l.jsonl", labels), "--time-zone", "Europe/Berlin")
    assert table["hour"].to_pylist() == [1, 3, 23]


ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Pacific/Apia", "UTC")


@given(
    st.sampled_from(ZONES),
    st.lists(st.integers(0, 2_500_000_000_000) | st.integers(1_711_800_000_000, 1_711_900_000_000), min_size=1),
)
def test_a_zone_at_many_instants_is_the_standard_librarys_at_each(name: str, instants: list[int]) -> None:
    zone, info = Zone(ZoneInfo(name)), ZoneInfo(name)
    array = np.array(instants, np.int64)
    aware = [datetime.fromtimestamp(at // 1000, info) for at in instants]
    assert zone.offset_minutes(array).tolist() == [each.utcoffset().total_seconds() // 60 for each in aware]  # type: ignore[union-attr]
    walls = [datetime.fromtimestamp(at // 1000, UTC).replace(tzinfo=info) for at in instants]
    expected = [int(wall.timestamp()) * 1000 + at % 1000 for wall, at in zip(walls, instants, strict=True)]
    assert zone.instants(array).tolist() == expected


def test_a_zone_at_its_changes() -> None:
    info = ZoneInfo("Europe/Berlin")
    zone = Zone(info)
    for change in (datetime(2024, 3, 31, 1, tzinfo=UTC), datetime(2024, 10, 27, 1, tzinfo=UTC)):
        at = int(change.timestamp()) * 1000
        near = np.array([at + step for step in (-HOUR, -1, 0, 1, HOUR - 1, HOUR, 2 * HOUR, 3 * HOUR - 1)], np.int64)
        offsets = [datetime.fromtimestamp(each / 1000, info).utcoffset().total_seconds() / 60 for each in near.tolist()]  # type: ignore[union-attr]
        assert zone.offset_minutes(near).tolist() == offsets
        walls = [datetime.fromtimestamp(each // 1000, UTC).replace(tzinfo=info) for each in near.tolist()]
        assert (zone.instants(near) // 1000).tolist() == [int(wall.timestamp()) for wall in walls]


# --- what is refused -------------------------------------------------------------------------------------------------

GOOD = {"user": "u", "timestamp": START, "event": "item_viewed", "item_id": "a", "properties": {"price": 1}}

BAD_ROWS: list[tuple[str, Mapping[str, Any], str, str]] = [
    ("no-user", {"user": None}, "user", "is missing"),
    ("blank-user", {"user": ""}, "user", "is missing"),
    ("object-as-user", {"user": {"id": 1}}, "user", "not one text or number"),
    ("truth-as-user", {"user": True}, "user", "not one text or number"),
    ("long-user", {"user": "x" * 257}, "user", "over 256 characters"),
    ("control-character", {"item_id": "a\x07b"}, "item_id", "control character"),
    ("no-event", {"event": None}, "event", "is missing"),
    ("no-time", {"timestamp": None}, "timestamp", "is missing"),
    ("word-as-time", {"timestamp": "yesterday"}, "timestamp", "'yesterday' is not a timestamp"),
    ("local-time", {"timestamp": "2024-05-01T12:00:00"}, "timestamp", "has no offset from UTC"),
    ("late-time", {"timestamp": 10**18}, "timestamp", "outside the years"),
    ("early-time", {"timestamp": -(10**12)}, "timestamp", "outside the years"),
    ("list-as-time", {"timestamp": [1]}, "timestamp", "not one text or number"),
    ("word-as-recording", {"recorded_at": "?"}, "recorded_at", "'?' is not a timestamp"),
    ("word-as-sequence", {"sequence": "one"}, "sequence", "'one' is not a whole number"),
    ("fraction-as-sequence", {"sequence": 1.5}, "sequence", "is not a whole number"),
    ("offset-of-two-days", {"utc_offset_minutes": 2880}, "utc_offset_minutes", "is not -1439 to 1439"),
    ("offset-of-no-size", {"utc_offset_minutes": 10**12}, "utc_offset_minutes", "is not -1439 to 1439"),
    ("negative-epoch", {"epoch": -1}, "epoch", "is not 0"),
    ("list-as-properties", {"properties": [1]}, "properties", "is not a JSON object"),
    ("text-as-context", {"context": "phone"}, "context", "is not a JSON object"),
]


@pytest.mark.parametrize(
    ("change", "field", "problem"), [each[1:] for each in BAD_ROWS], ids=[each[0] for each in BAD_ROWS]
)
def test_a_malformed_line_is_named_or_counted(
    tmp_path: Path, change: Mapping[str, Any], field: str, problem: str
) -> None:
    bad = {**GOOD, "sequence": 3, **change} if "sequence" in change else {**GOOD, **change}
    good = {**GOOD, "sequence": 1} if "sequence" in change else GOOD
    events = write(tmp_path / "e.jsonl", [good, bad, good])
    labels = write(tmp_path / "l.jsonl", [{"user": "u", "timestamp": START + HOUR}])
    with pytest.raises(RefusedError) as refused:
        table_of(tmp_path, events, labels)
    error = refused.value.error
    assert error["type"] == "DataError"
    assert error["place"] == f"e.jsonl line 2, {field!r}"
    assert problem in error["problem"]
    assert error["remedy"]
    table = table_of(tmp_path, events, labels, "--skip-malformed")
    assert table["views_1d"].to_pylist() == [2.0]
    report = run("events", events, "-o", tmp_path / "out.jsonl", "--skip-malformed")
    ((reason, count),) = report["skipped"].items()
    assert (reason.partition(": ")[0], count) == (field, 1)


BAD_CELLS = [
    ("timestamp", "", "is missing"),
    ("timestamp", "1e400", "outside the years"),
    ("timestamp", "nan", "is not a timestamp"),
    ("user", "", "is missing"),
    ("event", "", "is missing"),
    ("properties.price", "cheap", "'cheap' is not a number"),
    ("properties.price", "inf", "'inf' is not a number"),
    ("properties.price", "1e999", "is infinite"),
    ("sequence", "1.0", "'1.0' is not a whole number"),
    ("context", "{", "is not a JSON object"),
    ("context", '{"a": NaN}', "is not a JSON object"),
]


@pytest.mark.parametrize(("field", "cell", "problem"), BAD_CELLS)
def test_a_malformed_cell_of_csv_is_named_or_counted(tmp_path: Path, field: str, cell: str, problem: str) -> None:
    good = {
        **{"user": "u", "timestamp": START, "event": "item_viewed", "properties.price": "2", "sequence": "1"},
        "context": '{"device":"phone"}',
    }
    events = write(tmp_path / "e.csv", [good, {**good, field: cell}, good])
    labels = write(tmp_path / "l.csv", [{"user": "u", "timestamp": START + HOUR}])
    with pytest.raises(RefusedError) as refused:
        table_of(tmp_path, events, labels)
    assert refused.value.error["place"] == f"e.csv row 3, {field!r}"
    assert problem in refused.value.error["problem"]
    table = table_of(tmp_path, events, labels, "--skip-malformed")
    assert table["price_7d"].to_pylist() == [4.0]


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        (pa.array([True]), "is bool"),
        (pa.array([[1]]), "list"),
        (pa.array([b"u"]), "binary"),
        (pa.array([1.5]), "fraction"),
        (pa.array([float("nan")]), "is missing"),
    ],
    ids=["bool", "list", "binary", "fraction", "nan"],
)
def test_a_parquet_column_of_another_kind_is_refused(tmp_path: Path, column: Any, problem: str) -> None:
    path = tmp_path / "e.parquet"
    pq.write_table(pa.table({"user": column, "event": ["item_viewed"], "timestamp": [START]}), path)
    with pytest.raises(RefusedError) as refused:
        run("events", path, "-o", tmp_path / "out.jsonl")
    assert refused.value.error["place"] == "e.parquet row 1, 'user'"
    assert problem in refused.value.error["problem"]


def test_properties_of_parquet(tmp_path: Path) -> None:
    """What JSON can hold is taken as it is; the others are refused or, as NaN, left out."""
    path, out = tmp_path / "e.parquet", tmp_path / "out.jsonl"
    properties = {
        "d": pa.array([Decimal("0.10")]),
        "f": pa.array([0.5], pa.float32()),
        "n": pa.array([float("nan")]),
        "i": pa.array([7], pa.uint8()),
        "b": pa.array([False]),
        "l": pa.array([["x", "y"]]),
        "e": pa.array(["x"]).dictionary_encode(),
    }
    base = {"user": pa.array(["u"]), "event": pa.array(["item_viewed"]), "timestamp": pa.array([START])}
    pq.write_table(pa.table(base | {f"properties.{name}": each for name, each in properties.items()}), path)
    run("events", path, "-o", out)
    found = json.loads(out.read_text())["properties"]
    assert found == {"d": 0.1, "f": 0.5, "i": 7, "b": False, "l": ["x", "y"], "e": "x"}
    for name, each, problem in (
        ("t", pa.array([datetime(2024, 1, 1)]), "which JSON does not have"),
        ("i", pa.array([float("inf")]), "is infinite"),
        ("u", pa.array([2**64 - 1], pa.uint64()), "more than 64 bits"),
    ):
        pq.write_table(pa.table(base | {f"properties.{name}": each}), path)
        with pytest.raises(RefusedError) as refused:
            run("events", path, "-o", out)
        assert refused.value.error["place"] == f"e.parquet row 1, 'properties.{name}'"
        assert problem in refused.value.error["problem"]


BROKEN = [
    ("e.jsonl", b'{"user": "u"\n', "e.jsonl line 1", "is not JSON"),
    ("e.jsonl", b"\n[1]\n", "e.jsonl line 2", "is not a JSON object"),
    ("e.jsonl", b'{"user": NaN}\n', "e.jsonl line 1", "NaN is not a number of JSON"),
    ("e.jsonl", b'{"user": "\\ud800"}\n', "e.jsonl line 1", "is not JSON"),
    ("e.jsonl", b"\xff\n", "e.jsonl line 1", "is not JSON"),
    ("e.csv", b"user,event,timestamp\nu,item_viewed\n", "e.csv row 2", "2 columns where the header has 3"),
    ("e.csv", b"user,event\nu,item_viewed\n", "e.csv", "there is no column 'timestamp', only user, event"),
    ("e.csv", b"user,user,event,timestamp\n", "e.csv", "the header has 'user' twice"),
    ("e.csv", b"user,event,timestamp\n\xff,item_viewed,1700000000\n", "e.csv", "cannot be read"),
    ("e.csv", b"", "e.csv", ""),
    ("e.csv.gz", b"not gzip", "e.csv.gz", "cannot be read"),
    ("e.jsonl.gz", gzip.compress(b'{"user": "u"}\n' * 999, mtime=0)[:-20], "e.jsonl.gz", "cannot be read"),
    ("e.parquet", b"PAR1 and no more", "e.parquet", "cannot be read"),
    ("e.parquet.gz", b"", "e.parquet.gz", "is no known ending"),
]


@pytest.mark.parametrize(("name", "content", "place", "problem"), BROKEN)
def test_a_broken_file_is_refused(tmp_path: Path, name: str, content: bytes, place: str, problem: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(RefusedError) as refused:
        run("events", path, "-o", tmp_path / "out.jsonl")
    assert refused.value.code == 2
    assert place in refused.value.error["place"]
    assert problem in refused.value.error["problem"]
    assert refused.value.error["remedy"]
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_malformed_lines_are_skipped_and_the_others_keep_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    lines = [
        "user,event,timestamp",
        *["u,item_viewed,1700000000"] * 3,
        "u,x",
        "u,item_viewed,1700000000,9",
        "",
        "u,x,?",
    ]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(RefusedError) as refused:
        run("events", path, "-o", tmp_path / "out.jsonl")
    assert refused.value.error["place"] == "e.csv row 5"
    report = run("events", path, "-o", tmp_path / "out.jsonl", "--skip-malformed")
    assert report["events"] == 3
    assert report["skipped"] == {
        "row: has another number of columns than the header": 2,
        "timestamp: is not a timestamp": 1,
    }
    path.write_text("\n".join([*lines[:4], lines[7]]) + "\n")
    with pytest.raises(RefusedError) as refused:
        run("events", path, "-o", tmp_path / "out.jsonl")
    assert refused.value.error["place"] == "e.csv row 5, 'timestamp'"


@pytest.mark.parametrize(
    ("change", "field", "problem"),
    [
        ({"timestamp": None}, "timestamp", "is missing"),
        ({"user": ""}, "user", "is missing"),
        ({"utc_offset_minutes": "x"}, "utc_offset_minutes", "is not a whole number"),
        ({"pushed": {"embedding": [1.0]}}, "pushed.embedding", "is not 2 finite numbers"),
        ({"pushed": [1.0, 2.0]}, "pushed", "is not a JSON object"),
        ({"pushed.embedding": [1.0]}, "pushed.embedding", "is not 2 finite numbers"),
        ({"pushed": {"embedding": "x"}}, "pushed.embedding", "is not 2 finite numbers"),
        ({"pushed": {"embedding": [1.0, True]}}, "pushed.embedding", "is not 2 finite numbers"),
        ({"context": 5}, "context", "is not a JSON object"),
    ],
)
def test_a_malformed_label_is_named_or_counted(
    tmp_path: Path, change: Mapping[str, Any], field: str, problem: str
) -> None:
    good = {"user": "u", "timestamp": START + DAY}
    labels = write(tmp_path / "l.jsonl", [good, {**good, **change}])
    events = write(tmp_path / "e.jsonl", [event("u", 0)])
    with pytest.raises(RefusedError) as refused:
        table_of(tmp_path, events, labels)
    assert refused.value.error["place"] == f"l.jsonl line 2, {field!r}"
    assert problem in refused.value.error["problem"]
    assert len(table_of(tmp_path, events, labels, "--skip-malformed")) == 1


def test_pushed_values_in_every_form(tmp_path: Path) -> None:
    base = {"user": "u", "timestamp": START}
    events = write(tmp_path / "e.jsonl", [event("u", 0)])
    rows = [{**base, "pushed": {"embedding": [0.5, 2]}}, {**base, "pushed": {}}, base]
    assert table_of(tmp_path, events, write(tmp_path / "l.jsonl", rows))["embedding"].to_pylist() == [
        [0.5, 2],
        [0, 0],
        [0, 0],
    ]
    cells = [{**base, "pushed.embedding": "[0.5, 2]"}, {**base, "pushed.embedding": ""}]
    table = table_of(tmp_path, events, write(tmp_path / "l.csv", cells))
    assert table["embedding"].to_pylist() == [[0.5, 2], [0, 0]]
    cells = [{**base, "pushed": '{"embedding": [0.5, 2], "other": 3}'}, {**base, "pushed": ""}]
    table = table_of(tmp_path, events, write(tmp_path / "l.csv", cells))
    assert table["embedding"].to_pylist() == [[0.5, 2], [0, 0]]
    columns = {"user": ["u"], "timestamp": [START], "pushed.embedding": [[0.5, 2.0]]}
    pq.write_table(pa.table(columns), tmp_path / "l.parquet")
    assert table_of(tmp_path, events, tmp_path / "l.parquet")["embedding"].to_pylist() == [[0.5, 2]]


def test_numbers_are_asked_for_only_where_the_program_reads_numbers(tmp_path: Path) -> None:
    """A shop called 7 is the text "7" in a vocabulary, and a price has to be a number."""
    program = {**PROGRAM, "vocabularies": {**PROGRAM["vocabularies"], "items": ["a", "7", "007"]}}
    cells = [
        {"user": "u", "timestamp": START, "event": "item_viewed", "properties.shop": shop} for shop in ("7", "007")
    ]
    events = write(tmp_path / "e.csv", cells)
    labels = write(tmp_path / "l.csv", [{"user": "u", "timestamp": START + HOUR}])
    out = tmp_path / "out.parquet"
    run("replay", events, "--program", program_file(tmp_path, program), "--labels", labels, "-o", out)
    assert pq.read_table(out)["shops"].to_pylist() == [[0, 0.5, 0.5]]
