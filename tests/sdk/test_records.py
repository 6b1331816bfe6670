"""Dataclasses that are made on first use are the standard library's in all that can be seen."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar

import pytest

from nearhand.records import dataclass, field, field_names, parts


@dataclass(frozen=True)
class Point:
    x: int
    y: int = 2
    tags: dict[str, int] = field(default_factory=dict, hash=False)
    note: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("x is below 0")

    @cached_property
    def total(self) -> int:
        return self.x + self.y


@dataclass(frozen=True)
class Named(Point):
    name: str = "n"


@dataclass(frozen=True, eq=False)
class Alone:
    x: int


@dataclass(frozen=True)
class Odd:
    count: ClassVar[int] = 3
    x: int
    twice: dataclasses.InitVar[int] = 0
    y: int = field(default=5, kw_only=True)
    z: int = field(default=7, init=False)

    def __post_init__(self, twice: int) -> None:
        object.__setattr__(self, "x", self.x + 2 * twice)


@dataclass(frozen=True, init=False)
class Made:
    x: int

    def __init__(self, twice: int) -> None:
        object.__setattr__(self, "x", 2 * twice)


@dataclasses.dataclass(frozen=True)
class Standard:
    """What the standard library makes of the same fields as Point's."""

    x: int
    y: int = 2
    tags: dict[str, int] = dataclasses.field(default_factory=dict, hash=False)
    note: str = dataclasses.field(default="", compare=False, repr=False)


def fresh() -> type[Any]:
    """A class that nobody has used."""

    @dataclass(frozen=True)
    class Fresh:
        a: int
        b: str = "b"
        c: list[int] = field(default_factory=list)

    return Fresh


def test_values_defaults_and_text() -> None:
    point = Point(1, tags={"a": 3}, note="unseen")
    assert (point.x, point.y, point.tags, point.note) == (1, 2, {"a": 3}, "unseen")
    assert repr(point) == "Point(x=1, y=2, tags={'a': 3})"
    assert Point(1).tags is not Point(1).tags


def test_equal_and_hashed_as_the_standard_library_does() -> None:
    assert Point(1, note="a") == Point(1, note="b")
    assert Point(1) != Point(2)
    assert Point(1) != Standard(1)  # type: ignore[comparison-overlap]
    assert hash(Point(1, tags={"a": 1})) == hash(Point(1, tags={"b": 1}))
    assert hash(Point(1)) == hash(Standard(1))
    assert len({Point(1), Point(1), Point(2)}) == 2
    one = Point(1)
    assert one.total == 3  # what is cached is no part of the value
    assert one == Point(1)
    assert Alone(1) != Alone(1)


def test_nothing_can_be_changed() -> None:
    point = Point(1)
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'x'"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        del point.x
    with pytest.raises(dataclasses.FrozenInstanceError):
        point.other = 2  # type: ignore[attr-defined]
    assert point == Point(1)


def test_wrong_arguments_and_invariants() -> None:
    with pytest.raises(TypeError, match="x"):
        Point()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="z"):
        fresh()(1, z=2)
    with pytest.raises(ValueError, match="below 0"):
        Point(-1)


def test_inherited_fields_come_first() -> None:
    assert [each.name for each in dataclasses.fields(Named)] == ["x", "y", "tags", "note", "name"]
    assert Named(1, name="k") == Named(1, 2, name="k")
    assert Named(1) != Point(1)
    assert Named.__match_args__ == ("x", "y", "tags", "note", "name")


def test_a_class_may_make_itself() -> None:
    assert Made(2).x == 4
    assert Made(2) == Made(2)
    assert [each.name for each in dataclasses.fields(Made)] == ["x"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        Made(1).x = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    "first",
    [
        dataclasses.fields,
        dataclasses.is_dataclass,
        lambda made: made(1),
        lambda made: made.__dataclass_fields__,
    ],
)
def test_whatever_is_done_first(first: Callable[[type[Any]], object]) -> None:
    made = fresh()
    first(made)
    assert bool(dataclasses.is_dataclass(made))
    assert dataclasses.asdict(made(1)) == {"a": 1, "b": "b", "c": []}
    assert dataclasses.replace(made(1), a=5) == made(5)
    assert made.b == "b"
    assert not hasattr(made, "c")


def test_copies_and_pickles() -> None:
    point = Point(1, tags={"a": 1})
    assert copy.deepcopy(point) == point
    assert copy.copy(point) == point
    assert pickle.loads(pickle.dumps(point)) == point


def test_nothing_is_made_before_it_is_used() -> None:
    made = fresh()
    assert made.__init__.__name__ == "make_first"
    made(1)
    assert made.__init__.__name__ == "__init__"


def test_the_hundredth_instance_is_as_the_first() -> None:
    made = fresh()
    slow = made.__init__
    found = [made(number, c=[number]) for number in range(150)]
    assert made.__init__ is not slow
    assert found == [made(number, "b", [number]) for number in range(150)]
    assert list(map(vars, found)) == [{"a": number, "b": "b", "c": [number]} for number in range(150)]
    assert made.__match_args__ == ("a", "b", "c")
    with pytest.raises(TypeError, match="missing"):
        made()
    with pytest.raises(TypeError, match="positional"):
        made(1, "b", [], 4)
    with pytest.raises(TypeError, match="multiple values"):
        made(1, a=1)


def test_fields_of_other_kinds_are_left_to_the_standard_library() -> None:
    odd = Odd(1, 4, y=6)
    assert (odd.x, odd.y, odd.z, Odd.count) == (9, 6, 7, 3)
    assert field_names(Odd) == ("x", "y", "z")
    with pytest.raises(TypeError, match="positional"):
        Odd(1, 2, 3)  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", [Point, Named, Alone, Odd, Standard, fresh()])
def test_parts_are_the_fields(kind: type[Any]) -> None:
    before = parts(kind)
    found = {
        field.name: (field.type, field.default, field.default_factory, field.init) for field in dataclasses.fields(kind)
    }
    for given in (before, parts(kind)):
        assert list(given) == list(found) == list(field_names(kind))
        assert {
            name: (kind, field.default, field.default_factory, field.init) for name, (kind, field) in given.items()
        } == found


def test_names_of_fields_make_no_class() -> None:
    made = fresh()
    assert field_names(made) == ("a", "b", "c")
    assert list(parts(made)) == ["a", "b", "c"]
    assert made.__init__.__name__ == "make_first"


def test_a_field_of_the_standard_library_is_refused() -> None:
    with pytest.raises(TypeError, match=r"nearhand\.records\.field for Mixed\.x"):

        @dataclass(frozen=True)
        class Mixed:
            x: int = dataclasses.field(default=1)


def test_many_threads_may_be_first() -> None:
    for _ in range(20):
        found: list[Any] = []
        made, start = fresh(), threading.Barrier(8)

        def use(made: type[Any] = made, start: threading.Barrier = start, found: list[Any] = found) -> None:
            start.wait()
            found.append(made(1))

        threads = [threading.Thread(target=use) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 8
        assert set(map(repr, found)) == {repr(made(1))}
