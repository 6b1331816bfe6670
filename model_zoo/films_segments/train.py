"""Trains k-means over what viewers watch: which of a few kinds of taste is this?"""

from __future__ import annotations

import io
import json
import re
import tomllib
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model_zoo.replays import Viewers, columns_of, training_table, zoo_program
from model_zoo.training import Report, write_recipe, write_report, write_rows
from nearhand_converters.data import Dataset, write_dataset


def train(dataset: Dataset, out: Path) -> Report:
    """Train and write everything that ``nearhand convert`` needs into the folder ``out``.

    Each row is a user just after the last event: the shares of the genres in what they watched and how they liked it.

    Writes ``model.skops``, ``rows.parquet``, ``segments.json`` (a name for each cluster), ``measured.json``, the recipe
    and the data set.
    """
    import pandas
    import skops.io
    from sklearn.cluster import KMeans

    out.mkdir(parents=True, exist_ok=True)
    settings = tomllib.loads(write_recipe(__package__, out, dataset.licence).read_text(encoding="utf-8"))["train"]
    write_dataset(dataset, out)
    viewers = Viewers(dataset)
    program = zoo_program(dataset.catalogue, [0] * len(dataset.catalogue))
    random = np.random.Generator(np.random.PCG64(settings["seed"]))
    users = np.sort(random.permutation(len(dataset.interactions.users))[: settings["users"]])
    labels = {"user": users.tolist(), "timestamp": [int(viewers.times(user)[-1]) + 1 for user in users.tolist()]}
    table = training_table(viewers, program, labels, out / "training.parquet")
    genres = program.program.vocabulary("genres")
    columns = [f"genres.{place}" for place in range(len(genres))]
    rows = columns_of(table, columns)

    model = KMeans(settings["clusters"], n_init=10, random_state=settings["seed"])
    model.fit(pandas.DataFrame(rows, columns=columns))  # a data frame, so that it knows the columns' names
    (out / "model.skops").write_bytes(same_bytes(skops.io.dumps(model)))
    write_rows(out / "rows.parquet", columns, rows)
    names = segment_names(model.cluster_centers_, rows.mean(axis=0), genres)
    (out / "segments.json").write_text(json.dumps(names, indent=1) + "\n", encoding="utf-8")
    sizes = np.bincount(model.labels_, minlength=len(names)).tolist()
    measured = {"data": dataset.name, "users": len(rows), "sizes": sizes, "names": names}
    shares = "; ".join(f"{name} {size / len(rows):.0%}" for name, size in zip(names, sizes, strict=True))
    return write_report(Report(out, [f"films-segments on the tastes of {len(rows):,} users: {shares}"], measured))


def segment_names(centres: NDArray[np.float64], usual: NDArray[np.float64], genres: Sequence[str]) -> list[str]:
    """The two genres of which each cluster watches most, compared with everybody: different names for all."""
    found: list[tuple[str, str]] = []
    for centre in centres:
        order = [genres[place] for place in np.argsort(-(centre - usual), kind="stable")]
        pairs = ((order[0], second) for second in order[1:])
        found.append(next(pair for pair in pairs if pair not in found and pair[::-1] not in found))
    return [f"{first} and {second}" for first, second in found]


def same_bytes(model: bytes) -> bytes:
    """A skops file with numbers in place of the addresses and times that differ from run to run."""
    with zipfile.ZipFile(io.BytesIO(model)) as archive:
        schema = archive.read("schema.json").decode()
        numbers = {found: str(number) for number, found in enumerate(dict.fromkeys(re.findall(r"\b\d{9,}\b", schema)))}
        entries = {_renumbered(name, numbers): archive.read(name) for name in archive.namelist()}
    entries["schema.json"] = _renumbered(schema, numbers).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(entries):
            archive.writestr(zipfile.ZipInfo(name), entries[name])  # of the year 1980
    return buffer.getvalue()


def _renumbered(text: str, numbers: Mapping[str, str]) -> str:
    return re.sub(r"\b\d{9,}\b", lambda found: numbers[found[0]], text)
