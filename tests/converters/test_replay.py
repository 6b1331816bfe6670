"""``nearhand replay``: rows that have seen nothing too much, in a table whose bytes depend on the input only."""

from __future__ import annotations

import gc
import json
import os
import re
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearhand.events import RESET
from nearhand.features import FeatureVector, Label, ReplayEvent, replay_profile
from nearhand_converters.replay import spool
from nearhand_converters.replay.columns import TimeRule
from nearhand_converters.replay.events import read_events, reading_of
from nearhand_converters.replay.files import open_source
from nearhand_converters.replay.run import Labels, replay
from tests.converters.replays import (
    DAY,
    HOUR,
    PROGRAM,
    START,
    RefusedError,
    compiled,
    event,
    program_file,
    replayed,
    row_bytes,
    run,
    table_of,
    write,
)

FEATURES = [column.name for column in compiled().columns]


def feature_rows(table: Any) -> list[dict[str, Any]]:
    return table.select(FEATURES).to_pylist()  # type: ignore[no-any-return]


# --- streams ---------------------------------------------------------------------------------------------------------

users = st.sampled_from(["ann", "bob", "Žoë"])
instants = st.integers(0, 20 * HOUR) | st.sampled_from([0, HOUR, 5 * HOUR, 5 * HOUR + 1, 10 * HOUR])


