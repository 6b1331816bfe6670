"""The zoo's recipe still learns what it learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from model_zoo.films_als import golden


def test_training_again_gives_the_golden_lists(tmp_path: Path) -> None:
    """Another processor's arithmetic may move a film near the end of a list, but not change the taste."""
    computed = golden.compute(tmp_path)
    with np.load(golden.PATH, allow_pickle=False) as stored:
        np.testing.assert_array_equal(computed["histories"], stored["histories"])
        pairs = zip(computed["lists"], stored["lists"], strict=True)
        shared = [np.isin(mine, theirs).mean() for mine, theirs in pairs]
    assert np.mean(shared) >= 0.95


def test_the_golden_lists_are_personal() -> None:
    with np.load(golden.PATH, allow_pickle=False) as stored:
        assert len(np.unique(stored["lists"], axis=0)) == golden.CASES
        assert len(np.unique(stored["lists"])) > 3 * golden.DEPTH
