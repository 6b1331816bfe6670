"""JSON documents as dataclasses: what is written is read, and nothing else is."""

from __future__ import annotations

import difflib
import json
import sys
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearhand.bundle.document import decode, load, parse, serialize
from nearhand.bundle.fields import FieldError, Number, join, listed, nearest
from nearhand.bundle.manifest import Manifest
from nearhand.bundle.schema import Golden, GoldenCase, Items, semantic_version
from nearhand.errors import BundleFormatError, UsageError
from tests.sdk.bundle_factory import make_files, make_golden, make_items, make_manifest

text = st.text(st.characters(codec="utf-8"), max_size=8)
decimals = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9)


@dataclass(frozen=True)
class Columns:
    words: tuple[str, ...]
    numbers: tuple[int, ...]
    flags: tuple[bool, ...]
    lists: tuple[tuple[int, ...], ...]
    decimals: tuple[Decimal, ...]
    table: dict[str, tuple[str, ...]]
    note: str | None = None


columns = st.builds(
    Columns,
    words=st.lists(text).map(tuple),
    numbers=st.lists(st.integers(1 - 2**53, 2**53 - 1)).map(tuple),
    flags=st.lists(st.booleans()).map(tuple),
    lists=st.lists(st.lists(st.integers(-9, 9)).map(tuple)).map(tuple),
    decimals=st.lists(decimals).map(tuple),
    table=st.dictionaries(text, st.lists(text).map(tuple), max_size=3),
    note=st.none() | text,
)


@given(columns)
def test_a_document_survives_its_bytes(document: Columns) -> None:
    data = serialize(document)
    assert parse(Columns, data, place="c.json") == document
    assert serialize(parse(Columns, data, place="c.json")) == data


def test_the_bundle_s_documents_survive_their_bytes() -> None:
    manifest = make_manifest(make_files())
    assert parse(Manifest, serialize(manifest), place="m") == manifest
    assert parse(Items, serialize(make_items()), place="i") == make_items()
    assert parse(Golden, serialize(make_golden()), place="g") == make_golden()


EMPTY: dict[str, object] = {"words": [], "numbers": [], "flags": [], "lists": [], "decimals": [], "table": {}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"words": ["a", 1]}, "c.json: words[1]: is 1, not a string"),
        ({"words": ["a", None]}, "c.json: words[1]: is null, not a string"),
        ({"words": "a"}, 'c.json: words: is "a", not a list'),
        ({"words": {"a": 1}}, "c.json: words: is an object, not a list"),
        ({"numbers": [0, True]}, "c.json: numbers[1]: is true, not an integer"),
        ({"numbers": [0, "1"]}, 'c.json: numbers[1]: is "1", not an integer'),
        ({"numbers": [0, 2**53]}, "c.json: numbers[1]: is an integer of more than 53 bits"),
        ({"numbers": [-(2**53)]}, "c.json: numbers[0]: is an integer of more than 53 bits"),
        ({"flags": [0]}, "c.json: flags[0]: is 0, not true or false"),
        ({"lists": [[1], [2, "x"]]}, 'c.json: lists[1][1]: is "x", not an integer'),
        ({"lists": [[1], 2]}, "c.json: lists[1]: is 2, not a list"),
        ({"lists": [[1], {}]}, "c.json: lists[1]: is an object, not a list"),
        ({"decimals": [1]}, "c.json: decimals[0]: is 1, not a decimal number as a string"),
        ({"table": {"a": ["b"], "c\nd": [1]}}, 'c.json: table."c\\nd"[0]: is 1, not a string'),
        ({"odd\nkey": 1}, 'c.json: "odd\\nkey": is not a known key'),
        ({"note": 1}, "c.json: note: is 1, not a string"),
    ],
)
def test_an_error_names_the_value_s_path(change: dict[str, object], message: str) -> None:
    with pytest.raises(BundleFormatError) as refusal:
        parse(Columns, json.dumps({**EMPTY, **change}).encode(), place="c.json")
    assert str(refusal.value).startswith(message + "; ")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("data", "message"), [(b"[]", "is a list, not an object"), (b"3", "is 3, not an object")])
def test_the_whole_document_is_named_by_its_file(data: bytes, message: str) -> None:
    with pytest.raises(BundleFormatError) as refusal:
        parse(Columns, data, place="c.json")
    assert refusal.value.place == "c.json"
    assert refusal.value.problem == message


@dataclass(frozen=True)
class Circle:
    shape: Literal["circle"]
    radius: Number

    def __post_init__(self) -> None:
        if self.radius <= 0:
            raise FieldError("radius", f"is {self.radius}, not positive", "give its length")


@dataclass(frozen=True)
class Polygon:
    shape: Literal["square", "triangle"]
    sides: tuple[Number, ...]
    colour: Literal["red", "green"] = "red"

    def __post_init__(self) -> None:
        if len(self.sides) != (4 if self.shape == "square" else 3):
            raise FieldError("", f"has {len(self.sides)} sides", "count again")
        if min(self.sides) <= 0:
            raise FieldError(f"sides[{self.sides.index(min(self.sides))}]", "is not positive", "measure again")


