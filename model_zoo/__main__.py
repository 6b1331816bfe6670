"""``python -m model_zoo``: trains the zoo's models, ready for ``nearhand convert``."""

from __future__ import annotations

import difflib
import json
from dataclasses import asdict
from pathlib import Path

import click

from model_zoo.datasets import find_dataset
from model_zoo.films_als.train import train
from nearhand import UsageError
from nearhand_converters.console import reporting_errors
from nearhand_converters.data import Dataset, read_catalogue, read_dataset

MODELS = {"films-als": train}


@click.group()
def main() -> None:
    """Train the models of the zoo."""


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
        training = MODELS[model](dataset, out or Path("build") / model)
    if as_json:
        document = {**asdict(training), "folder": str(training.folder), "data": dataset.name, "origin": dataset.origin}
        click.echo(json.dumps(document))
        return
    click.echo(f"data     {dataset.name}: {dataset.origin}")
    click.echo(f"         {dataset.description}")
    click.echo(f"licence  {dataset.licence}")
    click.echo(
        f"trained  {model} on {training.interactions:,} positive interactions of {training.users:,} users with "
        f"{training.items:,} items; {training.held_out:,} later ones held out"
    )
    click.echo(f"wrote    {training.folder}")


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


def _dataset(data: Path | None, users: int | None) -> Dataset:
    if data is not None:
        return read_dataset(data)
    if users is not None:
        from model_zoo.datasets.sample import sample_dataset

        return sample_dataset(users)
    return find_dataset()


if __name__ == "__main__":
    main()
