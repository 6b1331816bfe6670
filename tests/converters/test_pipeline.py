"""The whole conversion: what is written, what is proved, and that a refusal writes nothing."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from nearhand import Event, __version__
from nearhand.bundle import verify_bundle
from nearhand.bundle.schema import VariantEvidence
from nearhand.clock import SystemClock
from nearhand.errors import ModelError, NearhandError, RuntimeUnavailableError, StorageError
from nearhand.events import EventLog
from nearhand.retrieval import Candidates, HistoryFold, Retriever, User
from nearhand_converters.data import Dataset, Interactions, temporal_split
from nearhand_converters.errors import BudgetError, DataError
from nearhand_converters.graph.fold_in import fold_in_exact, whiten
from nearhand_converters.output import Conversion, read_measured
from nearhand_converters.parity.evidence import Evaluation, check_budget
from nearhand_converters.parity.holdout import held_out_users
from nearhand_converters.parity.source import SourceModel, top_rows
from nearhand_converters.pipeline import build_variants
from nearhand_converters.quantize.rows import QuantizedRows, quantize_rows
from nearhand_converters.recipe import BudgetRecipe, Recipe
from nearhand_converters.sources.factors import FactorModel
from tests.converters.blocks import ALPHA, ITEMS, PRECISIONS, RECIPE, TARGETS, catalogue, convert_blocks, dataset, model

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> FactorModel:
    return model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def blocks(source: FactorModel, tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    return convert_blocks(source, tmp_path_factory.mktemp("blocks") / "blocks.nearhand")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go while the test runs; its own, so that it can be seen to be empty."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def listing(*folders: Path) -> list[str]:
    return sorted(str(path) for folder in folders for path in folder.rglob("*"))


# --- what is written -------------------------------------------------------------------------------------------------


def test_the_bundle_is_one_that_the_sdk_accepts(blocks: Conversion) -> None:
    manifest = verify_bundle(blocks.path, sdk_version=__version__)
    assert manifest == blocks.manifest
    assert (manifest.name, manifest.version, manifest.licence) == ("blocks", "0.3.0", "CC0-1.0")
    for role in ("encoder", "index"):
        kinds = [(variant.runtime, variant.precision) for variant in manifest.model(role).variants]
        assert kinds == [(runtime, precision) for runtime in TARGETS for precision in PRECISIONS]
    assert manifest.retrieval.items.count == ITEMS
    assert manifest.retrieval.golden.count == RECIPE.golden_cases
    assert manifest.retrieval.policy == RECIPE.policy(ALPHA)
    assert manifest.retrieval.evidence.budget == RECIPE.budgets()
    assert manifest.retrieval.evidence.dropped == {}
    assert manifest.provenance["source_sha256"] == model(blocks.path.parent).sha256


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_one_user_vector_that_is_not_finite_breaks_the_budget(source: FactorModel, wrong: float) -> None:
    """A NaN compares with nothing, so a maximum over the users must not lose it."""
    policy = RECIPE.policy(ALPHA)
    users = list(held_out_users(temporal_split(dataset().interactions), policy, "item_viewed"))
    table = whiten(source.item_factors, source.regularization).astype(np.float32)

    class Broken(Retriever):
        """Exact, but for its third user."""

        calls = 0

        def __init__(self) -> None:
            self.window = policy.window

        def encode(self, rows: NDArray[np.int32], confidences: NDArray[np.float32]) -> User:
            self.calls += 1
            known = rows >= 0
            vector = fold_in_exact(table, rows[known], confidences[known])[None].astype(np.float32)
            return User(vector * (wrong if self.calls == 3 else 1), table[rows])

        def retrieve(self, vector: NDArray[np.float32], *, exclude: Any, k: int) -> Candidates:
            scores = table @ np.nan_to_num(vector[0], posinf=1.0, neginf=-1.0)
            best = top_rows(scores, exclude, k)
            return Candidates(best, scores[best], table[best])

    popularity = np.bincount(dataset().interactions.item, minlength=ITEMS).tolist()
    evaluation = Evaluation(SourceModel(source), users, popularity, bootstrap_samples=2, progress=lambda *_: None)
    measured = evaluation.measure("onnx", "fp32", 0, Broken(), table)
    assert measured.user_vector_error.is_infinite()
    with pytest.raises(BudgetError, match="user vectors are off by Infinity"):
        check_budget(RECIPE.budgets(), [measured])


@pytest.mark.parametrize(
    ("recipes", "datas", "bundles"),
    [("MIT", "CC0-1.0", "MIT"), ("", "CC-BY-4.0", "CC-BY-4.0"), ("", "", "unstated")],
    ids=["the recipe's", "else the data's", "else none"],
)
def test_the_licence(source: FactorModel, tmp_path: Path, recipes: str, datas: str, bundles: str) -> None:
    converted = convert_blocks(
        source,
        tmp_path / "blocks.nearhand",
        replace(RECIPE, licence=recipes, bootstrap_samples=2),
        dataset=replace(dataset(), licence=datas),
        targets=["onnx"],
        precisions=["fp32"],
    )
    assert converted.manifest.licence == bundles


def test_int8_is_smaller(blocks: Conversion) -> None:
    sizes = {(v.runtime, v.precision): v.bytes for v in blocks.manifest.retrieval.evidence.variants}
    for (runtime, precision), size in sizes.items():
        files = [
            variant.file.bytes
            for one in blocks.manifest.models
            for variant in one.variants
            if (variant.runtime, variant.precision) == (runtime, precision)
        ]
        assert size == sum(files)
        assert sizes[runtime, "int8"] < sizes[runtime, "fp32"]


def test_no_document_of_the_bundle_holds_a_float(blocks: Conversion) -> None:
    def refuse(text: str) -> Any:
        raise AssertionError(f"{text} is a float")

    with zipfile.ZipFile(blocks.path) as archive:
        documents = [name for name in archive.namelist() if name.endswith(".json")]
        assert documents == ["manifest.json", "golden.json", "items.json"]
        for name in documents:
            json.loads(archive.read(name), parse_float=refuse, parse_constant=refuse)


def test_timings_are_beside_the_bundle_and_not_in_it(blocks: Conversion) -> None:
    names = {f"{runtime}/{precision}" for runtime in TARGETS for precision in PRECISIONS}
    assert blocks.measured_path == blocks.path.with_name("blocks.measured.json")
    assert read_measured(blocks.path).keys() == blocks.latency_us.keys() == names
    assert all(value > 0 for value in blocks.latency_us.values())
    with zipfile.ZipFile(blocks.path) as archive:
        assert not [name for name in archive.namelist() if "measured" in name]
        assert b"latency" not in b"".join(archive.read(name) for name in archive.namelist() if name.endswith(".json"))


@pytest.mark.parametrize("content", [None, b"{", b"[]", b'{"latency_us": {"onnx/fp32": 1.5}}'])
def test_a_sidecar_is_read_if_it_can_be(tmp_path: Path, content: bytes | None) -> None:
    bundle = tmp_path / "a-1.0.0.nearhand"
    if content is not None:
        (tmp_path / "a-1.0.0.measured.json").write_bytes(content)
    assert read_measured(bundle) == ({"onnx/fp32": 1.5} if content and b"1.5" in content else {})


def test_the_same_bytes_again(blocks: Conversion, source: FactorModel, tmp_path: Path) -> None:
    again = convert_blocks(source, tmp_path / "again.nearhand")
    assert again.path.read_bytes() == blocks.path.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.measured.json", "again.nearhand"]


def test_the_same_bytes_in_processes_with_other_hash_seeds(blocks: Conversion, tmp_path: Path) -> None:
    running = []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        folder.mkdir()
        command = [sys.executable, "-m", "tests.converters.blocks", str(folder)]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        running.append((folder, subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)))
    for folder, process in running:
        assert process.wait(120) == 0
        assert (folder / "blocks.nearhand").read_bytes() == blocks.path.read_bytes()


def test_a_folder_gets_name_and_version(source: FactorModel, tmp_path: Path) -> None:
    conversion = convert_blocks(source, tmp_path, targets=["onnx"], precisions=["fp32"])
    assert conversion.path == tmp_path / "blocks-0.3.0.nearhand"
    assert conversion.measured_path == tmp_path / "blocks-0.3.0.measured.json"


def test_missing_folders_are_made(source: FactorModel, tmp_path: Path) -> None:
    conversion = convert_blocks(source, tmp_path / "a" / "b" / "c.nearhand", targets=["onnx"], precisions=["fp32"])
    assert verify_bundle(conversion.path, sdk_version=__version__)


@pytest.mark.parametrize("target", TARGETS)
def test_one_target_alone(source: FactorModel, tmp_path: Path, target: str) -> None:
    manifest = convert_blocks(source, tmp_path, targets=[target]).manifest
    assert {variant.runtime for one in manifest.models for variant in one.variants} == {target}
    assert [(v.runtime, v.precision) for v in manifest.retrieval.evidence.variants] == [(target, p) for p in PRECISIONS]


def test_int8_alone(source: FactorModel, tmp_path: Path) -> None:
    manifest = convert_blocks(source, tmp_path, precisions=["int8"]).manifest
    assert {variant.precision for one in manifest.models for variant in one.variants} == {"int8"}
    assert {variant.precision for variant in manifest.retrieval.evidence.variants} == {"int8"}


def _few_items() -> Dataset:
    generator = np.random.Generator(np.random.PCG64(0))
    users = np.repeat(np.arange(40, dtype=np.int32), 5)
    items = np.concatenate([generator.permutation(8)[:5] for _ in range(40)]).astype(np.int32)
    times = np.arange(200, dtype=np.int64) * 1000
    return Dataset("few", "", "", catalogue(8), Interactions(tuple(map(str, range(40))), users, items, None, times))


def test_int8_that_is_not_smaller_is_dropped_and_the_manifest_says_so(tmp_path: Path) -> None:
    generator = np.random.Generator(np.random.PCG64(1))
    tiny = FactorModel(generator.normal(size=(8, 2)), 0.1, 1.0, "0" * 64)
    loose = replace(RECIPE, budget=BudgetRecipe(-1.0, -1.0, 0.5, 1e-4))
    for precisions in (["fp32", "int8"], ["int8"]):
        conversion = convert_blocks(tiny, tmp_path, loose, dataset=_few_items(), precisions=precisions)
        manifest = verify_bundle(conversion.path, sdk_version=__version__)
        assert {variant.precision for one in manifest.models for variant in one.variants} == {"fp32"}
        assert set(manifest.retrieval.evidence.dropped) == {"onnx/int8", "tflite/int8"}
        for reason in manifest.retrieval.evidence.dropped.values():
            small, whole = (int(word) for word in reason.split() if word.isdigit())
            assert small >= whole
            assert "bytes are not fewer than" in reason


def test_steps_follow_from_the_policys_confidences() -> None:
    """A model trained with a large alpha needs more steps than one with a small alpha."""
    table = np.random.Generator(np.random.PCG64(0)).normal(size=(50, 4)).astype(np.float32)
    sizes = []
    for alpha in (1.0, 10.0, 40.0):
        built, _ = build_variants(table, RECIPE.policy(alpha), ["onnx"], ["fp32"])
        sizes.append(built["onnx", "fp32"].bytes)
    assert sizes[0] < sizes[1] < sizes[2]


# --- what is proved --------------------------------------------------------------------------------------------------


def _held_out(user: int) -> tuple[list[int], list[int]]:
    """A user's items in order, and those that are held out: by hand, from the words of the documentation."""
    interactions = dataset().interactions
    own = np.flatnonzero(interactions.user == user)
    items = interactions.item[own[np.argsort(interactions.timestamp[own], kind="stable")]].tolist()
    count = min(max(len(items) // 5, 1), 20)
    return items[:-count], sorted(set(items[-count:]) - set(items[:-count]))


def _history(items: list[int]) -> dict[int, float]:
    """Item → confidence; oldest first by the latest event, the last 12, at most five interactions."""
    counts: dict[int, float] = {}
    for item in items:
        counts[item] = counts.pop(item, 0) + ALPHA
    return {item: min(confidence, 5 * ALPHA) for item, confidence in list(counts.items())[-12:]}


def _gain(ranking: list[int], targets: list[int]) -> float:
    gain = sum(1 / math.log2(rank + 2) for rank, item in enumerate(ranking[:10]) if item in targets)
    return gain / sum(1 / math.log2(rank + 2) for rank in range(min(10, len(targets))))


def test_the_evidence_is_what_the_bundle_does(blocks: Conversion, source: FactorModel) -> None:
    """NDCG, recall and overlap of onnx/int8 again, from the bundle's files alone and by other code."""
    with zipfile.ZipFile(blocks.path) as archive:
        encoder, index = (
            onnxruntime.InferenceSession(archive.read(f"models/{role}-int8.onnx"), providers=["CPUExecutionProvider"])
            for role in ("encoder", "index")
        )
    factors = source.item_factors
    gram = factors.T @ factors + source.regularization * np.eye(factors.shape[1])
    mine: list[tuple[float, float, float]] = []
    theirs: list[tuple[float, float]] = []
    for user in range(len(dataset().interactions.users)):
        items, targets = _held_out(user)
        if not targets:
            continue
        history = _history(items)
        rows, confidences = np.full(12, -1, np.int32), np.zeros(12, np.float32)
        rows[: len(history)], confidences[: len(history)] = list(history), list(history.values())
        (vector,) = encoder.run(["user_vector"], {"history_rows": rows, "history_confidences": confidences})
        names = ["candidate_rows", "candidate_scores"]
        found, scores = index.run(names, {"user_vector": vector, "k": np.array([ITEMS], np.int32)})
        ranked = [row for _, row in sorted(zip((-scores).tolist(), found.tolist(), strict=True)) if row not in items]
        liked = factors[list(history)]
        strength = np.array(list(history.values()))
        exact = factors @ np.linalg.solve(gram + (liked.T * (strength - 1)) @ liked, strength @ liked)
        best = [row for row in np.argsort(-exact, kind="stable").tolist() if row not in items]
        common = len(set(ranked[:10]) & set(best[:10])) / 10
        mine.append((_gain(ranked, targets), len(set(ranked[:50]) & set(targets)) / len(targets), common))
        theirs.append((_gain(best, targets), len(set(best[:50]) & set(targets)) / len(targets)))
    evidence = blocks.manifest.retrieval.evidence
    (variant,) = [v for v in evidence.variants if (v.runtime, v.precision) == ("onnx", "int8")]
    ndcg, recall, overlap = np.mean(mine, axis=0)
    source_ndcg, source_recall = np.mean(theirs, axis=0)
    assert evidence.users == len(mine)
    measured = [variant.ndcg_at_10.value, variant.recall_at_50.value, variant.top10_overlap]
    assert [float(value) for value in measured] == pytest.approx([ndcg, recall, overlap], abs=1e-6)
    of_source = [evidence.source_ndcg_at_10.value, evidence.source_recall_at_50.value]
    assert [float(value) for value in of_source] == pytest.approx([source_ndcg, source_recall], abs=1e-6)
    changes = [variant.ndcg_change.value, variant.recall_change.value]
    expected = [ndcg / source_ndcg - 1, recall / source_recall - 1]
    assert [float(value) for value in changes] == pytest.approx(expected, abs=1e-6)
    assert source_ndcg > 1.2 * float(evidence.popularity_ndcg_at_10.value), "the model has learnt the blocks"


def test_intervals_hold_their_values_and_slices_add_up(blocks: Conversion) -> None:
    evidence = blocks.manifest.retrieval.evidence
    for variant in evidence.variants:
        for estimate in (variant.ndcg_at_10, variant.recall_at_50, variant.ndcg_change, variant.recall_change):
            assert estimate.low <= estimate.value <= estimate.high
        users = {one.name: one.users for one in variant.slices}
        assert users["short histories"] + users["long histories"] == evidence.users
        assert set(users) == {"short histories", "long histories", "head items", "tail items"}
        assert 0 < variant.user_vector_error < RECIPE.budgets().user_vector_error


def test_held_out_users_are_those_of_the_device(source: FactorModel, tmp_path: Path) -> None:
    """Recorded in an event log and folded there, a user's training interactions give the history of the evaluation."""
    split = temporal_split(dataset().interactions)
    policy = RECIPE.policy(source.alpha)
    users = list(held_out_users(split, policy, "item_viewed"))
    rows = {item_id: row for row, item_id in enumerate(dataset().catalogue.item_ids)}
    numbers = np.unique(split.held_out.user)
    assert len(users) == len(numbers)
    assert any(len(user.rows) < len(user.all_rows) for user in users), "some histories exceed the window"
    for number, user in list(zip(numbers.tolist(), users, strict=True))[::24]:
        items, targets = _held_out(number)
        assert user.targets.tolist() == targets
        assert not set(targets) & set(items)
        assert dict(zip(user.rows.tolist(), user.confidences.tolist(), strict=True)) == _history(items)
        log = EventLog(tmp_path / f"{number}.db", clock=SystemClock(), durability="process")
        own = np.flatnonzero(split.train.user == number)
        for position in own[::-1].tolist():  # the order of recording is not that of happening
            item_id = dataset().catalogue.item_ids[split.train.item[position]]
            log.append(Event("item_viewed", item_id=item_id, timestamp=int(split.train.timestamp[position])))
        fold = HistoryFold(policy, rows)
        fold.fold(log.since(0))
        log.close()
        history = fold.history().items
        assert [item.row for item in history] == user.rows.tolist()
        assert [item.confidence for item in history] == user.confidences.tolist()
        assert [item.row for item in fold.whole_history().items] == user.all_rows.tolist()
        assert fold.seen == user.seen == set(items)


# --- what is refused -------------------------------------------------------------------------------------------------


def refused(kind: type[NearhandError], temporary: Path, out: Path, convert: Callable[[Path], object]) -> NearhandError:
    """The error; there is nothing at ``out`` or among the temporary files afterwards."""
    out.mkdir()
    before = listing(out, temporary)
    with pytest.raises(kind) as caught:
        convert(out / "new" / "b.nearhand")
    assert listing(out, temporary) == before
    assert "\n" not in str(caught.value)
    return caught.value


def _broken(table: NDArray[np.float32]) -> QuantizedRows:
    """Of every row only the first number is left."""
    rows = quantize_rows(table)
    return QuantizedRows(rows.values * (np.arange(table.shape[1]) == 0).astype(np.int8), rows.scales)


def test_a_graph_that_does_not_compute_its_table_fails_its_golden_vectors(
    source: FactorModel, temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nearhand_converters.quantize.int8.quantize_rows", _broken)
    error = refused(ModelError, temporary, tmp_path / "out", lambda out: convert_blocks(source, out))
    assert error.place == "onnx/int8"
    assert "golden case 0" in error.problem


def test_a_table_that_ranks_worse_breaks_the_budget(
    source: FactorModel, temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph computes what its table says, so the golden vectors hold: only the ranking shows the loss."""
    monkeypatch.setattr("nearhand_converters.quantize.int8.quantize_rows", _broken)
    monkeypatch.setattr("nearhand_converters.pipeline.quantize_rows", _broken)
    error = refused(BudgetError, temporary, tmp_path / "out", lambda out: convert_blocks(source, out))
    assert "onnx/int8: the lower bound of the relative change of NDCG@10 is -0." in error.problem
    assert "tflite/int8: top-10 overlap 0." in error.problem
    assert "fp32" not in error.problem
    assert "user vectors" not in error.problem


@pytest.mark.parametrize(
    ("budget", "quantity"),
    [
        (BudgetRecipe(ndcg_change=0.5), "the lower bound of the relative change of NDCG@10 is {low}, below 0.5"),
        (
            BudgetRecipe(recall_change=0.25),
            "the lower bound of the relative change of Recall@50 is {recall}, below 0.25",
        ),
        (BudgetRecipe(top10_overlap=1.5), "top-10 overlap {overlap} is below 1.5"),
        (BudgetRecipe(user_vector_error=0.0), "user vectors are off by {error}, over 0"),
    ],
    ids=["ndcg", "recall", "overlap", "user vector"],
)
def test_a_broken_budget_names_variant_quantity_value_and_bound(
    source: FactorModel, blocks: Conversion, temporary: Path, tmp_path: Path, budget: BudgetRecipe, quantity: str
) -> None:
    recipe = replace(RECIPE, budget=budget)
    error = refused(BudgetError, temporary, tmp_path / "out", lambda out: convert_blocks(source, out, recipe))
    assert "nothing was written" in error.remedy
    for variant in blocks.manifest.retrieval.evidence.variants:
        assert f"{variant.runtime}/{variant.precision}: {quantity.format(**_values(variant))}" in error.problem


def _values(variant: VariantEvidence) -> dict[str, object]:
    return {
        "low": variant.ndcg_change.low,
        "recall": variant.recall_change.low,
        "overlap": variant.top10_overlap,
        "error": variant.user_vector_error,
    }


def _shorter() -> Dataset:
    interactions = dataset().interactions
    return replace(dataset(), catalogue=catalogue(ITEMS - 1), interactions=interactions.select(interactions.item < 9))


def _brief(users: int) -> Dataset:
    """``users`` have enough to hold something out, the others four interactions each."""
    interactions = dataset().interactions
    position = np.arange(len(interactions)) - np.searchsorted(interactions.user, interactions.user)
    return replace(dataset(), interactions=interactions.select((position < 4) | (interactions.user < users)))


def _nothing() -> Dataset:
    interactions = dataset().interactions
    return replace(dataset(), interactions=interactions.select(np.zeros(len(interactions), np.bool_)))


@pytest.mark.parametrize(
    ("data", "place", "problem"),
    [
        (_shorter, "data set 'four blocks'", "has 199 items, the model has 200"),
        (lambda: _brief(0), "evaluation", "0 users have interactions to hold out"),
        (lambda: _brief(1), "evaluation", "1 users have interactions to hold out"),
        (_nothing, "evaluation", "0 users"),
    ],
    ids=["wrong catalogue", "nobody to hold out", "one user", "no interactions"],
)
def test_data_that_does_not_fit_is_refused(
    source: FactorModel, temporary: Path, tmp_path: Path, data: Callable[[], Dataset], place: str, problem: str
) -> None:
    given = data()
    error = refused(DataError, temporary, tmp_path / "out", lambda out: convert_blocks(source, out, dataset=given))
    assert error.place == place
    assert problem in error.problem
    assert error.remedy


@pytest.mark.parametrize("missing", TARGETS)
def test_a_target_whose_runtime_is_not_installed_is_refused(
    source: FactorModel, temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    from nearhand.runtime import installed_runtimes

    left = {name: make for name, make in installed_runtimes().items() if name != missing}
    monkeypatch.setattr("nearhand_converters.output.installed_runtimes", lambda: left)
    error = refused(RuntimeUnavailableError, temporary, tmp_path / "out", lambda out: convert_blocks(source, out))
    assert f"target {missing!r} is not installed" in error.problem
    assert f"pip install nearhand[{missing}]" in error.remedy
    other = [target for target in TARGETS if target != missing]
    assert convert_blocks(source, tmp_path, targets=other, precisions=["fp32"]).path.exists()


def test_an_out_below_a_file_is_refused(source: FactorModel, temporary: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here before")
    with pytest.raises(StorageError, match="is a file, not a folder"):
        convert_blocks(source, tmp_path / "file" / "b.nearhand", targets=["onnx"], precisions=["fp32"])
    assert listing(tmp_path) == [str(tmp_path / "file"), str(temporary)]


def test_progress_reaches_the_end_of_every_stage(source: FactorModel, tmp_path: Path) -> None:
    seen: dict[str, list[tuple[int, int]]] = {}

    def report(stage: str, done: int, total: int) -> None:
        seen.setdefault(stage, []).append((done, total))

    convert_blocks(source, tmp_path, targets=["onnx"], precisions=["int8"], progress=report)
    assert list(seen) == ["graphs", "source model", "popularity", "onnx/int8"]
    for steps in seen.values():
        assert steps == sorted(steps)
        assert steps[-1][0] == steps[-1][1]


def test_the_default_recipe_has_a_name() -> None:
    assert Recipe().name == "model"
