"""The built-in films and viewers, MovieLens, and where a data set is looked for."""

from __future__ import annotations

import csv
import hashlib
import io
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import model_zoo.datasets
from model_zoo.datasets import find_dataset, movielens_dataset, sample_dataset
from model_zoo.datasets.movielens import split_title
from model_zoo.datasets.resolve import Archive, fetch_over_http
from model_zoo.datasets.sample import _FAMOUS, FILMS
from nearhand.errors import UsageError
from nearhand_converters.data import Dataset, positives, temporal_split
from nearhand_converters.errors import DataError
from tests.real_data import real_data

GENRES = {
    *("Action", "Adventure", "Animation", "Comedy", "Crime", "Documentary", "Drama", "Family", "Fantasy", "History"),
    *("Horror", "Music", "Mystery", "Romance", "Science Fiction", "Thriller", "War", "Western"),
}
MOVIES = 'movieId,title,genres\r\n1,Heat (1995),Action|Crime\r\n7,"Matrix, The (1999)",(no genres listed)\r\n'
RATINGS = "userId,movieId,rating,timestamp\r\n3,7,4.5,964982703\r\n3,1,2.0,964982704\r\n"


def test_public_names() -> None:
    assert model_zoo.datasets.__all__ == ["find_dataset", "movielens_dataset", "sample_dataset"]


