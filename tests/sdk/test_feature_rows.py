"""Features as rows: whatever the program and the table are, they are what the encoder makes of the same values."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nearhand.bundle import install_bundle
from nearhand.bundle.schema import TensorSpec
from nearhand.bundle.tables import Column, TableModel, TableRole
from nearhand.errors import ProgramError, UsageError
from nearhand.features import (
    CandidateFeatures,
    CompiledProgram,
    FeatureFold,
    FeatureVector,
    ItemTable,
    compile_program,
    read_program,
)
from nearhand.ranking import Predictor, RowEncoder, TableRows
from nearhand.ranking.feature_rows import RETRIEVAL_SCORE, FeatureRows, feature_places
from nearhand.version import __version__
from tests.sdk import any_program, serving_factory
from tests.sdk.table_factory import make_ranker, make_table_files

AS_OF = any_program.EVENT.timestamp + 5000
PROGRAM = any_program.program(
    {"op": "count", "name": "views", "events": ["item_viewed"]},
    {"op": "local_hour", "name": "hour", "encoding": "cyclic"},
    {"op": "last_n", "name": "latest", "events": ["item_viewed"], "of": "item.genres", "n": 3,
     "encode": {"vocabulary": "genres"}},
    {"op": "last_n", "name": "last", "events": ["item_viewed"], "of": "item.genres", "n": 1,
     "encode": {"vocabulary": "genres"}},
    {"op": "item", "name": "genres", "of": "item.genres", "n": 2, "encode": {"vocabulary": "genres"}},
    {"op": "item", "name": "year", "of": "item.year"},
    vocabularies=any_program.VOCABULARIES,
)  # fmt: skip


def compiled(content: Mapping[str, Any] = PROGRAM, items: ItemTable = any_program.ITEMS) -> CompiledProgram:
    return compile_program(read_program(json.dumps(content, default=str).encode(), place="p"), items)


def model_of(columns: Sequence[Column], role: TableRole = "ranker") -> TableModel:
    """A model that reads these columns."""
    plain = make_ranker(make_table_files())
    kinds = [column.kind for column in columns]
    specs = (
        TensorSpec("numbers", "float32", (-1, kinds.count("number"))),
        TensorSpec("categories", "int32", (-1, kinds.count("category"))),
    )
    inputs = tuple(spec for spec in specs if spec.shape[1])
    variants = tuple(replace(variant, inputs=inputs) for variant in plain.variants)
    return replace(plain, role=role, columns=tuple(columns), variants=variants)


def read(program: CompiledProgram, item_ids: Sequence[str]) -> tuple[FeatureVector, CandidateFeatures]:
    """After one event that has every operand."""
    fold = FeatureFold(program)
    fold.offer(any_program.EVENT)
    return fold.read(AS_OF), fold.candidates(AS_OF, item_ids)


def feature_columns(
    program: CompiledProgram, vector: FeatureVector, candidates: CandidateFeatures | None
) -> dict[str, Any]:
    """By the convention in words: name → one value for each row."""
    found: dict[str, Any] = {}
    for column in program.columns:
        if column.of == "item" and candidates is None:
            continue
        features = vector if column.of == "profile" or candidates is None else candidates
        values = features.floats if column.dtype == "float32" else features.ints
        rows = 1 if candidates is None else len(candidates.floats)
        part = np.broadcast_to(values[..., column.offset : column.offset + column.width], (rows, column.width))
        for place in range(column.width):
            found[column.name if column.width == 1 else f"{column.name}.{place}"] = part[:, place]
    return found


def outcome(make: Callable[[], TableRows]) -> TableRows | UsageError:
    try:
        return make()
    except UsageError as error:
        return error


def assert_same(found: TableRows | UsageError, expected: TableRows | UsageError) -> None:
    if isinstance(expected, UsageError):
        assert isinstance(found, UsageError)
        assert found.place.startswith("column ")
        return
    assert isinstance(found, TableRows), found
    assert found.numbers.dtype == expected.numbers.dtype
    assert found.categories.dtype == expected.categories.dtype
    assert found.numbers.shape == expected.numbers.shape
    assert found.categories.shape == expected.categories.shape
    assert found.numbers.tobytes() == expected.numbers.tobytes() or np.array_equal(
        found.numbers, expected.numbers, equal_nan=True
    )
    assert found.categories.tolist() == expected.categories.tolist()


# --- any program, any table ------------------------------------------------------------------------------------------

ODD_TEXTS = [
    "",
    "01",
    "-0",
    "0",
    "1",
    "1.0",
    "0.0",
    "nan",
    "inf",
    "None",
    "True",
    "2147483647",
    "-2147483648",
    "9" * 30,
]
CONTEXT = st.none() | st.booleans() | st.integers(-3, 10**400) | st.floats() | st.sampled_from(["tv", "phone", "", "1"])


@st.composite
def tables(draw: st.DrawFn) -> tuple[Any, ...]:
    """A program, what was read of it, a table of some of its columns and of the context, and the context."""
    program = compiled(draw(any_program.programs()))
    item_ids = draw(st.lists(st.sampled_from(["m_1", "m_2", "m_3"]), min_size=1, max_size=3))
    vector, candidates = read(program, item_ids)
    role: TableRole = draw(st.sampled_from(["ranker", "predictor"]))
    given = feature_columns(program, vector, candidates if role == "ranker" else None)
    context = draw(st.dictionaries(st.sampled_from(["hour", "device"]), CONTEXT))
    asked = ["context.hour", "context.device", "context.other", *([RETRIEVAL_SCORE] if role == "ranker" else [])]
    scores = draw(st.none() | st.lists(st.floats(), min_size=len(item_ids), max_size=len(item_ids)).map(np.array))
    names = draw(st.lists(st.sampled_from([*given, *asked]), min_size=1, max_size=8, unique=True))
    columns, vocabularies = [], {}
    for name in names:
        if name == RETRIEVAL_SCORE:
            columns.append(Column(name, "number"))
            continue
        missing, unknown = draw(st.booleans()), draw(st.sampled_from([True, True, False]))
        if draw(st.booleans()):
            columns.append(Column(name, "number", missing=missing))
            continue
        own = [str(value) for value in given[name].tolist()] if name in given else ["tv", "phone"]
        texts = draw(st.lists(st.sampled_from([*own, *ODD_TEXTS]), unique=True))
        vocabularies[name] = tuple(texts)
        columns.append(Column(name, "category", name, missing, unknown))
    found = program, model_of(columns, role), vocabularies, vector
    return (*found, candidates, context, scores) if role == "ranker" else (*found, None, context, None)


@settings(max_examples=100)
@given(tables())
def test_the_rows_are_those_of_the_encoder(drawn: tuple[Any, ...]) -> None:
    program, model, vocabularies, vector, candidates, context, scores = drawn
    encoder = RowEncoder(model.columns, vocabularies)
    count = 1 if candidates is None else len(candidates.floats)
    values = feature_columns(program, vector, candidates)
    for name in ("hour", "device", "other"):
        values[f"context.{name}"] = [context.get(name)] * count
    values[RETRIEVAL_SCORE] = [None] * count if scores is None else scores
    rows = FeatureRows(program, model, encoder)
    assert rows.reads_retrieval == any(column.name == RETRIEVAL_SCORE for column in model.columns)
    found = outcome(
        lambda: rows.rows(vector, candidates, context, scores)
    )  # first: freed memory would hold the right values
    assert_same(found, outcome(lambda: encoder.rows(values)))


@settings(max_examples=50)
@given(tables())
def test_variants_are_the_rows_of_each(drawn: tuple[Any, ...]) -> None:
    program, model, vocabularies, vector, candidates, context, scores = drawn
    if candidates is None:
        return
    nobody = FeatureFold(program)
    item_ids = ["m_3", "m_1", "m_2"][: len(candidates.floats)]
    vectors, items = [vector, nobody.read(AS_OF)], [candidates, nobody.candidates(AS_OF, item_ids)]
    rows = FeatureRows(program, model, RowEncoder(model.columns, vocabularies))
    variants = None if scores is None else [scores, scores[::-1] / 2]
    own: Sequence[Any] = variants or [None, None]
    found = outcome(lambda: rows.variants(vectors, items, context, variants))
    each = [
        outcome(lambda at=at: rows.rows(vectors[at], items[at], context, own[at]))  # type: ignore[misc]
        for at in (0, 1)
    ]
    refused = next((one for one in each if isinstance(one, UsageError)), None)
    whole = [one for one in each if isinstance(one, TableRows)]
    expected = refused or TableRows(
        np.concatenate([one.numbers for one in whole]), np.concatenate([one.categories for one in whole])
    )
    assert_same(found, expected)


@settings(max_examples=100)
@given(
    st.lists(st.integers(-(2**31), 2**31 - 1) | st.integers(-3, 9), min_size=1, max_size=6),
    st.lists(st.integers(-(2**31), 2**31 - 1) | st.integers(-3, 9), max_size=6, unique=True),
    st.booleans(),
)
def test_whole_numbers_are_found_by_their_text_however_far_apart(
    numbers: list[int], known: list[int], unknown: bool
) -> None:
    program = compiled()
    vector, candidates = read(program, ["m_1"] * len(numbers))
    candidates.ints[:, 0] = numbers
    vector.ints[-1] = numbers[0]  # of `last`
    columns = [Column(name, "category", "v", unknown=unknown) for name in ("last", "genres.0")]
    encoder = RowEncoder(columns, {"v": [str(number) for number in known]})
    expected = outcome(lambda: encoder.rows({"last": [numbers[0]] * len(numbers), "genres.0": numbers}))
    rows = FeatureRows(program, model_of(columns), encoder)
    assert_same(outcome(lambda: rows.rows(vector, candidates)), expected)


# --- the convention --------------------------------------------------------------------------------------------------


def test_wide_columns_and_masks_are_numbered() -> None:
    program = compiled()
    assert list(feature_places(program)) == [
        "views", "hour.0", "hour.1", "latest.0", "latest.1", "latest.2", "latest.mask.0", "latest.mask.1",
        "latest.mask.2", "last", "last.mask", "genres.0", "genres.1", "year",
    ]  # fmt: skip
    columns = [
        Column("latest.mask.2", "number"),
        Column("genres.1", "category", "v"),
        Column("latest.0", "number"),
        Column("year", "number"),
        Column("context.hour", "number"),
    ]
    encoder = RowEncoder(columns, {"v": ["3"]})
    rows = FeatureRows(program, model_of(columns), encoder).rows(*read(program, ["m_1", "m_2"]), {"hour": 21})
    # m_1, which was viewed, is a crime and a drama, codes 2 and 3, the latest first; the third place is masked.
    assert rows.numbers.tolist() == [[0, 3, 1995, 21], [0, 3, 0, 21]]
    assert rows.categories.tolist() == [[2], [1]]


def test_what_is_known_of_blocks_of_rows_changes_no_rank() -> None:
    program = compiled()
    vector, candidates = read(program, ["m_1", "m_2", "m_4"])
    nobody = FeatureFold(program)
    vectors, items = [vector, nobody.read(AS_OF)], [candidates, nobody.candidates(AS_OF, ["m_1", "m_2", "m_4"])]
    names = ["views", "genres.0", "latest.0", "year", "context.hour", RETRIEVAL_SCORE, "context.absent"]
    columns = [Column(name, "number") for name in names]
    known, plain = (RowEncoder(columns, {}, [[-1.5, 0.0, 0.5, 2.0, 20.0, 1990.0]] * len(names)) for _ in range(2))
    rows, scores = FeatureRows(program, model_of(columns, "ranker"), known), np.array([3.0, np.nan, -1.0])
    context = {"hour": 21}
    for each in (
        rows.rows(vector, candidates, context, scores),
        rows.rows(*read(program, ["m_2"]), context, scores[:1]),
        rows.variants(vectors, items, context, [scores, -scores]),
    ):
        expected = plain.inputs(TableRows(each.numbers, each.categories))["numbers"]
        assert known.inputs(each)["numbers"].tobytes() == expected.tobytes()


def test_what_the_context_does_not_have_is_missing() -> None:
    program = compiled()
    columns = [Column("context.hour", "number"), Column("context.device", "category", "v")]
    rows = FeatureRows(program, model_of(columns, "predictor"), RowEncoder(columns, {"v": ["tv"]}))
    vector, _ = read(program, [])
    for context in (None, {}, {"hour": None, "device": None}):
        found = rows.rows(vector, None, context)
        assert math.isnan(found.numbers[0, 0])
        assert found.categories.tolist() == [[0]]


def test_no_candidates_are_no_rows() -> None:
    program = compiled()
    columns = [Column("year", "number", missing=False), Column("context.device", "category", "v", missing=False)]
    rows = FeatureRows(program, model_of(columns), RowEncoder(columns, {"v": ["tv"]}))
    found = rows.rows(*read(program, []), {})
    assert (found.numbers.shape, found.categories.shape) == ((0, 1), (0, 1))


def test_the_retrieval_scores_are_a_column_of_rankers_and_of_nothing_else() -> None:
    program, columns = compiled(), [Column("views", "number"), Column(RETRIEVAL_SCORE, "number")]
    rows = FeatureRows(program, model_of(columns), RowEncoder(columns, {}))
    vector, candidates = read(program, ["m_1", "m_2"])
    scores = np.array([0.125, math.nan])
    for context in (None, {RETRIEVAL_SCORE: 7, "retrieval.score": 7, "score": 7}):
        found = rows.rows(vector, candidates, context, scores)
        np.testing.assert_array_equal(found.numbers, [[1, 0.125], [1, math.nan]])
        assert np.isnan(rows.rows(vector, candidates, context).numbers[:, 1]).all()
    with pytest.raises(ProgramError, match="not an identifier"):
        compiled(any_program.program({"op": "count", "name": RETRIEVAL_SCORE, "events": ["item_viewed"]}))


@pytest.mark.parametrize("scores", [np.zeros(1), np.zeros(3), np.zeros((2, 1)), np.zeros(())])
def test_each_candidate_has_one_retrieval_score(scores: NDArray[np.float64]) -> None:
    program, columns = compiled(), [Column(RETRIEVAL_SCORE, "number")]
    rows = FeatureRows(program, model_of(columns), RowEncoder(columns, {}))
    vector, candidates = read(program, ["m_1", "m_2"])
    with pytest.raises(UsageError, match="give one for each of the 2 candidates"):
        rows.rows(vector, candidates, None, scores)
    with pytest.raises(UsageError, match="give the candidates' features"):
        rows.rows(vector)


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["yaer", "latest", "hour.2", "context.", "contexthour"])
def test_a_column_that_nobody_gives_is_refused_at_once(name: str) -> None:
    columns = [Column("views", "number"), Column(name, "number")]
    with pytest.raises(UsageError) as caught:
        FeatureRows(compiled(), model_of(columns), RowEncoder(columns, {}))
    assert repr(name) in caught.value.problem
    assert caught.value.place == "ranker order"
    assert f"'context.{name}'" in caught.value.remedy
    if name == "yaer":
        assert "did you mean 'year'?" in caught.value.remedy


def test_a_predictor_has_no_candidates() -> None:
    columns = [Column("year", "number")]
    with pytest.raises(UsageError, match="'year' is a feature of candidates"):
        FeatureRows(compiled(), model_of(columns, "predictor"), RowEncoder(columns, {}))


def test_a_predictor_has_no_retrieval_score() -> None:
    columns = [Column(RETRIEVAL_SCORE, "number")]
    with pytest.raises(UsageError, match=r"'retrieval\.score' is a feature of candidates") as caught:
        FeatureRows(compiled(), model_of(columns, "predictor"), RowEncoder(columns, {}))
    assert caught.value.place == "predictor order"


@pytest.mark.parametrize(
    ("column", "told"),
    [
        (Column(RETRIEVAL_SCORE, "category", "v"), "is a category"),
        (Column(RETRIEVAL_SCORE, "number", missing=False), "is a number that may not be missing"),
    ],
)
def test_a_retrieval_score_is_a_number_that_may_be_missing(column: Column, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        FeatureRows(compiled(), model_of([column]), RowEncoder([column], {"v": ["1"]}))


def test_a_ranker_needs_candidates() -> None:
    program, columns = compiled(), [Column("year", "number")]
    rows = FeatureRows(program, model_of(columns), RowEncoder(columns, {}))
    with pytest.raises(UsageError, match="give the candidates' features"):
        rows.rows(read(program, [])[0])


@pytest.mark.parametrize("value", [["tv"], {"a": 1}, b"tv"])
def test_a_value_of_the_context_is_one_value(value: Any) -> None:
    program, columns = compiled(), [Column("context.device", "category", "v")]
    rows = FeatureRows(program, model_of(columns), RowEncoder(columns, {"v": ["tv"]}))
    with pytest.raises(UsageError, match=r"context\['device'\]"):
        rows.rows(*read(program, ["m_1"]), {"device": value})


def test_a_refusal_names_the_column_and_the_row() -> None:
    program, columns = compiled(), [Column("genres.0", "category", "v", unknown=False)]
    rows = FeatureRows(program, model_of(columns), RowEncoder(columns, {"v": ["2"]}))
    with pytest.raises(UsageError, match=r"column 'genres.0', row 1: 0 is unknown, and the model refuses that"):
        rows.rows(*read(program, ["m_1", "m_2"]))


# --- typical values, and a predictor of an open bundle ---------------------------------------------------------------


def test_a_category_has_no_typical_number() -> None:
    assert Column("a", "number", typical=Decimal("0.5")).typical == Decimal("0.5")
    with pytest.raises(ValueError, match="'a': a category has no typical number"):
        Column("a", "category", "v", typical=Decimal(1))


def test_a_predictor_of_an_open_bundle(tmp_path: Path) -> None:
    path = serving_factory.serving_bundle(tmp_path)
    folder = install_bundle(path, tmp_path / "slots", sdk_version=__version__)
    selftests = tmp_path / "selftests"
    program = serving_factory.program()
    with Predictor.of(folder, "order", selftests=selftests) as order:
        marks = sorted(selftests.iterdir())
        assert len(marks) == 1
        model = order.model
        encoder = RowEncoder(model.columns, folder.vocabularies(), folder.thresholds(model))
        fold = FeatureFold(program)
        fold.offer(an_event("item_liked", "m_6"))
        item_ids = ["m_12", "m_13"]
        vector, candidates = fold.read(AS_OF), fold.candidates(AS_OF, item_ids)
        context = {"device": "tv"}
        found = order.predict_rows(FeatureRows(program, model, encoder).rows(vector, candidates, context))["value"]
        values = {**feature_columns(program, vector, candidates), "context.device": "tv"}
        assert found.tolist() == order.predict(values)["value"].tolist()
        assert found[0] > found[1]  # m_12 is of the taste of the film that was liked
    with Predictor.of(folder, "order", selftests=selftests) as again:
        assert again.model.name == "order"
    assert sorted(selftests.iterdir()) == marks
    with pytest.raises(UsageError, match="has no model 'other'"):
        Predictor.of(folder, "other", selftests=selftests)


def an_event(event: str, item_id: str) -> Any:
    return any_program.EVENT._replace(event=event, item_id=item_id)
