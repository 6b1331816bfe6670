"""``nearhand``: verify, inspect, merge, recommend and predict; convert, replay and events are registered here.

Exit codes: 0 done; 1 the check was made and the answer is no (a budget is broken, an artifact differs from its
original, golden vectors differ); 2 the input or the command line is refused.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import click

from nearhand import Config, Event, EventError, Personalizer, UsageError, __version__
from nearhand.bundle import Archive, install_bundle, verify_bundle
from nearhand.bundle.document import serialize
from nearhand.bundle.manifest import Manifest
from nearhand.bundle.schema import Items, Precision, RuntimeName
from nearhand.bundle.tables import TableModel, parse_vocabularies
from nearhand.events import event_from_json
from nearhand.features import Program
from nearhand.ranking import Predictor
from nearhand_converters.console import json_option, reporting_errors
from nearhand_converters.convert_command import convert_command
from nearhand_converters.merge import merge_bundles
from nearhand_converters.output import read_measured
from nearhand_converters.recipe import Serving, read_serving
from nearhand_converters.replay.command import events_command, replay_command
from nearhand_converters.sample import SampleTable, read_sample
from nearhand_converters.show import (
    print_columns,
    print_evidence,
    print_predictions,
    print_recommendations,
    print_serving,
    print_slices,
    print_table_model,
)
from nearhand_converters.verification import failures, run_golden

_bundle_argument = click.argument("bundle", type=click.Path(path_type=Path))


@click.group()
@click.version_option(__version__, prog_name="nearhand")
def main() -> None:
    """Compile personalization models into verified bundles that run on the user's own device."""


main.add_command(convert_command)
main.add_command(replay_command)
main.add_command(events_command)


@main.command("verify")
@_bundle_argument
@json_option
def verify_command(bundle: Path, as_json: bool) -> None:
    """Check every byte of BUNDLE, then run its golden vectors on each installed runtime."""
    with reporting_errors(as_json=as_json):
        manifest = verify_bundle(bundle, sdk_version=__version__)
        with tempfile.TemporaryDirectory() as folder:
            slot = install_bundle(bundle, Path(folder) / "slots", sdk_version=__version__)
            results = run_golden(slot, Path(folder) / "selftests")
    if as_json:
        document = {"bundle": manifest.name, "version": manifest.version, "valid": True, "golden": results}
        click.echo(json.dumps(document))
    else:
        click.echo(f"{manifest.name} {manifest.version}: every file is as the manifest says")
        for name, result in results.items():
            click.echo(f"  golden vectors on {name}: {result}")
    if failures(results):
        sys.exit(1)


@main.command("inspect")
@_bundle_argument
@json_option
def inspect_command(bundle: Path, as_json: bool) -> None:
    """Show what is in BUNDLE: models, sizes, and the evidence that let it be written."""
    with reporting_errors(as_json=as_json):
        manifest = verify_bundle(bundle, sdk_version=__version__)
        vocabularies = _vocabularies(bundle, manifest)
    if as_json:
        click.echo(serialize(manifest).decode(), nl=False)
        return
    click.echo(f"{manifest.name} {manifest.version}, format {manifest.format}, licence: {manifest.licence}")
    if manifest.items is not None:
        retrieval = manifest.retrieval
        click.echo(f"{retrieval.items.count:,} items, history window {retrieval.policy.window}")
        print_evidence(manifest, read_measured(bundle))
        print_slices(manifest)
    print_serving(manifest)
    for table_model in manifest.table_models:
        print_table_model(table_model, read_measured(bundle))
        print_columns(table_model, vocabularies)
    for model in manifest.models:
        for runtime in dict.fromkeys(variant.runtime for variant in model.variants):
            variants = [variant for variant in model.variants if variant.runtime == runtime]
            operators = sorted({operator for variant in variants for operator in variant.operators})
            kind = model.name if isinstance(model, TableModel) else model.kind
            click.echo(f"{model.role} ({kind}) on {runtime} needs {', '.join(operators)}")
    click.echo("made with " + ", ".join(f"{key} {value[:12]}" for key, value in sorted(manifest.provenance.items())))


