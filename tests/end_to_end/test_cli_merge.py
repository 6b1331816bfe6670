"""``nearhand merge`` as people run it, and what the other commands say of the result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nearhand import __version__
from nearhand.bundle import verify_bundle
from nearhand.bundle.serving import ListPolicy
from tests.converters.blocks import write_inputs
from tests.end_to_end.commands import execute, listing, run
from tests.sdk.serving_factory import CHURN, LABELS, PROGRAM, part, serving_bundle

SERVING = """
[listing]
ranker = "order"
diversity = 0.2
category_cap = 4
freshness = { weight = 0.1, half_life_days = 30 }
exploration = { temperature = 0.1 }

[listing.learning.rewards]
item_clicked = 1
item_liked = 2

[[decisions]]
name = "retention"
predictor = "churn"
cooldown_days = 2
holdout = 0.1
exploration = 0.05
rules = [
    { action = "remind", at_least = 0.5, reason = "likely to leave" },
    { action = "offer", at_least = 0.8, reason = "very likely to leave" },
]
caps = [{ times = 3, days = 30 }]
"""
PARTS = ("tiny", "order", "churn", "kind")


@pytest.fixture
def serving(tmp_path: Path) -> Path:
    path = tmp_path / "serving.toml"
    labels = [f'[labels.{name}]\nen = "{each["en"]}"\nde = "{each["de"]}"\n' for name, each in LABELS.items()]
    path.write_text(SERVING + "".join(labels), encoding="utf-8")
    return path


def test_what_the_file_says_is_what_python_says(tmp_path: Path, serving: Path) -> None:
    out = tmp_path / "out"
    outcome = execute("merge", *map(part, PARTS), "--serving", serving, "--name", "serving", "-o", out, "--json")
    assert outcome.code == 0, outcome.err
    document = outcome.json()
    bundle = Path(document["bundle"])
    assert bundle == out / "serving-1.0.0.nearhand"
    assert document["bytes"] == bundle.stat().st_size
    assert (document["name"], document["version"]) == ("serving", "1.0.0")
    assert document["models"][2:] == [
        {"role": "ranker", "name": "order"},
        {"role": "predictor", "name": "churn"},
        {"role": "predictor", "name": "kind"},
    ]
    assert document["listing"]["diversity"] == "0.2"
    assert [decision["name"] for decision in document["decisions"]] == ["retention"]
    assert set(document["golden"].values()) == {"passed"}
    assert bundle.read_bytes() == serving_bundle(tmp_path).read_bytes()


def test_merge_for_people(tmp_path: Path, serving: Path) -> None:
    out = tmp_path / "mine.nearhand"
    outcome = run("merge", *map(part, PARTS), "--serving", serving, "--version", "2.0.0", "-o", out)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("tiny 2.0.0\n")
    for text in (
        "lists are ordered by the ranker order",
        "golden vectors on order onnx/fp32: passed",
        f"wrote {out} ({out.stat().st_size:,} bytes)",
    ):
        assert text in outcome.out


def test_inspect_shows_the_policies(tmp_path: Path) -> None:
    bundle = serving_bundle(tmp_path)
    shown = run("inspect", bundle)
    assert shown.code == 0
    for line in (
        "lists are ordered by the ranker order",
        "  learning: weight 1, optimism 0.5, ridge 1, remembers about 2,000 rewards: item_clicked +1, item_liked +2",
        "  freshness: weight 0.1, half of it after 30 days",
        "  diversity: 0.2",
        "  at most 4 items with one of the same genres",
        "  exploration: temperature 0.1, among the best 20 candidates",
        "decision retention, from the predictor churn",
        "  offer from 0.8 on: very likely to leave",
        "  remind from 0.5 on: likely to leave",
        "  else none",
        "  at most 3 in 30 days, 2 days between two, none for 10.0% of the profiles, 5.0% drawn at random",
    ):
        assert line in shown.out.splitlines()
    assert shown.out.index("offer") < shown.out.index("remind")
    document = run("inspect", bundle, "--json").json()
    assert document["listing"]["ranker"] == "order"
    assert document["decisions"][0]["rules"][1] == {
        "action": "offer", "at_least": "0.8", "reason": "very likely to leave"
    }  # fmt: skip
    plain = run("inspect", serving_bundle(tmp_path, listing=ListPolicy(), decisions=()))
    assert "lists are ordered by the retrieval score" in plain.out
    assert "decision " not in plain.out
    assert "lists are" not in run("inspect", part("tiny")).out


def test_the_other_commands_take_the_result(tmp_path: Path) -> None:
    bundle = serving_bundle(tmp_path)
    verified = run("verify", bundle, "--json")
    assert verified.code == 0
    assert {"onnx/int8", "order onnx/fp32", "churn onnx/fp32"} <= set(verified.json()["golden"])
    rows = tmp_path / "rows.csv"
    rows.write_text("views_7d,views_30d,likes_30d,idle_hours\n0,1,0,300\n", encoding="utf-8")
    predicted = run("predict", bundle, "--rows", rows, "--model", "churn", "--json")
    assert predicted.json()["labels"] == ["yes"]


def test_a_predictor_alone_is_merged_with_a_program(tmp_path: Path) -> None:
    views = [view for view in PROGRAM["views"] if view["name"] in CHURN]
    program = tmp_path / "program.json"
    program.write_text(json.dumps({**PROGRAM, "views": views}), encoding="utf-8")
    serving = tmp_path / "serving.toml"
    serving.write_text(SERVING[SERVING.index("[[decisions]]") :], encoding="utf-8")
    given = ("merge", part("churn"), "--serving", serving, "-o", tmp_path / "out", "--json")
    without = run(*given)
    assert (without.code, "has a feature program" in without.err) == (2, True)
    done = run(*given, "--program", program)
    assert done.code == 0, done.err
    assert verify_bundle(Path(done.json()["bundle"]), sdk_version=__version__).features is not None
    assert run(*given, "--program", tmp_path / "none.json").code == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[listing]\ndiversty = 0.5", "serving.toml: listing.diversty: is not a known key; did you mean 'diversity'?"),
        ("[listing]\nranker = 'ordre'", "listing.ranker: is 'ordre', which is no ranker of the bundles; did you mean"),
        ("[listing", "serving.toml: cannot be read"),
    ],
)
def test_a_refusal_is_one_line_and_exit_code_2(tmp_path: Path, text: str, message: str) -> None:
    serving = tmp_path / "serving.toml"
    serving.write_text(text, encoding="utf-8")
    before = listing(tmp_path)
    outcome = run("merge", part("tiny"), part("order"), "--serving", serving, "-o", tmp_path / "out", "--json")
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert set(outcome.json()) == {"error"}
    assert listing(tmp_path) == before


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.nearhand"
    wrong.write_bytes(b"no bundle")
    for path in (wrong, tmp_path / "none.nearhand", tmp_path):
        outcome = run("merge", part("tiny"), path, "-o", tmp_path / "out")
        assert (outcome.code, outcome.out) == (2, "")
        assert not (tmp_path / "out").exists()
    assert run("merge", "-o", tmp_path / "out").code == 2


def test_a_recipe_says_how_a_list_is_made(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    recipe = tmp_path / "recipe.toml"
    settled = recipe.read_text(encoding="utf-8") + "[listing]\ndiversity = 0.25\n"
    recipe.write_text(settled, encoding="utf-8")
    given = ["--data", tmp_path / "data", "--recipe", recipe, "--target", "onnx", "-o", tmp_path / "x.nearhand"]
    assert run("convert", tmp_path / "model.npz", *given).code == 0
    assert run("inspect", tmp_path / "x.nearhand", "--json").json()["listing"]["diversity"] == "0.25"
    recipe.write_text(settled + "ranker = 'order'\n", encoding="utf-8")
    outcome = run("convert", tmp_path / "model.npz", *given)
    assert outcome.code == 2
    assert "recipe.toml: listing.ranker" in outcome.err
