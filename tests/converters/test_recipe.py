"""Recipes: what is merged, what is refused, and how numbers reach the manifest."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearhand.bundle.document import parse, serialize
from nearhand.bundle.schema import Budget, Policy
from nearhand.events import EventSchema
from nearhand_converters.errors import DataError
from nearhand_converters.recipe import BudgetRecipe, HistoryRecipe, Recipe, read_recipe


def read(folder: Path, text: str) -> Recipe:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return read_recipe(path)


MALFORMED: list[tuple[str, str, str, str]] = [
    # what the file says · place · a word of the problem · a word of the remedy
    ("bundle = 3", "bundle", "is 3", "give a table"),
    ("[[bundle]]\nname = 'a'", "bundle", "is [", "give a table"),
    ("[bundle]\nnmae = 'films'", "bundle", "'nmae' is not a key", "name"),
    ("[bundle]\nname = 3", "bundle.name", "is 3", "give a string"),
    ("[bundle]\nname = 'My Films'", "bundle", "name 'My Films'", "correct the recipe"),
    ("[bundle]\nname = '../films'", "bundle", "name '../films'", "correct the recipe"),
    ("[bundle]\nname = ''", "bundle", "name ''", "correct the recipe"),
    ("[bundle]\nversion = '1.0'", "bundle", "version '1.0' is not MAJOR.MINOR.PATCH", "correct the recipe"),
    ("[bundle]\nversion = 1.0", "bundle.version", "is 1.0", "give a string"),
    ("[bundle]\ncandidates = 99", "bundle", "candidates must be at least 100", "correct the recipe"),
    ("[bundle]\ncandidates = 100.5", "bundle.candidates", "is 100.5", "give a whole number"),
    ("[bundle]\ncandidates = true", "bundle.candidates", "is True", "give a whole number"),
    ("[bundle]\nbootstrap_samples = 0", "bundle", "bootstrap_samples is 0", "correct the recipe"),
    ("[bundle]\ngolden_cases = 0", "bundle", "golden_cases is 0", "correct the recipe"),
    ("[bundle]\nminimum_rating = '3.5'", "bundle.minimum_rating", "is '3.5'", "give a number"),
    ("[bundle]\nminimum_rating = nan", "bundle.minimum_rating", "is nan", "give a finite number"),
    ("[bundle]\nhistory = 256", "bundle.history", "is 256", "give a table"),
    ("[bundle.history]\nwindow = 0", "bundle", "history.window is 0", "correct the recipe"),
    ("[bundle.history]\nwindow = 1000000000000", "bundle.history.window", "is 1000000000000", "give a finite number"),
    ("[bundle.history]\nstrength_cap = 0", "bundle", "history.strength_cap is 0", "correct the recipe"),
    ("[bundle.history]\nstrength_cap = inf", "bundle.history.strength_cap", "is inf", "give a finite number"),
    ("[bundle.history]\nstrengths = 1", "bundle.history.strengths", "is 1", "give a table"),
    ("[bundle.history.strengths]\nitem_liked = 'a lot'", "bundle.history.strengths.item_liked", "is 'a lot'", "number"),
    ("[bundle.history.strengths]\nitem_heard = 1", "bundle", "'item_heard' has a strength but no verb", "correct"),
    (
        "[bundle.history.strengths]\nitem_viewed = 2",
        "bundle",
        "'item_viewed' does not have the strength 1.0",
        "correct",
    ),
    ("[bundle]\ninteraction_event = 'search'", "bundle", "'search' does not have the strength 1.0", "correct"),
    ("[bundle.history.verbs]\nitem_liked = 1", "bundle.history.verbs.item_liked", "is 1", "give a string"),
    ("[bundle.history]\nseen = 'item_viewed'", "bundle.history.seen", "is 'item_viewed'", "give a list of strings"),
    ("[bundle.history]\nseen = ['item_viewed', 2]", "bundle.history.seen[1]", "is 2", "give a string"),
    ("[bundle.history]\nseen = ['item_veiwed']", "bundle", "'item_veiwed' is neither known", "correct the recipe"),
    ("[bundle.history]\nseen = ['item_veiwed']", "bundle", "did you mean 'item_viewed'?", "correct the recipe"),
    ("[bundle.history.verbs]\nfilm_heard = 'heard'", "bundle", "declare it in event_types", "correct the recipe"),
    (
        "[bundle.history]\nstrengths = {film_heard = 1}\nverbs = {film_heard = 'heard'}",
        "bundle",
        "'film_heard' is neither known nor declared",
        "correct the recipe",
    ),
    ("[bundle.event_types.search]\nitem = true", "bundle", "'search' is Nearhand's own", "correct the recipe"),
    ("[bundle.event_types.preferences_reset]", "bundle", "'preferences_reset' is Nearhand's own", "correct the recipe"),
    ("[bundle]\nevent_types = ['film_rated']", "bundle.event_types", "is ['film_rated']", "give a table"),
    ("[bundle.event_types]\nfilm_rated = true", "bundle.event_types.film_rated", "is True", "give a table"),
    ("[bundle.event_types.film_rated]\nitems = true", "bundle.event_types.film_rated", "'items' is not a key", "item"),
    ("[bundle.event_types.film_rated]\nitem = 1", "bundle.event_types.film_rated.item", "is 1", "give true or false"),
    (
        "[bundle.event_types.film_rated]\nproperties = ['stars']",
        "bundle.event_types.film_rated.properties",
        "is ['stars']",
        "give a table",
    ),
    (
        "[bundle.event_types.film_rated.properties]\nstars = 5",
        "bundle.event_types.film_rated.properties.stars",
        "is 5",
        "give a string",
    ),
    (
        "[bundle.event_types.film_rated.properties]\nstars = 'numer'",
        "bundle.event_types.film_rated",
        "'numer', not one of text, number, boolean",
        "correct the recipe",
    ),
    ("[bundle.budget]\nndcg = -0.1", "bundle.budget", "'ndcg' is not a key", "ndcg_change"),
    ("[bundle.budget]\nndcg_change = -inf", "bundle.budget.ndcg_change", "is -inf", "give a finite number"),
]


@pytest.mark.parametrize(("text", "place", "problem", "remedy"), MALFORMED, ids=[case[0] for case in MALFORMED])
def test_a_malformed_recipe_is_refused_with_its_place(
    tmp_path: Path, text: str, place: str, problem: str, remedy: str
) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, text)
    error = caught.value
    assert error.place == f"recipe.toml: {place}"
    assert problem in error.problem
    assert remedy in error.remedy


@pytest.mark.parametrize("data", [b"[bundle", b"name = ", b"\xff\xfe", b"[bundle]\n[bundle]\n"])
def test_what_is_not_toml_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_recipe(path)
    assert caught.value.place == "recipe.toml"
    assert caught.value.remedy == "give a TOML file"


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            read_recipe(path)


def test_a_recipe_says_only_what_differs(tmp_path: Path) -> None:
    assert read(tmp_path, "") == read(tmp_path, "[train]\nfactors = 'ours to ignore'") == Recipe()
    text = """
        [bundle]
        name = "films"
        minimum_rating = 4
        [bundle.history]
        window = 64
        seen = ["item_liked"]
        [bundle.history.strengths]
        item_liked = 3
        item_clicked = 0
        [bundle.history.verbs]
        item_liked = "loved"
        [bundle.budget]
        top10_overlap = 0.5
    """
    default, recipe = Recipe(), read(tmp_path, text)
    assert recipe.name == "films"
    assert recipe.minimum_rating == 4
    assert recipe.version == default.version
    assert recipe.history.window == 64
    assert recipe.history.seen == ("item_liked",)  # a list is replaced
    assert recipe.history.strengths == {**default.history.strengths, "item_liked": 3, "item_clicked": 0}  # tables merge
    assert recipe.history.verbs == {**default.history.verbs, "item_liked": "loved"}
    assert recipe.budget == BudgetRecipe(top10_overlap=0.5)
    assert Recipe() == default, "the defaults are not changed"


def test_an_event_of_the_apps_own_is_declared_and_may_enter_the_history(tmp_path: Path) -> None:
    text = """
        [bundle.event_types.film_rated]
        item = true
        properties = { stars = "number" }
        [bundle.event_types.trailer_played]
        [bundle.history]
        strengths = { film_rated = 0.3 }
        verbs = { film_rated = "rated" }
    """
    recipe = read(tmp_path, text)
    assert recipe.event_types == {
        "film_rated": EventSchema(item=True, properties={"stars": "number"}),
        "trailer_played": EventSchema(item=False),
    }
    assert recipe.policy(1.0).confidences["film_rated"] == Decimal("0.3")


def test_the_policy_counts_in_the_models_alpha() -> None:
    policy = Recipe().policy(40.0)
    assert policy.confidences == {
        "item_clicked": 20,
        "item_disliked": -60,
        "item_liked": 80,
        "item_purchased": 80,
        "item_saved": 60,
        "item_viewed": 40,
    }
    assert policy.confidence_cap == 200
    assert list(policy.confidences) == sorted(policy.confidences)
    assert policy.seen == tuple(sorted(policy.seen))


@pytest.mark.parametrize(
    ("strength", "alpha", "written"),
    [(0.1, 3.0, "0.3"), (0.7, 0.1, "0.07"), (1.1, 1.1, "1.21"), (5.0, 40.0, "200"), (1 / 3, 1.0, "0.333333333")],
)
def test_products_are_the_decimals_that_people_mean(strength: float, alpha: float, written: str) -> None:
    strengths = {"item_viewed": 1.0, "item_liked": strength}
    history = HistoryRecipe(strengths=strengths, strength_cap=strength)
    policy = Recipe(history=history).policy(alpha)
    assert str(policy.confidences["item_liked"]) == str(policy.confidence_cap) == written


def test_a_strength_of_zero_leaves_the_event_out() -> None:
    for nothing in (0, 0.0, -0.0):
        history = HistoryRecipe(strengths={"item_viewed": 1.0, "item_clicked": nothing})
        assert list(Recipe(history=history).policy(2.0).confidences) == ["item_viewed"]


@given(
    strength=st.floats(-50, 50).filter(lambda s: abs(s) > 1e-6),
    cap=st.floats(0.01, 100),
    alpha=st.floats(0.01, 100),
    budget=st.floats(-1, 0),
)
def test_policy_and_budget_survive_the_manifest(strength: float, cap: float, alpha: float, budget: float) -> None:
    history = HistoryRecipe(strengths={"item_viewed": 1.0, "item_liked": strength}, strength_cap=cap)
    recipe = Recipe(history=history, budget=BudgetRecipe(ndcg_change=budget))
    policy = recipe.policy(alpha)
    assert parse(Policy, serialize(policy), place="policy") == policy
    assert parse(Budget, serialize(recipe.budgets()), place="budget") == recipe.budgets()
    assert float(policy.confidence_cap) == pytest.approx(cap * alpha, abs=1e-9)
