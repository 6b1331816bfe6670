"""Interaction data: who met which item, when, and how much they liked it.

A data set is a folder of two tables and an optional label::

    interactions.csv   user,item[,rating],timestamp    (column order free, extra columns ignored)
    items.csv          item,title[,year][,genres][,director]    (genres separated by "|")
    dataset.toml       name, licence, description    (optional)

All tables are UTF-8 (a byte order mark is accepted) with a header line. A timestamp is Unix seconds, Unix milliseconds
when it is 1e11 or more, or ISO 8601 with an offset. Everything downstream reads data through this module only.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import tomllib
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nearhand.errors import UsageError
from nearhand_converters.errors import DataError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECONDS_FROM = 10**11  # as seconds this would be the year 5138, as milliseconds it is March 1973
FIRST_MS = -62_135_596_800_000  # 0001-01-01, the first instant ISO 8601 can write
LAST_MS = 253_402_300_799_999  # the last millisecond of the year 9999
NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")  # float() alone takes "nan", "inf" and "1_0"
_FLOAT32_OVERFLOW = 2.0**128 - 2.0**103  # what rounds to infinity as float32; its largest number is half a step below


@dataclass(frozen=True)
class Catalogue:
    """The items, column by column; an item's row is its index in every column.

    Attributes:
        item_ids: unique, not blank.
        titles: not blank.
        years: year of release, 1 to 9999, or None when unknown.
        genres: per item, possibly empty; a genre is not blank and has no "|".
        directors: "" when unknown.
    """

    item_ids: tuple[str, ...]
    titles: tuple[str, ...]
    years: tuple[int | None, ...]
    genres: tuple[tuple[str, ...], ...]
    directors: tuple[str, ...]

    def __post_init__(self) -> None:
        columns = (self.titles, self.years, self.genres, self.directors)
        if any(len(column) != len(self.item_ids) for column in columns):
            raise DataError(
                "columns differ in length", place="catalogue", remedy="give every item one entry per column"
            )
        if len(set(self.item_ids)) != len(self.item_ids):
            raise DataError("an item id occurs twice", place="catalogue", remedy="make item ids unique")
        if not all(map(str.strip, self.item_ids)) or not all(map(str.strip, self.titles)):
            raise DataError("an item id or title is blank", place="catalogue", remedy="name every item")
        if any(not genre.strip() or "|" in genre for genres in self.genres for genre in genres):
            raise DataError("a genre is blank or contains '|'", place="catalogue", remedy="rename the genre")
        if any(year is not None and not 1 <= year <= 9999 for year in self.years):
            raise DataError("a year is outside 1 to 9999", place="catalogue", remedy="use None for an unknown year")

    def __len__(self) -> int:
        return len(self.item_ids)


@dataclass(frozen=True, eq=False)
class Interactions:
    """What happened, one entry per interaction in every array, in the order of the source.

    Attributes:
        users: user names; a subset of interactions keeps all of them, so indexes stay comparable.
        user: int32[n], index into ``users``.
        item: int32[n], row of the catalogue.
        rating: float32[n], finite; None when the data has no ratings.
        timestamp: int64[n], milliseconds since the Unix epoch, UTC.
    """

    users: tuple[str, ...]
    user: NDArray[np.int32]
    item: NDArray[np.int32]
    rating: NDArray[np.float32] | None
    timestamp: NDArray[np.int64]

    def __post_init__(self) -> None:
        columns: dict[str, tuple[NDArray[Any], type]] = {
            "user": (self.user, np.int32),
            "item": (self.item, np.int32),
            "timestamp": (self.timestamp, np.int64),
        }
        if self.rating is not None:
            columns["rating"] = (self.rating, np.float32)
        for name, (values, dtype) in columns.items():
            if values.dtype != dtype or values.shape != self.user.shape or values.ndim != 1:
                problem = f"is {values.dtype}{list(values.shape)}, not {np.dtype(dtype)}[{self.user.size}]"
                raise DataError(
                    problem, place=f"interactions.{name}", remedy="give arrays of equal length and that type"
                )
        if not self.user.size:
            return
        if self.user.min() < 0 or self.user.max() >= len(self.users) or self.item.min() < 0:
            raise DataError("an index is out of range", place="interactions", remedy="index users and catalogue rows")
        if self.rating is not None and not np.isfinite(self.rating).all():
            raise DataError(
                "is NaN or infinite", place="interactions.rating", remedy="drop interactions with no rating"
            )
        if self.timestamp.min() < FIRST_MS or self.timestamp.max() > LAST_MS:
            raise DataError("lies outside years 1 to 9999", place="interactions.timestamp", remedy="use milliseconds")

    def __len__(self) -> int:
        return int(self.user.size)

    def select(self, rows: NDArray[np.bool_]) -> Interactions:
        """The interactions where ``rows`` (bool[n]) is true, in the same order, with the same ``users``."""
        return replace(
            self,
            user=self.user[rows],
            item=self.item[rows],
            rating=None if self.rating is None else self.rating[rows],
            timestamp=self.timestamp[rows],
        )


@dataclass(frozen=True, eq=False)
class Dataset:
    """A named data set. ``origin`` says to people where this copy came from; it is not written to disk."""

    name: str
    licence: str
    description: str
    catalogue: Catalogue
    interactions: Interactions
    origin: str = ""

    def __post_init__(self) -> None:
        item = self.interactions.item
        if item.size and item.max() >= len(self.catalogue):
            raise DataError("has an item outside the catalogue", place=f"data set {self.name!r}", remedy="add the item")


@dataclass(frozen=True, eq=False)
class Split:
    """Interactions to learn from and later ones to be tested on; both index the same ``users``."""

    train: Interactions
    held_out: Interactions


class _Reader(Protocol):
    """What ``csv.reader`` returns; the standard library gives that type no public name."""

    line_num: int

    def __iter__(self) -> Iterator[list[str]]: ...


# --- reading ---------------------------------------------------------------------------------------------------------


def read_dataset(folder: Path, *, name: str | None = None) -> Dataset:
    """Reads ``items.csv``, ``interactions.csv`` and, when present, ``dataset.toml`` from ``folder``.

    Args:
        folder: where the files are.
        name: overrides the name in ``dataset.toml``; without either it is the folder's name.

    Raises:
        DataError: a file is missing or malformed; the message names file, line, column and remedy.
    """
    label = _read_label(folder / "dataset.toml")
    catalogue = read_catalogue(folder / "items.csv")
    return Dataset(
        name=name or label.get("name") or folder.resolve().name,
        licence=label.get("licence", ""),
        description=label.get("description", ""),
        catalogue=catalogue,
        interactions=read_interactions(
            folder / "interactions.csv", {item_id: row for row, item_id in enumerate(catalogue.item_ids)}
        ),
        origin=str(folder),
    )


def read_catalogue(path: Path) -> Catalogue:
    """Reads a table ``item,title[,year][,genres][,director]``; rows keep the order of the file."""
    seen: dict[str, int] = {}
    titles: list[str] = []
    years: list[int | None] = []
    genres: list[tuple[str, ...]] = []
    directors: list[str] = []
    _, rows = read_table(path, ("item", "title"), ("year", "genres", "director"))
    for line, (item, title, year, genre, director) in rows:
        if not item.strip():
            raise _cell_error(path, line, "item", "the id is empty", "give the item an id")
        if item in seen:
            problem = f"item {item!r} is already on line {seen[item]}"
            raise _cell_error(path, line, "item", problem, "keep one line per item")
        if not title.strip():
            raise _cell_error(path, line, "title", "the title is empty", "give the item a title")
        if year and not (year.isdecimal() and len(year) <= 4 and int(year)):
            problem = f"{year!r} is not a year"
            raise _cell_error(path, line, "year", problem, "write digits such as 1995, or leave it empty")
        names = tuple(genre.split("|")) if genre else ()
        if not all(map(str.strip, names)):
            raise _cell_error(path, line, "genres", f"{genre!r} has an empty genre", "separate genres by one '|'")
        seen[item] = line
        titles.append(title)
        years.append(int(year) if year else None)
        genres.append(names)
        directors.append(director)
    return Catalogue(tuple(seen), tuple(titles), tuple(years), tuple(genres), tuple(directors))


def read_interactions(
    path: Path, item_rows: Mapping[str, int], *, user: str = "user", item: str = "item"
) -> Interactions:
    """Reads a table of interactions; users are numbered in order of first appearance.

    Args:
        path: the table, with a column ``timestamp`` and perhaps ``rating``.
        item_rows: catalogue row of each id that the item column may hold.
        user: header of the user column.
        item: header of the item column.
    """
    users: dict[str, int] = {}
    ratings: dict[str, float] = {}  # a rating column holds few distinct texts: each is parsed once
    user_column, item_column, rating_column, time_column = array("i"), array("i"), array("f"), array("q")
    header, rows = read_table(path, (user, item, "timestamp"), ("rating",))
    rated = "rating" in header
    for line, (user_id, item_id, when, rating) in rows:
        code = users.get(user_id)
        if code is None:
            if not user_id.strip():
                raise _cell_error(path, line, user, "the id is empty", "give every interaction a user")
            code = users[user_id] = len(users)
        row = item_rows.get(item_id)
        if row is None:
            problem = f"item {item_id!r} is not in the catalogue" if item_id.strip() else "the id is empty"
            raise _cell_error(path, line, item, problem, "add the item to the catalogue or drop this line")
        try:
            milliseconds = parse_timestamp(when)
        except ValueError as error:
            remedy = "write Unix seconds, Unix milliseconds, or ISO 8601 with an offset such as 2024-05-01T20:15:00Z"
            raise _cell_error(path, line, "timestamp", f"{when!r} {error}", remedy) from None
        if rated:
            value = ratings.get(rating)
            if value is None:
                value = float(rating) if NUMBER.fullmatch(rating) else math.nan
                if not abs(value) < _FLOAT32_OVERFLOW:  # also true for NaN
                    remedy = "write a decimal number, or remove the column when items are not rated"
                    raise _cell_error(path, line, "rating", f"{rating!r} is not a finite number", remedy)
                ratings[rating] = value
            rating_column.append(value)
        user_column.append(code)
        item_column.append(row)
        time_column.append(milliseconds)
    return Interactions(
        users=tuple(users),
        user=np.array(user_column, np.int32),
        item=np.array(item_column, np.int32),
        rating=np.array(rating_column, np.float32) if rated else None,
        timestamp=np.array(time_column, np.int64),
    )


def read_table(
    path: Path, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> tuple[tuple[str, ...], Iterator[tuple[int, tuple[str, ...]]]]:
    """Opens a UTF-8 CSV file.

    Returns:
        The header, and the rows as (line number, cells in the order ``required + optional``); a cell of an optional
        column that the file lacks is "". Blank lines are skipped.

    Raises:
        DataError: here or while iterating.
    """
    text = _read_text(path)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = tuple(next(reader, ()))
    except csv.Error as error:
        raise _not_csv(path, reader.line_num, error) from None
    for column in required:
        if column not in header:
            problem = f"the header has no column {column!r}, only {', '.join(header) or 'nothing'}"
            raise DataError(problem, place=f"{path}:1", remedy=f"add the column {column!r}")
    for column in (*required, *optional):
        if header.count(column) > 1:
            raise _cell_error(path, 1, column, "the header has it twice", "keep one column of that name")
    return header, _rows(path, reader, header, (*required, *optional))


def _rows(
    path: Path, reader: _Reader, header: tuple[str, ...], columns: tuple[str, ...]
) -> Iterator[tuple[int, tuple[str, ...]]]:
    width = len(header)
    pick = itemgetter(*(header.index(column) if column in header else width for column in columns))
    first = True
    try:
        for row in reader:
            if not row:
                continue
            if len(row) != width:
                problem = f"{len(row)} columns where the header has {width}"
                remedy = "quote values that contain commas, and give every line every column"
                raise DataError(problem, place=f"{path}:{reader.line_num}", remedy=remedy)
            first = False
            row.append("")  # what an optional column that is absent reads
            yield reader.line_num, pick(row)
    except csv.Error as error:
        raise _not_csv(path, reader.line_num, error) from None
    if first:
        raise DataError("no rows", place=f"{path}:2", remedy="put at least one line below the header")


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError("the file is missing", place=str(path), remedy="put it there or name another folder") from None
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", place=str(path), remedy="make the file readable") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = error.start - content.rfind(b"\n", 0, error.start)
        problem = f"byte {byte} of the line is not UTF-8"
        raise DataError(problem, place=f"{path}:{line}", remedy="save the file as UTF-8") from None


def _read_label(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    try:
        table = tomllib.loads(_read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"not TOML: {error}", place=str(path), remedy="correct it or remove the file") from None
    label: dict[str, str] = {key: table[key] for key in ("name", "licence", "description") if key in table}
    for key, value in label.items():
        if not isinstance(value, str):
            raise DataError(f"{key} is not text", place=str(path), remedy=f'write {key} = "..."')
    return label


def parse_timestamp(text: str) -> int:
    """Milliseconds since the epoch, rounded to the nearest for decimal seconds and down for ISO 8601.

    Raises:
        ValueError: its text completes the sentence "'…' …".
    """
    if text.isdecimal() or NUMBER.fullmatch(text):  # the first alone is quicker, and almost always enough
        number = float(text)  # exact for whole milliseconds: they are below 2**53
        if abs(number) > LAST_MS:
            raise ValueError("is outside the years 1 to 9999")
        milliseconds = round(number if number >= MILLISECONDS_FROM else number * 1000)
    else:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError("is not a timestamp") from None
        if moment.tzinfo is None:
            raise ValueError("has no offset from UTC")
        milliseconds = (moment - _EPOCH) // timedelta(milliseconds=1)
    if not FIRST_MS <= milliseconds <= LAST_MS:
        raise ValueError("is outside the years 1 to 9999")
    return milliseconds


def _cell_error(path: Path, line: int, column: str, problem: str, remedy: str) -> DataError:
    return DataError(problem, place=f"{path}:{line}, column {column!r}", remedy=remedy)


def _not_csv(path: Path, line: int, error: csv.Error) -> DataError:
    return DataError(f"not CSV: {error}", place=f"{path}:{line}", remedy="close every quote and double quotes inside")


# --- writing ---------------------------------------------------------------------------------------------------------


def write_dataset(dataset: Dataset, folder: Path) -> None:
    """Writes ``dataset`` so that `read_dataset` gives it back; the same data set gives the same bytes.

    Two things a table of interactions cannot hold are not written: users without an interaction, and an order of users
    other than that of their first interaction.
    """
    catalogue, interactions = dataset.catalogue, dataset.interactions
    label = {"name": dataset.name, "licence": dataset.licence, "description": dataset.description}
    items = zip(
        catalogue.item_ids,
        catalogue.titles,
        ("" if year is None else str(year) for year in catalogue.years),
        map("|".join, catalogue.genres),
        catalogue.directors,
        strict=True,
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / "dataset.toml", (f"{key} = {_toml_string(value)}" for key, value in label.items()))
        _replace(
            folder / "items.csv",
            chain(("item,title,year,genres,director",), (",".join(map(_quote, row)) for row in items)),
        )
        _replace(folder / "interactions.csv", _interaction_lines(catalogue, interactions))
    except OSError as error:
        remedy = "choose a folder that can be written"
        raise DataError(f"cannot be written: {error.strerror}", place=str(folder), remedy=remedy) from error


def _interaction_lines(catalogue: Catalogue, interactions: Interactions) -> Iterator[str]:
    users = [_quote(user) for user in interactions.users]
    items = [_quote(item) for item in catalogue.item_ids]
    codes = (interactions.user.tolist(), interactions.item.tolist())
    times = (_format_timestamp(value) for value in interactions.timestamp.tolist())
    if interactions.rating is None:
        yield "user,item,timestamp"
        for user, item, when in zip(*codes, times, strict=True):
            yield f"{users[user]},{items[item]},{when}"
    else:
        # By their bits, because -0.0 equals 0.0.
        levels, level = np.unique(interactions.rating.view(np.int32), return_inverse=True)
        ratings = [str(value) for value in levels.view(np.float32)]  # the shortest text that reads back as this float32
        yield "user,item,rating,timestamp"
        for user, item, rating, when in zip(*codes, level.tolist(), times, strict=True):
            yield f"{users[user]},{items[item]},{ratings[rating]},{when}"


def _format_timestamp(milliseconds: int) -> str:
    if milliseconds >= MILLISECONDS_FROM:
        return str(milliseconds)
    # A smaller number would be read as seconds.
    return (_EPOCH + timedelta(milliseconds=milliseconds)).isoformat(timespec="milliseconds")


def _quote(cell: str) -> str:
    # Written out because csv.writer quotes a lone carriage return in some versions of Python only.
    return '"' + cell.replace('"', '""') + '"' if re.search(r'[",\r\n]', cell) else cell


def _toml_string(text: str) -> str:
    # JSON's escapes are TOML's, except that TOML wants DEL escaped too.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def _replace(path: Path, lines: Iterable[str]) -> None:
    """Writes all of the file or leaves what was there."""
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            file.writelines(f"{line}\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)  # noqa: PTH105 -- the atomic call by its name
    finally:
        partial.unlink(missing_ok=True)


# --- deciding --------------------------------------------------------------------------------------------------------


def positives(interactions: Interactions, minimum_rating: float | None) -> Interactions:
    """What the users liked: ratings of at least ``minimum_rating``. All, if it is None or nothing is rated.

    An item that a user liked twice stays twice: both happened.
    """
    if interactions.rating is None or minimum_rating is None:
        return interactions
    return interactions.select(interactions.rating >= minimum_rating)


def temporal_split(interactions: Interactions, *, fraction: float = 0.2, minimum: int = 5, maximum: int = 20) -> Split:
    """Holds out the latest interactions of each user, by (timestamp, order of the source).

    Of a user with at least ``minimum`` interactions the last ``fraction`` is held out, at least 1 and at most
    ``maximum``; the others stay in train. A held-out item that the same user has in train is in neither part: it would
    be nothing new to predict.

    Raises:
        UsageError: fraction is not inside (0, 1), minimum is below 2 or maximum below 1.
    """
    for name, value, valid, remedy in (
        ("fraction", fraction, 0 < fraction < 1, "give a fraction between 0 and 1"),
        ("minimum", minimum, minimum >= 2, "give at least 2: one to learn from and one to test on"),
        ("maximum", maximum, maximum >= 1, "give at least 1"),
    ):
        if not valid:
            raise UsageError(f"is {value}", place=f"temporal_split argument {name!r}", remedy=remedy)
    user = interactions.user
    counts = np.bincount(user, minlength=len(interactions.users))
    share = np.floor(counts * fraction + 1e-9).astype(np.int64)  # 0.29 * 100 is 28.999999999999996
    held_counts = np.where(counts >= minimum, np.clip(share, 1, maximum), 0)
    order = np.lexsort((interactions.timestamp, user))  # stable: equal times keep the order of the source
    first = np.cumsum(counts) - counts
    position = np.empty(len(interactions), np.int64)
    position[order] = np.arange(len(interactions)) - first[user[order]]
    late = position >= (counts - held_counts)[user]
    pair = user.astype(np.int64) << 32 | interactions.item
    known, asked = np.sort(pair[~late]), pair[late]
    new = late.copy()
    new[late] = np.searchsorted(known, asked, "left") == np.searchsorted(known, asked, "right")  # that is: not in known
    return Split(train=interactions.select(~late), held_out=interactions.select(new))
