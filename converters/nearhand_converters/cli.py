"""``nearhand``: convert, verify, inspect, recommend; replay and events are registered here.

Exit codes: 0 done; 1 the check was made and the answer is no (a budget is broken, golden vectors differ); 2 the input
or the command line is refused.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import click
from rich.console import Console
from rich.table import Table

from nearhand import Config, Event, EventError, NearhandError, Personalizer, Recommendation, UsageError, __version__
from nearhand.bundle import install_bundle, verify_bundle
from nearhand.bundle.document import serialize
from nearhand.bundle.manifest import Manifest
from nearhand.bundle.schema import Estimate, Items, Precision, RuntimeName
from nearhand.events import event_from_json
from nearhand.runtime import installed_runtimes
from nearhand_converters.console import json_option, progress_bars, reporting_errors
from nearhand_converters.data import read_dataset
from nearhand_converters.output import Conversion, read_measured
from nearhand_converters.pipeline import convert
from nearhand_converters.recipe import Recipe, read_recipe
from nearhand_converters.replay.command import events_command, replay_command
from nearhand_converters.sources.factors import read_factors

_bundle_argument = click.argument("bundle", type=click.Path(path_type=Path))


@click.group()
@click.version_option(__version__, prog_name="nearhand")
def main() -> None:
    """Compile personalization models into verified bundles that run on the user's own device."""


main.add_command(replay_command)
main.add_command(events_command)


@main.command("convert")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder with the training data: items.csv in the order of the model's rows, and interactions.csv.",
)
@click.option("--recipe", type=click.Path(path_type=Path), help="TOML file whose [bundle] table says what to build.")
@click.option("--target", default="onnx,tflite", show_default=True, help="Runtimes to build for, comma-separated.")
@click.option("--quantize", default="fp32,int8", show_default=True, help="Precisions to build, comma-separated.")
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="The bundle, ending in .nearhand; else a folder for NAME-VERSION.nearhand.",
)
@json_option
def convert_command(
    model: Path, data: Path, recipe: Path | None, target: str, quantize: str, out: Path, as_json: bool
) -> None:
    """Compile MODEL, the .npz of an implicit ALS model, into a bundle, and prove that it still ranks as well.

    The last interactions of each user in --data are held out; every variant is measured on them against the model
    itself. A variant that loses more than the recipe's budget stops the conversion and nothing is written.
    """
    with reporting_errors(as_json=as_json), progress_bars() as progress:
        targets = _choices(target, get_args(RuntimeName), "--target")
        precisions = _choices(quantize, get_args(Precision), "--quantize")
        conversion = convert(
            read_factors(model),
            read_dataset(data),
            read_recipe(recipe) if recipe is not None else Recipe(),
            out,
            targets=targets,
            precisions=precisions,
            progress=progress,
        )
    if as_json:
        click.echo(json.dumps(_conversion_document(conversion)))
        return
    _print_evidence(conversion.manifest, conversion.latency_us)
    click.echo(f"wrote {conversion.path} ({conversion.path.stat().st_size:,} bytes)")


@main.command("verify")
@_bundle_argument
@json_option
def verify_command(bundle: Path, as_json: bool) -> None:
    """Check every byte of BUNDLE, then run its golden vectors on each installed runtime."""
    with reporting_errors(as_json=as_json):
        manifest = verify_bundle(bundle, sdk_version=__version__)
        results = _run_golden(bundle, manifest)
    failed = [name for name, result in results.items() if result not in ("passed", "not run: runtime not installed")]
    if as_json:
        document = {"bundle": manifest.name, "version": manifest.version, "valid": True, "golden": results}
        click.echo(json.dumps(document))
    else:
        click.echo(f"{manifest.name} {manifest.version}: every file is as the manifest says")
        for name, result in results.items():
            click.echo(f"  golden vectors on {name}: {result}")
    if failed:
        sys.exit(1)


@main.command("inspect")
@_bundle_argument
@json_option
def inspect_command(bundle: Path, as_json: bool) -> None:
    """Show what is in BUNDLE: models, sizes, and the evidence that let it be written."""
    with reporting_errors(as_json=as_json):
        manifest = verify_bundle(bundle, sdk_version=__version__)
    if as_json:
        click.echo(serialize(manifest).decode(), nl=False)
        return
    click.echo(f"{manifest.name} {manifest.version}, format {manifest.format}, licence: {manifest.licence}")
    click.echo(f"{manifest.retrieval.items.count:,} items, history window {manifest.retrieval.policy.window}")
    _print_evidence(manifest, read_measured(bundle))
    _print_slices(manifest)
    for model in manifest.models:
        for runtime in dict.fromkeys(variant.runtime for variant in model.variants):
            variants = [variant for variant in model.variants if variant.runtime == runtime]
            operators = sorted({operator for variant in variants for operator in variant.operators})
            click.echo(f"{model.role} ({model.kind}) on {runtime} needs {', '.join(operators)}")
    click.echo("made with " + ", ".join(f"{key} {value[:12]}" for key, value in sorted(manifest.provenance.items())))


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
    _print_recommendations(recommendations)