@dataclass(frozen=True)
class Drawing:
    shapes: tuple[Circle | Polygon, ...]
    frame: Circle | Polygon | None = None
    sizes: dict[str, Number] | None = None


def draw(content: object) -> Drawing:
    """As people write it: any number of JSON, and errors of a class of one's own."""
    place = "d.json: "
    value = json.loads(json.dumps(content), parse_float=Decimal)
    made: Drawing = decode(
        Drawing, value, place=place, refuse=lambda problem, at, remedy: UsageError(problem, place=at, remedy=remedy)
    )
    return made


ROUND = {"shape": "circle", "radius": 1}


def test_members_of_a_union_are_told_apart_by_their_first_field() -> None:
    square = {"shape": "square", "sides": [1, 1.5, "2", 1e3], "colour": "green"}
    made = draw({"shapes": [ROUND, square, {"shape": "triangle", "sides": [3, 4, 5]}], "frame": None})
    sides = (Decimal(1), Decimal("1.5"), Decimal(2), Decimal(1000))
    assert made.shapes[:2] == (Circle("circle", Decimal(1)), Polygon("square", sides, "green"))
    assert isinstance(made.shapes[2], Polygon)
    assert made.shapes[2].colour == "red"
    assert parse(Drawing, serialize(made), place="d.json") == made


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"shapes": [{"shape": "circel"}]},
            "shapes[0].shape: is \"circel\", not a known shape; did you mean 'circle'?",
        ),
        (
            {"shapes": [{"shape": "x"}]},
            'shapes[0].shape: is "x", not a known shape; use one of circle, square, triangle',
        ),
        (
            {"shapes": [{"shape": ["circle"]}]},
            "shapes[0].shape: is a list, not a known shape; use one of circle, square",
        ),
        ({"shapes": [{"radius": 1}]}, "shapes[0].shape: is missing; use one of circle, square, triangle"),
        ({"shapes": [ROUND, "circle"]}, 'shapes[1]: is "circle", not an object; give an object'),
        ({"shapes": [{**ROUND, "sides": []}]}, "shapes[0].sides: is not a known key; use one of radius, shape"),
        ({"shapes": [{**ROUND, "radius": 0}]}, "shapes[0].radius: is 0, not positive; give its length"),
        ({"shapes": [], "frame": {**ROUND, "radius": -1.5}}, "frame.radius: is -1.5, not positive; give its length"),
        ({"shapes": [{"shape": "square", "sides": [1, 1]}]}, "shapes[0]: has 2 sides; count again"),
        (
            {"shapes": [{"shape": "triangle", "sides": [3, -4, 5]}]},
            "shapes[0].sides[1]: is not positive; measure again",
        ),
        (
            {"shapes": [{"shape": "triangle", "sides": [3, 4, 5], "colour": "grean"}]},
            "shapes[0].colour: is \"grean\", not one of red, green; did you mean 'green'?",
        ),
        ({"shapes": [{**ROUND, "radius": True}]}, "shapes[0].radius: is true, not a number; give a number"),
        ({"shapes": [{**ROUND, "radius": None}]}, "shapes[0].radius: is null, not a number; give a number"),
        ({"shapes": [{**ROUND, "radius": "1 m"}]}, 'shapes[0].radius: is "1 m", not a finite decimal number; write a'),
        (
            {"shapes": [{**ROUND, "radius": 1e16}]},
            'shapes[0].radius: is "1E+16", not within ± 1E+15 in at most 40 char',
        ),
        ({"shapes": [{**ROUND, "radius": "0." + "1" * 39}]}, 'shapes[0].radius: is "0.111'),
        (
            {"shapes": [], "sizes": {"a b": "x"}},
            'sizes."a b": is "x", not a finite decimal number; write a number such',
        ),
    ],
)
def test_an_error_of_a_document_that_people_write(content: object, message: str) -> None:
    with pytest.raises(UsageError) as refusal:
        draw(content)
    assert str(refusal.value).startswith(f"d.json: {message}")


@pytest.mark.parametrize("number", [0, -7, 10**15, 0.5, 1e-300, -1e15, "0.25", "-1E+3"])
def test_a_number_that_people_write_is_read_as_it_is_written(number: object) -> None:
    made = draw({"shapes": [], "sizes": {"x": number}})
    assert made.sizes == {"x": Decimal(str(number))}
    assert parse(Drawing, serialize(made), place="d.json") == made


def test_a_field_error_reads_well_alone() -> None:
    assert str(FieldError("radius", "is 0", "give its length")) == "radius is 0"
    assert str(FieldError("", "has 2 sides", "count again")) == "has 2 sides"


def test_a_remedy_names_what_fits_and_stays_short() -> None:
    assert nearest("redd", ["red", "green"]) == "did you mean 'red'?"
    assert nearest("blue", ["red", "green"]) == "use one of red, green"
    assert nearest(["red"], ["red", "green"]) == "use one of red, green"
    many = listed(f"name_{place}" for place in range(10**4))
    assert many.startswith("name_0, name_1, ")
    assert many.endswith(" …")
    assert len(many) <= 320


