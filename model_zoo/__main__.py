"""``python -m model_zoo``: trains the zoo's models, ready for ``nearhand convert``, and shows what they do together."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import click

from model_zoo.datasets import find_dataset
from model_zoo.training import Report, write_card
from nearhand import UsageError
from nearhand_converters.console import reporting_errors
from nearhand_converters.data import Dataset, read_catalogue, read_dataset

MODELS = {
    "films-als": "recommends films from a history of films: implicit ALS",
    "films-ranker": "orders the films that were retrieved: LightGBM over the retrieval score and the device's features",
    "films-churn": "tells how likely a viewer stays away for thirty days: LightGBM over the features of the device",
    "films-segments": "tells which of a few kinds of taste a viewer has: k-means over the features of the device",
    "films-heavy": "orders what devices retrieved, on a server: implicit ALS of 256 factors, and LightGBM over it",
}


@click.group()
def main() -> None:
    """Train the models of the zoo."""


@main.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_command(as_json: bool) -> None:
    """Say which models there are."""
    if as_json:
        click.echo(json.dumps(MODELS))
        return
    for name, what in MODELS.items():
        click.echo(f"{name:<15} {what}")


@main.command("train")
@click.argument("model", type=click.Choice(sorted(MODELS)))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="A folder with interactions.csv (user,item[,rating],timestamp) and items.csv (item,title[,year][,genres]"
    "[,director]). Without it: MovieLens from NEARHAND_DATA, the cache or the network, else the built-in sample.",
)
@click.option("--users", type=click.IntRange(10), help="Use the built-in sample with this many simulated users.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder to write to.  [default: build/MODEL]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def train_command(model: str, data: Path | None, users: int | None, out: Path | None, as_json: bool) -> None:
    """Train MODEL and write it with its data and recipe to a folder."""
    with reporting_errors(as_json=as_json):
        if data is not None and users is not None:
            raise click.UsageError("--data and --users exclude each other")
        dataset = _dataset(data, users)
        report = _train(model)(dataset, out or Path("build") / model)
    if as_json:
        document = {**report.numbers, "folder": str(report.folder), "data": dataset.name, "origin": dataset.origin}
        click.echo(json.dumps(document))
        return
    click.echo(f"data     {dataset.name}: {dataset.origin}")
    click.echo(f"         {dataset.description}")
    click.echo(f"licence  {dataset.licence}")
    for place, sentence in enumerate(report.said):
        click.echo(f"{'' if place else 'trained':<9}{sentence}")
    click.echo(f"wrote    {report.folder}")


@main.command("find")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("titles", nargs=-1, required=True)
def find_command(folder: Path, titles: tuple[str, ...]) -> None:
    """Print the item ids of TITLES in the data set in FOLDER, comma-separated: a history for `nearhand recommend`."""
    with reporting_errors(as_json=False):
        catalogue = read_catalogue(folder / "items.csv")
        rows = {title: row for row, title in reversed(list(enumerate(catalogue.titles)))}
        for title in titles:
            if title not in rows:
                near = difflib.get_close_matches(title, rows, n=1)
                remedy = f"did you mean {near[0]!r}?" if near else "see items.csv"
                raise UsageError(f"no item has the title {title!r}", place=str(folder), remedy=remedy)
    click.echo(",".join(catalogue.item_ids[rows[title]] for title in titles))


@main.command("card")
@click.argument("model", type=click.Choice([name for name in MODELS if name != "films-als"]))
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
def card_command(model: str, folders: tuple[Path, ...]) -> None:
    """Put what the trainings in FOLDERS measured into the card of MODEL; that of films-als is in its bundle."""
    with reporting_errors(as_json=False):
        write_card(Path(__file__).parent / model.replace("-", "_") / "card.md", folders)


@main.command("show")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--segments", type=click.Path(path_type=Path), help="segments.json, which names the segments.")
def show_command(bundle: Path, segments: Path | None) -> None:
    """Show what an app gets of BUNDLE, made of the zoo's models: lists, reasons, a prediction and what is decided."""
    from model_zoo.show import show

    with reporting_errors(as_json=False):
        show(bundle, [] if segments is None else json.loads(segments.read_text(encoding="utf-8")))


def _train(model: str) -> Callable[[Dataset, Path], Report]:
    """A model's trainer. It is imported when it is used: each needs other libraries."""
    train: Callable[[Dataset, Path], Report] = import_module(f"model_zoo.{model.replace('-', '_')}.train").train
    return train


def _dataset(data: Path | None, users: int | None) -> Dataset:
    if data is not None:
        return read_dataset(data)
    if users is not None:
        from model_zoo.datasets.sample import sample_dataset

        return sample_dataset(users)
    return find_dataset()


if __name__ == "__main__":
    main()