@st.composite
def streams(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Events of some users, late, early, doubled and out of order; with everything a recorded event has."""
    found = []
    epochs: dict[str, int] = defaultdict(int)
    for sequence in range(draw(st.integers(0, 25))):
        user, at = draw(users), draw(instants)
        kind = draw(st.sampled_from(["item_viewed", "item_liked", "search", RESET]))
        epochs[user] += kind == RESET
        found.append(
            event(
                user,
                at,
                kind,
                None if kind == RESET else draw(st.sampled_from(["a", "b", "c", "x"])),
                event_id=f"e{draw(st.integers(0, 30))}",
                sequence=sequence + 1,
                recorded_at=START + draw(st.just(at) | instants),
                utc_offset_minutes=draw(st.sampled_from([0, 60, -300])),
                epoch=epochs[user],
                properties=draw(
                    st.fixed_dictionaries(
                        {},
                        optional={
                            "price": st.integers(-5, 5) | st.floats(-9, 9, width=32),
                            "shop": st.sampled_from(["a", "b"]),
                        },
                    )
                ),
                context=draw(st.fixed_dictionaries({}, optional={"device": st.sampled_from(["phone", "tablet"])})),
            )
        )
    return found


labels_of_streams = st.lists(
    st.builds(
        lambda user, at, item, number: {
            "user": user,
            "timestamp": START + at,
            "item_id": item,
            "utc_offset_minutes": 60 * number,
            "context": {"battery": number / 7},
            "pushed": {"embedding": [number, -0.5]},
            "label": number,
        },
        users,
        instants,
        st.sampled_from(["a", "b", None]),
        st.integers(-3, 3),
    ),
    min_size=1,
    max_size=6,
)


def expected(events: list[dict[str, Any]], labels: list[dict[str, Any]]) -> list[tuple[int, FeatureVector]]:
    """The labels in the order of the table, as their places in the file, and their vectors, straight from the fold."""
    program = compiled()
    logs: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for each in events:
        logs[each["user"]].setdefault(each["event_id"], each)
    rows: list[tuple[int, FeatureVector]] = []
    for user in sorted({label["user"] for label in labels}):
        places = [place for place, label in enumerate(labels) if label["user"] == user]
        own_labels = [
            Label(each["timestamp"], each["utc_offset_minutes"], each["item_id"], each["context"], each["pushed"])
            for each in (labels[place] for place in places)
        ]
        own_events = [ReplayEvent(**{name: each[name] for name in ReplayEvent._fields}) for each in logs[user].values()]
        rows += zip(places, replay_profile(program, own_events, own_labels), strict=True)
    return rows


@given(streams(), labels_of_streams)
@settings(max_examples=40)
def test_each_row_is_the_fold_of_its_users_events(
    tmp_path_factory: pytest.TempPathFactory, events: list[dict[str, Any]], labels: list[dict[str, Any]]
) -> None:
    table = replayed(tmp_path_factory.mktemp("replay"), events, labels)
    rows = expected(events, labels)
    assert table["label"].to_pylist() == [labels[place]["label"] for place, _ in rows]
    assert table["user"].to_pylist() == [labels[place]["user"] for place, _ in rows]
    program = compiled()
    for position, (_, vector) in enumerate(rows):
        for column in program.columns:
            array = vector.floats if column.dtype == "float32" else vector.ints
            before = 0 if column.of == "profile" else (program.floats if column.dtype == "float32" else program.ints)
            part = array[before + column.offset :][: column.width]
            found = np.array(table[column.name][position].as_py(), array.dtype).reshape(-1)
            assert found.tobytes() == part.tobytes(), column.name


@given(streams(), labels_of_streams, st.data())
@settings(max_examples=40)
def test_nothing_recorded_at_or_after_a_label_is_in_its_row(
    tmp_path_factory: pytest.TempPathFactory,
    events: list[dict[str, Any]],
    labels: list[dict[str, Any]],
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("replay")
    label = data.draw(st.sampled_from(labels))
    unseen = [place for place, each in enumerate(events) if each["recorded_at"] >= label["timestamp"]]
    changed: list[dict[str, Any]] = []
    for place, each in enumerate(events):
        if place not in unseen or not data.draw(st.booleans()):
            changed.append(each)
        elif data.draw(st.booleans()):
            later = data.draw(st.integers(label["timestamp"], label["timestamp"] + DAY))
            other = {"item_id": "b", "properties": {"price": 77}, "timestamp": START, "recorded_at": later}
            changed.append({**each, **other, "event_id": f"new {place}"})
    before, after = replayed(folder, events, [label]), replayed(folder, changed, [label])
    assert row_bytes(before, 0) == row_bytes(after, 0)


def test_what_was_recorded_a_millisecond_before_the_label_is_in_its_row(tmp_path: Path) -> None:
    """That the property above looks at something."""
    events = [event("u", 0), event("u", 1)]
    rows = replayed(tmp_path, events, [{"user": "u", "timestamp": START + at} for at in (0, 1, 2)])
    assert rows["views_1d"].to_pylist() == [0, 1, 2]


def test_an_event_counts_when_both_its_time_and_its_recording_are_past(tmp_path: Path) -> None:
    events = [event("u", 10, recorded_at=START + 50, sequence=1), event("u", 90, recorded_at=START + 60, sequence=2)]
    rows = replayed(tmp_path, events, [{"user": "u", "timestamp": START + at} for at in (50, 51, 89, 90)])
    assert rows["views_1d"].to_pylist() == [0, 1, 1, 2]


@given(streams(), labels_of_streams, st.randoms(use_true_random=False))
@settings(max_examples=15)
def test_the_order_of_the_lines_does_not_matter_where_sequence_is_given(
    tmp_path_factory: pytest.TempPathFactory, events: list[dict[str, Any]], labels: list[dict[str, Any]], random: Any
) -> None:
    folder = tmp_path_factory.mktemp("replay")
    before = replayed(folder, events, labels)
    shuffled = list(events)
    random.shuffle(shuffled)
    assert replayed(folder, shuffled, labels).equals(before)


# --- rules -----------------------------------------------------------------------------------------------------------


def test_a_repeated_event_id_is_counted_and_the_first_by_sequence_stays(tmp_path: Path) -> None:
    events = [
        event("u", 2, item="b", event_id="same", sequence=2),
        event("u", 1, item="a", event_id="same", sequence=1),
        event("v", 1, item="c", event_id="same", sequence=3),
        event("v", 1, item="c", sequence=4),
        event("v", 1, item="c", sequence=5),
    ]
    labels = [{"user": user, "timestamp": START + HOUR} for user in "uv"]
    files = write(tmp_path / "events.jsonl", events), write(tmp_path / "labels.jsonl", labels)
    out = tmp_path / "out.parquet"
    report = run("replay", files[0], "--program", program_file(tmp_path), "--labels", files[1], "-o", out)
    assert (report["events"], report["duplicates"]) == (5, 1)
    assert pq.read_table(out)["last"].to_pylist() == [[2, 0, 0], [4, 4, 4]], "an event without an id is no duplicate"


@pytest.mark.parametrize("given", ["no column", "nulls", "some"])
def test_epochs_are_counted_by_resets_where_the_file_has_none(tmp_path: Path, given: str) -> None:
    events = [event("u", 0), event("u", 1), event("u", 2, RESET, None), event("u", 3), event("v", 4)]
    events.append(event("v", 5))
    if given != "no column":
        events = [{**each, "epoch": None} for each in events]
    if given == "some":
        events[-1]["epoch"] = 0
    labels = [{"user": "u", "timestamp": START + at} for at in (2, 3, 4)]
    labels.append({"user": "v", "timestamp": START + DAY // 2})
    assert replayed(tmp_path, events, labels)["views_1d"].to_pylist() == [2, 0, 1, 2]


def test_a_given_epoch_holds(tmp_path: Path) -> None:
    """As in the export of a device whose log has evicted the marker."""
    events = [event("u", 0, epoch=3), event("u", 1, "search", None, epoch=4, properties={"query": "x"})]
    rows = replayed(tmp_path, events, [{"user": "u", "timestamp": START + at} for at in (1, 2)])
    assert rows["views_1d"].to_pylist() == [1, 0], "an event that feeds no view still begins its epoch"


def test_rows_stand_by_user_and_then_as_the_labels_do(tmp_path: Path) -> None:
    asked = [("é", 1), ("b", 9), ("B", 5), ("b", 3), ("10", 1), ("9", 1), ("b", 3)]
    labels = [{"user": user, "timestamp": START + at, "n": n} for n, (user, at) in enumerate(asked)]
    table = replayed(tmp_path, [], labels)
    assert list(zip(table["user"].to_pylist(), table["n"].to_pylist(), strict=True)) == [
        *(("10", 4), ("9", 5), ("B", 2), ("b", 1), ("b", 3), ("b", 6), ("é", 0))
    ]


def test_a_user_without_events_has_the_features_of_a_stranger(tmp_path: Path) -> None:
    table = replayed(tmp_path, [event("u", 0)], [{"user": "nobody", "timestamp": START + HOUR}])
    (row,) = feature_rows(table)
    assert (row["views_1d"], row["since"], row["last"], row["hour"]) == (0.0, -1.0, [0, 0, 0], 23.0)


def test_label_events_do_not_see_themselves(tmp_path: Path) -> None:
    events = [
        event("u", 0, item="a"),
        event("u", 9, "item_liked", "b", recorded_at=START + 9, utc_offset_minutes=120, context={"battery": 0.5}),
        event("u", 9, "item_liked", "c", recorded_at=START + 9),
        event("u", 20, "item_liked", "b", recorded_at=START + 40),
    ]
    path, out = write(tmp_path / "events.jsonl", events), tmp_path / "out.parquet"
    program = program_file(tmp_path)
    report = run("replay", path, "--program", program, "--label-events", "item_liked, item_saved", "-o", out)
    table = pq.read_table(out)
    assert report["rows"] == 3
    assert table["timestamp"].to_pylist() == [START + 9, START + 9, START + 40]
    assert table["item_id"].to_pylist() == ["b", "c", "b"]
    assert table["event"].to_pylist() == ["item_liked"] * 3
    assert table["last"].to_pylist() == [[2, 0, 0], [2, 0, 0], [4, 3, 2]]
    assert table["of_item"].to_pylist() == [0, 0, 1]
    assert table["hour"].to_pylist() == [0, 22, 22], "the event's own offset"
    assert table["battery"].to_pylist() == [0.5, 0, 0]


def test_a_profile_is_one_user(tmp_path: Path) -> None:
    events = [{**event("x", at), "user": None} for at in (0, 1)]
    table = replayed(tmp_path, events, [{"timestamp": START + HOUR, "label": True}], "--profile", "phone")
    assert table["user"].to_pylist() == ["phone"]
    assert table["views_1d"].to_pylist() == [2]
    assert table["label"].to_pylist() == [True]


# --- the table -------------------------------------------------------------------------------------------------------


def test_columns_and_their_types(tmp_path: Path) -> None:
    labels = [{"user": "u", "timestamp": START, "clicked": True, "share": 0.5, "note": "é", "code": "007", "n": 2**60}]
    table = replayed(tmp_path, [event("u", 0)], labels)
    types = {field.name: str(field.type) for field in table.schema}
    assert list(types) == ["user", "timestamp", "item_id", "clicked", "share", "note", "code", "n", *FEATURES]
    assert types["timestamp"] == "int64"
    carried = {name: types[name] for name in ("clicked", "share", "note", "code", "n")}
    assert carried == {"clicked": "bool", "share": "double", "note": "string", "code": "string", "n": "int64"}
    assert (types["views_1d"], types["last.mask"]) == ("float", "fixed_size_list<element: float>[3]")
    assert types["last"] == "fixed_size_list<element: int32>[3]"
    assert [table[name][0].as_py() for name in carried] == [True, 0.5, "é", "007", 2**60]
    told = {name.decode(): value.decode() for name, value in table.schema.metadata.items()}
    digest = compiled().program.digest
    assert told == {
        "nearhand.program": "small",
        "nearhand.program_version": "1.2.0",
        "nearhand.program_digest": digest,
    }


@pytest.mark.parametrize(
    ("cells", "kind", "read"),
    [
        (["1", "2", ""], "int64", [1, 2, None]),
        (["1", "2.5", "-1e3"], "double", [1.0, 2.5, -1000.0]),
        (["true", "false", ""], "bool", [True, False, None]),
        (["1", "x", "2.5"], "string", ["1", "x", "2.5"]),
        (["007", "8", "9"], "string", ["007", "8", "9"]),
        (["12345678901234567890", "1", "1"], "string", ["12345678901234567890", "1", "1"]),
        (["", "", ""], "string", [None, None, None]),
        (["nan", "inf", "1_0"], "string", ["nan", "inf", "1_0"]),
    ],
)
def test_a_carried_column_of_csv_is_what_all_its_cells_are(
    tmp_path: Path, cells: list[str], kind: str, read: list[Any]
) -> None:
    labels = write(tmp_path / "labels.csv", [{"user": "u", "timestamp": START, "cell": cell} for cell in cells])
    column = table_of(tmp_path, write(tmp_path / "events.jsonl", [event("u", 0)]), labels)["cell"]
    assert (str(column.type), column.to_pylist()) == (kind, read)


def test_a_carried_column_may_not_have_the_name_of_a_feature(tmp_path: Path) -> None:
    with pytest.raises(RefusedError) as refused:
        replayed(tmp_path, [event("u", 0)], [{"user": "u", "timestamp": START, "since": 1}])
    assert refused.value.error["place"].endswith("labels.jsonl, column 'since'")
    assert refused.value.error["remedy"] == "rename one of them"


@pytest.fixture
def log(tmp_path: Path) -> tuple[Path, Path]:
    """Two thousand events of forty users, in no order of users, and their labels."""
    generator = np.random.default_rng(5)
    events = [
        event(
            f"u{generator.integers(40)}",
            int(generator.integers(9 * DAY)),
            str(generator.choice(["item_viewed", "item_liked"])),
            str(generator.choice(["a", "b", "c"])),
            properties={"price": float(generator.normal()), "shop": "a"},
            event_id=f"e{generator.integers(300)}",
        )
        for _ in range(2000)
    ]
    labels = [
        {"user": f"u{generator.integers(45)}", "timestamp": START + int(generator.integers(9 * DAY)), "label": n}
        for n in range(500)
    ]
    return write(tmp_path / "events.jsonl", events), write(tmp_path / "labels.csv", labels)


def replay_with(
    folder: Path, files: tuple[Path, Path], memory_rows: int
) -> tuple[bytes, Any, list[tuple[str, int, int]]]:
    """The table's bytes, the report, and what progress was told."""
    program = compiled()
    reading = reading_of(program.program, program.properties, program.context_keys, times=TimeRule())
    told: list[tuple[str, int, int]] = []
    out = folder / "table.parquet"
    before = set(folder.iterdir())
    report = replay(
        open_source(files[0]),
        read_events,
        Labels(open_source(files[1])),
        program,
        reading,
        out,
        memory_rows=memory_rows,
        progress=lambda *each: told.append(each),
    )
    assert set(folder.iterdir()) == {*before, out}
    return out.read_bytes(), report, told


def test_the_bytes_do_not_depend_on_how_much_memory_there_is(tmp_path: Path, log: tuple[Path, Path]) -> None:
    roomy, report, told = replay_with(tmp_path, log, 1_000_000)
    assert (report.rows, report.events, report.users, report.strangers) == (500, 2000, 45, 5)
    assert report.duplicates > 100
    for stage in ("read events", "read labels", "replay"):
        done = [(at, total) for name, at, total in told if name == stage]
        assert done == sorted(done)
        assert done[-1][0] == done[-1][1]
    for memory_rows in (1200, 400):
        tight, counted, _ = replay_with(tmp_path, log, memory_rows)
        assert tight == roomy
        assert (counted.rows, counted.duplicates) == (500, report.duplicates)
        assert (counted.users, counted.strangers) == (45, 5)


def test_no_more_rows_than_stated_are_in_memory(
    tmp_path: Path, log: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured where rows are gathered: what a part holds, and what waits to be written."""
    sizes: list[int] = []
    parts_by_user = spool.parts_by_user

    def parts(*arguments: Any) -> Iterator[tuple[Any, ...]]:
        for part in parts_by_user(*arguments):
            sizes.append(sum(len(table) for table in part if table is not None))
            yield part

    monkeypatch.setattr("nearhand_converters.replay.run.parts_by_user", parts)
    held: list[int] = []
    spools: set[Any] = set()
    append = spool.Spool.append

    def appended(self: Any, table: Any) -> None:
        append(self, table)
        spools.add(self)
        held.append(sum(each._held_rows for each in spools))
        for each in self._held:
            assert each.get_total_buffer_size() < 4000 + 400 * len(each), "what waits keeps nothing else in memory"

    monkeypatch.setattr(spool.Spool, "append", appended)
    folder = tmp_path / "events"
    folder.mkdir()
    lines = log[0].read_text(encoding="utf-8").splitlines(keepends=True)
    for part in range(20):
        (folder / f"{part:02}.jsonl").write_text("".join(lines[100 * part : 100 * part + 100]), encoding="utf-8")
    tight = replay_with(tmp_path, (folder, log[1]), 1200)[0]
    assert len(sizes) > 5
    assert max(sizes) <= 600, "half of the rows, so that they can be sorted"
    assert max(held) <= 900
    monkeypatch.undo()
    assert replay_with(tmp_path, log, 1_000_000)[0] == tight


def test_a_user_who_does_not_fit_is_named(tmp_path: Path) -> None:
    events = write(tmp_path / "events.jsonl", [event("huge", at) for at in range(600)] + [event("tiny", 0)])
    labels = write(tmp_path / "labels.jsonl", [{"user": "huge", "timestamp": START}])
    with pytest.raises(RefusedError) as refused:
        table_of(tmp_path, events, labels, "--memory-rows", 1000)
    assert refused.value.error["place"] == "user 'huge'"
    assert "601 events and labels" in refused.value.error["problem"]
    assert "--memory-rows" in refused.value.error["remedy"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_table_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    labels = [{"user": "u", "timestamp": START}]
    replayed(tmp_path, [event("u", 0)], labels)
    files = write(tmp_path / "events.jsonl", []), write(tmp_path / "labels.jsonl", [*labels, *labels])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(RefusedError) as refused:
        table_of(tmp_path, *files)
    assert "No space left on device" in refused.value.error["problem"]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("rows", [3, 3000])
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, rows: int) -> None:
    labels = [{"user": "u", "timestamp": START + n, "n": n} for n in range(rows)]
    (tmp_path / "out.parquet.partial").symlink_to("/dev/full")
    with pytest.raises(RefusedError) as refused:
        replayed(tmp_path, [event("u", 0)], labels)
    assert refused.value.error["type"] == "StorageError"
    assert "No space left on device" in refused.value.error["problem"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.jsonl", "labels.jsonl", "program.json"]


def test_an_error_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    """Also no writer whose finalizer would finish the table later."""
    parts = tmp_path / "parts"
    parts.mkdir()
    write(parts / "1.jsonl", [event("u", 0)])
    write(parts / "2.jsonl", [event("", 0)])
    for out in ("made.parquet", "made.jsonl"):
        with pytest.raises(RefusedError) as refused:
            run("events", parts, "-o", tmp_path / out)
        assert refused.value.error["place"] == "2.jsonl line 1, 'user'"
        gc.collect()
    assert [path.name for path in tmp_path.iterdir()] == ["parts"]


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, log: tuple[Path, Path]) -> None:
    assert replay_with(tmp_path, log, 10_000)[0] == replay_with(tmp_path, log, 10_000)[0]


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_summary(tmp_path: Path) -> None:
    events = write(tmp_path / "events.jsonl", [event("u", 0), event("", 0)])
    labels = write(tmp_path / "labels.jsonl", [{"user": "u", "timestamp": START}])
    out = tmp_path / "out.parquet"
    arguments = ["replay", events, "--program", program_file(tmp_path), "--labels", labels, "-o", out]
    report = run(*arguments, "--skip-malformed")
    assert report.pop("seconds") >= 0
    assert report == {
        "table": str(out),
        "program": {"name": "small", "version": "1.2.0", "digest": compiled().program.digest},
        "rows": 1,
        "users": 1,
        "strangers": 0,
        "events": 1,
        "duplicates": 0,
        "skipped": {"user: is missing": 1},
        "columns": ["user", "timestamp", "item_id", *FEATURES],
    }


@pytest.mark.parametrize(
    ("change", "place", "remedy"),
    [
        ({"labels": None}, "--labels", "--label-events"),
        ({"label_events": "item_viewed"}, "--labels", "--label-events"),
        ({"out": "table.csv"}, "table.csv", "OUT.parquet"),
        ({"events": "nothing.jsonl"}, "nothing.jsonl", "name another one"),
        ({"events": "program.txt"}, "program.txt", "use one of .csv"),
        ({"program": "nothing.json"}, "nothing.json", "feature program"),
        ({"program": "labels.jsonl"}, "labels.jsonl", ""),
        ({"labels": "empty.jsonl"}, "empty.jsonl", "at least one row"),
        ({"labels": None, "label_events": "item_saved"}, "--label-events", "types that are in the events"),
        (
            {"labels": None, "label_events": "item_viewed", "events": "e.parquet", "out": "e.parquet"},
            "e.parquet",
            "another",
        ),
        ({"time_zone": "Mars/Olympus"}, "--time-zone", "Europe/Berlin"),
        ({"map": "user"}, "--map", "FIELD=COLUMN"),
        ({"map": "user=a,user=b"}, "--map", "once"),
        ({"map": "usr=a"}, "--map", "use one of user"),
        ({"map": "timestamp=t,event='x'"}, "--map", "user=COLUMN"),
        ({"track": "Song Played=item_viewed"}, "--track", "leave it out"),
        ({"out": "no/such/folder/out.parquet"}, "out.parquet", "path exists"),
    ],
)
def test_what_is_refused(tmp_path: Path, change: Mapping[str, str | None], place: str, remedy: str) -> None:
    write(tmp_path / "events.jsonl", [event("u", 0)])
    write(tmp_path / "labels.jsonl", [{"user": "u", "timestamp": START}])
    (tmp_path / "empty.jsonl").write_text("\n")
    write(tmp_path / "e.parquet", [event("u", 0)])
    program_file(tmp_path)
    chosen: dict[str, str | None] = {
        "events": "events.jsonl",
        "program": "program.json",
        "labels": "labels.jsonl",
        "out": "out.parquet",
        **change,
    }
    arguments: list[object] = [tmp_path / str(chosen.pop("events"))]
    for name, value in chosen.items():
        if value is not None:
            path = name in ("program", "labels", "out")
            arguments += [f"--{name.replace('_', '-')}", tmp_path / value if path else value]
    before = sorted(tmp_path.iterdir())
    with pytest.raises(RefusedError) as refused:
        run("replay", *arguments)
    assert refused.value.code == 2
    assert place in refused.value.error["place"]
    assert remedy in refused.value.error["remedy"]
    assert refused.value.error["remedy"]
    assert sorted(tmp_path.iterdir()) == before, "nothing is written"


def test_the_catalogue_is_read_for_a_program_that_needs_it(tmp_path: Path) -> None:
    view = {"op": "affinity", "name": "taste", "events": ["item_viewed"], "of": "item.genres", "vocabulary": "genres"}
    fit = {"op": "item_affinity", "name": "fit", "affinity": "taste", "combine": "sum"}
    year = {"op": "item", "name": "year", "of": "item.year"}
    program = {**PROGRAM, "vocabularies": {"genres": ["Drama", "War"]}, "views": [view, fit, year]}
    events = write(tmp_path / "events.jsonl", [event("u", 0, item="a")])
    labels = write(tmp_path / "labels.jsonl", [{"user": "u", "timestamp": START + 1, "item_id": each} for each in "ab"])
    (tmp_path / "items.csv").write_text("item,title,year,genres\na,Alpha,1999,Drama|War\nb,Beta,,War\n")
    rows = [
        {"item_id": "a", "year": 1999, "genres": ["Drama", "War"]},
        {"item_id": "b", "year": None, "genres": ["War"]},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "items.parquet")
    out = tmp_path / "out.parquet"
    arguments = [events, "--program", program_file(tmp_path, program), "--labels", labels, "-o", out]
    tables = []
    for items in ("items.csv", "items.parquet"):
        run("replay", *arguments, "--items", tmp_path / items)
        tables.append(pq.read_table(out))
    assert tables[0].equals(tables[1])
    assert tables[0]["taste"].to_pylist() == [[0.5, 0.5]] * 2
    assert tables[0]["fit"].to_pylist() == [1.0, 0.5]
    assert tables[0]["year"].to_pylist() == [1999.0, 0.0]
    with pytest.raises(RefusedError) as refused:
        run("replay", *arguments)
    assert "catalogue" in refused.value.error["remedy"]
    assert json.dumps(refused.value.error).count("views[0].of") == 1


def test_the_commands_of_the_guide_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/REPLAY.md, on files of the names that it uses."""
    monkeypatch.chdir(tmp_path)
    events = [event("u", 0), event("u", 1, "item_liked"), event("17", 2, "item_purchased")]
    write(tmp_path / "events.jsonl", events)
    program_file(tmp_path)
    write(tmp_path / "labels.csv", [{"user": "17", "timestamp": START + DAY, "label": 1}])
    line = {"CustomerID": "17", "StockCode": "85123A", "InvoiceDate": "2023-11-15 08:26:00", "UnitPrice": "2.55"}
    write(tmp_path / "shop.csv", [{**line, "Quantity": "6"}, {**line, "CustomerID": ""}])
    call = {"type": "track", "event": "Song Played", "userId": "u", "timestamp": "2023-11-15T00:00:00Z"}
    write(tmp_path / "calls.jsonl", [{**call, "properties": {"product_id": "s1"}}])
    page = (Path(__file__).parents[2] / "docs" / "REPLAY.md").read_text(encoding="utf-8")
    scripts = re.findall(r"^```sh\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    ran = [run(*shlex.split(line)[1:]) for script in scripts for line in script.splitlines()]
    assert [(each["events"], each.get("rows")) for each in ran] == [(3, 1), (1, 1), (1, None), (3, 2)]
