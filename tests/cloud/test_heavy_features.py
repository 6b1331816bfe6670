"""What is sent of a profile, and what the server makes of it: the features of candidates that the device has itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_zoo.replays import zoo_program
from nearhand import Personalizer, UsageError
from nearhand.bundle import install_bundle
from nearhand.features import CompiledProgram, FeatureFold, ReplayEvent
from nearhand.ranking import FeatureRows, RowEncoder, SentFeatures, feature_places, retrieval_windows
from nearhand.version import __version__
from nearhand_cloud.heavy import HeavyModel
from nearhand_converters.data import Catalogue
from tests import tiny
from tests.cloud.heavy_server import RECENT_SCORE, heavy_bundle
from tests.sdk import serving_factory

HOUR_MS = 3_600_000
FILMS = 40
GENRES = ("Drama", "Comedy", "Crime", "War", "Western")
JOINED = ("genre_match", "liked_genre_match", "recent_year_match", "year_gap", "popularity_gap", "year", "popularity")


def _program() -> CompiledProgram:
    """The zoo's program over a few films, some without a year or genres."""
    rows = range(FILMS)
    catalogue = Catalogue(
        tuple(f"m_{row}" for row in rows),
        tuple(f"Film {row}" for row in rows),
        tuple(None if row % 9 == 0 else 1950 + row for row in rows),
        tuple(tuple(GENRES[(row + at) % 5] for at in range(row % 4)) for row in rows),
        tuple("" for _ in rows),
    )
    return zoo_program(catalogue, [3 * row for row in rows])


PROGRAM = _program()
_EVENT = st.tuples(
    st.sampled_from(["item_viewed", "item_liked", "item_disliked"]), st.integers(0, FILMS - 1), st.integers(0, 3000)
)


@settings(max_examples=60)
@given(st.lists(_EVENT, max_size=30))
def test_features_of_candidates_follow_from_those_that_are_sent(events: list[tuple[str, int, int]]) -> None:
    fold = FeatureFold(PROGRAM)
    for sequence, (kind, row, hours) in enumerate(events, start=1):
        at = hours * HOUR_MS
        fold.offer(ReplayEvent(at, sequence, at, 0, 0, kind, f"m_{row}", {}, {}))
    as_of = 3001 * HOUR_MS
    item_ids = [f"m_{row}" for row in range(FILMS)] + ["m_unknown"]
    own = fold.candidates(as_of, item_ids)
    sent = SentFeatures.read_by(PROGRAM, [*JOINED, "films_ever", "top_genres.0", "no column"])
    vector = fold.read(as_of)
    arrived = sent.vector(sent.of(vector))
    places = feature_places(PROGRAM)
    for name in sent.names:
        kind = "floats" if places[name].dtype == "float32" else "ints"
        assert getattr(arrived, kind)[places[name].index] == getattr(vector, kind)[places[name].index]
    found = sent.candidates(arrived, item_ids)
    for name in JOINED:
        index = places[name].index
        # What arrives is rounded to float32, and a gap is the small difference of two large numbers.
        error = 1.3e-4 if name.endswith("gap") else 1e-6
        np.testing.assert_allclose(found.floats[:, index], own.floats[:, index], rtol=0, atol=error, err_msg=name)


def test_only_what_is_read_is_sent() -> None:
    assert SentFeatures.read_by(PROGRAM, ["year", "popularity"]).names == ()
    assert SentFeatures.read_by(PROGRAM, ["year_gap", "films_7d"]).names == ("films_7d", "mean_year")
    genres = SentFeatures.read_by(PROGRAM, ["genre_match"]).names
    assert genres == tuple(f"genres.{place}" for place in range(22))
    assert not any("last_films" in name for name in SentFeatures.read_by(PROGRAM, JOINED).names)


def test_what_needs_the_events_or_is_no_feature_of_the_profile_is_refused() -> None:
    for name in ("times_met", "days_since_met"):
        with pytest.raises(UsageError, match=f"'{name}' does not follow"):
            SentFeatures.read_by(PROGRAM, [name])
    for name in ("year", "nothing"):
        with pytest.raises(UsageError, match=f"'{name}' is not a feature of the profile"):
            SentFeatures(PROGRAM, [name])


def test_what_is_not_sent_is_that_of_nobody() -> None:
    sent = SentFeatures.read_by(PROGRAM, JOINED)
    nobody = FeatureFold(PROGRAM)
    item_ids = [f"m_{row}" for row in range(FILMS)]
    found, own = sent.candidates(sent.vector(None), item_ids), nobody.candidates(0, item_ids)
    np.testing.assert_array_equal(found.floats, own.floats)
    np.testing.assert_array_equal(found.ints, own.ints)


def test_scores_of_the_latest_items_go_to_their_column(tmp_path: Path) -> None:
    folder = install_bundle(heavy_bundle(), tmp_path, sdk_version=__version__)
    model = folder.manifest.table_model("heavy-order")
    assert retrieval_windows(model.columns) == (5,)
    program = serving_factory.program()
    encoder = RowEncoder(model.columns, folder.vocabularies(), folder.thresholds(model))
    rows = FeatureRows(program, model, encoder, retrieval_windows(model.columns))
    fold = FeatureFold(program)
    vector, candidates = fold.read(0), fold.candidates(0, ["m_1", "m_2"])
    scores = np.array([[0.1, 0.2], [0.3, 0.4]])
    numbers = rows.rows(vector, candidates, None, scores).numbers
    names = [column.name for column in model.numbers]
    np.testing.assert_array_equal(numbers[:, names.index("retrieval.score")], [0.1, 0.3])
    np.testing.assert_array_equal(numbers[:, names.index(RECENT_SCORE)], [0.2, 0.4])
    assert np.isnan(rows.rows(vector, candidates).numbers[:, names.index(RECENT_SCORE)]).all()
    with pytest.raises(UsageError, match="give one for each of the 2 candidates and of the windows"):
        rows.rows(vector, candidates, None, scores[:, 0])


def test_the_latest_items_count_by_themselves() -> None:
    history, weights = list(range(0, 90, 3)), [4.0] * 30
    candidates = list(range(100, 200))
    with HeavyModel.open(heavy_bundle()) as model:
        found = model.scores(history, weights, candidates)
        assert found.tolist() == model.scores([-1, *history, -1], [9.0, *weights, 9.0], candidates).tolist()
        moved = model.scores(history[::-1], weights, candidates)  # the same taste, and other latest items
        assert not np.allclose(found, moved)
        assert len(np.unique(found)) > 10


def test_a_device_refuses_it(tmp_path: Path) -> None:
    """Its ranker reads what a device does not compute."""
    with pytest.raises(UsageError, match=f"column '{RECENT_SCORE}' is a retrieval score of the latest items only"):
        Personalizer.open(heavy_bundle(), tmp_path)


def test_a_bundle_without_a_ranker_gives_retrieval_scores(tiny: tiny.Tiny) -> None:
    table = tiny.tables["fp32"].astype(np.float64)
    with HeavyModel.open(tiny.path) as model:
        assert (model.columns, model.program) == ((), "")
        found = model.scores([3, 9], [4.0, 4.0], [15, 21, 4])
    history = table[[3, 9]]
    user = np.linalg.solve(np.eye(table.shape[1]) + 3 * history.T @ history, 4 * history.sum(axis=0))
    np.testing.assert_allclose(found, table[[15, 21, 4]] @ user, atol=1e-4)
