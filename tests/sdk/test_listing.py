"""Lists: what each place's value is, what may never be in a list, and that its chances are what it says."""

from __future__ import annotations

import math
import random
from collections import Counter
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nearhand.bundle.schema import Items
from nearhand.bundle.serving import Exploration, Freshness, ListPolicy
from nearhand.errors import ModelError, UsageError
from nearhand.ranking import Catalogue, Filter, Listed, Listing, intra_list_diversity

DAY_MS = 86_400_000
NOW = 1_800_000_000_000


def make_items(
    genres: list[tuple[str, ...]], *, directors: list[str] | None = None, added_at: tuple[int, ...] = ()
) -> Items:
    count = len(genres)
    return Items(
        item_ids=tuple(f"m_{row}" for row in range(count)),
        titles=("Title",) * count,
        years=(2000,) * count,
        genres=tuple(genres),
        directors=tuple(directors or [""] * count),
        popularity=(1,) * count,
        added_at=added_at,
    )


def make_list(
    policy: ListPolicy,
    scores: list[float],
    *,
    items: Items | None = None,
    rows: list[int] | None = None,
    vectors: Any = None,
    k: int = 10,
    **arguments: Any,
) -> Listed:
    """Candidates are the first rows of the catalogue, and alike in nothing, unless it is said otherwise."""
    count = len(scores)
    return Listing(items or make_items([()] * max(count, 1)), policy).make(
        np.array(range(count) if rows is None else rows, np.int32),
        np.array(scores, np.float64),
        np.eye(count, dtype=np.float32) if vectors is None else np.array(vectors, np.float32),
        k=k,
        now_ms=NOW,
        **arguments,
    )


class Numbers:
    """Random numbers that the test chooses; then none."""

    def __init__(self, *numbers: float) -> None:
        self.left = list(numbers)

    def random(self) -> float:
        return self.left.pop(0)


GENRES = ("drama", "crime", "comedy", "western")


