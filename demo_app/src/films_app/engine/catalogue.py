"""The films of the bundle, and how they are searched."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from nearhand.bundle.schema import Items

Sort: TypeAlias = Literal["popular", "newest", "oldest", "title"]
SORTS: tuple[Sort, ...] = ("popular", "newest", "oldest", "title")


RECENT_YEARS = 5


@dataclass(frozen=True)
class Film:
    """One film.

    Attributes:
        year: 0 where unknown; director: "" where unknown.
        popularity: how many people of the training data met it and liked it.
    """

    film_id: str
    title: str
    year: int
    genres: tuple[str, ...]
    director: str
    popularity: int

    @property
    def decade(self) -> int:
        """Such as 1990; 0 where the year is unknown."""
        return self.year // 10 * 10


@dataclass(frozen=True)
class Question:
    """What to show of the catalogue: all that is asked for has to hold."""

    text: str = ""
    genre: str | None = None
    decade: int | None = None
    sort: Sort = "popular"


class Catalogue:
    """All films by identifier, and by what people look for."""

    def __init__(self, items: Items) -> None:
        columns = zip(
            items.item_ids, items.titles, items.years, items.genres, items.directors, items.popularity, strict=True
        )
        self.films: dict[str, Film] = {columns_of[0]: Film(*columns_of) for columns_of in columns}
        self._texts = {film.film_id: _Words.of(film) for film in self.films.values()}
        self._orders = {sort: self._ordered(sort) for sort in SORTS}
        of_genre: defaultdict[str, set[str]] = defaultdict(set)
        for film in self.films.values():
            for genre in film.genres:
                of_genre[genre].add(film.film_id)
        self.of_genre: Mapping[str, Set[str]] = of_genre
        """Genre → the identifiers of its films."""
        newest = max((film.year for film in self.popular()[: len(self.films) // 4 + 1]), default=0)
        self.recent: Set[str] = {film.film_id for film in self.films.values() if film.year > newest - RECENT_YEARS}
        """The identifiers of the films of the last years that many people know films of."""
        genres = Counter(genre for film in self.films.values() for genre in film.genres)
        self.genres: tuple[str, ...] = tuple(genre for genre, _ in genres.most_common())
        self.decades: tuple[int, ...] = tuple(sorted({film.decade for film in self.films.values() if film.year}))[::-1]

    def __len__(self) -> int:
        return len(self.films)

    def get(self, film_id: str | None) -> Film | None:
        """The film, or None if this catalogue does not have it."""
        return None if film_id is None else self.films.get(film_id)

    def popular(self) -> tuple[Film, ...]:
        """All films, what most people like first."""
        return self._orders["popular"]

    def search(self, question: Question) -> list[Film]:
        """The films that answer a question. Those whose title begins with the text come first, whatever the sort."""
        films: Iterable[Film] = self._orders[question.sort]
        if question.genre is not None:
            films = (film for film in films if question.genre in film.genres)
        if question.decade is not None:
            films = (film for film in films if film.decade == question.decade)
        wanted = _plain(question.text)
        if not wanted:
            return list(films)
        ranked = [(rank, film) for film in films if (rank := self._texts[film.film_id].rank(wanted)) is not None]
        return [film for _, film in sorted(ranked, key=lambda one: one[0])]  # stable: the sort holds within a rank

    def _ordered(self, sort: Sort) -> tuple[Film, ...]:
        popular = sorted(self.films.values(), key=lambda film: (-film.popularity, film.title))
        match sort:
            case "popular":
                return tuple(popular)
            case "newest":
                return tuple(sorted(popular, key=lambda film: -film.year))
            case "oldest":
                return tuple(sorted(popular, key=lambda film: film.year or 9999))
            case "title":
                return tuple(sorted(popular, key=lambda film: _plain(film.title)))


@dataclass(frozen=True)
class _Words:
    title: str
    other: str = field(repr=False)

    @classmethod
    def of(cls, film: Film) -> _Words:
        return cls(_plain(film.title), f"{_plain(film.director)} {film.year}")

    def rank(self, wanted: str) -> int | None:
        if self.title.startswith(wanted):
            return 0
        if f" {wanted}" in self.title:
            return 1
        if wanted in self.title:
            return 2
        return 3 if wanted in self.other else None


def _plain(text: str) -> str:
    """Without accents and case, so that "amelie" finds "Amélie"."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter)).strip()
