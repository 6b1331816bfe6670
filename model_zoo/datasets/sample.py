"""The built-in sample: real films, simulated viewers.

Each film is a point in a space of taste, placed by its genres, decade and director. Each viewer is a mixture of a few
taste clusters, drifts a little over time, and watches in sessions: some films in an evening or a weekend, then days of
nothing. What they watch depends on their taste at that time and on how famous a film is; how they rate it, on taste.

Viewers are simulated in chunks of fixed size, each with its own generator, so the first hundred are the same whether a
thousand or a million are simulated, and memory is bounded by the chunk and the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import PCG64, Generator
from numpy.typing import NDArray

from nearhand.errors import UsageError
from nearhand_converters.data import Catalogue, Dataset, Interactions, read_catalogue

FILMS = Path(__file__).with_name("films.csv")

_DIMENSIONS = 12
_CLUSTERS = 14
_PHASES = 6  # a viewer's history is cut into this many stretches, each with its own taste
_CHUNK = 256  # viewers simulated at once; changing it changes the data
_FAME_EXPONENT = 1.2
_FAME_OFFSET = 12  # flattens the head, as in Zipf-Mandelbrot: nobody's taste is all fame
_REFERENCE_VIEWERS = 2000  # whose tastes decide what fame leaves to a film's own appeal
_TASTE_WEIGHT = 18.0  # how much more taste counts than chance
_DRIFT = 0.22  # change of taste from one phase to the next, relative to the taste itself
_DAY_MS = 86_400_000
_FROM_MS = 1_654_041_600_000  # 2022-06-01
_DAYS = 730
_YEAR_STARTS_MS = np.array([1_640_995_200_000, 1_672_531_200_000, 1_704_067_200_000], np.int64)  # 2022, 2023, 2024
# Probability that an evening starts in each UTC hour: few mornings, some afternoons, mostly 18 to 22.
_HOURS = np.array([2, 1, 0.5, 0.2, 0.1, 0.1, 0.2, 0.4, 0.8, 1, 1.5, 2, 2.5, 3, 4, 4, 5, 7, 11, 15, 16, 13, 8, 4])

# The films that (almost) everybody has seen, in no special order; the fame of the others is drawn.
_FAMOUS = """
Jurassic Park | Goodfellas | Interstellar | 12 Angry Men | The Shawshank Redemption | Jaws | Fight Club | Finding
Nemo | Parasite | Alien | The Sound of Music | Casablanca | The Grand Budapest Hotel | City of God | The Silence of
the Lambs | La La Land | Forrest Gump | The Terminator | Pulp Fiction | The Empire Strikes Back | The Shining | The
Lion King | The Good, the Bad and the Ugly | Star Wars | Apocalypse Now | The Lord of the Rings: The Return of the
King | Titanic | Spirited Away | Django Unchained | Gladiator | Terminator 2: Judgment Day | Mad Max: Fury Road | Up
| Citizen Kane | WALL·E | Singin' in the Rain | Se7en | E.T. the Extra-Terrestrial | Inglourious Basterds |
Schindler's List | Amélie | The Godfather | Lawrence of Arabia | Toy Story | The Lord of the Rings: The Fellowship
of the Ring | Inception | Seven Samurai | Raiders of the Lost Ark | The Wizard of Oz | Die Hard | Inside Out | Gone
with the Wind | Blade Runner | Back to the Future | The Matrix | Psycho | The Dark Knight | 2001: A Space Odyssey
"""


def sample_dataset(users: int = 2000, seed: int = 7) -> Dataset:
    """Simulates ``users`` viewers of the built-in catalogue; the same arguments give the same data.

    Raises:
        UsageError: users is below 1 or seed is negative.
    """
    for name, value, least in (("users", users, 1), ("seed", seed, 0)):
        if value < least:
            raise UsageError(f"is {value}", place=f"sample_dataset argument {name!r}", remedy=f"give at least {least}")
    catalogue = read_catalogue(FILMS)
    world = _make_world(catalogue, Generator(PCG64(seed)))
    parts = []
    for chunk in range(-(-users // _CHUNK)):
        part = _simulate(world, Generator(PCG64((seed, chunk))))
        part["user"] += chunk * _CHUNK
        parts.append(part[part["user"] < users])
    history = np.concatenate(parts)
    return Dataset(
        name="sample",
        licence="Apache-2.0",
        description="Real films with simulated viewers: the interactions are drawn from made-up latent tastes.",
        catalogue=catalogue,
        interactions=Interactions(
            users=tuple(f"u_{number:05d}" for number in range(1, users + 1)),
            user=np.ascontiguousarray(history["user"]),
            item=np.ascontiguousarray(history["item"]),
            rating=np.ascontiguousarray(history["rating"]),
            timestamp=np.ascontiguousarray(history["timestamp"]),
        ),
        origin="built-in sample (simulated)",
    )


_HISTORY = np.dtype([("user", np.int32), ("item", np.int32), ("rating", np.float32), ("timestamp", np.int64)])


@dataclass(frozen=True, eq=False)
class _World:
    """What all viewers share. I items, C clusters, D dimensions, all float64 except ``year``.

    Attributes:
        items: [I, D], unit length.
        clusters: [C, D], unit length.
        log_appeal: [I], what a film has for everybody: with the viewers' tastes it gives the fame that was drawn.
        quality: [I], standard normal, what everybody's ratings have in common.
        year: int64[I], year of release.
    """

    items: NDArray[np.float64]
    clusters: NDArray[np.float64]
    log_appeal: NDArray[np.float64]
    quality: NDArray[np.float64]
    year: NDArray[np.int64]


def _make_world(catalogue: Catalogue, rng: Generator) -> _World:
    count = len(catalogue)
    year = np.array([year or 0 for year in catalogue.years], np.int64)
    genres = sorted({genre for row in catalogue.genres for genre in row})
    has_genre = np.array([[genre in row for genre in genres] for row in catalogue.genres], np.float64)
    genre_points = rng.standard_normal((len(genres), _DIMENSIONS))
    # Decades are neighbours: each is a step away from the one before.
    decade_points = np.cumsum(rng.standard_normal((13, _DIMENSIONS)), axis=0) / 2
    directors = sorted(set(catalogue.directors))
    director_points = rng.standard_normal((len(directors), _DIMENSIONS))
    index = {director: row for row, director in enumerate(directors)}
    items = _unit(
        _unit(has_genre / np.sqrt(has_genre.sum(axis=0)) @ genre_points)
        + 0.5 * _unit(decade_points[(year - 1900) // 10])
        + 0.4 * _unit(director_points[[index[director] for director in catalogue.directors]])
        + 0.3 * _unit(rng.standard_normal((count, _DIMENSIONS)))
    )
    # A cluster is a few films that somebody likes together, not a random point: it lies where films are.
    clusters = _unit(items[rng.permutation(count)[: _CLUSTERS * 3].reshape(_CLUSTERS, 3)].sum(axis=1))
    famous = {title.strip() for title in _FAMOUS.replace("\n", " ").split(" | ")}
    known = np.array([title in famous for title in catalogue.titles], np.float64)
    rank = np.empty(count)
    # Famous first, then by chance with the recent ones ahead.
    rank[np.argsort(-100 * known - (year - 1900) / 60 - rng.standard_normal(count))] = np.arange(1, count + 1)
    fame = (rank + _FAME_OFFSET) ** -_FAME_EXPONENT
    appeal = _log_appeal(_tastes(rng, clusters, _REFERENCE_VIEWERS) @ items.T, fame / fame.sum())
    return _World(items, clusters, appeal, rng.standard_normal(count), year)


def _tastes(rng: Generator, clusters: NDArray[np.float64], viewers: int) -> NDArray[np.float64]:
    """[viewers, D], unit length: mixtures of a few clusters, and something of one's own."""
    personal = _unit(rng.standard_normal((viewers, _DIMENSIONS)))
    return _unit(rng.dirichlet(np.full(_CLUSTERS, 0.2), viewers) @ clusters + 0.35 * personal)


