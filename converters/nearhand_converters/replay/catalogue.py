"""Items for a program that reads the catalogue."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from nearhand import __version__
from nearhand.bundle import install_bundle
from nearhand.features import ItemTable
from nearhand_converters.data import read_catalogue
from nearhand_converters.errors import DataError
from nearhand_converters.replay.columns import plain, texts
from nearhand_converters.replay.files import Wanted, open_source
from nearhand_converters.replay.movielens import read_films
from nearhand_converters.replay.rows import Refusals


def read_items(path: Path) -> ItemTable:
    """The items of a bundle, of ``items.csv`` as a data set has it, of a MovieLens folder, or of Parquet.

    A bundle's are what the device reads. Parquet needs a column ``item_id``; each further column is one of numbers,
    texts, or lists of texts.

    Raises:
        BundleError: the bundle is refused.
        DataError: the file is missing or malformed.
    """
    if path.suffix == ".nearhand":
        with tempfile.TemporaryDirectory() as folder:
            return ItemTable.of_bundle(install_bundle(path, Path(folder), sdk_version=__version__).items())
    if path.is_dir():
        return read_films(path)
    source = open_source(path)
    if source.kind == "csv":
        found = read_catalogue(path)
        columns = {"title": found.titles, "year": found.years, "genres": found.genres, "director": found.directors}
        return ItemTable(found.item_ids, columns)
    if source.kind != "parquet":
        raise DataError("is not a catalogue", place=str(path), remedy="give a bundle, items.csv, or Parquet")
    item_ids: list[str] = []
    cells: dict[str, list[Any]] = {}
    for rows in source.rows(Wanted(lambda name: True, ("item_id",)), Refusals()):
        item_ids += texts(rows, "item_id", rows.columns["item_id"], required=True).to_pylist()
        for name, column in rows.columns.items():
            if name != "item_id":
                values = plain(rows, name, column, number=False).to_pylist()
                cells.setdefault(name, []).extend(tuple(each) if isinstance(each, list) else each for each in values)
    return ItemTable(tuple(item_ids), cells)