@st.composite
def requests(draw: st.DrawFn, *, explores: bool | None = None) -> dict[str, Any]:
    """A catalogue, a policy and a request of it, with many equal scores and full categories.

    What there is much of comes from a seed: lists that hypothesis draws itself are mostly too short to be cut.
    """
    count = draw(st.sampled_from([20, 14, 9, 5, 1]))  # integers would mostly be small
    generator = np.random.default_rng(draw(st.integers(0, 10**6)))
    category: Literal["genres", "directors"] = draw(st.sampled_from(("genres", "directors")))
    most = 3 if category == "genres" else 1
    categories = [tuple(generator.choice(GENRES, generator.integers(0, most + 1)).tolist()) for _ in range(count)]
    rows = generator.permutation(count)[: draw(st.sampled_from([count, count - 1, count // 2, 0]))]
    coarse = draw(st.booleans())
    scores = generator.integers(-2, 3, len(rows)) if coarse else generator.normal(size=len(rows))
    vectors = generator.integers(-1, 2, (len(rows), 3)) if coarse else generator.normal(size=(len(rows), 3))
    explored = draw(st.booleans()) if explores is None else explores
    policy = ListPolicy(
        diversity=draw(st.sampled_from([Decimal(0), Decimal("0.3"), Decimal(1)])),
        category=category,
        category_cap=draw(st.sampled_from([1, 2, 3, 0])),
        freshness=draw(st.none() | st.just(Freshness(Decimal("0.5"), Decimal(30)))),
        exploration=Exploration(Decimal("0.5"), draw(st.integers(2, 5))) if explored else None,
    )
    pins = min(count, draw(st.sampled_from([0, 1, 3])))
    positions = generator.permutation(12)[:pins].tolist()
    return {
        "categories": [tuple(set(names)) for names in categories],
        "policy": policy,
        "items": make_items(
            categories if category == "genres" else [()] * count,
            directors=None if category == "genres" else ["".join(names) for names in categories],
            added_at=tuple(generator.choice([0, NOW, NOW - 40 * DAY_MS, NOW + DAY_MS], count).tolist()),
        ),
        "rows": rows.tolist(),
        "scores": scores.tolist(),
        "vectors": vectors.astype(np.float32),
        "adjustment": generator.choice([0.0, 0.0, -2.0, 1.0], len(rows)),
        "keep": generator.random(count) < 0.8,
        "pinned": dict(zip(positions, generator.permutation(count)[:pins].tolist(), strict=True)),
        "k": draw(st.sampled_from([10, 12, 5, 2, 1])),
    }


def make_of(request: dict[str, Any], seed: int = 0) -> Listed:
    given = {name: value for name, value in request.items() if name != "categories"}
    return make_list(**given, random=random.Random(seed))


@given(requests(), st.integers(0, 10))
def test_a_list_is_what_its_policy_allows(request: dict[str, Any], seed: int) -> None:
    found = make_of(request, seed)
    keep, rows, pinned, categories = (request[name] for name in ("keep", "rows", "pinned", "categories"))
    listed = found.rows.tolist()
    assert len(listed) == len(set(listed)) <= request["k"]
    assert keep[found.rows].all()
    for row, candidate in zip(listed, found.candidates.tolist(), strict=True):
        assert row in pinned.values() if candidate == -1 else rows[candidate] == row
    assert (found.candidates >= 0).tolist() == [row in rows for row in listed]

    cap = request["policy"].category_cap or len(keep)
    used = Counter(category for row in listed for category in categories[row])
    assert all(count <= cap for count in used.values())
    if len(listed) < request["k"]:  # nothing that was left would have fitted
        left = [row for row in rows if keep[row] and row not in listed]
        assert all(any(used[category] == cap for category in categories[row]) for row in left)

    for position, row in pinned.items():
        if position < request["k"] and row in listed:
            place = listed.index(row)
            assert found.propensities[place] == 1
            assert place == position or (place < position and set(listed[place:]) <= set(pinned.values()))
    assert ((found.propensities > 0) & (found.propensities <= 1)).all()
    if request["policy"].exploration is None:
        assert (found.propensities == 1).all()
    assert np.isfinite(found.scores).all()
    types = [column.dtype.name for column in vars(found).values()]
    assert types == ["int32", np.dtype(np.intp).name, "float64", "float64"]


@given(requests(), st.integers(0, 10), st.randoms(use_true_random=False))
def test_the_same_seed_gives_the_same_list_in_whatever_order_the_candidates_come(
    request: dict[str, Any], seed: int, shuffler: random.Random
) -> None:
    order = list(range(len(request["rows"])))
    shuffler.shuffle(order)
    shuffled = {
        "rows": [request["rows"][place] for place in order],
        "scores": [request["scores"][place] for place in order],
        "vectors": request["vectors"][order],
        "adjustment": request["adjustment"][order],
    }
    one, other = make_of(request, seed), make_of({**request, **shuffled}, seed)
    assert one.rows.tolist() == other.rows.tolist()
    assert one.scores.tolist() == other.scores.tolist()
    assert one.propensities.tolist() == other.propensities.tolist()


@given(requests(explores=False))
def test_each_place_has_the_greatest_value_that_the_formula_gives(request: dict[str, Any]) -> None:
    """Against the definition, item by item. A pinned item's place is given, and so only its value is compared."""
    found = make_of(request)
    policy, keep, categories = request["policy"], request["keep"], request["categories"]
    values = naive_relevance(request)
    kept = [score for row, score in zip(request["rows"], request["scores"], strict=True) if keep[row]]
    spread, score_range = naive_spread(kept)
    diversity, cap = float(policy.diversity), policy.category_cap or len(keep)
    vectors = dict(zip(request["rows"], request["vectors"].astype(np.float64), strict=True))
    listed = found.rows.tolist()
    pins = {row for position, row in request["pinned"].items() if position < request["k"] and row in listed}
    tolerance = 1e-5 * (1 + score_range / spread)
    above: list[int] = []

    def value(row: int) -> float:
        likeness = max((cosine(vectors[row], vectors[other]) for other in above if other in values), default=0)
        return (1 - diversity) * values[row] - diversity * score_range / spread * likeness

    for row, score in zip(listed, found.scores.tolist(), strict=True):
        assert score == pytest.approx(value(row) if row in values else 0, abs=tolerance)
        if row not in pins:
            taken = {*above, *pins}
            used = Counter(category for other in taken for category in categories[other])
            left = [
                other
                for other in values
                if other not in taken and all(used[category] < cap for category in categories[other])
            ]
            assert row in left
            assert value(row) >= max(map(value, left)) - tolerance
        above.append(row)


def naive_spread(kept: list[float]) -> tuple[float, float]:
    if len(set(kept)) < 2:
        return 1.0, 1.0
    mean = math.fsum(kept) / len(kept)
    return math.sqrt(math.fsum((score - mean) ** 2 for score in kept) / len(kept)), max(kept) - min(kept)


def naive_relevance(request: dict[str, Any]) -> dict[int, float]:
    kept = [score for row, score in zip(request["rows"], request["scores"], strict=True) if request["keep"][row]]
    spread, _ = naive_spread(kept)
    found = {}
    for row, score, lift in zip(request["rows"], request["scores"], request["adjustment"], strict=True):
        if not request["keep"][row]:
            continue
        found[row] = (score - max(kept)) / spread + lift
        added = request["items"].added_at[row]
        if request["policy"].freshness and added:
            found[row] += 0.5 * 2 ** (-max(NOW - added, 0) / (30 * DAY_MS))
    return found


def cosine(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    lengths = math.sqrt(float(one @ one)) * math.sqrt(float(other @ other))
    return float(one @ other) / lengths if lengths else 0.0


@given(st.lists(st.floats(-1e9, 1e9, width=32) | st.integers(-2, 2).map(float), max_size=12))
def test_a_policy_that_asks_for_nothing_keeps_the_order_of_the_scores(scores: list[float]) -> None:
    best = max(scores, default=0)
    assume(len({score - best for score in scores}) == len(set(scores)))  # float64 tells them apart beside the best
    order = sorted(range(len(scores)), key=lambda place: (-scores[place], place))
    found = make_list(ListPolicy(), scores)
    assert found.candidates.tolist() == order[:10]
    assert (found.propensities == 1).all()


def test_of_equal_values_the_lower_row_comes_first() -> None:
    items = make_items([()] * 9)
    found = make_list(ListPolicy(), [1, 2, 1, 2, 2], items=items, rows=[8, 7, 2, 3, 5])
    assert found.rows.tolist() == [3, 5, 7, 2, 8]
    assert found.candidates.tolist() == [3, 4, 1, 2, 0]


@pytest.mark.parametrize("kept", [[], [False, False, False]], ids=["none retrieved", "none kept"])
def test_without_candidates_the_list_is_empty_but_for_what_is_pinned(kept: list[bool]) -> None:
    policy = ListPolicy(diversity=Decimal("0.3"), category_cap=1, exploration=Exploration(Decimal(1)))
    items = make_items([("drama",)] * 4)
    keep = np.array([*(kept or [True] * 3), True])
    scores = [1.0] * len(kept)
    numbers = Numbers()
    assert len(make_list(policy, scores, items=items, keep=keep, random=numbers)) == 0
    found = make_list(policy, scores, items=items, keep=keep, random=numbers, pinned={2: 3})
    assert (found.rows.tolist(), found.candidates.tolist(), found.propensities.tolist()) == ([3], [-1], [1.0])


def test_more_than_there_is_is_all_there_is() -> None:
    assert make_list(ListPolicy(), [1, 3, 2], k=50).rows.tolist() == [1, 2, 0]


def test_the_cap_counts_an_item_in_each_of_its_genres_and_once_in_each() -> None:
    items = make_items([("drama", "crime"), ("crime", "crime"), ("drama",), ("comedy",), ("crime",), ()])
    found = make_list(ListPolicy(category_cap=2), [6, 5, 4, 3, 2, 1], items=items)
    assert found.rows.tolist() == [0, 1, 2, 3, 5]  # 4 would be the third crime film
    found = make_list(ListPolicy(category_cap=1), [6, 5, 4, 3, 2, 1], items=items)
    assert found.rows.tolist() == [0, 3, 5]


def test_the_cap_may_be_of_directors_and_an_unknown_one_is_nobody() -> None:
    items = make_items([("drama",)] * 5, directors=["Mann", "Mann", "", "", "Varda"])
    found = make_list(ListPolicy(category="directors", category_cap=1), [5, 4, 3, 2, 1], items=items)
    assert found.rows.tolist() == [0, 2, 3, 4]


def test_new_items_are_lifted_by_half_after_each_half_life() -> None:
    ages = (0, 30, 60, 3000, -5)  # days; the last one's date is of a clock that was ahead
    added = (*(NOW - age * DAY_MS for age in ages), 0)  # and the date after it is unknown
    items = make_items([()] * 6, added_at=added)
    policy = ListPolicy(freshness=Freshness(Decimal(3), Decimal(30)))
    found = make_list(policy, [1.0] * 6, items=items)
    assert found.rows.tolist() == [0, 4, 1, 2, 3, 5]
    assert found.scores[:4].tolist() == [3.0, 3.0, 1.5, 0.75]
    assert found.scores[4:] == pytest.approx([0, 0], abs=1e-18)

    slow = ListPolicy(freshness=Freshness(Decimal(3), Decimal(3650)))  # the epoch is but a few half-lives ago
    assert make_list(slow, [1.0] * 6, items=items).scores.min() == 0

    uneven = make_items([()] * 1, added_at=(NOW - 10 * DAY_MS,))
    assert make_list(policy, [1.0], items=uneven).scores[0] == pytest.approx(3 * 2 ** (-1 / 3), rel=1e-12)
    assert make_list(policy, [1.0]).scores[0] == 0  # a catalogue without dates


def test_lifts_are_in_spreads_of_the_scores() -> None:
    scores = [10.0, 20.0, 30.0, 40.0]  # their standard deviation is 11.18
    spread = math.sqrt(125)
    found = make_list(ListPolicy(), scores, learned=np.array([0, 2.0, 0, 0]), adjustment=np.array([0, 0, 0, -1.0]))
    expected = {0: -30 / spread, 1: -20 / spread + 2, 2: -10 / spread, 3: -1.0}
    assert found.rows.tolist() == sorted(expected, key=lambda row: -expected[row])
    assert found.scores == pytest.approx(sorted(expected.values(), reverse=True), rel=1e-12)


def test_a_penalty_on_one_item_does_not_change_how_much_diversity_counts_for_the_others() -> None:
    policy = ListPolicy(diversity=Decimal("0.5"))
    scores, vectors = [3.0, 2.0, 1.5, 0.0], [[1, 0], [1, 0.2], [0, 1], [1, 1]]
    plain = make_list(policy, scores, vectors=vectors, k=3)
    lowered = make_list(policy, scores, vectors=vectors, k=3, adjustment=np.array([0, 0, 0, -1000.0]))
    assert plain.rows.tolist() == lowered.rows.tolist()
    assert plain.scores.tolist() == lowered.scores.tolist()


def test_pinned_items_stand_at_their_positions() -> None:
    items = make_items([()] * 8)
    found = make_list(ListPolicy(), [5, 4, 3, 2], items=items, k=5, pinned={0: 6, 2: 3, 7: 5})
    assert found.rows.tolist() == [6, 0, 3, 1, 2]
    assert found.candidates.tolist() == [-1, 0, 3, 1, 2]
    assert found.scores[0] == 0
    assert found.scores[2] == found.scores.min() == pytest.approx(-3 / math.sqrt(1.25))


def test_a_pinned_item_follows_the_last_candidate_where_those_run_out() -> None:
    found = make_list(ListPolicy(), [2, 1], items=make_items([()] * 8), pinned={9: 4, 5: 7, 1: 6})
    assert found.rows.tolist() == [0, 6, 1, 7, 4]


def test_a_pinned_item_that_is_filtered_out_or_too_many_is_not_in_the_list() -> None:
    items = make_items([("drama",), ("drama",), ("crime",), ("drama",), ("drama",)])
    keep = Filter(blocked_items={"m_3"}).over(Catalogue(items)).keep(np.arange(5, dtype=np.int32)).mask
    found = make_list(ListPolicy(), [3, 2, 1], items=items, keep=keep, pinned={0: 3})
    assert found.rows.tolist() == [0, 1, 2]
    found = make_list(ListPolicy(category_cap=2), [3, 2, 1], items=items, pinned={3: 4, 1: 3})
    assert found.rows.tolist() == [2, 3, 4]  # the pinned ones at 1 and below are the two dramas
    found = make_list(ListPolicy(category_cap=1), [3, 2, 1], items=items, pinned={0: 4, 1: 3})
    assert found.rows.tolist() == [4, 2]  # the second pinned drama is one too many


def test_a_pinned_candidate_that_fills_its_own_category_keeps_its_score() -> None:
    items = make_items([("drama",), ("crime",), ("drama",)])
    found = make_list(ListPolicy(category_cap=1), [3, 2, 1], items=items, pinned={0: 2})
    assert found.rows.tolist() == [2, 1]
    assert found.scores == pytest.approx([-2 / math.sqrt(2 / 3), -1 / math.sqrt(2 / 3)])


def test_items_below_a_pinned_candidate_are_compared_with_it() -> None:
    policy = ListPolicy(diversity=Decimal("0.5"))
    vectors = [[1, 0], [0, 1], [1, 0.1], [0.1, 1]]
    found = make_list(policy, [2.0, 2.0, 1.0, 1.0], vectors=vectors, k=2, pinned={0: 3})
    assert found.rows.tolist() == [3, 0]
    found = make_list(policy, [2.0, 2.0, 1.0, 1.0], vectors=vectors, k=2, pinned={0: 2})
    assert found.rows.tolist() == [2, 1]


def clustered(seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """100 vectors in 8 clusters, and the scores of a user who likes some clusters more."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(8, 64))
    cluster = generator.integers(0, 8, 100)
    vectors = centres[cluster] + 0.5 * generator.normal(size=(100, 64))
    scores = generator.normal(size=8)[cluster] + 0.3 * generator.normal(size=100)
    return vectors.astype(np.float32), scores.astype(np.float32)


def test_diversity_is_bought_with_relevance() -> None:
    """Means over 20 catalogues of clusters: diversity → intra-list diversity, mean score in spreads below the best."""
    table = {}
    for diversity in ("0", "0.3", "0.6"):
        listing = Listing(make_items([()] * 100), ListPolicy(diversity=Decimal(diversity)))
        measured = []
        for seed in range(20):
            vectors, scores = clustered(seed)
            found = listing.make(np.arange(100, dtype=np.int32), scores, vectors, k=10, now_ms=NOW)
            chosen = scores[found.candidates]
            measured.append(
                (intra_list_diversity(vectors[found.candidates]), (chosen.mean() - scores.max()) / scores.std())
            )
        table[diversity] = np.mean(measured, axis=0).round(2).tolist()
    assert table == {"0": [0.44, -0.34], "0.3": [0.74, -0.55], "0.6": [0.97, -1.35]}


def odds_at(place: int, above: list[float], request: dict[str, Any]) -> dict[int, tuple[float, float]]:
    """row → (its propensity, the share of evenly spaced random numbers that draw it) at a place."""
    steps, drawn, shares = 2000, {}, Counter[int]()
    for step in range(steps):
        found = make_list(**request, k=place + 1, random=Numbers(*above, (step + 0.5) / steps))
        drawn[int(found.rows[place])] = float(found.propensities[place])
        shares[int(found.rows[place])] += 1
    return {row: (propensity, shares[row] / steps) for row, propensity in drawn.items()}


EXPLORING: dict[str, Any] = {
    "policy": ListPolicy(
        diversity=Decimal("0.3"), category_cap=1, exploration=Exploration(Decimal("0.8"), candidates=4)
    ),
    "items": make_items([("drama",), ("crime",), ("drama",), (), (), ("western",), ()]),
    "scores": [3.0, 2.9, 2.5, 2.0, 1.8, 1.0, 0.5],
    "vectors": [[1, 0], [0.9, 0.1], [0, 1], [1, 1], [-1, 0.3], [0.2, 1], [1, -1]],
}


@pytest.mark.parametrize(("place", "above"), [(0, []), (1, [0.1]), (2, [0.1, 0.5])])
def test_propensities_are_the_chances_and_sum_to_1(place: int, above: list[float]) -> None:
    odds = odds_at(place, above, EXPLORING)
    assert len(odds) == 4
    assert math.fsum(propensity for propensity, _ in odds.values()) == pytest.approx(1, abs=1e-12)
    for propensity, share in odds.values():
        assert share == pytest.approx(propensity, abs=1 / 2000)


def test_the_odds_are_those_of_the_values_among_the_best_that_are_left() -> None:
    policy = ListPolicy(exploration=Exploration(Decimal("0.5"), candidates=3))
    scores = [4.0, 1.0, 3.0, 2.5, 0.0]
    spread = float(np.std(scores))
    weights = {row: math.exp(scores[row] / spread / 0.5) for row in (0, 2, 3)}
    odds = odds_at(0, [], {"policy": policy, "scores": scores})
    assert sorted(odds) == [0, 2, 3]
    for row, (propensity, _) in odds.items():
        assert propensity == pytest.approx(weights[row] / sum(weights.values()), rel=1e-11)
    below = {row: math.exp(scores[row] / spread / 0.5) for row in (0, 3, 1)}
    found = make_list(policy, scores, k=2, random=Numbers(0.9, 0.0))  # 0.9 is beyond the odds of the first
    assert found.rows.tolist() == [2, 0]
    assert found.propensities[1] == pytest.approx(below[0] / sum(below.values()), rel=1e-11)


@pytest.mark.parametrize("make_random", [random.Random, np.random.default_rng], ids=["random", "numpy"])
def test_over_many_seeds_items_come_as_often_as_their_propensity_says(make_random: Any) -> None:
    """Each pair of the first two places, within four standard errors; a fixed set of seeds."""
    seeds = 2000
    counted: Counter[tuple[int, int]] = Counter()
    chance = {}
    for seed in range(seeds):
        found = make_list(**EXPLORING, k=2, random=make_random(seed))
        pair = (int(found.rows[0]), int(found.rows[1]))
        counted[pair] += 1
        chance[pair] = float(found.propensities.prod())
    assert math.fsum(chance.values()) == pytest.approx(1, abs=0.01)  # hardly any pair was never drawn
    for pair, count in counted.items():
        error = math.sqrt(seeds * chance[pair] * (1 - chance[pair]))
        assert abs(count - seeds * chance[pair]) <= 4 * error + 1


def test_a_random_number_at_a_boundary_belongs_to_the_next_item() -> None:
    """As random numbers are from 0 up to but not 1, so is each item's part of them."""
    policy = ListPolicy(exploration=Exploration(Decimal(1)))
    for number, row in ((0.0, 0), (math.nextafter(0.5, 0.0), 0), (0.5, 1), (math.nextafter(1.0, 0.0), 1)):
        found = make_list(policy, [1.0, 1.0], k=1, random=Numbers(number))
        assert (found.rows.tolist(), found.propensities.tolist()) == ([row], [0.5])


def test_one_random_number_is_used_for_each_place_that_is_not_pinned() -> None:
    numbers = Numbers(0.1, 0.2, 0.3, 0.4)
    make_list(**EXPLORING, k=4, pinned={1: 3}, random=numbers)
    assert numbers.left == [0.4]


@pytest.mark.parametrize("number", [0.0, math.nextafter(1.0, 0.0)])
@pytest.mark.parametrize("temperature", ["1e-400", "0.001", "100"])
def test_extreme_numbers_and_temperatures_draw_a_candidate(number: float, temperature: str) -> None:
    policy = ListPolicy(exploration=Exploration(Decimal(temperature), candidates=3))
    found = make_list(policy, [3.0, 2.0, 1.0], k=1, random=Numbers(number))
    assert 0 < found.propensities[0] <= 1
    if temperature != "100":
        assert found.rows.tolist() == [0]
        assert found.propensities[0] == pytest.approx(1)


def test_a_list_has_the_same_bits_whatever_order_its_cosines_are_summed_in() -> None:
    """Libraries sum a product in blocks of their own; here the factors are in another order."""
    policy = ListPolicy(diversity=Decimal("0.4"), exploration=Exploration(Decimal("0.5")))
    listing = Listing(make_items([()] * 100), policy)
    for seed in range(10):
        vectors, scores = clustered(seed)
        order = np.random.default_rng(seed).permutation(64)
        rows = np.arange(100, dtype=np.int32)
        one, other = (
            listing.make(rows, scores, given, k=10, now_ms=NOW, random=random.Random(seed))
            for given in (vectors, vectors[:, order])
        )
        assert one.rows.tolist() == other.rows.tolist()
        assert one.scores.tolist() == other.scores.tolist()
        assert one.propensities.tolist() == other.propensities.tolist()


def test_a_list_has_the_bits_that_it_had() -> None:
    """Of every other processor and library, too."""
    items = make_items(
        [(GENRES[row % 4],) for row in range(12)], added_at=tuple(NOW - row**3 * DAY_MS for row in range(12))
    )
    policy = ListPolicy(
        diversity=Decimal("0.3"),
        category_cap=2,
        freshness=Freshness(Decimal(1), Decimal(21)),
        exploration=Exploration(Decimal("0.4")),
    )
    vectors = [[row % 5, (7 * row) % 11, row - 6] for row in range(12)]
    scores = [(row * 37) % 12 / 7 for row in range(12)]
    found = make_list(policy, scores, items=items, vectors=vectors, k=6, random=random.Random(5))
    assert found.rows.tolist() == [9, 10, 8, 1, 11, 3]
    assert [score.hex() for score in found.scores.tolist()] == [
        "-0x1.9f4a067a5b9eap-2",
        "-0x1.fb5d5d443e17ep-1",
        "-0x1.4ffd6963ca714p+0",
        "-0x1.e08583121e034p+0",
        "-0x1.535eff5a30a2cp-1",
        "-0x1.1d5ac4594cd45p+1",
    ]
    assert [chance.hex() for chance in found.propensities.tolist()] == [
        "0x1.1c97517ee3b1ep-3",
        "0x1.13007ae26ddb0p-3",
        "0x1.c0e7ee32d727bp-4",
        "0x1.eba3c5c4c9436p-6",
        "0x1.a700deda96761p-1",
        "0x1.83ba333f71a42p-4",
    ]


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_score_or_vector_that_is_not_finite_is_the_models_error(wrong: float) -> None:
    with pytest.raises(ModelError, match="scores: a score is not finite"):
        make_list(ListPolicy(), [1.0, wrong, 2.0])
    with pytest.raises(ModelError, match="scores: a score is not finite"):
        make_list(ListPolicy(), [wrong])
    diverse = ListPolicy(diversity=Decimal("0.3"))
    with pytest.raises(ModelError, match="vectors: an item vector is not finite"):
        make_list(diverse, [1.0, 2.0], vectors=[[1, 2], [wrong, 0]])
    assert make_list(ListPolicy(), [1.0, wrong], keep=np.array([True, False])).rows.tolist() == [0]


@pytest.mark.parametrize("name", ["learned", "adjustment"])
@pytest.mark.parametrize("wrong", [math.nan, -math.inf, 1e200])
def test_a_lift_is_finite(name: str, wrong: float) -> None:
    lifts: dict[str, Any] = {name: np.array([0, wrong])}
    with pytest.raises(UsageError, match="is not finite"):
        make_list(ListPolicy(), [1.0, 2.0], **lifts)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "k": ({"k": 0}, r"k: is 0"),
    "k as bool": ({"k": True}, r"k: is True"),
    "row twice": ({"rows": [1, 1]}, r"rows: row 1 stands twice"),
    "row below": ({"rows": [-1, 1]}, r"rows: has the row -1"),
    "row beyond": ({"rows": [0, 2]}, r"rows: has the row 2"),
    "rows": ({"rows": [0, 1, 2]}, r"scores: has the shape \[2\], not \[3\]"),
    "vectors": ({"vectors": [1, 2]}, r"vectors: has the shape \[2\]"),
    "vectors, too few": ({"vectors": [[1, 2]]}, r"vectors: has the shape \[1, 2\]"),
    "keep": ({"keep": np.ones(3, np.bool_)}, r"keep: has the shape \[3\]"),
    "learned": ({"learned": np.zeros(3)}, r"learned: has the shape \[3\]"),
    "adjustment": ({"adjustment": np.zeros(1)}, r"adjustment: has the shape \[1\]"),
    "pinned twice": ({"pinned": {0: 1, 1: 1}}, r"pinned: a row stands twice"),
    "pinned above": ({"pinned": {-1: 1}}, r"pinned: has the position -1"),
    "pinned row": ({"pinned": {0: 2}}, r"pinned: has the row 2"),
    "random": ({"policy": ListPolicy(exploration=Exploration(Decimal(1)))}, r"random: is missing"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_argument_is_named(case: str) -> None:
    arguments, message = WRONG[case]
    with pytest.raises(UsageError, match=message):
        make_list(**{"policy": ListPolicy(), "scores": [1.0, 2.0], **arguments})


def test_intra_list_diversity_is_the_mean_distance_of_all_pairs() -> None:
    vectors, _ = clustered(0)
    exact = vectors[:7].astype(np.float64)
    pairs = [1 - cosine(exact[i], exact[j]) for i in range(7) for j in range(i)]
    assert intra_list_diversity(vectors[:7]) == pytest.approx(np.mean(pairs), abs=1e-6)
    assert intra_list_diversity(np.array([[2, 0], [0, 3]], np.float32)) == 1
    assert intra_list_diversity(np.array([[2, 1], [4, 2]], np.float32)) == pytest.approx(0, abs=1e-6)
    assert intra_list_diversity(np.array([[1, 1], [-1, -1]], np.float32)) == pytest.approx(2, abs=1e-6)
    assert intra_list_diversity(np.array([[0, 0], [0, 0]], np.float32)) == 1
    assert intra_list_diversity(np.ones((1, 2), np.float32)) == intra_list_diversity(np.empty((0, 2), np.float32)) == 0
