"""The replay on Spark gives what the replay on one machine gives, to the bit."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nearhand.events import RESET
from nearhand_converters.errors import DataError
from tests.converters.replays import DAY, START, compiled, event, program_file, run, write

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    """Spark on this machine, with a time zone that no result may depend on."""
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        reason = "Spark needs Java 17 or later: install a JRE, such as Debian's openjdk-17-jre-headless"
        if os.environ.get("NEARHAND_REQUIRE_ENVIRONMENTS") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    from pyspark.sql import SparkSession

    options = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.session.timeZone": "America/New_York",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
    }
    builder = SparkSession.builder.master("local[2]").appName("nearhand")
    for name, value in options.items():
        builder = builder.config(name, value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        session = builder.getOrCreate()
        session.sparkContext.setLogLevel("ERROR")
        yield session
        session.stop()


def rows() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Events with resets, duplicates and late recordings, and labels, some of users without events."""
    generator = np.random.default_rng(7)
    events = []
    for sequence in range(300):
        at = int(generator.integers(3 * DAY))
        kind = str(generator.choice(["item_viewed", "item_liked", RESET], p=[0.6, 0.37, 0.03]))
        events.append(
            event(
                f"u{generator.integers(9)}",
                at,
                kind,
                None if kind == RESET else str(generator.choice(["a", "b", "c"])),
                sequence=sequence + 1,
                event_id=f"e{generator.integers(280)}",
                recorded_at=START + at + int(generator.choice([0, 5, DAY])),
                utc_offset_minutes=60,
                properties={
                    "price": float(generator.choice([float("nan"), *generator.normal(size=4)])),
                    "shop": str(generator.choice(["a", "b"])),
                },
                context={"device": str(generator.choice(["phone", "tablet"]))},
            )
        )
    labels = [
        {
            "user": f"u{generator.integers(11)}",
            "timestamp": START + int(generator.integers(4 * DAY)),
            "item_id": str(generator.choice(["a", "z"])),
            "context": {"battery": float(generator.random())},
            "pushed.embedding": [float(generator.random()), 0.1],
            "clicked": bool(generator.integers(2)),
            "label": number,
        }
        for number in range(40)
    ]
    return events, labels


def test_spark_gives_the_same_table(spark: SparkSession, tmp_path: Path) -> None:
    from nearhand_converters.replay.spark import replay

    events, labels = rows()
    on_disk = write(tmp_path / "events.parquet", events), write(tmp_path / "labels.parquet", labels)
    out = tmp_path / "out.parquet"
    program, zone = program_file(tmp_path), "Europe/Berlin"
    arguments = ["--program", program, "--labels", on_disk[1], "-o", out, "--time-zone", zone]
    report = run("replay", on_disk[0], *arguments)
    assert report["duplicates"] > 5
    assert report["strangers"] > 0
    expected = pq.read_table(out)

    # Timestamps as Spark has them, properties as columns of their own, context as JSON texts.
    table = pa.Table.from_pylist(
        [
            {
                **{name: value for name, value in each.items() if name not in ("properties", "context")},
                "timestamp": datetime.fromtimestamp(each["timestamp"] / 1000, UTC),
                "recorded_at": datetime.fromtimestamp(each["recorded_at"] / 1000, UTC),
                "context": json.dumps(each["context"]),
                **{f"properties.{name}": value for name, value in each["properties"].items()},
            }
            for each in events
        ]
    )
    pq.write_table(table, tmp_path / "flat.parquet")
    for source in ("events.parquet", "flat.parquet"):
        frame = replay(
            spark.read.parquet(str(tmp_path / source)).repartition(3),
            spark.read.parquet(str(on_disk[1])).repartition(3),
            compiled().program,
            time_zone=zone,
        )
        collected: Any = frame.toPandas()
        found = collected.sort_values("label")
        wanted = expected.to_pandas().sort_values("label")
        assert list(found.columns) == expected.column_names
        for name in expected.column_names:
            kinds = {np.asarray(each).dtype for each in found[name]}
            assert kinds == {np.asarray(each).dtype for each in wanted[name]}, name
            pairs = zip(found[name], wanted[name], strict=True)
            assert all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in pairs if a is not None), name


def test_spark_refuses_what_cannot_be_ordered_or_matched(spark: SparkSession) -> None:
    from nearhand_converters.replay.spark import replay

    labels = spark.createDataFrame([("u", START)], "user string, timestamp long")
    program = compiled().program
    unordered = spark.createDataFrame([("u", START, "x")], "user string, timestamp long, event string")
    with pytest.raises(DataError, match="no column 'sequence'") as refused:
        replay(unordered, labels, program)
    assert refused.value.place == "events"
    events = spark.createDataFrame([(1.5, START, "x", 1)], "user double, timestamp long, event string, sequence long")
    with pytest.raises(DataError, match="cast it to a whole number or a text"):
        replay(events, labels, program)
    dotted = spark.createDataFrame([("u", START, 1.0)], "user string, timestamp long, `a.b` double")
    with pytest.raises(DataError, match="has a dot in its name"):
        replay(events.withColumn("user", events.user.cast("string")), dotted, program)
    taken = spark.createDataFrame([("u", START, 1.0)], "user string, timestamp long, since double")
    with pytest.raises(DataError, match="is also the name of a feature"):
        replay(events.withColumn("user", events.user.cast("string")), taken, program)
