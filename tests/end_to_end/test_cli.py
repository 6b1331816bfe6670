"""The ``nearhand`` command as people run it: exit codes, JSON, one line for each refusal, and nothing left behind."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nearhand import __version__
from nearhand.runtime import installed_runtimes
from nearhand_converters import cli
from tests.converters.blocks import RECIPE, write_inputs
from tests.end_to_end.commands import Outcome, execute, listing, on_a_terminal, run
from tests.tiny import ITEMS, Tiny, taste_of

COMMANDS = sorted(cli.main.commands)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``model.npz``, ``data`` and ``recipe.toml``."""
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    return folder


def conversion(inputs: Path, out: Path, *more: object) -> list[object]:
    """The arguments of a short conversion."""
    given = ["--data", inputs / "data", "--recipe", inputs / "recipe.toml", "--target", "onnx", "-o", out]
    return ["convert", inputs / "model.npz", *given, *more]


# --- help and output -------------------------------------------------------------------------------------------------


def test_the_commands_are_those_of_the_documentation() -> None:
    assert set(COMMANDS) >= {"convert", "verify", "inspect", "recommend"}


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=["nearhand", *COMMANDS])
def test_every_command_explains_itself(command: Sequence[str]) -> None:
    outcome = run(*command, "--help")
    assert outcome.code == 0
    assert outcome.out.startswith("Usage: ")
    assert not outcome.err
    if command:
        assert "--json" in outcome.out


def test_the_console_script_is_installed() -> None:
    outcome = execute("--version")
    assert outcome == Outcome(0, f"nearhand, version {__version__}\n", "")
    for name in COMMANDS:
        assert execute(name, "--help").code == 0


def test_convert_writes_a_bundle_and_says_what_it_proved(inputs: Path, tmp_path: Path) -> None:
    outcome = execute(*conversion(inputs, tmp_path, "--json"))
    assert (outcome.code, outcome.err) == (0, "")
    document = outcome.json()
    assert set(document) == {"bundle", "bytes", "measured", "evidence", "latency_us"}
    bundle = Path(document["bundle"])
    assert bundle == tmp_path / f"{RECIPE.name}-{RECIPE.version}.nearhand"
    assert document["bytes"] == bundle.stat().st_size
    assert Path(document["measured"]).is_file()
    assert set(document["latency_us"]) == {"onnx/fp32", "onnx/int8"}
    assert {"users", "budget", "variants", "source_ndcg_at_10"} <= set(document["evidence"])
    assert len(list(tmp_path.iterdir())) == 2


def test_convert_for_people(inputs: Path, tmp_path: Path) -> None:
    outcome = execute(*conversion(inputs, tmp_path))
    assert outcome.code == 0
    assert "held-out users" in outcome.out
    assert f"wrote {tmp_path}" in outcome.out
    assert outcome.err == "", "no progress bar where nobody watches"


def test_no_progress_bar_in_a_pipe_even_with_colours_forced(inputs: Path, tmp_path: Path) -> None:
    outcome = execute(*conversion(inputs, tmp_path, "--json"), FORCE_COLOR="1")
    assert (outcome.code, outcome.err) == (0, "")


def test_progress_on_a_terminal(inputs: Path, tmp_path: Path) -> None:
    """Standard error is a pseudo terminal; standard output a pipe, and stays pure JSON."""
    outcome, shown = on_a_terminal(*conversion(inputs, tmp_path, "--json"))
    assert outcome.code == 0
    for stage in (b"graphs", b"source model", b"popularity", b"onnx/fp32", b"onnx/int8"):
        assert stage in shown
    assert outcome.json()["bytes"] > 0


