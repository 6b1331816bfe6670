"""MovieLens ratings as events, and its films as a catalogue.

A rating is one event about ``m_<movieId>``: ``item_liked`` from 4 stars, ``item_disliked`` up to 2, else
``item_viewed``; the stars themselves are ``properties.rating``. Tags are not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow.compute as pc

from nearhand.features import ItemTable
from nearhand_converters.data import read_table
from nearhand_converters.errors import DataError
from nearhand_converters.replay.columns import plain
from nearhand_converters.replay.events import Reading, event_tables
from nearhand_converters.replay.files import Source, Wanted, open_source
from nearhand_converters.replay.rows import Refusals, Rows, Table

HEADER = ("userId", "movieId", "rating", "timestamp")
LIKED_FROM, DISLIKED_TO = 4.0, 2.0
_YEAR = re.compile(r"\s*\((\d{4})(?:[–-]\d{0,4})?\)\s*$")
_NO_GENRES = "(no genres listed)"


def open_ratings(path: Path) -> Source:
    """``ratings.csv`` in the folder ``path``, or the file ``path`` itself."""
    return open_source(path / "ratings.csv" if path.is_dir() else path)


def read_ratings(source: Source, reading: Reading, refusals: Refusals) -> Iterator[tuple[Table, int]]:
    """Tables of events, as :func:`nearhand_converters.replay.events.read_events` gives them."""
    wanted = Wanted(HEADER.__contains__, HEADER)
    return event_tables((_events(rows) for rows in source.rows(wanted, refusals)), reading)


def _events(rows: Rows) -> Rows:
    columns = rows.columns
    stars = plain(rows, "rating", columns["rating"], number=True)
    rows.refuse(stars.is_null().to_numpy(zero_copy_only=False), "rating", "is missing")
    kind = pc.if_else(pc.less_equal(stars, DISLIKED_TO), "item_disliked", "item_viewed")
    return rows.replace(
        {
            "user": columns["userId"],
            "timestamp": columns["timestamp"],
            "event": pc.if_else(pc.greater_equal(stars, LIKED_FROM), "item_liked", kind),
            "item_id": pc.binary_join_element_wise("m_", columns["movieId"], ""),
            "properties.rating": stars,
        }
    )


def read_films(folder: Path) -> ItemTable:
    """``movies.csv``: title (without its year), year and genres of every film.

    Raises:
        DataError: the file is missing or malformed.
    """
    path = folder / "movies.csv"
    item_ids: list[str] = []
    titles: list[str] = []
    years: list[int | None] = []
    genres: list[tuple[str, ...]] = []
    _, lines = read_table(path, ("movieId", "title", "genres"))
    for _, (movie, title, genre) in lines:
        found = _YEAR.search(title)
        item_ids.append(f"m_{movie}")
        titles.append(title[: found.start()] if found else title.strip())
        years.append(int(found[1]) if found else None)
        genres.append(() if genre == _NO_GENRES else tuple(genre.split("|")))
    if len(set(item_ids)) != len(item_ids):
        raise DataError("a film is there twice", place=f"{path}, column 'movieId'", remedy="keep one line per film")
    return ItemTable(tuple(item_ids), {"title": titles, "year": years, "genres": genres})