def _choices(text: str, allowed: Sequence[Any], option: str) -> list[Any]:
    chosen = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    wrong = [part for part in chosen if part not in allowed]
    if wrong or not chosen:
        problem = f"{wrong[0]!r} is not a choice" if wrong else "nothing is chosen"
        raise UsageError(problem, place=option, remedy="use " + ", ".join(allowed))
    return chosen


def _conversion_document(conversion: Conversion) -> dict[str, Any]:
    return {
        "bundle": str(conversion.path),
        "bytes": conversion.path.stat().st_size,
        "measured": str(conversion.measured_path),
        "evidence": json.loads(serialize(conversion.manifest.retrieval.evidence)),
        "latency_us": dict(conversion.latency_us),
    }


def _print_evidence(manifest: Manifest, latency_us: Mapping[str, float]) -> None:
    shown = manifest.retrieval.evidence
    fp32 = {variant.runtime: variant.bytes for variant in shown.variants if variant.precision == "fp32"}
    table = Table("variant", "bytes", "of fp32", "NDCG@10", "change against the source", "top-10 overlap")
    if latency_us:
        table.add_column("latency")
    for variant in shown.variants:
        whole = fp32.get(variant.runtime)
        row = [
            f"{variant.runtime} {variant.precision}",
            f"{variant.bytes:,}",
            f"{variant.bytes / whole:.1%}" if whole else "",
            _estimate(variant.ndcg_at_10, "{:.4f}"),
            _estimate(variant.ndcg_change, "{:+.2%}"),
            f"{variant.top10_overlap:.4f}",
        ]
        if latency_us:
            latency = latency_us.get(f"{variant.runtime}/{variant.precision}")
            row.append("" if latency is None else f"{latency:.0f} µs")
        table.add_row(*row)
    click.echo(f"data: {shown.data}")
    click.echo(
        f"source model on {shown.users:,} held-out users: NDCG@10 {_estimate(shown.source_ndcg_at_10, '{:.4f}')}, "
        f"Recall@50 {_estimate(shown.source_recall_at_50, '{:.4f}')}; "
        f"popularity: NDCG@10 {shown.popularity_ndcg_at_10.value:.4f}"
    )
    Console(width=120).print(table)
    for name, reason in shown.dropped.items():
        click.echo(f"dropped {name}: {reason}")


def _print_slices(manifest: Manifest) -> None:
    """Where a variant loses, if it does: NDCG@10 against the source model by kinds of users and items."""
    shown = manifest.retrieval.evidence
    table = Table("change of NDCG@10", "users", *(f"{v.runtime} {v.precision}" for v in shown.variants))
    for part in zip(*(variant.slices for variant in shown.variants), strict=True):
        table.add_row(part[0].name, f"{part[0].users:,}", *(_estimate(one.ndcg_change, "{:+.2%}") for one in part))
    Console(width=150).print(table)
    click.echo(
        f"the window of {manifest.retrieval.policy.window} items itself changes the source model's NDCG@10 by "
        + _estimate(shown.window_ndcg_change, "{:+.2%}")
    )


def _estimate(estimate: Estimate, form: str) -> str:
    value, low, high = (form.format(number) for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


def _run_golden(bundle: Path, manifest: Manifest) -> dict[str, str]:
    """Variant → ``passed``, why it was not run, or how it failed."""
    results: dict[str, str] = {}
    available = installed_runtimes()
    with tempfile.TemporaryDirectory() as folder:
        slot = install_bundle(bundle, Path(folder) / "slots", sdk_version=__version__)
        for variant in manifest.model("encoder").variants:
            name = f"{variant.runtime}/{variant.precision}"
            if variant.runtime not in available:
                results[name] = "not run: runtime not installed"
                continue
            config = Config(runtime=variant.runtime, precision=variant.precision, durability="process")
            try:
                Personalizer.open(slot.folder, folder, config=config).close()
                results[name] = "passed"
            except NearhandError as error:
                results[name] = str(error)
    return results


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


def _print_recommendations(recommendations: Sequence[Recommendation]) -> None:
    table = Table("", "item", "title", "score", "why", "source")
    for item in recommendations:
        row = (str(item.position + 1), item.item_id, item.title, f"{item.score:.4f}")
        table.add_row(*row, item.explanation.text, item.source)
    Console(width=150).print(table)
