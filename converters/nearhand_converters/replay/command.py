"""``nearhand replay`` and ``nearhand events``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nearhand.errors import UsageError
from nearhand_converters.console import json_option, progress_bars, reporting_errors

if TYPE_CHECKING:
    from nearhand_converters.replay.columns import TimeRule
    from nearhand_converters.replay.files import Source

# pyarrow is imported by the commands that need it: the others start without it.
_path = click.Path(path_type=Path)
_events_argument = click.argument("events", type=_path)


def _reading_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say how events are read."""
    for option in reversed(
        (
            click.option(
                "--format",
                "form",
                type=click.Choice(["auto", "events", "movielens", "segment"]),
                default="auto",
                show_default=True,
                help="What EVENTS is: a file with the fields of recorded events (or whatever --map says), a MovieLens "
                "folder or ratings.csv, or Segment's JSON lines.",
            ),
            click.option(
                "--map",
                "mapping",
                multiple=True,
                metavar="FIELD=COLUMN,…",
                help="Which column of EVENTS is which field, such as user=CustomerID,item_id=StockCode,"
                "timestamp=InvoiceDate,properties.price=\"Unit price\",event='item_purchased'. In single quotes: the "
                "same text in every row.",
            ),
            click.option(
                "--track",
                multiple=True,
                metavar="NAME=TYPE",
                help='A Segment track call and the type of event that it is, such as "Song Played=item_viewed".',
            ),
            click.option(
                "--timestamp-format",
                metavar="FORMAT",
                help="Of texts in EVENTS, as Python's strptime has it, such as %d/%m/%Y %H:%M. Default: Unix seconds, "
                "milliseconds, or ISO 8601.",
            ),
            click.option(
                "--time-zone",
                metavar="ZONE",
                help="IANA name, such as Europe/Berlin. Times without an offset are local times there, and so is the "
                "local hour where utc_offset_minutes is not given. Default: such times are refused; local time is UTC.",
            ),
            click.option("--profile", metavar="NAME", help="All events are of this one user; no column says so."),
            click.option(
                "--skip-malformed", is_flag=True, help="Leave malformed rows out and count them. Default: refuse them."
            ),
        )
    ):
        command = option(command)
    return command


@click.command("replay")
@_events_argument
@click.option("--program", required=True, type=_path, help="The feature program, JSON.")
@click.option(
    "--labels",
    type=_path,
    help="CSV, JSON lines or Parquet: user, timestamp, and perhaps item_id, utc_offset_minutes, context.NAME, "
    "pushed.VIEW; further columns are carried to OUT.",
)
@click.option(
    "--label-events",
    metavar="TYPE,…",
    help="Instead of --labels: a label at the instant at which each event of these types was recorded, which does not "
    "see the event itself.",
)
@click.option("-o", "--out", required=True, type=_path, help="The training table, ending in .parquet.")
@click.option(
    "--items",
    type=_path,
    help="The catalogue, where the program reads it: a bundle, items.csv, Parquet, or a MovieLens folder.",
)
@_reading_options
@click.option(
    "--memory-rows",
    default=2_000_000,
    show_default=True,
    type=click.IntRange(1000),
    help="At most so many events and labels are in memory at once; the others wait in files beside OUT.",
)
@json_option
def replay_command(
    events: Path,
    program: Path,
    labels: Path | None,
    label_events: str | None,
    out: Path,
    items: Path | None,
    memory_rows: int,
    as_json: bool,
    **reading: Any,
) -> None:
    """Compute the features of PROGRAM from the log EVENTS as of each label, and write a training table.

    EVENTS is CSV, JSON lines (each also .gz), Parquet, or a folder of such parts. A row of the table has seen nothing
    that was recorded at or after its label. Rows are in the order of users, then of labels. The same input gives the
    same bytes.
    """
    with reporting_errors(as_json=as_json), progress_bars() as progress:
        from nearhand.features import ItemTable, compile_program
        from nearhand_converters.replay.catalogue import read_items
        from nearhand_converters.replay.events import parse_mapping, reading_of
        from nearhand_converters.replay.files import open_source
        from nearhand_converters.replay.formats import open_events
        from nearhand_converters.replay.run import Labels, read_program_file, replay

        if (labels is None) == (label_events is None):
            problem = "says whose features are wanted, and when" if labels is None else "excludes --label-events"
            raise UsageError(problem, place="--labels", remedy="give --labels FILE or --label-events TYPE,TYPE")
        if out.suffix != ".parquet":
            raise UsageError(f"{out.suffix!r} is not .parquet", place=str(out), remedy="name it OUT.parquet")
        parsed = read_program_file(program)
        compiled = compile_program(parsed, ItemTable.empty() if items is None else read_items(items))
        mapping = parse_mapping(reading["mapping"])
        source, adapter = open_events(events, reading["form"], _tracked(reading["track"]), mapped=mapping is not None)
        how = reading_of(
            parsed,
            compiled.properties,
            compiled.context_keys,
            times=_times(reading),
            mapping=mapping,
            profile=reading["profile"],
        )
        wanted = Labels(
            None if labels is None else open_source(labels),
            () if label_events is None else [each.strip() for each in label_events.split(",")],
        )
        _keep_inputs(out, source, wanted.source)
        report = replay(
            source,
            adapter,
            wanted,
            compiled,
            how,
            out,
            skip_malformed=reading["skip_malformed"],
            memory_rows=memory_rows,
            progress=progress,
        )
    if as_json:
        told = {"name": parsed.name, "version": parsed.version, "digest": parsed.digest}
        click.echo(json.dumps({"table": str(out), "program": told, **asdict(report)}))
        return
    click.echo(
        f"{parsed.name} {parsed.version}: {report.events:,} events, {report.duplicates:,} of them duplicates; "
        f"{report.rows:,} labels of {report.users:,} users, {report.strangers:,} of them without events; "
        f"{report.seconds:.1f} s"
    )
    _print_skipped(report.skipped)
    click.echo(f"wrote {out} ({report.rows:,} rows, {len(report.columns)} columns, {out.stat().st_size:,} bytes)")


