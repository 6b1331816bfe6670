"""Feature programs as documents: what is refused, where and with which remedy; what is read survives its bytes."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from copy import deepcopy
from decimal import Decimal
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearhand.bundle.document import serialize
from nearhand.errors import ProgramError
from nearhand.features import FeatureFold, ItemTable, Program, compile_program, read_program
from nearhand.features.parts import milliseconds
from nearhand.features.views import View
from tests.sdk.any_program import EVENT, ITEMS, JSON_VALUES, OPS, PLAIN, program, programs
from tests.sdk.malformed_programs import COUNT, ITEM, MALFORMED, MEAN, MISMATCHES, count

NOW = EVENT.timestamp + 1


def read(content: Any) -> Program:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return read_program(data, place="p.json")


def test_fifty_and_more_are_malformed() -> None:
    assert len(MALFORMED) >= 50


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_program_is_refused_by_its_place(name: str) -> None:
    content, path, message = MALFORMED[name]
    with pytest.raises(ProgramError) as refusal:
        read(content)
    error = refusal.value
    place = f"p.json: {path}" if path else "p.json"
    assert error.place == place
    assert str(error).startswith(f"{place}: {message}")
    assert str(error) == f"{place}: {error.problem}; {error.remedy}"
    assert error.problem
    assert error.remedy
    assert str(error).isprintable()  # one line
    assert len(str(error)) < 500


@pytest.mark.parametrize("name", MISMATCHES)
def test_a_program_that_the_catalogue_does_not_fit_is_refused(name: str) -> None:
    content, path, message = MISMATCHES[name]
    with pytest.raises(ProgramError) as refusal:
        compile_program(read(content), ITEMS)
    assert refusal.value.place == f"program p: {path}"
    assert str(refusal.value).startswith(f"program p: {path}: {message}")


def test_a_program_without_its_catalogue_is_refused() -> None:
    with pytest.raises(ProgramError, match="is not in the catalogue; give the catalogue of the items"):
        compile_program(read(program(ITEM)), ItemTable.empty())


def test_a_column_of_nothing_but_unknown_cells_is_of_any_kind() -> None:
    compile_program(read(program({**ITEM, "of": "item.unknown"})), ITEMS)
    compile_program(read(program({**ITEM, "of": "item.unknown", "encode": {"buckets": 9}})), ITEMS)


def test_people_may_write_floats_a_byte_order_mark_and_null() -> None:
    content = program({**MEAN, "default": 0.5, "window": None})
    written = read(b"\xef\xbb\xbf" + json.dumps(content).encode())
    assert written.views[0].default == Decimal("0.5")  # type: ignore[union-attr]
    assert written == read(program({**MEAN, "default": "0.5"}))


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        ("1s", 1000),
        ("90s", 90_000),
        ("30m", 1_800_000),
        ("12h", 43_200_000),
        ("7d", 604_800_000),
        ("2w", 1_209_600_000),
        ("3650d", 315_360_000_000),
        ("315360000s", 315_360_000_000),
    ],
)
def test_durations(duration: str, expected: int) -> None:
    assert milliseconds(duration) == expected


@pytest.mark.parametrize(
    "duration",
    ["3651d", "315360001s", "1000000000s", "01d", "-1d", "1D", "d", "1d ", "1 d", "", "0d", "1_0d", "٣d", "²d", "7"],
)
def test_what_is_no_duration(duration: str) -> None:
    with pytest.raises(ValueError, match="is not a duration from 1s to 3650d"):
        milliseconds(duration)


def test_the_digest_is_of_what_the_program_says() -> None:
    spelled = {**count(where=[], then=[], window=None), "ttl": "1m"}
    assert read(spelled).digest == read(count()).digest
    assert read(count(window="7d")).digest != read(count()).digest
    assert read(program(COUNT, {**MEAN, "name": "m"})).digest != read(program({**MEAN, "name": "m"}, COUNT)).digest


def test_every_operator_is_generated() -> None:
    known = {op for view in get_args(View) for op in get_args(get_type_hints(view)["op"])}
    assert known == {*PLAIN, "ratio", "item_difference", "item_affinity"} == set(OPS.split(", "))


@given(programs())
def test_any_program_survives_its_bytes(content: dict[str, Any]) -> None:
    written = read(content)
    again = read_program(serialize(written), place="again")
    assert again == written
    assert again.digest == written.digest
    assert serialize(again) == serialize(written)


def _shuffled(value: Any, order: random.Random) -> Any:
    if isinstance(value, dict):
        keys = list(value)
        order.shuffle(keys)
        return {key: _shuffled(value[key], order) for key in keys}
    return [_shuffled(item, order) for item in value] if isinstance(value, list) else value


@given(programs(), st.randoms(use_true_random=False), st.sampled_from([None, 0, 7]))
def test_the_order_of_keys_and_the_space_between_them_mean_nothing(
    content: dict[str, Any], order: random.Random, indent: int | None
) -> None:
    other = json.dumps(_shuffled(content, order), indent=indent, ensure_ascii=order.random() < 0.5)
    assert read(other.encode()).digest == read(content).digest


@given(programs())
def test_any_program_runs(content: dict[str, Any]) -> None:
    compiled = compile_program(read(content), ITEMS)
    fold = FeatureFold(compiled)
    fold.offer(EVENT)
    vector = fold.read(NOW)
    found = fold.candidates(NOW, ["m_1", "m_2", "stranger"])
    assert fold.events == 1
    assert vector.floats.shape == (compiled.floats,)
    assert vector.ints.shape == (compiled.ints,)
    assert found.floats.shape == (3, compiled.item_floats)
    assert found.ints.shape == (3, compiled.item_ints)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) in a JSON value."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in entries:
        yield value, key
        yield from _places(item)


def _reads_or_refuses(data: bytes) -> None:
    refusal = None
    try:
        written = read(data)
        assert read(serialize(written)) == written
        fold = FeatureFold(compile_program(written, ITEMS))
        fold.offer(EVENT)
        fold.read(NOW)
        fold.candidates(NOW, ["m_1", "stranger"])
    except ProgramError as error:
        refusal = error
    assert refusal is None or (refusal.remedy and "\n" not in str(refusal))


@settings(max_examples=300)
@given(programs(), st.data())
def test_a_changed_program_is_read_or_refused(content: dict[str, Any], data: st.DataObject) -> None:
    content = deepcopy(content)
    for _ in range(data.draw(st.integers(1, 2))):
        container, key = data.draw(st.sampled_from(list(_places(content))))
        other_container, other_key = data.draw(st.sampled_from(list(_places(content))))
        match data.draw(st.sampled_from(["delete", "move", "replace", "rename"])):
            case "delete":
                del container[key]
            case "move":  # a value that is right elsewhere
                container[key] = deepcopy(other_container[other_key])
            case "rename" if isinstance(container, dict):
                container[data.draw(st.text(max_size=9))] = container.pop(key)
            case _:
                container[key] = data.draw(JSON_VALUES)
        if not list(_places(content)):
            break
    _reads_or_refuses(json.dumps(content).encode())


@given(programs(), st.integers(0), st.binary(max_size=3))
def test_changed_bytes_are_read_or_refused(content: dict[str, Any], at: int, change: bytes) -> None:
    data = json.dumps(content).encode()
    at %= len(data)
    _reads_or_refuses(data[:at] + change + data[at + len(change) :])


@given(JSON_VALUES)
def test_any_other_json_is_refused(value: Any) -> None:
    with pytest.raises(ProgramError):
        read(value)


@given(st.binary())
def test_any_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ProgramError):
        read(data)