@main.command("merge")
@click.argument("bundles", metavar="BUNDLE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--serving",
    type=click.Path(path_type=Path),
    help="TOML file with [listing], how a list is made of the candidates, [[decisions]], when which action is taken, "
    "and [labels], what people call a feature. What it says takes the place of what a BUNDLE says of the same.",
)
@click.option(
    "--program",
    type=click.Path(path_type=Path),
    help="The feature program, JSON, which says what predictors are given, where no BUNDLE has one.",
)
@click.option("--name", help="Of the bundle.  [default: that of the BUNDLE that recommends, else of the first]")
@click.option("--version", help="Of the bundle.  [default: that of the same BUNDLE]")
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="The bundle, ending in .nearhand; else a folder for NAME-VERSION.nearhand.",
)
@json_option
def merge_command(
    bundles: Sequence[Path],
    serving: Path | None,
    program: Path | None,
    name: str | None,
    version: str | None,
    out: Path,
    as_json: bool,
) -> None:
    """Make one bundle of several: at most one that recommends, and any number with rankers and predictors.

    The result is verified, and its golden vectors are run on each installed runtime, before it is written. The same
    input gives the same bytes.
    """
    with reporting_errors(as_json=as_json):
        parts = Serving() if serving is None else read_serving(serving)
        merge = merge_bundles(
            bundles,
            out=out,
            listing=parts.listing,
            decisions=parts.decisions,
            labels=parts.labels,
            program=None if program is None else _read_program(program),
            name=name,
            version=version,
        )
    manifest = merge.manifest
    size = merge.path.stat().st_size
    if as_json:
        models = [
            {"role": model.role, "name": model.name if isinstance(model, TableModel) else model.kind}
            for model in manifest.models
        ]
        served = {"listing": manifest.listing, "decisions": manifest.decisions}
        document = {"bundle": str(merge.path), "bytes": size, "name": manifest.name, "version": manifest.version}
        click.echo(
            json.dumps({**document, "models": models, **json.loads(serialize(served)), "golden": dict(merge.golden)})
        )
        return
    click.echo(f"{manifest.name} {manifest.version}")
    for model in manifest.models:
        click.echo(f"  {model.role} {model.name if isinstance(model, TableModel) else model.kind}")
    print_serving(manifest)
    for variant, result in merge.golden.items():
        click.echo(f"golden vectors on {variant}: {result}")
    click.echo(f"wrote {merge.path} ({size:,} bytes)")


@main.command("recommend")
@_bundle_argument
@click.option("--history", default="", help="Item ids, oldest first, comma-separated. Empty: a new user.")
@click.option(
    "--events",
    type=click.Path(path_type=Path),
    help="Instead of --history: a file with one event as a JSON object on each line, such as "
    '{"event": "item_liked", "item_id": "m_6"}.',
)
@click.option("-k", default=10, show_default=True, type=click.IntRange(1), help="How many items.")
@click.option("--runtime", type=click.Choice(get_args(RuntimeName)), help="Default: the first that is installed.")
@click.option("--precision", type=click.Choice(get_args(Precision)), help="Default: the smallest.")
@json_option
def recommend_command(
    bundle: Path,
    history: str,
    events: Path | None,
    k: int,
    runtime: RuntimeName | None,
    precision: Precision | None,
    as_json: bool,
) -> None:
    """Recommend from BUNDLE for someone with this history, through the same SDK that a phone runs."""
    with reporting_errors(as_json=as_json), tempfile.TemporaryDirectory() as folder:
        slot = install_bundle(bundle, Path(folder) / "slots", sdk_version=__version__)
        if events is not None and history:
            raise UsageError("--history and --events exclude each other", remedy="give one of them")
        items = slot.items()
        past = _history(history, slot.manifest, items) if events is None else _read_events(events)
        config = Config(runtime=runtime, precision=precision, durability="process")
        with Personalizer.open(slot.folder, folder, config=config) as personalizer:
            for event in past:
                personalizer.record(event)
            recommendations = personalizer.recommend(k)
            status = personalizer.status()
    model = {
        "name": status.bundle,
        "version": status.bundle_version,
        "runtime": f"{status.runtime} {status.runtime_version}",
        "precision": status.precision,
    }
    if as_json:
        listed = [{**asdict(item), "model_version": status.bundle_version} for item in recommendations]
        item_ids = [event.item_id for event in past]
        click.echo(json.dumps({"model": model, "history": item_ids, "recommendations": listed}, ensure_ascii=False))
        return
    known = dict(zip(items.item_ids, items.titles, strict=True))
    titles = [known[event.item_id] for event in past if event.item_id in known]
    click.echo(f"{model['name']} {model['version']} on {model['runtime']}, {model['precision']}")
    click.echo("history: " + ("; ".join(titles) if titles else "none yet"))
    print_recommendations(recommendations)