@click.command("events")
@_events_argument
@click.option("-o", "--out", required=True, type=_path, help="The event file, ending in .jsonl or .parquet.")
@_reading_options
@json_option
def events_command(events: Path, out: Path, as_json: bool, **reading: Any) -> None:
    """Convert the log EVENTS into an event file that replay reads without further options."""
    with reporting_errors(as_json=as_json), progress_bars() as progress:
        from nearhand_converters.replay.convert import convert_events
        from nearhand_converters.replay.events import Reading, parse_mapping
        from nearhand_converters.replay.formats import open_events

        mapping = parse_mapping(reading["mapping"])
        source, adapter = open_events(events, reading["form"], _tracked(reading["track"]), mapped=mapping is not None)
        how = Reading(times=_times(reading), mapping=mapping, profile=reading["profile"])
        _keep_inputs(out, source)
        skip = reading["skip_malformed"]
        report = convert_events(source, adapter, how, out, skip_malformed=skip, progress=progress)
    if as_json:
        click.echo(json.dumps({"events_file": str(out), **asdict(report)}))
        return
    for name, count in report.types.items():
        click.echo(f"{count:>12,} {name}")
    _print_skipped(report.skipped)
    click.echo(f"wrote {out} ({report.events:,} events, {out.stat().st_size:,} bytes)")


def _keep_inputs(out: Path, *sources: Source | None) -> None:
    files = [file.resolve() for source in sources if source is not None for file in source.files]
    if out.resolve() in files:
        raise UsageError("is what is read", place=str(out), remedy="write to another file")


def _tracked(arguments: tuple[str, ...]) -> dict[str, str]:
    tracked = {}
    for argument in arguments:
        name, equals, event = argument.rpartition("=")
        if not (equals and name and event):
            raise UsageError(
                f"{argument!r} is not NAME=TYPE", place="--track", remedy='write "Song Played=item_viewed"'
            )
        tracked[name] = event
    return tracked


def _times(reading: Mapping[str, Any]) -> TimeRule:
    from nearhand_converters.replay.columns import TimeRule
    from nearhand_converters.replay.zones import Zone, read_zone

    zone = None if reading["time_zone"] is None else Zone(read_zone(reading["time_zone"]))
    return TimeRule(zone, reading["timestamp_format"])


def _print_skipped(skipped: Mapping[str, int]) -> None:
    for reason, count in skipped.items():
        click.echo(f"left out {count:,}: {reason}")
