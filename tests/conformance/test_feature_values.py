"""Every operator on two real logs: its values are those of an independent formulation, mostly in SQL.

Integers must be equal; numbers may differ by the last place of a float32, and by what a case names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from numpy.typing import NDArray

from nearhand.features import FeatureFold, ItemTable, compile_program, read_program, views
from tests.conformance import films_cases, shop_cases
from tests.conformance.films_cases import FILMS
from tests.conformance.oracles import DAY, Case, RealLog, halved_weights, murmur3
from tests.conformance.real_logs import films_log, shop_log
from tests.conformance.shop_cases import SHOP
from tests.real_data import real_data

# MurmurHash3_x86_32 of UTF-8 texts as published: by Wikipedia, and by implementers to each other.
MURMUR = [
    ("", 0, 0),
    ("", 1, 0x514E28B7),
    ("", 0xFFFFFFFF, 0x81F16F39),
    ("a", 0x9747B28C, 0x7FA09EA6),
    ("aa", 0x9747B28C, 0x5D211726),
    ("aaa", 0x9747B28C, 0x283E0130),
    ("aaaa", 0x9747B28C, 0x5A97808A),
    ("ab", 0x9747B28C, 0x74875592),
    ("abc", 0x9747B28C, 0xC84A62DD),
    ("abcd", 0x9747B28C, 0xF0478627),
    ("test", 0, 0xBA6BD213),
    ("test", 0x9747B28C, 0x704B81DC),
    ("Hello, world!", 0, 0xC0363E43),
    ("Hello, world!", 0x9747B28C, 0x24884CBA),
    ("The quick brown fox jumps over the lazy dog", 0, 0x2E4FF723),
    ("The quick brown fox jumps over the lazy dog", 0x9747B28C, 0x2FA826CD),
    ("\u03c0" * 8, 0x9747B28C, 0xD58063C1),
    ("a" * 256, 0x9747B28C, 0x37405BDC),
]


@dataclass(frozen=True)
class Values:
    """A log and all the features of its cases."""

    log: RealLog
    columns: Mapping[str, NDArray[Any]]


def computed(log: RealLog, cases: Sequence[Case]) -> Values:
    # What others refer to has to stand before them.
    referring = ("ratio", "item_affinity", "item_difference")
    return Values(log, log.features(sorted((case.view for case in cases), key=lambda view: view["op"] in referring)))


@pytest.fixture(scope="session")
def films_values() -> Values:
    return computed(films_log(real_data("ml-latest-small")), FILMS)


@pytest.fixture(scope="session")
def shop_values() -> Values:
    return computed(shop_log(real_data("uci-online-retail", "online_retail.parquet")), SHOP)


@pytest.mark.parametrize("case", FILMS, ids=lambda case: case.name)
def test_values_on_movielens(films_values: Values, case: Case) -> None:
    check(films_values, case)


@pytest.mark.parametrize("case", SHOP, ids=lambda case: case.name)
def test_values_on_online_retail(shop_values: Values, case: Case) -> None:
    check(shop_values, case)


def check(values: Values, case: Case) -> None:
    """Compare all the labels, and the mask where there is one."""
    found, expected = values.columns[case.name], case.expected(values.log)
    expected = expected.reshape(found.shape)
    assert len(np.unique(expected)) > 1  # otherwise the case shows nothing
    if found.dtype == np.int32:
        np.testing.assert_array_equal(found, expected)
    else:
        np.testing.assert_allclose(found, expected.astype(np.float32), rtol=2.0**-23, atol=case.within)
    if (mask := values.columns.get(f"{case.name}.mask")) is not None:
        np.testing.assert_array_equal(mask, expected > 0)  # no text's code is 0


def test_top_n_with_a_half_life_on_movielens(films_values: Values) -> None:
    view = {"op": "top_n", "name": "top", "n": 7, "half_life": "4w", **films_cases.GENRE_TASTE}
    weight, of = films_cases.TASTE, films_cases.OF_GENRES
    check_order(films_values.log, view, weight, of)


def test_top_n_with_a_half_life_on_online_retail(shop_values: Values) -> None:
    view = {"op": "top_n", "name": "top", "n": 7, "half_life": "4w", **shop_cases.WORD_TASTE}
    weight, of = shop_cases.RETURN, shop_cases.OF_WORDS
    check_order(shop_values.log, view, weight, of)


def check_order(log: RealLog, view: Mapping[str, Any], weight: str, of: Mapping[str, str]) -> None:
    """The largest positive weights in their order; such as differ by less than 2⁻³¹ of what they sum up, in any."""
    columns = log.features([view])
    found, mask = columns["top"], columns["top.mask"]
    weights = halved_weights(log, entering="true", half_life=28 * DAY, weight=weight, **of)
    doubt = 2.0**-31 * halved_weights(log, entering="true", half_life=28 * DAY, weight=f"abs({weight})", **of)
    assert mask.any(axis=0).all()
    for codes, known, by_text, within in zip(found, mask, weights, doubt, strict=True):
        n = int(known.sum())
        assert known.tolist() == [1] * n + [0] * (7 - n)
        assert not codes[n:].any()
        chosen = codes[:n] - 2
        assert len(set(chosen)) == n
        assert (by_text[chosen] > -within[chosen]).all()
        low, high = by_text - within, by_text + within
        assert (high[chosen[:-1]] >= low[chosen[1:]]).all()
        others = np.delete(np.arange(len(by_text)), chosen)
        assert (low[others] <= (high[chosen[-1]] if n == 7 else 0)).all()


@pytest.mark.parametrize(("text", "seed", "expected"), MURMUR)
def test_hash_is_murmur3(text: str, seed: int, expected: int) -> None:
    buckets = 2**30 - 1
    document = (
        f'{{"format": 1, "name": "hash", "version": "1.0.0", "views": [{{"op": "context", "name": "text", '
        f'"key": "text", "encode": {{"buckets": {buckets}, "seed": {seed}}}}}]}}'
    )
    compiled = compile_program(read_program(document.encode(), place="hash"), ItemTable.empty())
    vector = FeatureFold(compiled).read(0, context={"text": text})
    assert vector.ints.tolist() == [1 + expected % buckets]
    assert murmur3(text, seed) == expected  # what the cases compare with


def test_both_logs_have_a_case_for_every_operator() -> None:
    every = {op for view in get_args(views.View) for op in operators(view)}
    for cases in (FILMS, SHOP):
        assert {case.view["op"] for case in cases} == every


def operators(view: type) -> tuple[str, ...]:
    """The names that a view's ``op`` may have."""
    found: tuple[str, ...] = get_args(get_type_hints(view)["op"])
    return found
