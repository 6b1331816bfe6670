"""Reasons are true and lists react, on the films and users of ml-latest-small, through the app's door."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from nearhand import Config, Event, Personalizer, Recommendation
from nearhand.bundle.serving import ListPolicy, Reaction
from nearhand.events import RecordedEvent
from nearhand.testing.clock import ManualClock
from tests.end_to_end.films import NOW, Films, Viewer, capped, shares
from tests.real_data import real_data

pytestmark = pytest.mark.soak

K = 10


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Films:
    return Films(real_data("ml-latest-small"), tmp_path_factory.mktemp("films"))


@pytest.fixture(scope="module", params=["additive", "ranker"])
def bundle(request: pytest.FixtureRequest, films: Films) -> Path:
    return films.plain() if request.param == "additive" else films.ranked()


@pytest.fixture(scope="module", params=[None, "order"], ids=["retrieval", "ranker"])
def reactive(request: pytest.FixtureRequest, films: Films) -> Path:
    return films.ranked(ListPolicy(ranker=request.param, reaction=Reaction(Decimal(6))))


def lives(bundle: Path, folder: Path, viewers: Sequence[Viewer]) -> Iterator[tuple[Personalizer, Viewer]]:
    """One viewer after the other on the same device, whose profile is erased in between."""
    config = Config(durability="process", runtime="onnx", seed=7)
    with Personalizer.open(bundle, folder / "data", config=config, clock=ManualClock(NOW)) as personalizer:
        for viewer in viewers:
            yield personalizer, viewer
            personalizer.privacy.erase()


def scores_without(personalizer: Personalizer, event: RecordedEvent, item_ids: list[str]) -> dict[str, float]:
    """The items' scores had the event not happened; afterwards it has happened again."""
    assert personalizer.privacy.forget(event.event_id)
    found = personalizer.recommend(len(item_ids), only=item_ids)
    again = Event(event.event, item_id=event.item_id, timestamp=event.timestamp, event_id=event.event_id)
    personalizer.record(again)
    assert {one.item_id for one in found} == {*item_ids}
    return {one.item_id: one.score for one in found}


def test_the_contributions_of_an_additive_model_are_its_score(films: Films, tmp_path: Path) -> None:
    checked = 0
    for personalizer, viewer in lives(films.plain(), tmp_path, films.viewers(100, seed=11)):
        personalizer.record_many(viewer.events())
        for film in personalizer.recommend(K):
            parts = [evidence.contribution for evidence in film.explanation.evidence]
            assert sum(parts) == pytest.approx(film.score, rel=1e-5)
            checked += 1
    assert checked == 1000


def test_without_its_strongest_reason_an_item_scores_lower(bundle: Path, films: Films, tmp_path: Path) -> None:
    generator = np.random.Generator(np.random.PCG64(5))
    lower = stronger = checked = 0
    for personalizer, viewer in lives(bundle, tmp_path, films.viewers(100, seed=12)):
        recorded = {event.event_id: event for event in personalizer.record_many(viewer.events())}
        found = personalizer.recommend(K)
        items = [film.item_id for film in found]
        tops = {film.item_id: film.explanation.evidence[0].event_id for film in found}
        others = [event for event in generator.permutation(list(recorded)) if event not in tops.values()][:2]
        losses = {event: scores_without(personalizer, recorded[event], items) for event in {*tops.values(), *others}}
        for place, film in enumerate(found):
            without_top, without_other = losses[tops[film.item_id]], losses[others[place % 2]]
            lower += without_top[film.item_id] < film.score
            stronger += without_top[film.item_id] < without_other[film.item_id]
            checked += 1
    print(
        f"{checked} recommendations: {lower / checked:.1%} lower, {stronger / checked:.1%} by more than another event"
    )
    assert checked == 1000
    assert lower >= 0.95 * checked
    assert stronger >= 0.90 * checked


def genres_of(films: Films, found: list[Recommendation]) -> list[tuple[str, ...]]:
    return [films.genres[one.item_id] for one in found]


def films_of_genre(films: Films, genre: str, viewer: Viewer, generator: np.random.Generator) -> list[str]:
    """Three of the hundred most popular ones that the viewer has not met."""
    items = [item for item in films.popular if genre in films.genres[item] and item not in viewer.liked][:30]
    return [items[place] for place in generator.permutation(len(items))[:3]]


def test_three_likes_of_a_genre_raise_its_share(reactive: Path, films: Films, tmp_path: Path) -> None:
    generator = np.random.Generator(np.random.PCG64(6))
    raised = 0
    viewers = films.viewers(200, seed=13)
    for personalizer, viewer in lives(reactive, tmp_path, viewers):
        personalizer.record_many(viewer.events())
        before = genres_of(films, personalizer.recommend(20))
        genre = next(
            name
            for name in generator.permutation(["Sci-Fi", "Romance", "Crime", "Horror", "Children", "Fantasy"])
            if shares(before, name) <= 0.5
        )
        for item in films_of_genre(films, genre, viewer, generator):
            personalizer.record(Event("item_liked", item_id=item, timestamp=NOW - 1000))
        raised += shares(genres_of(films, personalizer.recommend(20)), genre) > shares(before, genre)
    print(f"raised for {raised} of {len(viewers)}")
    assert raised >= 0.9 * len(viewers)


def test_less_like_this_lowers_its_genre(bundle: Path, films: Films, tmp_path: Path) -> None:
    lowered = 0
    viewers = films.viewers(200, seed=14)
    for personalizer, viewer in lives(bundle, tmp_path, viewers):
        personalizer.record_many(viewer.events())
        before = personalizer.recommend(20)
        genre = films.genres[before[0].item_id][0]
        personalizer.privacy.less_like(before[0].item_id)
        after = personalizer.recommend(20)
        assert before[0].item_id not in {film.item_id for film in after}
        lowered += shares(genres_of(films, after), genre) < shares(genres_of(films, before), genre)
    print(f"lowered for {lowered} of {len(viewers)}")
    assert lowered >= 0.9 * len(viewers)


def test_a_cap_holds_and_diversity_costs_little(films: Films, tmp_path: Path) -> None:
    """The cost of diversity: the mean score that the list loses, in standard deviations of the candidates' scores."""
    policies = {"plain": ListPolicy(ranker="order"), "diverse": capped(0, "0.3"), "capped": capped(3, "0")}
    likeness: dict[str, list[float]] = {name: [] for name in policies}
    scores: dict[str, list[float]] = {name: [] for name in policies}
    for name, policy in policies.items():
        bundle = films.ranked(policy)
        for personalizer, viewer in lives(bundle, tmp_path / name, films.viewers(60, seed=15)):
            personalizer.record_many(viewer.events())
            found = personalizer.recommend(K)
            genres = [genre for each in genres_of(films, found) for genre in each]
            if name == "capped":
                assert max(map(genres.count, genres)) <= 3
            overlaps = [
                len({*a} & {*b}) / len({*a} | {*b})
                for place, a in enumerate(genres_of(films, found))
                for b in genres_of(films, found)[:place]
            ]
            likeness[name].append(float(np.mean(overlaps)))
            scores[name].append(float(np.mean([film.score for film in found])))
    spread = float(np.std(scores["plain"]))
    cost = (np.mean(scores["plain"]) - np.mean(scores["diverse"])) / spread
    print(f"genres in common {np.mean(likeness['plain']):.3f} → {np.mean(likeness['diverse']):.3f}, cost {cost:.3f}")
    assert np.mean(likeness["diverse"]) < np.mean(likeness["plain"])
    assert np.mean(likeness["capped"]) < np.mean(likeness["plain"])
    assert 0 <= cost < 1.0
