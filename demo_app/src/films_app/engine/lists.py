"""The lists of the first screen: what is picked, what it is because of, and what is unlike it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from itertools import islice

from films_app.engine.catalogue import Catalogue, Film
from films_app.engine.facts import Home, Moment, Pick, Rail, RailName
from nearhand import Recommendation
from nearhand.privacy import Preferences

DEADLINE_MS = 150.0
"""What a list may take; also the line in the chart of latencies."""
RAIL = 10
"""How many films a rail has."""
_BECAUSE = 2
_LIKINGS = ("item_liked", "item_saved", "item_viewed")
_ANSWERED = ("item_liked", "item_viewed", "item_disliked", "recommendation_dismissed")
_BEGUN = ("navigated", "item_clicked", "item_saved")


class Lists:
    """The first screen while it is made: first what stands at the top of it, on request the whole.

    Args:
        recommend: as :meth:`nearhand.Personalizer.recommend`.
        similar: a film, and how many films like it are wanted.
        happened: what the user did, the latest first.
    """

    def __init__(
        self,
        films: Catalogue,
        recommend: Callable[..., list[Recommendation]],
        similar: Callable[[Film, int], tuple[Film, ...]],
        preferences: Preferences,
        happened: Sequence[Moment],
    ) -> None:
        start = time.perf_counter()
        self._films, self._recommend = films, recommend
        happened = [one for one in happened if not one.is_past] if preferences.uses_history else []
        answered = _films_of(happened, _ANSWERED).keys() | set(preferences.blocked_items)
        self._hidden = answered | _films_of(happened, ("item_saved",)).keys()
        hated = _films_of(happened, ("item_disliked",))
        self._loved = [film for film_id, film in _films_of(happened, _LIKINGS).items() if film_id not in hated]
        begun = [film for film_id, film in _films_of(happened, _BEGUN).items() if film_id not in answered][:RAIL]
        found = recommend(RAIL + 1 + len(begun), context={"device": "phone"}, deadline_ms=DEADLINE_MS)
        picks = {one.item_id: self._pick(one) for one in found}
        hero = next(iter(picks.values()), None)
        self._hero = None if hero is None else replace(hero, text=found[0].explanation.text)
        begun = [film for film in begun if hero is None or film != hero.film]
        top = [pick for pick in picks.values() if pick is not hero and pick.film not in begun][:RAIL]
        self._rails = [Rail("top", tuple(top))]
        shown = [*begun, *(pick.film for pick in top), *(() if hero is None else (hero.film,))]
        self._shown = {film.film_id for film in shown}
        for film in self._loved[:_BECAUSE]:
            alike = [other for other in similar(film, RAIL * 2) if other.film_id not in self._hidden][:RAIL]
            self._rails.append(Rail("because", tuple(Pick(other) for other in alike), film))
            self._shown.update(other.film_id for other in alike)
        self._rails.append(Rail("continue", tuple(picks.get(film.film_id, Pick(film)) for film in begun)))
        self._took_ms = (time.perf_counter() - start) * 1000

    def top(self) -> Home:
        """What stands at the top: the first film, and the rails that are made from the same list."""
        return self._home(is_whole=False)

    def whole(self) -> Home:
        """All of it. To be asked for once."""
        start = time.perf_counter()
        films = self._films
        if self._loved:
            counts = Counter(genre for film in self._loved for genre in film.genres)
            usual = [films.of_genre[genre] for genre, _ in counts.most_common(2)]
            self._rails.append(self._filtered("different", films.films.keys() - set().union(*usual)))
        self._rails.append(self._filtered("new", films.recent))
        met = self._hidden | self._shown
        others = (film for film in films.popular() if film.film_id not in met)
        self._rails.append(Rail("trending", tuple(Pick(film) for film in islice(others, RAIL))))
        self._took_ms += (time.perf_counter() - start) * 1000
        return self._home(is_whole=True)

    def _home(self, *, is_whole: bool) -> Home:
        return Home(
            hero=self._hero,
            rails=tuple(rail for rail in self._rails if rail.picks),
            is_personal=bool(self._loved) and self._hero is not None,
            took_ms=self._took_ms,
            is_whole=is_whole,
        )

    def _filtered(self, name: RailName, ids: Set[str]) -> Rail:
        """The best of some films, without those that stand further up the screen already.

        They are looked for among the candidates of the profile, which is quick; if these are too few, the films of them
        that most people like come after.
        """
        allowed = ids - self._shown
        picks = [self._pick(one) for one in self._recommend(RAIL, predicate=allowed.__contains__)]
        self._shown.update(pick.film.film_id for pick in picks)
        others = (film for film in self._films.popular() if film.film_id in allowed)
        fresh = (film for film in others if film.film_id not in self._hidden and film.film_id not in self._shown)
        picks += [Pick(film) for film in islice(fresh, RAIL - len(picks))]
        self._shown.update(pick.film.film_id for pick in picks)
        return Rail(name, tuple(picks))

    def _pick(self, one: Recommendation) -> Pick:
        return Pick(self._films.films[one.item_id], recommendation_id=one.recommendation_id)


def _films_of(happened: Sequence[Moment], events: tuple[str, ...]) -> dict[str, Film]:
    """The films that these events are about, in their order."""
    return {one.film.film_id: one.film for one in happened if one.film is not None and one.event in events}