def _log_appeal(affinity: NDArray[np.float64], fame: NDArray[np.float64]) -> NDArray[np.float64]:
    """[I] such that viewers of this affinity [V, I], one film each, watch every film as often as its fame [I] says.

    Without it a film that lies where many tastes are would be more popular than any famous one.
    """
    weight = np.exp(_TASTE_WEIGHT * affinity)
    appeal = fame.copy()
    for _ in range(30):  # iterative proportional fitting; a few steps would do
        watched = (weight * appeal / (weight @ appeal)[:, None]).mean(axis=0)
        appeal *= fame / watched
    return np.log(appeal)


def _simulate(world: _World, rng: Generator) -> NDArray[np.void]:
    """The histories of one chunk of viewers, ordered by viewer and time: `_HISTORY`[n], viewers from 0."""
    viewers = np.arange(_CHUNK)
    total = np.clip(np.rint(rng.lognormal(np.log(40), 0.8, _CHUNK)), 5, 300).astype(np.int64)
    joined = rng.uniform(0, 0.5 * _DAYS, _CHUNK)
    left = joined + rng.uniform(0.4, 1.0, _CHUNK) * (_DAYS - joined)
    bias = 0.3 * rng.standard_normal(_CHUNK)
    taste = _tastes(rng, world.clusters, _CHUNK)
    seen = np.zeros((_CHUNK, len(world.items)), np.bool_)
    parts = []
    for phase in range(_PHASES):
        quota = total * (phase + 1) // _PHASES - total * phase // _PHASES
        begin = np.floor(joined + (left - joined) * phase / _PHASES)
        affinity = taste @ world.items.T
        # The largest of (log weight + Gumbel noise) are a draw without replacement, in proportion to the weights.
        wish = _TASTE_WEIGHT * affinity + world.log_appeal + rng.gumbel(size=affinity.shape)
        this_year = np.searchsorted(_YEAR_STARTS_MS, _FROM_MS + begin * _DAY_MS, "right") + 2021
        wish[seen | (world.year > this_year[:, None])] = -np.inf
        width = int(quota.max())
        item = np.argpartition(-wish, width, axis=1)[:, :width]
        item = np.take_along_axis(item, np.argsort(-np.take_along_axis(wish, item, axis=1), axis=1), axis=1)
        chosen = np.arange(width) < quota[:, None]
        # Within a phase the order follows a mood, so that what is watched together is alike.
        mood = _unit(rng.standard_normal((_CHUNK, _DIMENSIONS)))
        tone = np.take_along_axis(mood @ world.items.T, item, axis=1) + 0.1 * rng.standard_normal(item.shape)
        item = np.take_along_axis(item, np.argsort(np.where(chosen, tone, np.inf), axis=1, kind="stable"), axis=1)
        when = _watch_times(rng, chosen, begin, (left - joined) / _PHASES)
        liking = np.take_along_axis(affinity, item, axis=1)
        opinion = 2.6 + 1.7 * liking + bias[:, None] + 0.3 * world.quality[item] + 0.5 * rng.standard_normal(item.shape)
        part = np.empty(int(chosen.sum()), _HISTORY)
        part["user"] = np.repeat(viewers, quota)
        part["item"] = item[chosen]
        part["rating"] = np.clip(np.rint(opinion * 2) / 2, 0.5, 5)[chosen]
        part["timestamp"] = when[chosen]
        parts.append(part)
        seen[part["user"], part["item"]] = True
        taste = _unit(taste + _DRIFT * _unit(rng.standard_normal((_CHUNK, _DIMENSIONS))))
    history = np.concatenate(parts)
    return history[np.lexsort((history["timestamp"], history["user"]))]


