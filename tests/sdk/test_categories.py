"""The categories of a catalogue as codes, against a formulation by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearhand.bundle.schema import Items
from nearhand.ranking.categories import Categories

NAMES = st.sampled_from(["Crime", "Drama", "War", "Sci-Fi", "Comedy"])


def catalogue(genres: list[list[str]], directors: list[str] | None = None) -> Items:
    count = len(genres)
    ids = tuple(f"m_{row}" for row in range(count))
    made = tuple(directors) if directors is not None else ("",) * count
    return Items(ids, ids, (0,) * count, tuple(map(tuple, genres)), made, (1,) * count)


@given(genres=st.lists(st.lists(NAMES, max_size=4), max_size=12))
def test_each_item_has_its_genres_once(genres: list[list[str]]) -> None:
    found = Categories(catalogue(genres), "genres")
    assert found.names == tuple(dict.fromkeys(name for names in genres for name in names))
    for names, codes in zip(genres, found.codes(range(len(genres))).tolist(), strict=True):
        assert [found.names[code] for code in codes if code >= 0] == list(dict.fromkeys(names))
    everywhere = found.of(range(len(genres)))
    assert everywhere.shape == (len(genres), len(found.names))
    for row, names in enumerate(genres):
        assert {found.names[at] for at in np.flatnonzero(everywhere[row])} == set(names)
    for name in ("Crime", "Drama", "nothing"):
        assert found.rows(name).tolist() == [row for row, names in enumerate(genres) if name in names]


@pytest.mark.parametrize("directors", [[], ["Mann"], ["", "Mann", "", "Varda", "Mann"]])
def test_an_unknown_director_is_none(directors: list[str]) -> None:
    found = Categories(catalogue([[] for _ in directors], directors), "directors")
    assert found.rows("Mann").tolist() == [row for row, name in enumerate(directors) if name == "Mann"]
    assert found.rows("").tolist() == []
    assert "" not in found.names