@main.command("predict")
@_bundle_argument
@click.option(
    "--rows", required=True, type=click.Path(path_type=Path), help="CSV or Parquet file with the model's columns."
)
@click.option("--model", help="Which ranker or predictor of BUNDLE.  [default: the only one]")
@click.option("--runtime", type=click.Choice(get_args(RuntimeName)), help="Default: the first that is installed.")
@json_option
def predict_command(bundle: Path, rows: Path, model: str | None, runtime: RuntimeName | None, as_json: bool) -> None:
    """Answer the rows of a file with a ranker or a predictor of BUNDLE, through the same SDK that a phone runs."""
    with (
        reporting_errors(as_json=as_json),
        tempfile.TemporaryDirectory() as folder,
        Predictor.open(bundle, folder, model=model, config=Config(runtime=runtime)) as predictor,
    ):
        predictions = predictor.predict(_typed(read_sample(rows), predictor.model))
    described = {
        "name": predictor.model.name,
        "role": predictor.model.role,
        "runtime": f"{predictor.runtime} {predictor.runtime_version}",
        "precision": predictor.precision,
    }
    if as_json:
        outputs = {name: _finite(output.tolist()) for name, output in predictions.outputs.items()}
        document = {"model": described, "rows": len(predictions), "outputs": outputs}
        classes = {"classes": predictions.classes, "labels": predictions.labels} if predictions.classes else {}
        click.echo(json.dumps({**document, **classes}, ensure_ascii=False))
        return
    click.echo(f"{described['role']} {described['name']} on {described['runtime']}, {described['precision']}")
    print_predictions(predictions)


def _read_program(path: Path) -> Program:
    from nearhand_converters.replay.run import read_program_file  # which brings pyarrow

    return read_program_file(path)


def _finite(value: Any) -> Any:
    """Nested lists for JSON, which has neither NaN nor infinity: they are null."""
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value if math.isfinite(value) else None


def _vocabularies(bundle: Path, manifest: Manifest) -> dict[str, tuple[str, ...]]:
    reference = manifest.vocabularies
    if reference is None:
        return {}
    with Archive.open(bundle) as archive:
        return parse_vocabularies(reference, archive.read(reference.file.path), place=reference.file.path)


def _typed(table: SampleTable, model: TableModel) -> dict[str, Sequence[Any]]:
    """A table's columns as the SDK takes them: texts of number columns, as a CSV has them, become numbers."""
    numbers = {column.name for column in model.numbers}
    found = {name: values for name, values in table.items() if name in {column.name for column in model.columns}}
    return {name: _as_numbers(name, found[name]) if name in numbers else found[name] for name in found}


def _as_numbers(name: str, values: Sequence[Any]) -> list[Any]:
    typed: list[Any] = []
    for row, value in enumerate(values, 1):
        try:
            text = value.strip() if isinstance(value, str) else value
            typed.append(None if text == "" else float(text) if isinstance(text, str) else text)
        except ValueError:
            place = f"column {name!r}, row {row}"
            raise UsageError(
                f"{value[:40]!r} is not a number", place=place, remedy="correct it, or leave it empty"
            ) from None
    return typed


def _history(text: str, manifest: Manifest, items: Items) -> list[Event]:
    """``--history`` as events of the type that stands for one plain interaction: viewing, where the policy knows it."""
    item_ids = [item_id.strip() for item_id in text.split(",") if item_id.strip()]
    if unknown := sorted(set(item_ids) - set(items.item_ids)):
        raise UsageError(
            f"item {unknown[0]!r} is not in the catalogue of {manifest.name} {manifest.version}",
            place="--history",
            remedy=f"use ids such as {items.item_ids[0]}",
        )
    confidences = manifest.retrieval.policy.confidences
    positive = [event for event, confidence in confidences.items() if confidence > 0]
    if not positive:
        raise UsageError("no event type has a positive confidence", place="policy", remedy="correct the recipe")
    event = "item_viewed" if "item_viewed" in positive else positive[0]
    return [Event(event, item_id=item_id) for item_id in item_ids]


def _read_events(path: Path) -> list[Event]:
    """Events from JSON lines; a malformed one is refused with its line and field."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot be read ({error})", place=str(path), remedy="give a UTF-8 file of JSON lines"
        ) from error
    events = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UsageError(
                f"is not JSON ({error})", place=f"{path.name} line {number}", remedy="correct it"
            ) from None
        try:
            events.append(event_from_json(content))
        except EventError as error:
            raise EventError(error.field, f"{path.name} line {number}: {error.problem}", remedy=error.remedy) from None
    return events