class TestFilms:
    def test_the_catalogue_is_plausible(self) -> None:
        with FILMS.open(encoding="utf-8", newline="") as file:
            films = list(csv.DictReader(file))
        assert list(films[0]) == ["item", "title", "year", "genres", "director"]
        assert len(films) >= 550
        assert [film["item"] for film in films] == [f"f_{number:04d}" for number in range(1, len(films) + 1)]
        assert len({(film["title"], film["year"]) for film in films}) == len(films)
        assert all(1900 <= int(film["year"]) <= 2026 for film in films)
        assert {int(film["year"]) // 10 for film in films} >= set(range(192, 203))
        assert all(film["director"].strip() == film["director"] != "" for film in films)
        assert all(film["title"].strip() == film["title"] != "" for film in films)
        genres = [film["genres"].split("|") for film in films]
        assert all(1 <= len(set(row)) == len(row) <= 4 for row in genres)
        counts = Counter(genre for row in genres for genre in row)
        assert set(counts) == GENRES
        assert min(counts.values()) >= 8

    def test_each_famous_film_is_there_once_and_they_are_spread(self) -> None:
        famous = [title.strip() for title in _FAMOUS.replace("\n", " ").split(" | ")]
        titles = sample_dataset(1).catalogue.titles
        assert {title: titles.count(title) for title in famous} == dict.fromkeys(famous, 1)
        quarters = Counter(titles.index(title) * 4 // len(titles) for title in famous)
        assert min(quarters[quarter] for quarter in range(4)) >= len(famous) // 10


@pytest.fixture(scope="module")
def sample() -> Dataset:
    return sample_dataset(1500)


class TestSample:
    def test_same_arguments_same_data_and_it_says_what_it_is(self, sample: Dataset) -> None:
        again = sample_dataset(1500)
        for name in ("user", "item", "rating", "timestamp"):
            assert getattr(sample.interactions, name).tobytes() == getattr(again.interactions, name).tobytes()
        assert sample.name == "sample"
        assert "simulated" in sample.description
        other = sample_dataset(100, seed=8)
        first = sample.interactions.user < 100
        assert other.interactions.item.tolist() != sample.interactions.item[first].tolist()

    @pytest.mark.parametrize("users", [1, 100, 256, 257])
    def test_a_viewer_does_not_depend_on_how_many_there_are(self, sample: Dataset, users: int) -> None:
        few = sample_dataset(users)
        part = sample.interactions.select(sample.interactions.user < users)
        assert few.interactions.users == sample.interactions.users[:users]
        for name in ("user", "item", "rating", "timestamp"):
            assert getattr(few.interactions, name).tobytes() == getattr(part, name).tobytes()

    def test_shape_of_the_data(self, sample: Dataset) -> None:
        data = sample.interactions
        activity = np.bincount(data.user)
        assert activity.min() >= 5
        assert activity.max() <= 300
        assert 30 <= np.median(activity) <= 50
        assert len(np.unique(data.user.astype(np.int64) * 10_000 + data.item)) == len(data)  # nobody sees a film twice
        assert data.rating is not None
        assert set(np.unique(data.rating * 2)) <= set(range(1, 11))
        assert 3.3 <= data.rating.mean() <= 4.0
        views = np.sort(np.bincount(data.item, minlength=len(sample.catalogue)))[::-1]
        assert 0.5 <= views[: len(views) // 5].sum() / views.sum() <= 0.8  # a head
        assert (views[len(views) // 2 :] > 0).mean() > 0.5  # and a tail

    def test_times(self, sample: Dataset) -> None:
        data = sample.interactions
        moments = data.timestamp.astype("datetime64[ms]")
        years = moments.astype("datetime64[Y]").astype(int) + 1970
        released = np.array([year or 0 for year in sample.catalogue.years])[data.item]
        assert set(years.tolist()) <= {2022, 2023, 2024}
        assert (released <= years).all()
        assert (released >= 2023).any()
        hours = np.bincount((data.timestamp // 3_600_000) % 24, minlength=24)
        assert hours[18:23].min() > 2 * hours[1:16].max()  # evenings
        same = data.user[1:] == data.user[:-1]
        gaps = np.diff(data.timestamp)[same]
        assert (gaps >= 0).all()
        assert 0.2 < (gaps < 4 * 3_600_000).mean() < 0.8  # films of one evening
        assert (gaps > 2 * 86_400_000).mean() > 0.2  # days of nothing

    def test_what_comes_later_is_more_like_the_recent_than_like_the_old(self, sample: Dataset) -> None:
        data = sample.interactions
        genres = sorted(GENRES)
        rows = np.array([[genre in row for genre in genres] for row in sample.catalogue.genres], np.float64)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        near, far = [], []
        for user in range(400):
            mine = rows[data.item[data.user == user]]
            if len(mine) >= 40:
                last = mine[-10:].mean(axis=0)
                near.append(mine[-20:-10].mean(axis=0) @ last)
                far.append(mine[:10].mean(axis=0) @ last)
        assert np.mean(near) > 1.05 * np.mean(far)

    def test_there_is_something_to_learn(self, sample: Dataset) -> None:
        als, popular = ndcg_at_10(sample)
        assert als > 1.5 * popular, f"ALS {als:.4f}, popularity {popular:.4f}"

    @pytest.mark.parametrize(("arguments", "named"), [({"users": 0}, "users"), ({"seed": -1}, "seed")])
    def test_wrong_arguments(self, arguments: dict[str, int], named: str) -> None:
        with pytest.raises(UsageError, match=f"sample_dataset argument '{named}'"):
            sample_dataset(**arguments)


def ndcg_at_10(dataset: Dataset) -> tuple[float, float]:
    """Mean NDCG@10 over users with something held out, seen items filtered: of ALS, and of popularity."""
    from implicit.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix
    from threadpoolctl import threadpool_limits

    split = temporal_split(positives(dataset.interactions, 3.5))
    shape = (len(split.train.users), len(dataset.catalogue))
    ones = np.ones(len(split.train), np.float32)
    seen = csr_matrix((ones, (split.train.user, split.train.item)), shape=shape)
    with threadpool_limits(1, "blas"):  # implicit warns otherwise
        model = AlternatingLeastSquares(factors=32, alpha=5.0, random_state=0, num_threads=1)
        model.fit(seen, show_progress=False)
    known = seen.toarray() > 0
    relevant = np.zeros(shape, np.bool_)
    relevant[split.held_out.user, split.held_out.item] = True
    discount = 1 / np.log2(np.arange(2, 12))
    asked = relevant.any(axis=1)
    best = np.cumsum(discount)[np.minimum(relevant.sum(axis=1), 10)[asked] - 1]
    means = []
    for scores in (model.user_factors @ model.item_factors.T, np.broadcast_to(known.sum(axis=0), shape)):
        top = np.argsort(np.where(known, np.inf, -scores), axis=1, kind="stable")[:, :10]
        gain = np.take_along_axis(relevant, top, axis=1) @ discount
        means.append(float((gain[asked] / best).mean()))
    return means[0], means[1]


class TestMovieLens:
    @pytest.mark.parametrize("line_end", ["\r\n", "\n"])
    def test_reads_both_line_ends(self, tmp_path: Path, line_end: str) -> None:
        for file, content in (("movies.csv", MOVIES), ("ratings.csv", RATINGS)):
            (tmp_path / file).write_bytes(content.replace("\r\n", line_end).encode())
        dataset = movielens_dataset(tmp_path)
        assert dataset.name == "ml-latest-small"
        assert "no commercial use" in dataset.licence
        assert dataset.catalogue.item_ids == ("m_1", "m_7")
        assert dataset.catalogue.titles == ("Heat", "The Matrix")
        assert dataset.catalogue.years == (1995, 1999)
        assert dataset.catalogue.genres == (("Action", "Crime"), ())
        assert dataset.interactions.users == ("3",)
        assert dataset.interactions.item.tolist() == [1, 0]
        assert dataset.interactions.timestamp.tolist() == [964_982_703_000, 964_982_704_000]

    @pytest.mark.parametrize(
        ("text", "title", "year"),
        [
            ("Heat (1995)", "Heat", 1995),
            ("From Dusk Till Dawn 2 (1999) ", "From Dusk Till Dawn 2", 1999),
            ("Matrix, The (1999)", "The Matrix", 1999),
            ("Misérables, Les (1995)", "Les Misérables", 1995),
            ("Bug's Life, A (1998)", "A Bug's Life", 1998),
            ("Avventura, L' (Adventure, The) (1960)", "L'Avventura", 1960),
            ("City of Lost Children, The (Cité des enfants perdus, La) (1995)", "The City of Lost Children", 1995),
            ("Seven (a.k.a. Se7en) (1995)", "Seven", 1995),
            ("Godzilla 1985 (Gojira) (Return of Godzilla, The) (1984)", "Godzilla 1985", 1984),
            ("Birdman: Or (The Unexpected Virtue) (2014)", "Birdman: Or (The Unexpected Virtue)", 2014),
            ("(500) Days of Summer (2009)", "(500) Days of Summer", 2009),
            ("Frontière(s) (2007)", "Frontière(s)", 2007),
            ("Me, Myself & Irene (2000)", "Me, Myself & Irene", 2000),
            ("What's Up, Tiger Lily? (1966)", "What's Up, Tiger Lily?", 1966),
            ("Death Note: Desu nôto (2006–2007)", "Death Note: Desu nôto", 2006),
            ("Black Mirror", "Black Mirror", None),
        ],
    )
    def test_titles(self, text: str, title: str, year: int | None) -> None:
        assert split_title(text) == (title, year)

    def test_a_film_twice(self, tmp_path: Path) -> None:
        (tmp_path / "movies.csv").write_text("movieId,title,genres\n1,A,x\n1,B,x\n")
        with pytest.raises(DataError, match=r"movies.csv:3, column 'movieId': film '1' is there twice; keep one"):
            movielens_dataset(tmp_path)

    def test_the_real_data(self) -> None:
        real_data("ml-latest-small")
        dataset = find_dataset(offline=True)
        assert dataset.origin.startswith("NEARHAND_DATA (")
        assert (len(dataset.catalogue), len(dataset.interactions.users)) == (9742, 610)
        assert len(dataset.interactions) == 100_836
        assert sum(year is None for year in dataset.catalogue.years) == 12
        assert {"The Matrix", "Les Misérables", "A Bug's Life", "L'Avventura"} <= set(dataset.catalogue.titles)
        assert not any(title.endswith((", The", ", A", ", An")) for title in dataset.catalogue.titles)


def zipped(members: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


GOOD = zipped(
    {
        "ml-latest-small/movies.csv": MOVIES,
        "ml-latest-small/ratings.csv": RATINGS,
        "ml-latest-small/README.txt": "licence",
        "ml-latest-small/tags.csv": "not wanted",
        "../escape.txt": "not wanted either",
    }
)


class Handler(BaseHTTPRequestHandler):
    paths: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.paths.append(self.path)
        if self.path == "/missing.zip":
            self.send_error(404)
            return
        self.send_response(200)
        if self.path != "/unannounced.zip":
            self.send_header("Content-Length", str(len(GOOD)))
        self.end_headers()
        self.wfile.write(GOOD if self.path == "/good.zip" else GOOD[:-100])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    Handler.paths.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


def archive_at(url: str, content: bytes = GOOD, limit_bytes: int = 1_000_000) -> Archive:
    return Archive(url, hashlib.sha256(content).hexdigest(), limit_bytes)


def no_network(url: str, limit_bytes: int) -> bytes:
    raise OSError("no route\nto host")


def must_not_download(url: str, limit_bytes: int) -> bytes:
    raise AssertionError(f"asked for {url}")


class TestFindDataset:
    @pytest.fixture
    def environ(self, tmp_path: Path) -> dict[str, str]:
        return {"XDG_CACHE_HOME": str(tmp_path / "cache")}

    def cached(self, environ: dict[str, str]) -> Path:
        return Path(environ["XDG_CACHE_HOME"]) / "nearhand" / "datasets" / "ml-latest-small"

    def put(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "movies.csv").write_text(MOVIES)
        (folder / "ratings.csv").write_text(RATINGS)

    def test_the_named_folder_comes_first(self, environ: dict[str, str], tmp_path: Path) -> None:
        self.put(tmp_path / "data" / "ml-latest-small")
        self.put(self.cached(environ))
        environ["NEARHAND_DATA"] = str(tmp_path / "data")
        dataset = find_dataset(environ=environ, download=must_not_download)
        assert dataset.origin == f"NEARHAND_DATA ({tmp_path / 'data' / 'ml-latest-small'})"

    def test_then_the_cache_saying_that_the_named_folder_has_nothing(
        self, environ: dict[str, str], tmp_path: Path
    ) -> None:
        self.put(self.cached(environ))
        assert find_dataset(environ=environ, download=must_not_download).origin == f"cache ({self.cached(environ)})"
        environ["NEARHAND_DATA"] = str(tmp_path)
        origin = find_dataset(environ=environ, download=must_not_download).origin
        assert origin.startswith(f"cache ({self.cached(environ)}); NEARHAND_DATA is {tmp_path}, which has no ml-latest")

    def test_the_cache_is_in_the_home_by_default(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        self.put(tmp_path / ".cache" / "nearhand" / "datasets" / "ml-latest-small")
        assert find_dataset(environ={}, download=must_not_download).name == "ml-latest-small"

    def test_then_the_download_which_is_kept(self, environ: dict[str, str], server: str, tmp_path: Path) -> None:
        lines: list[str] = []
        archive = archive_at(f"{server}/good.zip")
        dataset = find_dataset(environ=environ, archive=archive, progress=lines.append)
        assert dataset.catalogue.titles == ("Heat", "The Matrix")
        assert dataset.origin.startswith(f"official download ({server}/good.zip), kept in ")
        assert lines == [f"downloading {server}/good.zip"]
        kept = self.cached(environ)
        assert sorted(path.name for path in kept.parent.rglob("*")) == sorted(
            ["README.txt", "ml-latest-small", "movies.csv", "ratings.csv"]
        )
        assert not list(tmp_path.rglob("escape.txt"))
        assert find_dataset(environ=environ, archive=archive).origin.startswith("cache (")
        assert Handler.paths == ["/good.zip"]

    def test_an_incomplete_cache_is_replaced(self, environ: dict[str, str], server: str) -> None:
        self.put(self.cached(environ))
        (self.cached(environ) / "ratings.csv").unlink()
        dataset = find_dataset(environ=environ, archive=archive_at(f"{server}/good.zip"))
        assert dataset.origin.startswith("official download")

    @pytest.mark.parametrize(
        ("path", "reason"),
        [("truncated.zip", "the answer ended after "), ("missing.zip", "HTTP Error 404: Not Found")],
    )
    def test_a_download_that_fails_leads_to_the_sample(
        self, environ: dict[str, str], server: str, path: str, reason: str
    ) -> None:
        dataset = find_dataset(users=3, environ=environ, archive=archive_at(f"{server}/{path}"))
        assert dataset.name == "sample"
        assert len(dataset.interactions.users) == 3
        assert dataset.origin.startswith(f"built-in sample (simulated): no network ({reason}")
        assert dataset.origin.endswith("; no NEARHAND_DATA")
        assert not self.cached(environ).exists()

    @pytest.mark.parametrize("path", ["good.zip", "unannounced.zip"])
    def test_a_wrong_hash_is_an_error_and_nothing_is_kept(
        self, environ: dict[str, str], server: str, path: str
    ) -> None:
        url = f"{server}/{path}"
        with pytest.raises(DataError, match=rf"^{url}: the download's sha256 is \w+, not \w+; try again"):
            find_dataset(environ=environ, archive=archive_at(url, content=b"another file"))
        assert not self.cached(environ).parent.exists()

    def test_a_download_over_the_limit_is_an_error(self, server: str) -> None:
        with pytest.raises(DataError, match="the download is larger than 100 bytes"):
            fetch_over_http(f"{server}/good.zip", 100)

    @pytest.mark.parametrize("content", [b"not a zip", zipped({"ml-latest-small/movies.csv": MOVIES})])
    def test_an_archive_without_the_files_is_an_error(self, environ: dict[str, str], content: bytes) -> None:
        with pytest.raises(DataError, match="not the expected archive"):
            find_dataset(
                environ=environ,
                archive=archive_at("http://films.invalid/a.zip", content),
                download=lambda url, limit_bytes: content,
            )
        assert not list(self.cached(environ).parent.iterdir())

    def test_with_no_network_the_sample_says_so(self, environ: dict[str, str], tmp_path: Path) -> None:
        dataset = find_dataset(users=3, environ=environ, download=no_network)
        assert dataset.origin == "built-in sample (simulated): no network (no route to host); no NEARHAND_DATA"
        environ["NEARHAND_DATA"] = str(tmp_path)
        dataset = find_dataset(users=3, environ=environ, offline=True, download=must_not_download)
        assert dataset.origin == (
            f"built-in sample (simulated): no network wanted; NEARHAND_DATA is {tmp_path}, "
            "which has no ml-latest-small with movies.csv and ratings.csv"
        )