def _watch_times(
    rng: Generator, chosen: NDArray[np.bool_], begin: NDArray[np.float64], length: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Milliseconds UTC for each chosen film, rising along a row: sessions of films, days between sessions.

    Args:
        rng: the chunk's generator.
        chosen: bool[viewers, films], true at the start of each row.
        begin: [viewers], first day of the phase, counted from the start of the data.
        length: [viewers], days in the phase.
    """
    column = np.arange(chosen.shape[1])
    starts = (rng.random(chosen.shape) < 0.45) | (column == 0)
    session = np.cumsum(starts, axis=1) - 1
    place = column - np.maximum.accumulate(np.where(starts, column, 0), axis=1)  # of the film in its session
    sessions = np.where(chosen, session, -1).max(axis=1, keepdims=True, initial=-1) + 1
    moment = np.sort(np.where(column < sessions, rng.random(chosen.shape), 1.0), axis=1)
    day = np.floor(begin[:, None] + moment * length[:, None])
    hour = np.searchsorted(np.cumsum(_HOURS / _HOURS.sum()), rng.random(chosen.shape))
    first = (day * 24 + np.minimum(hour, 23)) * 3600 + np.floor(rng.random(chosen.shape) * 3600)  # seconds
    # Up to three films an evening, 2 h 10 min apart; a longer session goes on the next day.
    seconds = np.take_along_axis(first, session, axis=1) + place % 3 * 7800 + place // 3 * 86_400
    return _FROM_MS + seconds.astype(np.int64) * 1000


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scaled to length 1 along the last axis."""
    lengths: NDArray[np.float64] = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / lengths
