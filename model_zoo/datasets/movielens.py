"""MovieLens ``ml-latest-small`` as a `Dataset`."""

from __future__ import annotations

import re
from pathlib import Path

from nearhand_converters.data import Catalogue, Dataset, read_interactions, read_table
from nearhand_converters.errors import DataError

NAME = "ml-latest-small"
_YEAR = re.compile(r"\s*\((\d{4})(?:[–-]\d{0,4})?\)\s*$")  # series have "(2006–2007)"
# A group in parentheses at the end is another title, except after "Or", where it is half of the only one:
# "Birdman: Or (The Unexpected Virtue of Ignorance)".
_ALTERNATIVE = re.compile(r"(?<! Or)\s+\([^()]*\)$")
_ARTICLE = re.compile(r"^(.+), (The|A|An|La|Le|Les|L'|El|Il|I|Das|Der|Die|Da)$")


def movielens_dataset(folder: Path) -> Dataset:
    """Reads ``movies.csv`` and ``ratings.csv`` of ml-latest-small; item ids are ``m_<movieId>``.

    Raises:
        DataError: a file is missing or malformed.
    """
    path = folder / "movies.csv"
    rows: dict[str, int] = {}
    titles: list[str] = []
    years: list[int | None] = []
    genres: list[tuple[str, ...]] = []
    _, lines = read_table(path, ("movieId", "title", "genres"))
    for line, (movie, text, genre) in lines:
        if movie in rows:
            problem, remedy = f"film {movie!r} is there twice", "keep one line per film"
            raise DataError(problem, place=f"{path}:{line}, column 'movieId'", remedy=remedy)
        rows[movie] = len(rows)
        title, year = split_title(text)
        titles.append(title)
        years.append(year)
        genres.append(() if genre == "(no genres listed)" else tuple(genre.split("|")))
    return Dataset(
        name=NAME,
        licence="MovieLens research licence: no commercial use without permission",
        description="Film ratings by visitors of movielens.org, 1996 to 2018 (GroupLens, University of Minnesota).",
        catalogue=Catalogue(
            tuple(f"m_{movie}" for movie in rows), tuple(titles), tuple(years), tuple(genres), ("",) * len(rows)
        ),
        interactions=read_interactions(folder / "ratings.csv", rows, user="userId", item="movieId"),
        origin=str(folder),
    )


def split_title(text: str) -> tuple[str, int | None]:
    """``"Name of the Rose, The (Der Name der Rose) (1986)"`` → ``("The Name of the Rose", 1986)``."""
    year = _YEAR.search(text)
    title = text[: year.start()] if year else text.strip()
    while (shorter := _ALTERNATIVE.sub("", title)) != title:
        title = shorter
    if turned := _ARTICLE.match(title):
        name, article = turned.groups()
        title = f"{article}{name}" if article.endswith("'") else f"{article} {name}"
    return title, int(year[1]) if year else None