def test_megabytes_are_not_searched_for_a_slip(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take seconds, for a message."""
    monkeypatch.setattr(difflib, "get_close_matches", None)
    assert nearest("r" * 10**7, ["red", "green"]) == "use one of red, green"


def test_a_place_is_one_line() -> None:
    assert join("d.json: ", "a") == "d.json: a"
    assert join("d.json: a", "b") == "d.json: a.b"
    assert join("d.json: a", "b\nc") == 'd.json: a."b\\nc"'
    assert len(join("d.json: a", "b" * 1000)) < 100


@pytest.mark.parametrize(
    "number",
    [
        "NaN",
        "sNaN",
        "Infinity",
        "-Infinity",
        "",
        " 1",
        "1_0",
        "+1",
        "١",
        ".5",
        "1.",
        "1e5",
        "1E999",
        "1E99999999999999",
    ],
)
def test_a_decimal_is_finite_and_plain(number: str) -> None:
    data = json.dumps({**EMPTY, "decimals": ["1", number]}).encode()
    with pytest.raises(BundleFormatError, match=r"decimals\[1\]: is .* not a finite decimal number"):
        parse(Columns, data, place="c.json")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "Expecting value"),
        (b"{", "line 1"),
        (b'{"a": 1, "a": 2}', 'the key "a" stands twice'),
        (b'{"a": {"\\n": 1, "\\n": 2}}', r'the key "\\n" stands twice'),
        (b'{"a": 1.5}', "the number 1.5 is a float"),
        (b'{"a": 1e3}', "the number 1e3 is a float"),
        (b'{"a": NaN}', "the number NaN is a float"),
        (b'{"a": -Infinity}', "the number -Infinity is a float"),
        (b'{"a": ' + b"1" * 5000 + b"}", "digits"),
        (b'"\xff"', "utf-8"),
        ('{"a": "b"}'.encode("utf-16"), "utf-8"),
        (b'\xef\xbb\xbf{"a": "b"}', "BOM"),
        (b'["\\ud800"]', "surrogates not allowed"),
        (b'{"\\uDFFF": 1}', "surrogates not allowed"),
        (b"[" * 100_000, "recursion"),
        (b"[" * 100_000 + b"]" * 100_000, "recursion"),
        (b'{"a":' * 100_000, "recursion"),
    ],
)
def test_bytes_that_are_no_document(data: bytes, reason: str) -> None:
    with pytest.raises(BundleFormatError, match=reason) as refusal:
        load(data, place="c.json")
    assert str(refusal.value).startswith("c.json: ")
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 300


def test_an_escaped_pair_is_a_character() -> None:
    assert load(b'["\\ud83d\\ude00"]', place="c.json") == ["\U0001f600"]


def test_many_keys_with_one_duplicate_are_refused_quickly() -> None:
    keys = [f'"k{i}": 0' for i in range(100_000)] + ['"k99999": 0']
    with pytest.raises(BundleFormatError, match="k99999"):
        load(("{" + ",".join(keys) + "}").encode(), place="c.json")


@pytest.mark.parametrize("kind", [str, int, Decimal, tuple[str, ...], dict[str, str], Items])
def test_a_value_nested_as_deep_as_json_can_read_is_refused_with_a_typed_error(kind: type) -> None:
    value: list[object] = []
    for _ in range(sys.getrecursionlimit() * 3):  # deeper than any function could walk
        value = [value]
    with pytest.raises(BundleFormatError):
        decode(kind, [value] if kind == tuple[str, ...] else value, place="c.json: a")


def test_columns_are_checked_at_once() -> None:
    """Cell by cell a catalogue of 10 000 items takes a fifth of a second, each time the app starts."""
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    parse(Items, serialize(make_items()), place="items.json")  # the schema's types are resolved once
    data = serialize(make_items(1000))
    sys.setprofile(count)
    try:
        parse(Items, data, place="items.json")
    finally:
        sys.setprofile(None)
    assert calls < 1000


@pytest.mark.parametrize(
    "version", ["1.0", "1.0.0.0", "01.0.0", "1.0.0-rc1", "1.1٢.3", " 1.0.0", "1.0.0\n", "", "v1.0.0"]
)
def test_a_version_is_three_plain_numbers(version: str) -> None:
    with pytest.raises(ValueError, match="is not MAJOR"):
        semantic_version(version)


def test_a_golden_case_is_consistent() -> None:
    half: dict[str, tuple[Decimal, ...]] = {"int8": (Decimal(1),)}
    with pytest.raises(ValueError, match="1 rows have 0 confidences"):
        GoldenCase(rows=(0,), confidences=(), expected={}, scores={})
    with pytest.raises(ValueError, match="expected and scores differ"):
        GoldenCase(rows=(), confidences=(), expected={"int8": (0, 1)}, scores=half)
    with pytest.raises(ValueError, match="expected and scores differ"):
        GoldenCase(rows=(), confidences=(), expected={}, scores=half)
