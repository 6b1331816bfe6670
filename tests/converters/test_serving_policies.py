"""What a person writes beside the models: serving.toml, the policies in a recipe, labels, and typical values."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearhand.bundle import Archive, parse, serialize
from nearhand.bundle.manifest import Manifest
from nearhand.bundle.schema import MANIFEST_PATH
from nearhand.bundle.serving import (
    DecisionPolicy,
    Exploration,
    FrequencyCap,
    Freshness,
    Learning,
    ListPolicy,
    Rule,
)
from nearhand.events import EventSchema
from nearhand_converters.errors import DataError
from nearhand_converters.merge import merge_bundles
from nearhand_converters.recipe import Recipe, Serving, TableRecipe, read_recipe, read_serving, read_table_recipe
from nearhand_converters.sources.model import Rows
from nearhand_converters.tabular import Sample, convert_tabular
from tests.converters.table_models import Affine
from tests.sdk import serving_factory
from tests.sdk.serving_factory import part

_LABELS = st.dictionaries(
    st.sampled_from(["views_7d", "latest.0"]),
    st.dictionaries(st.sampled_from(["en", "de"]), st.sampled_from(["a", "ä"])),
)

# --- serving.toml ----------------------------------------------------------------------------------------------------

_NUMBER = st.decimals(0, 1, places=3) | st.sampled_from([Decimal(0), Decimal(1), Decimal("1E-7")])
_ABOVE = st.decimals(Decimal("0.001"), 100, places=3)
_WORD = st.from_regex(r"[a-z0-9]{1,6}(-[a-z0-9]{1,3})?", fullmatch=True)
_LISTINGS = st.builds(
    ListPolicy,
    st.none() | _WORD,
    _NUMBER,
    st.sampled_from(["genres", "directors"]),
    st.integers(0, 99),
    st.none() | st.builds(Freshness, _NUMBER, _ABOVE),
    st.none() | st.builds(Exploration, _ABOVE, st.integers(2, 99)),
    st.none()
    | st.builds(
        Learning,
        st.dictionaries(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=5), _NUMBER,
                        min_size=1),
        _NUMBER, _NUMBER, _ABOVE, st.integers(1, 10**6),
    ),
)  # fmt: skip
_RULES = st.lists(_WORD, min_size=1, max_size=3, unique=True).flatmap(
    lambda actions: st.tuples(*(st.builds(Rule, st.just(f"do-{action}"), _NUMBER, st.text("a é\"\\", max_size=4))
                                for action in actions))
)  # fmt: skip
_DECISIONS = st.builds(
    DecisionPolicy, _WORD, _WORD, _RULES, st.just("none"), _NUMBER,
    st.lists(st.builds(FrequencyCap, st.integers(1, 9), _ABOVE), max_size=2).map(tuple), _NUMBER, _NUMBER,
)  # fmt: skip


def toml(value: Any) -> str:
    """As people may write it: numbers bare, tables inline."""
    if isinstance(value, dict):
        return (
            "{"
            + ", ".join(f"{json.dumps(key, ensure_ascii=False)} = {toml(each)}" for key, each in value.items())
            + "}"
        )
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, Decimal):
        text = f"{value:f}"
        return text.removesuffix(".000") if value else "0"
    if hasattr(value, "__dataclass_fields__"):
        return toml({name: each for name, each in vars(value).items() if each is not None})
    return json.dumps(value, ensure_ascii=False)


@settings(max_examples=30)
@given(st.builds(Serving, st.none() | _LISTINGS, st.lists(_DECISIONS, max_size=2).map(tuple), _LABELS))
def test_every_policy_can_be_written_as_toml(tmp_path_factory: pytest.TempPathFactory, serving: Serving) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text("".join(f"{name} = {toml(each)}\n" for name, each in vars(serving).items() if each is not None),
                    encoding="utf-8")  # fmt: skip
    assert read_serving(path) == serving


def test_labels_of_several_bundles_are_one(tmp_path: Path) -> None:
    first = merge_bundles(
        [part("churn")], out=tmp_path / "a.nearhand", labels={"views_7d": {"en": "films", "de": "Filme"}}
    )
    merged = merge_bundles(
        [first.path, part("kind")], out=tmp_path / "b.nearhand", labels={"views_7d": {"en": "visits"}}
    )
    assert merged.manifest.labels == {"views_7d": {"en": "visits", "de": "Filme"}}


WRONG: list[tuple[str, str, str, str]] = [
    ("[lisitng]", "lisitng", "is not a known key", "'listing'"),
    ("[listing]\ndiversty = 0.5", "listing.diversty", "is not a known key", "'diversity'"),
    ("[listing]\ndiversity = '0.5'", "listing.diversity", "not a number", "0.5"),
    ("[listing]\ndiversity = true", "listing.diversity", "not a number", "0.5"),
    ("[listing]\ndiversity = 1.5", "listing.diversity", "is 1.5", "0 to 1"),
    ("[listing]\ndiversity = inf", "listing.diversity", "not a finite", "0.5"),
    ("[listing]\ndiversity = nan", "listing.diversity", "not a finite", "0.5"),
    ("[listing]\ndiversity = 2026-01-01", "listing.diversity", "a date", "schema"),
    ("[listing]\nranker = 12:00:00", "listing.ranker", "a time", "schema"),
    ("[listing]\nranker = [1.5, 2026-01-01]", "listing.ranker[1]", "a date", "schema"),
    ("[listing]\ncategory = 'genre'", "listing.category", "not one of", "'genres'"),
    ("[listing]\ncategory_cap = 2.0", "listing.category_cap", "not an integer", "an integer"),
    ("[listing.freshness]\nweight = 1", "listing.freshness.half_life_days", "is missing", "add it"),
    ("[listing.exploration]\ntemperature = 0", "listing.exploration.temperature", "is 0", "above 0"),
    ("[listing.learning.rewards]\nitem_liked = 'much'", "listing.learning.rewards.item_liked", "not a number", "0.5"),
    ("[listing.learning]\nrewards = {}", "listing.learning.rewards", "is empty", "name an event"),
    ("listing = 5", "listing", "not an object", "an object"),
    ("[decisions]\nname = 'a'", "decisions", "not a list", "a list"),
    ("[[decisions]]\nname = 'a'\npredictor = 'p'\nrules = []", "decisions[0].rules", "is empty", "one rule"),
    ("[[decisions]]\nname = 'a'\npredictor = 'p'\nrules = [{action = 'x', atleast = 1}]",
     "decisions[0].rules[0].atleast", "is not a known key", "'at_least'"),
    ("[[decisions]]\nname = 'a'\npredictor = 'p'\nrules = [{action = 'x', at_least = 1}]\n"
     "[[decisions.caps]]\ntimes = 0\ndays = 1", "decisions[0].caps[0].times", "is 0", "1"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "place", "problem", "remedy"), WRONG, ids=[case[0] for case in WRONG])
def test_a_malformed_policy_is_refused_with_its_place(
    tmp_path: Path, text: str, place: str, problem: str, remedy: str
) -> None:
    path = tmp_path / "serving.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_serving(path)
    assert caught.value.place == f"serving.toml: {place}"
    assert problem in caught.value.problem
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("data", [b"[listing", b"\xff"])
def test_what_is_not_toml(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "serving.toml"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"serving.toml: cannot be read"):
        read_serving(path)


# --- in a recipe -----------------------------------------------------------------------------------------------------

DECISION = "[[decisions]]\nname = 'a'\npredictor = 'p'\nrules = [{action = 'x', at_least = 1}]\n"


def recipe(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_recipe_may_say_how_a_list_is_made(tmp_path: Path) -> None:
    found = read_recipe(
        recipe(tmp_path, "[bundle]\nname = 'films'\n[listing]\ndiversity = 0.3\n[train]\nfactors = 1.5")
    )
    assert found == Recipe(name="films", listing=ListPolicy(diversity=Decimal("0.3")))


@pytest.mark.parametrize(
    ("text", "place", "remedy"),
    [
        ("[listing]\nranker = 'order'", "listing.ranker", "nearhand merge"),
        (DECISION, "decisions[0].predictor", "nearhand merge"),
        ("[listing]\ndiversty = 0.5", "listing.diversty", "'diversity'"),
        ("[listing.learning.rewards]\nown = 1", "bundle", "correct the recipe"),
        ("[bundle.listing]\ndiversity = 0.5", "bundle", "use one of"),
    ],
)
def test_what_a_retrieval_model_alone_cannot_have(tmp_path: Path, text: str, place: str, remedy: str) -> None:
    with pytest.raises(DataError) as caught:
        read_recipe(recipe(tmp_path, text))
    assert caught.value.place == f"recipe.toml: {place}"
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("text", ["[listing]\ndiversity = 0.5", DECISION])
def test_a_recipe_of_a_predictor_has_no_policies(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="nearhand merge"):
        read_table_recipe(recipe(tmp_path, text), TableRecipe())


def test_a_program_may_read_events_that_its_recipe_declares(tmp_path: Path) -> None:
    views = [{"op": "count", "name": "rated", "events": ["film_rated"]}]
    (tmp_path / "features.json").write_text(json.dumps({**serving_factory.PROGRAM, "views": views}), encoding="utf-8")
    text = "[bundle]\nfeatures = 'features.json'\n[bundle.event_types.film_rated]\nitem = true"
    found = read_recipe(recipe(tmp_path, text))
    assert found.features is not None
    assert found.event_types == {"film_rated": EventSchema(item=True)}


# --- typical values --------------------------------------------------------------------------------------------------


def convert_sample(path: Path, sample: Sample | None) -> Manifest:
    settings = TableRecipe(name="affine", licence="MIT", rows=60, golden_rows=3)
    return convert_tabular(Affine(), path, settings, targets=("onnx",), provenance={}, sample=sample).manifest


def test_the_median_of_given_rows_is_typical(tmp_path: Path) -> None:
    numbers = np.array([[0.1, np.nan], [7.25, np.nan], [np.nan, np.nan], [1e9 / 3, np.inf]])
    sample = Sample(Rows(numbers, np.full((4, 1), 2, np.int32)), "rows.csv")
    manifest = convert_sample(tmp_path / "a.nearhand", sample)
    assert [column.typical for column in manifest.table_models[0].columns] == [Decimal("7.25"), None, None]
    assert parse(Manifest, serialize(manifest), place="") == manifest
    thirds = Sample(Rows(np.array([[1 / 3, -1e-30]]), np.full((1, 1), 2, np.int32)), "rows.csv")
    found = convert_sample(tmp_path / "b.nearhand", thirds).table_models[0].columns
    assert [column.typical for column in found] == [Decimal("0.333333333"), None, Decimal("-1E-30")]


def test_without_rows_nothing_is_typical(tmp_path: Path) -> None:
    columns = convert_sample(tmp_path / "a.nearhand", None).table_models[0].columns
    assert {column.typical for column in columns} == {None}
    with Archive.open(tmp_path / "a.nearhand") as archive:
        assert b"typical" not in archive.read(MANIFEST_PATH)
