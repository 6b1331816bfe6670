"""Interaction data: what is read, what is refused and how it is said, and how it is split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nearhand.errors import NearhandError, UsageError
from nearhand_converters.data import (
    Catalogue,
    Dataset,
    Interactions,
    positives,
    read_dataset,
    temporal_split,
    write_dataset,
)
from nearhand_converters.errors import DataError

ITEMS = "item,title,year,genres,director\na,Alpha,1999,Drama|War,Ann\nb,Beta,,,\n"
EVENTS = "user,item,rating,timestamp\nu,a,4.5,1700000000\nv,b,2,1700000001\n"

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
name = text.filter(lambda value: value.strip() != "")
genre = name.filter(lambda value: "|" not in value)


def folder_with(folder: Path, *, items: str | bytes = ITEMS, events: str | bytes = EVENTS) -> Path:
    for filename, content in (("items.csv", items), ("interactions.csv", events)):
        (folder / filename).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def interactions(
    user: list[int], timestamp: list[int], item: list[int] | None = None, rating: list[float] | None = None
) -> Interactions:
    return Interactions(
        users=tuple(f"u{code}" for code in range(max(user, default=-1) + 1)),
        user=np.array(user, np.int32),
        item=np.array(range(len(user)) if item is None else item, np.int32),
        rating=None if rating is None else np.array(rating, np.float32),
        timestamp=np.array(timestamp, np.int64),
    )


@st.composite
def datasets(draw: st.DrawFn) -> Dataset:
    ids = draw(st.lists(name, min_size=1, max_size=5, unique=True))
    count = len(ids)

    def column(values: st.SearchStrategy[object]) -> list[object]:
        return draw(st.lists(values, min_size=count, max_size=count))

    names = draw(st.lists(name, min_size=1, max_size=4, unique=True))
    size = draw(st.integers(1, 12))
    drawn = [draw(st.integers(0, len(names) - 1)) for _ in range(size)]
    order = list(dict.fromkeys(drawn))  # users in order of appearance, and no others: what a table can hold
    floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
    times = st.integers(-62_135_596_800_000, 253_402_300_799_999) | st.integers(10**11 - 2, 10**11 + 2)
    rating = draw(st.none() | st.lists(floats, min_size=size, max_size=size))
    return Dataset(
        name=draw(name),
        licence=draw(text),
        description=draw(text),
        catalogue=Catalogue(
            tuple(ids),
            tuple(map(str, column(name))),
            tuple(draw(st.lists(st.none() | st.integers(1, 9999), min_size=count, max_size=count))),
            tuple(map(tuple, draw(st.lists(st.lists(genre, max_size=3), min_size=count, max_size=count)))),
            tuple(map(str, column(text))),
        ),
        interactions=Interactions(
            users=tuple(names[code] for code in order),
            user=np.array([order.index(code) for code in drawn], np.int32),
            item=np.array([draw(st.integers(0, count - 1)) for _ in drawn], np.int32),
            rating=None if rating is None else np.array(rating, np.float32),
            timestamp=np.array([draw(times) for _ in drawn], np.int64),
        ),
    )


def content(dataset: Dataset) -> tuple[object, ...]:
    data = dataset.interactions
    rating = None if data.rating is None else data.rating.tobytes()
    arrays = (data.user.tolist(), data.item.tolist(), rating, data.timestamp.tolist())
    return dataset.name, dataset.licence, dataset.description, dataset.catalogue, data.users, arrays


class TestRoundTrip:
    @given(dataset=datasets())
    def test_read_gives_back_what_was_written_and_the_bytes_are_fixed(
        self, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        first, second = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")
        write_dataset(dataset, first)
        again = read_dataset(first)
        assert content(again) == content(dataset)
        write_dataset(again, second)
        files = sorted(path.name for path in first.iterdir())
        assert files == ["dataset.toml", "interactions.csv", "items.csv"]
        assert [(first / file).read_bytes() for file in files] == [(second / file).read_bytes() for file in files]

    @pytest.mark.parametrize("call", ["fsync", "replace"])
    def test_a_failed_write_leaves_the_old_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
    ) -> None:
        dataset = read_dataset(folder_with(tmp_path))
        write_dataset(dataset, tmp_path)
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

        def fail(*args: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(f"os.{call}", fail)
        with pytest.raises(DataError, match="No space left on device; choose a folder"):
            write_dataset(dataset, tmp_path)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


class TestReading:
    def test_columns_in_any_order_extra_columns_byte_order_mark_crlf_and_blank_lines(self, tmp_path: Path) -> None:
        items = '\ufefftitle,colour,item\r\nAlpha,red,a\r\n\r\n"Beta, the second",blue,b\r\n'
        events = "timestamp,x,item,user\r\n1700000000,9,b,u\r\n"
        dataset = read_dataset(folder_with(tmp_path, items=items, events=events))
        assert dataset.catalogue.item_ids == ("a", "b")
        assert dataset.catalogue.titles == ("Alpha", "Beta, the second")
        assert dataset.catalogue.years == (None, None)
        assert dataset.catalogue.genres == ((), ())
        assert dataset.catalogue.directors == ("", "")
        assert dataset.interactions.item.tolist() == [1]
        assert dataset.interactions.rating is None

    @pytest.mark.parametrize(
        ("written", "milliseconds"),
        [
            ("0", 0),
            ("-1", -1000),
            ("1700000000", 1_700_000_000_000),
            ("1700000000.25", 1_700_000_000_250),
            ("99999999999", 99_999_999_999_000),
            ("100000000000", 100_000_000_000),
            ("1700000000123", 1_700_000_000_123),
            ("2023-11-14T22:13:20Z", 1_700_000_000_000),
            ("2023-11-14 23:13:20.5+01:00", 1_700_000_000_500),
        ],
    )
    def test_timestamps(self, tmp_path: Path, written: str, milliseconds: int) -> None:
        dataset = read_dataset(folder_with(tmp_path, events=f"user,item,timestamp\nu,a,{written}\n"))
        assert dataset.interactions.timestamp.tolist() == [milliseconds]

    def test_the_name_comes_from_the_caller_the_label_or_the_folder(self, tmp_path: Path) -> None:
        folder = tmp_path / "shop"
        folder.mkdir()
        assert read_dataset(folder_with(folder)).name == "shop"
        (folder / "dataset.toml").write_text('name = "Shop"\nlicence = "CC0"\n')
        assert (read_dataset(folder).name, read_dataset(folder).licence) == ("Shop", "CC0")
        assert read_dataset(folder, name="mine").name == "mine"


MALFORMED_EVENTS = [
    ("no timestamp column", "user,item\nu,a\n", ":1: the header has no column 'timestamp'"),
    ("empty file", "", ":1: the header has no column 'user', only nothing"),
    ("no rows", "user,item,timestamp\n", ":2: no rows"),
    ("column twice", "user,item,item,timestamp\nu,a,a,1\n", ":1, column 'item': the header has it twice"),
    ("empty user", "user,item,timestamp\nu,a,1\n ,a,1\n", ":3, column 'user': the id is empty"),
    ("empty item", "user,item,timestamp\nu,,1\n", ":2, column 'item': the id is empty"),
    ("unknown item", "user,item,timestamp\nu,a,1\nu,zz,1\n", ":3, column 'item': item 'zz' is not in the catalogue"),
    ("rating a word", "user,item,rating,timestamp\nu,a,good,1\n", ":2, column 'rating': 'good' is not a finite"),
    ("rating empty", "user,item,rating,timestamp\nu,a,,1\n", ":2, column 'rating': '' is not a finite number"),
    ("rating NaN", "user,item,rating,timestamp\nu,a,3,1\nu,a,nan,1\n", ":3, column 'rating': 'nan' is not a finite"),
    ("rating infinite", "user,item,rating,timestamp\nu,a,inf,1\n", ":2, column 'rating': 'inf' is not a finite"),
    ("rating too large", "user,item,rating,timestamp\nu,a,1e39,1\n", ":2, column 'rating': '1e39' is not a finite"),
    ("rating with _", "user,item,rating,timestamp\nu,a,1_0,1\n", ":2, column 'rating': '1_0' is not a finite"),
    ("time a word", "user,item,timestamp\nu,a,now\n", ":2, column 'timestamp': 'now' is not a timestamp"),
    ("time empty", "user,item,timestamp\nu,a,\n", ":2, column 'timestamp': '' is not a timestamp"),
    ("time NaN", "user,item,timestamp\nu,a,nan\n", ":2, column 'timestamp': 'nan' is not a timestamp"),
    (
        "no offset",
        "user,item,timestamp\nu,a,2024-01-01T10:00:00\n",
        ":2, column 'timestamp': '2024-01-01T10:00:00' has no",
    ),
    (
        "time in ns",
        "user,item,timestamp\nu,a,1700000000000000000\n",
        ":2, column 'timestamp': '1700000000000000000' is out",
    ),
    ("long time", f"user,item,timestamp\nu,a,{'9' * 5000}\n", f":2, column 'timestamp': '{'9' * 5000}' is outside"),
    ("too few columns", "user,item,timestamp\nu,a\n", ":2: 2 columns where the header has 3"),
    ("too many columns", "user,item,timestamp\nu,a,1,2\n", ":2: 4 columns where the header has 3"),
    ("open quote", 'user,item,timestamp\nu,a,1\nu,"a,1\n', ":3: not CSV: unexpected end of data"),
    ("text after a quote", 'user,item,timestamp\nu,"a"b,1\n', ":2: not CSV: "),
    ("open quote in header", 'user,"item\n', ":1: not CSV: unexpected end of data"),
    ("not UTF-8", b"user,item,timestamp\nu,a,1\nu\xe9,a,1\n", ":3: byte 2 of the line is not UTF-8"),
]
MALFORMED_ITEMS = [
    ("no title column", "item,year\na,1999\n", ":1: the header has no column 'title'"),
    ("no rows", "item,title\n", ":2: no rows"),
    ("empty id", "item,title\n,Alpha\n", ":2, column 'item': the id is empty"),
    ("duplicate id", "item,title\na,Alpha\nb,Beta\na,Again\n", ":4, column 'item': item 'a' is already on line 2"),
    ("empty title", "item,title\na,Alpha\nb, \n", ":3, column 'title': the title is empty"),
    ("year a word", "item,title,year\na,Alpha,old\n", ":2, column 'year': 'old' is not a year"),
    ("year zero", "item,title,year\na,Alpha,0\n", ":2, column 'year': '0' is not a year"),
    ("year too long", "item,title,year\na,Alpha,19999\n", ":2, column 'year': '19999' is not a year"),
    ("empty genre", "item,title,genres\na,Alpha,Drama|\n", ":2, column 'genres': 'Drama|' has an empty genre"),
    ("not UTF-8", b"\xff\xfe", ":1: byte 1 of the line is not UTF-8"),
]


class TestMalformed:
    @pytest.mark.parametrize(("_what", "events", "said"), MALFORMED_EVENTS, ids=[case[0] for case in MALFORMED_EVENTS])
    def test_interactions(self, tmp_path: Path, _what: str, events: str | bytes, said: str) -> None:
        self.check(folder_with(tmp_path, events=events), "interactions.csv", said)

    @pytest.mark.parametrize(("_what", "items", "said"), MALFORMED_ITEMS, ids=[case[0] for case in MALFORMED_ITEMS])
    def test_items(self, tmp_path: Path, _what: str, items: str | bytes, said: str) -> None:
        self.check(folder_with(tmp_path, items=items), "items.csv", said)

    def check(self, folder: Path, file: str, said: str) -> None:
        with pytest.raises(DataError) as caught:
            read_dataset(folder)
        message = str(caught.value)
        assert message.startswith(f"{folder / file}{said}")
        assert caught.value.remedy
        assert message.endswith(f"; {caught.value.remedy}")
        assert "\n" not in message
        assert isinstance(caught.value, NearhandError)

    @pytest.mark.parametrize("file", ["items.csv", "interactions.csv"])
    def test_a_missing_file(self, tmp_path: Path, file: str) -> None:
        folder = folder_with(tmp_path)
        (folder / file).unlink()
        self.check(folder, file, ": the file is missing; put it there")

    def test_a_folder_in_place_of_a_file(self, tmp_path: Path) -> None:
        folder = folder_with(tmp_path)
        (folder / "items.csv").unlink()
        (folder / "items.csv").mkdir()
        self.check(folder, "items.csv", ": cannot be read: ")

    @pytest.mark.parametrize(
        ("label", "said"),
        [
            ("name = ", ": not TOML: Invalid value (at "),
            ("name = 3\n", ": name is not text"),
            ("a", ": not TOML"),
        ],
    )
    def test_a_label(self, tmp_path: Path, label: str, said: str) -> None:
        folder = folder_with(tmp_path)
        (folder / "dataset.toml").write_text(label)
        self.check(folder, "dataset.toml", said)

    def test_the_types_hold_their_invariants(self) -> None:
        good = interactions([0, 1], [1, 2], item=[0, 1])
        with pytest.raises(DataError, match="differ in length"):
            Catalogue(("a",), (), (None,), ((),), ("",))
        with pytest.raises(DataError, match="occurs twice"):
            Catalogue(("a", "a"), ("A", "B"), (None, None), ((), ()), ("", ""))
        with pytest.raises(DataError, match="blank or contains"):
            Catalogue(("a",), ("A",), (None,), (("x|y",),), ("",))
        with pytest.raises(DataError, match="year"):
            Catalogue(("a",), ("A",), (0,), ((),), ("",))
        with pytest.raises(DataError, match=r"interactions.user: is int64\[2\], not int32\[2\]"):
            Interactions(good.users, good.timestamp, good.item, None, good.timestamp)  # type: ignore[arg-type]
        with pytest.raises(DataError, match=r"interactions.item: is int32\[1\], not int32\[2\]"):
            Interactions(good.users, good.user, good.item[:1], None, good.timestamp)
        with pytest.raises(DataError, match="out of range"):
            Interactions(("only",), good.user, good.item, None, good.timestamp)
        with pytest.raises(DataError, match="NaN"):
            interactions([0], [1], rating=[float("nan")])
        with pytest.raises(DataError, match="years"):
            interactions([0], [2**60])
        with pytest.raises(DataError, match="outside the catalogue"):
            Dataset("x", "", "", Catalogue(("a",), ("A",), (None,), ((),), ("",)), good)


class TestPositives:
    def test_keeps_ratings_from_the_minimum_on_and_repeats(self) -> None:
        data = interactions([0, 0, 0, 1], [1, 2, 3, 4], item=[5, 5, 6, 5], rating=[4, 3.5, 3, 5])
        liked = positives(data, 3.5)
        assert liked.item.tolist() == [5, 5, 5]
        assert liked.users == data.users

    def test_without_ratings_or_a_minimum_all_are_positive(self) -> None:
        assert len(positives(interactions([0, 0], [1, 2]), 4.0)) == 2
        assert len(positives(interactions([0, 0], [1, 2], rating=[1, 2]), None)) == 2


def rows(part: Interactions) -> set[int]:
    assert part.rating is not None
    return set(part.rating.astype(int).tolist())  # the tests use the rating to number the interactions


class TestTemporalSplit:
    @given(data=st.data(), fraction=st.floats(0.01, 0.99), minimum=st.integers(2, 8), maximum=st.integers(1, 5))
    def test_invariants(self, data: st.DataObject, fraction: float, minimum: int, maximum: int) -> None:
        size = data.draw(st.integers(0, 60))

        def column(high: int) -> list[int]:
            return data.draw(st.lists(st.integers(0, high), min_size=size, max_size=size))

        whole = interactions(column(4), column(20), item=column(12), rating=[float(row) for row in range(size)])
        split = temporal_split(whole, fraction=fraction, minimum=minimum, maximum=maximum)
        train, held = split.train, split.held_out
        assert train.users == held.users == whole.users
        assert not rows(train) & rows(held)
        for part in (train, held):  # the order of the source, and nothing invented
            assert part.rating is not None
            kept = part.rating.astype(int)
            assert (np.diff(kept) > 0).all()
            for mine, theirs in ((part.user, whole.user), (part.item, whole.item), (part.timestamp, whole.timestamp)):
                assert (mine == theirs[kept]).all()
        dropped = sorted(set(range(size)) - rows(train) - rows(held))
        for code in range(len(whole.users)):
            mine = np.flatnonzero(whole.user == code)
            in_train, in_held = sorted(rows(train) & set(mine.tolist())), sorted(rows(held) & set(mine.tolist()))
            gone = [row for row in dropped if row in mine]
            late = len(in_held) + len(gone)
            expected = min(max(int(len(mine) * fraction + 1e-9), 1), maximum) if len(mine) >= minimum else 0
            assert late == expected
            known = set(whole.item[in_train].tolist())
            assert all(int(whole.item[row]) in known for row in gone)
            assert not known & set(whole.item[in_held].tolist())
            if late:
                last = max((int(whole.timestamp[row]), row) for row in in_train)
                assert all((int(whole.timestamp[row]), row) > last for row in in_held + gone)

    def test_a_known_answer(self) -> None:
        data = interactions([0] * 10 + [1] * 4, [*range(10, 0, -1), 1, 2, 3, 4], rating=list(map(float, range(14))))
        split = temporal_split(data)
        assert rows(split.held_out) == {0, 1}  # the newest two of ten come first in the source
        assert rows(split.train) == set(range(2, 14))  # four are too few to split

    def test_equal_times_keep_the_order_of_the_source(self) -> None:
        split = temporal_split(interactions([0] * 5, [7] * 5, rating=[0, 1, 2, 3, 4]))
        assert rows(split.held_out) == {4}

    def test_a_fraction_is_not_lost_to_rounding(self) -> None:
        split = temporal_split(interactions([0] * 100, list(range(100))), fraction=0.29, maximum=50)
        assert len(split.held_out) == 29

    @pytest.mark.parametrize("wrong", [{"fraction": 0.0}, {"fraction": 1.0}, {"minimum": 1}, {"maximum": 0}])
    def test_wrong_arguments(self, wrong: dict[str, float]) -> None:
        with pytest.raises(UsageError, match=f"temporal_split argument '{next(iter(wrong))}': is "):
            temporal_split(interactions([0], [1]), **wrong)  # type: ignore[arg-type]


def test_select_keeps_the_users() -> None:
    mask: NDArray[np.bool_] = np.array([False, True])
    assert interactions([0, 1], [1, 2]).select(mask).users == ("u0", "u1")
