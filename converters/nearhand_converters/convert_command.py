"""``nearhand convert``: a model file becomes a bundle, by the pipeline of its kind."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import click

from nearhand import UsageError
from nearhand.bundle.document import serialize
from nearhand.bundle.schema import Precision, RuntimeName
from nearhand.bundle.tables import TableRole
from nearhand_converters.console import Progress, json_option, progress_bars, reporting_errors
from nearhand_converters.data import read_dataset
from nearhand_converters.output import Conversion
from nearhand_converters.parity.rows import rows_from_table
from nearhand_converters.pipeline import convert
from nearhand_converters.recipe import Recipe, TableRecipe, read_recipe, read_table_recipe
from nearhand_converters.registry import default_sources, read_model
from nearhand_converters.sample import read_sample
from nearhand_converters.show import print_evidence, print_table_model
from nearhand_converters.sources.factors import read_factors
from nearhand_converters.sources.model import TabularModel
from nearhand_converters.tabular import Sample, convert_tabular


@click.command("convert")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="For a retrieval model: folder with the training data, items.csv in the order of the model's rows, and "
    "interactions.csv.",
)
@click.option(
    "--rows",
    type=click.Path(path_type=Path),
    help="For a ranker or a predictor: CSV or Parquet file with rows of your own, which are compared beside those made "
    "from the model.",
)
@click.option("--recipe", type=click.Path(path_type=Path), help="TOML file whose [bundle] table says what to build.")
@click.option("--name", help="Of a ranker or a predictor, and of its bundle.  [default: that of the file]")
@click.option("--bundle-version", help="Of the bundle of a ranker or a predictor.  [default: 1.0.0]")
@click.option(
    "--role",
    type=click.Choice(get_args(TableRole)),
    help="What the model is used as.  [default: ranker if it was trained to rank, else predictor]",
)
@click.option(
    "--allow-pickle",
    is_flag=True,
    help="Read pickle and joblib files too. They run code when they are read: use it only for files that you made.",
)
@click.option("--target", default="onnx,tflite", show_default=True, help="Runtimes to build for, comma-separated.")
@click.option(
    "--quantize", help="Precisions to build, comma-separated.  [default: fp32,int8; a ranker or a predictor: fp32]"
)
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="The bundle, ending in .nearhand; else a folder for NAME-VERSION.nearhand.",
)
@json_option
def convert_command(
    model: Path,
    data: Path | None,
    rows: Path | None,
    recipe: Path | None,
    name: str | None,
    bundle_version: str | None,
    role: TableRole | None,
    allow_pickle: bool,
    target: str,
    quantize: str | None,
    out: Path,
    as_json: bool,
) -> None:
    """Compile MODEL into a bundle, and prove that it still computes what it did.

    The .npz of an implicit ALS model becomes a retrieval model. The last interactions of each user in --data are held
    out; every variant is measured on them against the model itself. A variant that loses more than the recipe's
    budget stops the conversion.

    Any other model becomes a ranker or a predictor: XGBoost (.json, .ubj), LightGBM (.txt), CatBoost (.cbm, .json),
    scikit-learn (.skops) or ONNX. Its outputs, labels and leaves are compared with those of its own library, on rows
    made from its thresholds and categories, and on --rows. Any difference beyond float32 stops the conversion.

    Whatever stops it, nothing is written.
    """
    with reporting_errors(as_json=as_json), progress_bars() as progress:
        targets = _choices(target, get_args(RuntimeName), "--target")
        for_tables = {"--rows": rows, "--name": name, "--bundle-version": bundle_version, "--role": role}
        if model.suffix.lower() == ".npz":
            precisions = _choices(quantize or "fp32,int8", get_args(Precision), "--quantize")
            _refuse(for_tables, "is for rankers and predictors, and an .npz is a retrieval model", "leave it out")
            conversion = _convert_factors(model, data, recipe, out, targets, precisions, progress)
        else:
            _choices(quantize or "fp32", ("fp32",), "--quantize")
            _refuse(
                {"--data": data}, "is for retrieval models, and this file is none", "give rows with --rows, or none"
            )
            settings = _settings(model, recipe, {"name": name, "version": bundle_version, "role": role})
            conversion = _convert_table(model, rows, settings, out, targets, progress, allow_pickle=allow_pickle)
    if as_json:
        click.echo(json.dumps(_document(conversion)))
        return
    if conversion.manifest.items is not None:
        print_evidence(conversion.manifest, conversion.latency_us)
    for table_model in conversion.manifest.table_models:
        print_table_model(table_model, conversion.latency_us)
    click.echo(f"wrote {conversion.path} ({conversion.path.stat().st_size:,} bytes)")


def _convert_factors(
    model: Path,
    data: Path | None,
    recipe: Path | None,
    out: Path,
    targets: Sequence[RuntimeName],
    precisions: Sequence[Precision],
    progress: Progress,
) -> Conversion:
    if data is None:
        raise UsageError(
            "is missing, and a retrieval model is proved on the data that it was trained with",
            place="--data",
            remedy="give the folder with items.csv and interactions.csv",
        )
    return convert(
        read_factors(model),
        read_dataset(data),
        read_recipe(recipe) if recipe is not None else Recipe(),
        out,
        targets=targets,
        precisions=precisions,
        progress=progress,
    )


def _convert_table(
    model: Path,
    rows: Path | None,
    recipe: TableRecipe,
    out: Path,
    targets: Sequence[RuntimeName],
    progress: Progress,
    *,
    allow_pickle: bool,
) -> Conversion:
    found = read_model(model, default_sources(allow_pickle=allow_pickle))
    sample = None if rows is None else _sample(found.model, rows)
    return convert_tabular(
        found.model, out, recipe, targets=targets, provenance=found.provenance, sample=sample, progress=progress
    )


def _sample(model: TabularModel, path: Path) -> Sample:
    table = read_sample(path)
    unread = [name for name in table if name not in {column.name for column in model.columns}]
    return Sample(rows_from_table(model, table), path.name, tuple(unread))


def _settings(model: Path, recipe: Path | None, options: Mapping[str, Any]) -> TableRecipe:
    """What the options say, else the recipe, else the defaults; without any name that of the file."""
    settings = TableRecipe(name=re.sub("[^a-z0-9]+", "-", model.stem.lower()).strip("-") or "model")
    if recipe is not None:
        settings = read_table_recipe(recipe, settings)
    try:
        return replace(settings, **{key: value for key, value in options.items() if value is not None})
    except ValueError as error:
        raise UsageError(str(error), place="command line", remedy="correct it") from error


def _refuse(options: Mapping[str, object], problem: str, remedy: str) -> None:
    """Options that were given and do nothing."""
    if odd := next((option for option, value in options.items() if value is not None), None):
        raise UsageError(problem, place=odd, remedy=remedy)


def _choices(text: str, allowed: Sequence[Any], option: str) -> list[Any]:
    chosen = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    wrong = [part for part in chosen if part not in allowed]
    if wrong or not chosen:
        problem = f"{wrong[0]!r} is not a choice" if wrong else "nothing is chosen"
        raise UsageError(problem, place=option, remedy="use " + ", ".join(allowed))
    return chosen


def _document(conversion: Conversion) -> dict[str, Any]:
    manifest = conversion.manifest
    proof = {"evidence": manifest.evidence} if manifest.items is not None else {"models": manifest.table_models}
    return {
        "bundle": str(conversion.path),
        "bytes": conversion.path.stat().st_size,
        "measured": str(conversion.measured_path),
        **json.loads(serialize(proof)),
        "latency_us": dict(conversion.latency_us),
    }