def test_verify_runs_the_golden_vectors(tiny: Tiny) -> None:
    outcome = run("verify", tiny.path, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    names = [f"{runtime}/{precision}" for runtime in installed_runtimes() for precision in ("fp32", "int8")]
    assert outcome.json() == {
        "bundle": "tiny",
        "version": "1.0.0",
        "valid": True,
        "golden": dict.fromkeys(names, "passed"),
    }
    people = run("verify", tiny.path)
    assert people.code == 0
    assert people.out.count("passed") == len(names)


def test_inspect_is_the_manifest(tiny: Tiny) -> None:
    outcome = run("inspect", tiny.path, "--json")
    with zipfile.ZipFile(tiny.path) as archive:
        assert outcome.out.encode() == archive.read("manifest.json")
    assert (outcome.code, outcome.err) == (0, "")
    people = run("inspect", tiny.path)
    assert people.code == 0
    for word in ("tiny 1.0.0", "onnx int8", "NDCG@10", "encoder (fold_in)", "index (inner_product)"):
        assert word in people.out


HISTORY = ["m_0", "m_6", "m_12"]


def check_recommendations(outcome: Outcome, history: list[str], k: int = 10) -> None:
    assert (outcome.code, outcome.err) == (0, "")
    document = outcome.json()
    assert set(document) == {"model", "history", "recommendations"}
    assert set(document["model"]) == {"name", "version", "runtime", "precision"}
    assert document["history"] == history
    items = document["recommendations"]
    assert len(items) == k
    assert not {item["item_id"] for item in items} & set(history)
    assert len({item["item_id"] for item in items}) == k
    assert [item["position"] for item in items] == list(range(k))
    for item in items:
        promised = {"item_id", "score", "title", "explanation", "source", "model_version", "recommendation_id"}
        assert promised <= set(item)
        assert item["title"] == "Film " + item["item_id"].removeprefix("m_")
        assert item["model_version"] == "1.0.0"
        assert item["explanation"]["text"]
    scores = [item["score"] for item in items]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("variant", [[], ["--runtime", "onnx"], ["--runtime", "tflite", "--precision", "fp32"]])
def test_recommendations_come_from_the_history_and_say_so(tiny: Tiny, variant: list[str]) -> None:
    outcome = run("recommend", tiny.path, "--history", ",".join(HISTORY), "--json", *variant)
    check_recommendations(outcome, HISTORY)
    document = outcome.json()
    for item in document["recommendations"]:
        assert item["source"] == "local"
        assert item["explanation"]["text"].startswith("Because you watched Film ")
        evidence = item["explanation"]["evidence"]
        assert {one["item_id"] for one in evidence} == set(HISTORY)
        assert sum(one["contribution"] for one in evidence) == pytest.approx(item["score"], rel=1e-4)
    tastes = [taste_of(int(item["item_id"].removeprefix("m_"))) for item in document["recommendations"]]
    assert tastes.count(0) >= 8
    if "--precision" in variant:
        assert document["model"]["precision"] == "fp32"
        assert document["model"]["runtime"].startswith("tflite ")


def test_a_new_user_gets_what_is_popular(tiny: Tiny) -> None:
    outcome = run("recommend", tiny.path, "--json")
    check_recommendations(outcome, [])
    assert {item["source"] for item in outcome.json()["recommendations"]} == {"fallback"}
    assert {item["explanation"]["text"] for item in outcome.json()["recommendations"]} == {"Popular with many people"}


def test_as_many_as_asked_for(tiny: Tiny) -> None:
    check_recommendations(run("recommend", tiny.path, "--history", "m_7", "-k", "3", "--json"), ["m_7"], 3)
    every = run("recommend", tiny.path, "--history", "m_7", "-k", ITEMS * 2, "--json")
    check_recommendations(every, ["m_7"], ITEMS - 1)


def test_recommend_for_people(tiny: Tiny) -> None:
    outcome = execute("recommend", tiny.path, "--history", "m_0, m_6")
    assert outcome.code == 0
    assert outcome.err == ""
    assert "history: Film 0; Film 6" in outcome.out
    assert "Because you watched" in outcome.out


def test_events_from_a_file(tiny: Tiny, tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    lines = [{"event": "item_liked", "item_id": "m_6"}, {"event": "item_disliked", "item_id": "m_13"}]
    events.write_text("\n".join(map(json.dumps, lines)) + "\n\n", encoding="utf-8")
    outcome = run("recommend", tiny.path, "--events", events, "--json")
    check_recommendations(outcome, ["m_6", "m_13"])
    assert "Because you liked Film 6" in outcome.json()["recommendations"][0]["explanation"]["text"]


# --- refusals --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where a refusal is provoked.

    Attributes:
        folder: the only folder in which the command could write; inputs: of the conversion.
    """

    folder: Path
    tiny: Path
    inputs: Path

    def damaged(self, change: Callable[[bytearray], object]) -> Path:
        """A copy of the tiny bundle after ``change``."""
        data = bytearray(self.tiny.read_bytes())
        change(data)
        path = self.folder / "damaged.nearhand"
        path.write_bytes(data)
        return path

    def file(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def events(self, *lines: str) -> list[object]:
        """The arguments that recommend from these lines."""
        return ["recommend", self.tiny, "--events", self.file("events.jsonl", "\n".join(lines))]

    def convert(self, *more: object) -> list[object]:
        """A conversion with further arguments; the last one of a name counts."""
        return conversion(self.inputs, self.folder / "out.nearhand", *more)


@pytest.fixture
def place(tmp_path: Path, tiny: Tiny, inputs: Path) -> Place:
    return Place(tmp_path, tiny.path, inputs)


def _flip(data: bytearray) -> None:
    data[len(data) // 2] ^= 1


def _cut(data: bytearray) -> None:
    del data[len(data) * 2 // 3 :]


GOOD = '{"event": "item_liked", "item_id": "m_6"}'
REFUSED: list[tuple[str, Callable[[Place], list[object]], str, str]] = [
    # what · the command · the error's type · what the line has to say
    ("verify a missing bundle", lambda p: ["verify", p.folder / "no.nearhand"], "StorageError", "no.nearhand"),
    ("inspect a missing bundle", lambda p: ["inspect", p.folder / "no.nearhand"], "StorageError", "no.nearhand"),
    ("recommend from nothing", lambda p: ["recommend", p.folder / "no.nearhand"], "StorageError", "no.nearhand"),
    ("verify a folder", lambda p: ["verify", p.folder], "StorageError", ""),
    ("verify a text file", lambda p: ["verify", p.file("a.nearhand", "hello")], "BundleFormatError", "a.nearhand"),
    ("verify an empty file", lambda p: ["verify", p.file("a.nearhand", "")], "BundleFormatError", "a.nearhand"),
    ("verify half a bundle", lambda p: ["verify", p.damaged(_cut)], "Bundle", ""),
    ("recommend from half a bundle", lambda p: ["recommend", p.damaged(_cut)], "Bundle", ""),
    ("verify a flipped byte", lambda p: ["verify", p.damaged(_flip)], "BundleIntegrityError", "models/"),
    ("inspect a flipped byte", lambda p: ["inspect", p.damaged(_flip)], "BundleIntegrityError", "models/"),
    ("recommend from a flipped byte", lambda p: ["recommend", p.damaged(_flip)], "BundleIntegrityError", "models/"),
    ("verify appended bytes", lambda p: ["verify", p.damaged(lambda d: d.extend(b"more"))], "BundleFormatError", ""),
    ("an unknown item", lambda p: ["recommend", p.tiny, "--history", "m_1,m_zzz"], "UsageError", "item 'm_zzz'"),
    ("an unknown event type", lambda p: p.events(GOOD, '{"event": "item_lked", "item_id": "m_6"}'), "EventError",
     "item_liked"),
    ("an event without its item", lambda p: p.events('{"event": "item_liked"}'), "EventError", "'item_id'"),
    ("an unknown field", lambda p: p.events(GOOD, '{"event": "item_liked", "itemid": "m_6"}'), "EventError",
     "event field 'itemid': events.jsonl line 2"),
    ("a field of the wrong type", lambda p: p.events('{"event": "item_liked", "item_id": 6}'), "EventError",
     "event field 'item_id': events.jsonl line 1"),
    ("a timestamp that is none", lambda p: p.events('{"event": "search", "timestamp": "today"}'), "EventError",
     "'timestamp'"),
    ("an event that is a list", lambda p: p.events("[1]"), "EventError", "events.jsonl line 1"),
    ("an event that is not JSON", lambda p: p.events(GOOD, "", "{'event': 1}"), "UsageError", "events.jsonl line 3"),
    ("an event nested too deep", lambda p: p.events("[" * 100_000), "UsageError", "events.jsonl line 1"),
    ("events that are not text", lambda p: ["recommend", p.tiny, "--events", p.file("e", b"\xff\xfe")], "UsageError",
     "cannot be read"),
    ("no event file", lambda p: ["recommend", p.tiny, "--events", p.folder / "none.jsonl"], "UsageError", "none.jsonl"),
    ("history and events", lambda p: [*p.events(GOOD), "--history", "m_1"], "UsageError", "exclude each other"),
    ("a bad target", lambda p: p.convert("--target", "onnx,coreml"), "UsageError", "--target: 'coreml'"),
    ("no target", lambda p: p.convert("--target", ","), "UsageError", "--target: nothing is chosen"),
    ("a bad precision", lambda p: p.convert("--quantize", "int2"), "UsageError", "--quantize: 'int2'"),
    ("not a model", lambda p: ["convert", p.file("m.npz", "hello"), *p.convert()[2:]], "SourceError", "m.npz"),
    ("no model", lambda p: ["convert", p.folder / "none.npz", *p.convert()[2:]], "SourceError", "none.npz"),
    ("no data", lambda p: p.convert("--data", p.folder / "none"), "DataError", "items.csv"),
    ("no recipe", lambda p: p.convert("--recipe", p.folder / "none.toml"), "DataError", "none.toml"),
    ("a bad recipe", lambda p: p.convert("--recipe", p.file("r.toml", "[bundle]\nname = 1")), "DataError",
     "r.toml: bundle.name"),
    ("an unwritable place", lambda p: p.convert("-o", p.file("file", "") / "b.nearhand"), "StorageError", "file"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "kind", "words"), [each[1:] for each in REFUSED], ids=[each[0].replace(" ", "-") for each in REFUSED]
)
def test_a_refusal_is_one_line_exit_code_2_and_nothing_written(
    place: Place, make: Callable[[Place], list[object]], kind: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = make(place)
    monkeypatch.setattr("tempfile.tempdir", str(place.folder))  # what is unpacked on the way is gone too
    before = listing(place.folder)
    plain, as_json = run(*arguments), run(*arguments, "--json")
    assert listing(place.folder) == before
    for outcome in (plain, as_json):
        assert outcome.code == 2
        (line,) = outcome.err.splitlines()
        assert line.startswith("error: ")
        assert words in line
    assert plain.out == ""
    error = as_json.json()["error"]
    assert set(error) == {"type", "problem", "place", "remedy"}
    assert error["type"].startswith(kind)
    assert error["problem"] in as_json.err
    assert error["remedy"], "what to do next"


@pytest.mark.parametrize(
    "arguments",
    [["verify"], ["convert", "m.npz"], ["recommend", "b", "-k", "0"], ["recommend", "b", "--runtime", "x"], ["x"]],
)
def test_a_command_line_that_is_none(arguments: list[str]) -> None:
    outcome = run(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert "Usage: " in outcome.err


def test_a_broken_budget_is_exit_code_1(place: Place) -> None:
    recipe = (place.inputs / "recipe.toml").read_text().replace("top10_overlap = 0.9", "top10_overlap = 1.5")
    arguments = place.convert("--recipe", place.file("strict.toml", recipe), "--json")
    older = place.file("out.nearhand", "the bundle of before")
    before = listing(place.folder)
    outcome = execute(*arguments)
    assert listing(place.folder) == before
    assert older.read_text() == "the bundle of before"
    assert outcome.code == 1
    (line,) = outcome.err.splitlines()
    assert "onnx/int8: top-10 overlap" in line
    assert "is below 1.5" in line
    assert outcome.json()["error"]["type"] == "BudgetError"


def test_golden_vectors_that_differ_are_exit_code_1(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a device that computes wrongly: here, one whose index returns the scores of the next item."""
    from nearhand.retrieval import Candidates, Retriever

    real = Retriever.retrieve

    def wrong(self: Retriever, *arguments: Any, **named: Any) -> Candidates:
        found = real(self, *arguments, **named)
        return Candidates(found.rows, found.scores * 1.01, found.vectors)

    monkeypatch.setattr(Retriever, "retrieve", wrong)
    outcome = run("verify", tiny.path, "--json")
    assert outcome.code == 1
    assert all("golden case 0" in result for result in outcome.json()["golden"].values())


def test_the_console_script_refuses_as_well(tiny: Tiny, tmp_path: Path) -> None:
    path = tmp_path / "cut.nearhand"
    path.write_bytes(tiny.path.read_bytes()[:1000])
    outcome = execute("recommend", path, "--history", "m_1", "--json")
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert outcome.json()["error"]["type"].startswith("Bundle")
    assert [one.name for one in tmp_path.iterdir()] == ["cut.nearhand"]
