"""One bundle of several: what is in it, what keeps its name, what is refused, and that a refusal writes nothing."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import nearhand_converters
from nearhand import Config, Event, NearhandError, Personalizer, UsageError, __version__
from nearhand.bundle import Archive, install_bundle, parse, serialize, verify_bundle, write_archive
from nearhand.bundle.manifest import Manifest
from nearhand.bundle.schema import MANIFEST_PATH, FeaturesReference
from nearhand.bundle.serving import (
    DecisionPolicy,
    Learning,
    ListPolicy,
)
from nearhand.errors import BundleIntegrityError, ModelError, StorageError
from nearhand.events import EventSchema
from nearhand.features import Program, read_program
from nearhand.ranking import Predictor
from nearhand_converters.merge import merge_bundles
from nearhand_converters.output import add_file, read_measured
from nearhand_converters.recipe import TableRecipe
from nearhand_converters.sources.model import InputColumn
from nearhand_converters.tabular import convert_tabular
from tests.converters.table_models import Affine
from tests.sdk import serving_factory
from tests.sdk.serving_factory import DECISIONS, LISTING, part
from tests.tiny import Tiny

RETENTION = DECISIONS[0]


def affine(path: Path, name: str, *plans: str, **options: Any) -> Path:
    """A bundle with a small model of ``monthly``, ``plan`` and ``months``."""
    columns = (
        InputColumn("monthly", "number"),
        InputColumn("plan", "category", plans or ("basic", "café")),
        InputColumn("months", "number"),
    )
    recipe = TableRecipe(name=name, licence="MIT", rows=60, golden_rows=3)
    convert_tabular(Affine(columns=columns, **options), path, recipe, targets=("onnx",), provenance={})
    return path


def edited(path: Path, out: Path, edit: Callable[[Manifest, dict[str, bytes]], Manifest]) -> Path:
    """The same bundle with another manifest and other files."""
    with Archive.open(path) as archive:
        files = {name: archive.read(name) for name in archive.entries}
    manifest = edit(parse(Manifest, files.pop(MANIFEST_PATH), place=""), files)
    write_archive(out, {MANIFEST_PATH: serialize(manifest), **files})
    return out


def with_vocabulary(path: Path, out: Path, name: str) -> Path:
    """The same bundle; its one vocabulary has another name."""

    def edit(manifest: Manifest, files: dict[str, bytes]) -> Manifest:
        assert manifest.vocabularies is not None
        ((old, texts),) = json.loads(files["vocabularies.json"]).items()
        reference = add_file(files, "vocabularies.json", serialize({name: texts}))
        (model,) = manifest.table_models
        columns = tuple(
            replace(column, vocabulary=name) if column.vocabulary == old else column for column in model.columns
        )
        found = replace(manifest.vocabularies, file=reference, counts={name: len(texts)})
        return replace(manifest, models=(replace(model, columns=columns),), vocabularies=found)

    return edited(path, out, edit)


def contents(path: Path) -> dict[str, bytes]:
    with Archive.open(path) as archive:
        return {name: archive.read(name) for name in archive.entries}


def answers(bundle: Path, folder: Path, model: str, rows: Mapping[str, Any]) -> list[Any]:
    with Predictor.open(bundle, folder, model=model) as predictor:
        found: list[Any] = next(iter(predictor.predict(rows).outputs.values())).tolist()
        return found


@pytest.fixture(scope="module")
def churn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return affine(tmp_path_factory.mktemp("affine") / "affine.nearhand", "affine")


# --- what is in it ---------------------------------------------------------------------------------------------------


def test_everything_of_every_bundle_is_in_it(tmp_path: Path) -> None:
    names = ("tiny", "order", "churn", "kind")
    merge = merge_bundles([part(name) for name in names], out=tmp_path, listing=LISTING, decisions=DECISIONS)
    assert merge.path == tmp_path / "tiny-1.0.0.nearhand"
    manifest = verify_bundle(merge.path, sdk_version=__version__)
    assert manifest == merge.manifest
    parts = [verify_bundle(part(name), sdk_version=__version__) for name in names]
    tiny = parts[0]
    assert [model.role for model in manifest.models] == ["encoder", "index", "ranker", "predictor", "predictor"]
    assert manifest.models == tuple(model for each in parts for model in each.models)
    assert (manifest.retrieval, manifest.features) == (tiny.retrieval, tiny.features)
    assert (manifest.event_types, manifest.licence) == (tiny.event_types, "CC0-1.0")
    assert (manifest.listing, manifest.decisions) == (LISTING, DECISIONS)
    slot = install_bundle(merge.path, tmp_path / "slots", sdk_version=__version__)
    assert set(slot.vocabularies()) == {"order.latest.0", "order.context.device"}
    merged = contents(merge.path)
    for name in names:
        own = contents(part(name))
        assert all(merged[path] == own[path] for path in own if path not in (MANIFEST_PATH, "vocabularies.json"))
    assert set(merge.golden.values()) == {"passed"}
    assert {"onnx/int8", "order onnx/fp32", "churn onnx/fp32", "kind onnx/fp32"} <= set(merge.golden)
    assert manifest.provenance["nearhand"] == __version__
    assert {f"merged.{name}" for name in names} <= set(manifest.provenance)


def test_a_merged_model_answers_as_alone(tmp_path: Path) -> None:
    whole = serving_factory.serving_bundle(tmp_path)
    rows = {"views_7d": [0, 9], "views_30d": [1, 20], "likes_30d": [0, 8], "idle_hours": [300.5, 2]}
    alone = answers(part("churn"), tmp_path / "a", "churn", rows)
    assert answers(whole, tmp_path / "b", "churn", rows) == alone
    assert alone[0] != alone[1]


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    paths = [part(name) for name in ("tiny", "order", "churn")]
    first = merge_bundles(paths, out=tmp_path / "a.nearhand", listing=LISTING, decisions=DECISIONS)
    later = merge_bundles(
        [str(paths[1]), paths[0], paths[2]], out=str(tmp_path / "b.nearhand"), listing=LISTING, decisions=DECISIONS
    )
    assert first.path.read_bytes() == later.path.read_bytes()


def test_bundles_that_recommend_nothing_can_be_merged(tmp_path: Path, churn: Path) -> None:
    merge = merge_bundles([churn, part("kind")], out=tmp_path, name="both", version="2.1.0")
    assert merge.path.name == "both-2.1.0.nearhand"
    assert merge.manifest.items is None
    assert [model.name for model in merge.manifest.table_models] == ["affine", "kind"]
    assert merge.manifest.licence == "MIT; CC0-1.0"


def test_policies_are_kept_and_replaced(tmp_path: Path) -> None:
    whole = serving_factory.serving_bundle(tmp_path)
    assert merge_bundles([whole], out=tmp_path / "same.nearhand").manifest.listing == LISTING
    other = replace(RETENTION, name="other")
    changed = replace(RETENTION, holdout=Decimal("0.5"))
    plain = ListPolicy(diversity=Decimal("0.5"))
    merge = merge_bundles([whole], out=tmp_path / "new.nearhand", listing=plain, decisions=[other, changed])
    assert merge.manifest.listing == plain
    assert merge.manifest.decisions == (changed, other)


def test_old_timings_beside_the_place_are_replaced(tmp_path: Path, churn: Path) -> None:
    out = tmp_path / "merged.nearhand"
    (tmp_path / "merged.measured.json").write_text('{"latency_us": {"onnx/fp32": 1}}', encoding="utf-8")
    merge_bundles([churn], out=out)
    assert read_measured(out) == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["merged.measured.json", "merged.nearhand"]


def test_a_bundle_may_take_its_own_place(tmp_path: Path) -> None:
    path = affine(tmp_path / "one.nearhand", "one")
    before = contents(path)
    merge_bundles([path, part("kind")], out=path)
    assert before.items() - {(name, before[name]) for name in (MANIFEST_PATH,)} <= contents(path).items()


# --- names -----------------------------------------------------------------------------------------------------------


def test_vocabularies_are_one_if_they_are_the_same_and_are_renamed_if_not(tmp_path: Path) -> None:
    plans = {"a": ("x", "y"), "b": ("y", "x"), "c": ("x", "y"), "d": ("y", "x"), "e": ("z",)}
    paths = {}
    for name, texts in plans.items():
        alone = affine(tmp_path / f"{name}-alone.nearhand", name, *texts)
        paths[name] = with_vocabulary(alone, tmp_path / f"{name}.nearhand", "the.plan")
    merge = merge_bundles(list(paths.values()), out=tmp_path / "all.nearhand")
    used = {model.name: model.categories[0].vocabulary for model in merge.manifest.table_models}
    assert used == {"a": "the.plan", "b": "the-2.plan", "c": "the.plan", "d": "the-2.plan", "e": "the-3.plan"}
    slot = install_bundle(merge.path, tmp_path / "slots", sdk_version=__version__)
    assert slot.vocabularies() == {"the.plan": ("x", "y"), "the-2.plan": ("y", "x"), "the-3.plan": ("z",)}
    rows = {"monthly": 1.5, "plan": ["x", "y", "z", None], "months": 2}
    for name, path in paths.items():
        expected = answers(path, tmp_path / name, name, rows)
        assert answers(merge.path, tmp_path / "merged", name, rows) == expected
        assert len(set(map(tuple, expected))) == len(plans[name]) + 2


def test_a_file_whose_name_is_taken_is_renamed(tmp_path: Path, tiny: Tiny) -> None:
    ranker = affine(tmp_path / "encoder.nearhand", "encoder")
    merge = merge_bundles([tiny.path, ranker], out=tmp_path / "all.nearhand")
    (model,) = merge.manifest.table_models
    assert model.variants[0].file.path == "models/encoder-fp32-2.onnx"
    assert merge.manifest.model("encoder") == tiny.manifest.model("encoder")
    assert merge.golden["encoder onnx/fp32"] == merge.golden["onnx/fp32"] == "passed"


def test_the_same_model_twice_is_one(tmp_path: Path, churn: Path) -> None:
    merge = merge_bundles([churn, part("kind"), churn], out=tmp_path)
    assert [model.name for model in merge.manifest.table_models] == ["affine", "kind"]


def test_the_same_program_twice_is_one(tmp_path: Path) -> None:
    merge = merge_bundles([part("tiny"), with_program(part("churn"), tmp_path / "churn.nearhand")], out=tmp_path)
    assert merge.manifest.features is not None
    assert merge.manifest.features.file.path == "features.json"


def test_what_is_said_of_the_origin_is_kept_under_the_bundles_name_where_it_differs(tmp_path: Path) -> None:
    def told(path: Path, **more: str) -> Path:
        out = tmp_path / path.name
        return edited(path, out, lambda found, files: replace(found, provenance={**found.provenance, **more}))

    merge = merge_bundles([told(part("churn"), numpy="1.0", by="me"), told(part("kind"), numpy="2.0")], out=tmp_path)
    found = merge.manifest.provenance
    assert (found["numpy"], found["kind.numpy"], found["by"]) == ("1.0", "2.0", "me")


# --- what is refused -------------------------------------------------------------------------------------------------


def with_program(path: Path, out: Path, **fields: Any) -> Path:
    """The same bundle with the feature program of the tests, or another one."""

    def edit(manifest: Manifest, files: dict[str, bytes]) -> Manifest:
        content = json.dumps({**serving_factory.PROGRAM, **fields}).encode()
        program = read_program(content, place="PROGRAM")
        reference = add_file(files, "features.json", serialize(program))
        return replace(manifest, features=FeaturesReference(reference, program.name, program.version))

    return edited(path, out, edit)


def declaring(path: Path, out: Path, schema: EventSchema) -> Path:
    return edited(path, out, lambda manifest, files: replace(manifest, event_types={"film_rated": schema}))


def deciding(path: Path, out: Path, decision: DecisionPolicy) -> Path:
    return edited(path, out, lambda manifest, files: replace(manifest, decisions=(decision,)))


def without_program(path: Path, out: Path) -> Path:
    def edit(manifest: Manifest, files: dict[str, bytes]) -> Manifest:
        del files["features.json"]
        return replace(manifest, features=None)

    return edited(path, out, edit)


def refused(paths: Sequence[str | Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    """The error; nothing was written, and no temporary file is left."""
    out, temporary = tmp_path / "out", tmp_path / "temporary"
    out.mkdir()
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with pytest.raises(NearhandError) as caught:
        merge_bundles(paths, out=out / "merged.nearhand", **options)
    assert not list(out.iterdir())
    assert not list(temporary.iterdir())
    assert "\n" not in str(caught.value)
    assert caught.value.remedy
    return caught.value


def test_two_bundles_that_recommend(tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    error = refused([tiny.path, part("tiny")], tmp_path, monkeypatch)
    assert isinstance(error, UsageError)
    assert str(part("tiny")) in str(error)
    assert str(tiny.path) in str(error)


def test_two_feature_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = with_program(part("churn"), tmp_path / "other.nearhand", ttl="2m")
    error = refused([part("tiny"), other], tmp_path, monkeypatch)
    assert isinstance(error, UsageError)
    programs = [contents(path)["features.json"] for path in (part("tiny"), other)]
    digests = [read_program(data, place="").digest for data in programs]
    assert digests[0] != digests[1]
    assert all(digest in error.problem for digest in digests)


@pytest.mark.parametrize(
    "options", [{"wrong": 0.0, "task": "binary"}, {"missing_allowed": False}], ids=["task", "columns"]
)
def test_two_models_of_one_name(
    tmp_path: Path, churn: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = affine(tmp_path / "other.nearhand", "affine", **options)
    error = refused([churn, other], tmp_path, monkeypatch)
    assert isinstance(error, UsageError)
    assert error.place == str(other)
    assert "'affine'" in error.problem
    assert "--name" in error.remedy


def test_models_that_differ_only_in_their_vocabulary(
    tmp_path: Path, churn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = affine(tmp_path / "other.nearhand", "affine", "basic", "gold")
    assert contents(other)["models/affine-fp32.onnx"] == contents(churn)["models/affine-fp32.onnx"]
    assert "'affine'" in refused([churn, other], tmp_path, monkeypatch).problem


def test_two_declarations_of_one_event_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    same = EventSchema(item=True, properties={"stars": "number"})
    paths = [declaring(part(name), tmp_path / f"{name}.nearhand", same) for name in ("tiny", "churn")]
    assert merge_bundles(paths, out=tmp_path / "fine.nearhand").manifest.event_types == {"film_rated": same}
    paths.append(declaring(part("kind"), tmp_path / "kind.nearhand", EventSchema(item=False)))
    error = refused(paths, tmp_path, monkeypatch)
    assert isinstance(error, UsageError)
    assert "'film_rated'" in error.problem
    assert error.place == str(paths[2])


def test_two_decisions_of_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(RETENTION, holdout=Decimal("0.5"))
    paths = [
        deciding(serving_factory.serving_bundle(tmp_path), tmp_path / "whole.nearhand", other),
        deciding(part("churn"), tmp_path / "churn.nearhand", RETENTION),
    ]
    merge = merge_bundles(paths, out=tmp_path / "x.nearhand", decisions=DECISIONS)
    assert merge.manifest.decisions == (RETENTION,)
    error = refused(paths, tmp_path, monkeypatch)
    assert isinstance(error, UsageError)
    assert "another decision 'retention'" in error.problem


POLICIES: list[tuple[str, Sequence[str], dict[str, Any], str, str]] = [
    ("no bundle", (), {}, "paths", "at least one"),
    ("listing for nobody", ("churn",), {"listing": ListPolicy()}, "listing", "retrieval model"),
    ("unknown ranker", ("tiny", "order"), {"listing": ListPolicy(ranker="ordre")}, "listing.ranker", "'order'"),
    ("predictor as ranker", ("tiny", "churn"), {"listing": ListPolicy(ranker="churn")}, "listing.ranker", "a ranker"),
    ("unknown predictor", ("tiny", "order", "churn"), {"decisions": [replace(RETENTION, predictor="chrun")]},
     "decision 'retention': predictor", "'churn'"),
    ("cluster as predictor", ("tiny", "kind"), {"decisions": [replace(RETENTION, predictor="kind")]},
     "decision 'retention': predictor", "two classes"),
    ("unknown reward", ("tiny",), {"listing": ListPolicy(learning=Learning({"item_liekd": Decimal(1)}))},
     "listing.learning.rewards", "declare it"),
    ("one decision twice", ("tiny", "churn"), {"decisions": [RETENTION, RETENTION]}, "decisions", "name of its own"),
    ("bad name", ("churn",), {"name": "A b"}, "name", "lowercase"),
    ("bad version", ("churn",), {"version": "1.0"}, "version", "1.0.0"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "options", "place", "remedy"), [c[1:] for c in POLICIES], ids=[c[0] for c in POLICIES]
)
def test_what_does_not_fit(
    names: Sequence[str],
    options: dict[str, Any],
    place: str,
    remedy: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error = refused([part(name) for name in names], tmp_path, monkeypatch, **options)
    assert isinstance(error, UsageError)
    assert error.place == place
    assert remedy in error.remedy


def test_a_ranker_whose_columns_the_program_does_not_give(
    tmp_path: Path, churn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = replace(RETENTION, predictor="affine")
    error = refused([part("tiny"), churn], tmp_path, monkeypatch, decisions=[policy])
    assert isinstance(error, UsageError)
    assert error.place == "predictor affine"
    assert "'monthly'" in error.problem
    assert merge_bundles([part("tiny"), churn], out=tmp_path).manifest.table_models, "who names it, must feed it"


def test_policies_that_need_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = without_program(part("tiny"), tmp_path / "bare.nearhand")
    paths = [bare, part("order"), part("churn")]
    plain = merge_bundles(paths, out=tmp_path / "plain.nearhand", listing=ListPolicy(category_cap=2))
    assert plain.manifest.features is None
    error = refused(paths, tmp_path, monkeypatch, listing=LISTING, decisions=DECISIONS)
    assert isinstance(error, UsageError)
    assert "order, churn" in error.problem


def program_of_profiles() -> Program:
    """Gives what the tests' churn predictor reads, and needs no catalogue."""
    views = [view for view in serving_factory.PROGRAM["views"] if view["name"] in serving_factory.CHURN]
    content = json.dumps({**serving_factory.PROGRAM, "name": "profiles", "views": views}).encode()
    return read_program(content, place="PROFILES")


def test_predictors_alone_with_a_program_are_served(tmp_path: Path) -> None:
    program = program_of_profiles()
    merge = merge_bundles([part("churn")], out=tmp_path, decisions=DECISIONS, program=program)
    assert merge.manifest.features is not None
    assert (merge.manifest.items, merge.manifest.features.name) == (None, "profiles")
    assert read_program(contents(merge.path)["features.json"], place="").digest == program.digest
    with Personalizer.open(merge.path, tmp_path / "data", config=Config(durability="process", seed=1)) as p:
        before = p.predict("churn").value
        p.record_many([Event("item_viewed", item_id=f"m_{number}") for number in range(5)])
        assert p.predict("churn").value != before
        assert p.decide(RETENTION.name).prediction == p.predict("churn").value
        with pytest.raises(UsageError):
            p.recommend()
    assert merge_bundles is nearhand_converters.merge_bundles


def test_a_program_beside_that_of_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = refused([part("tiny")], tmp_path, monkeypatch, program=program_of_profiles())
    assert isinstance(error, UsageError)
    assert error.place == str(part("tiny"))
    assert "program has profiles 1.0.0" in error.problem
    same = read_program(contents(part("tiny"))["features.json"], place="")
    assert merge_bundles([part("tiny")], out=tmp_path / "same", program=same).manifest.features is not None


def test_a_program_that_the_catalogue_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = without_program(part("tiny"), tmp_path / "bare.nearhand")
    views = [{"op": "item", "name": "price", "of": "item.price"}]
    other = with_program(part("churn"), tmp_path / "churn.nearhand", views=views)
    assert "item.price" in str(refused([bare, other], tmp_path, monkeypatch))


def test_a_program_of_unknown_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    views = [{"op": "count", "name": "rated", "events": ["film_rated"]}]
    other = with_program(part("churn"), tmp_path / "churn.nearhand", views=views)
    assert "'film_rated' is neither known nor declared" in refused([other], tmp_path, monkeypatch).problem


def test_a_damaged_bundle_and_none(tmp_path: Path, churn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = tmp_path / "damaged.nearhand"
    data = bytearray(churn.read_bytes())
    data[-200] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(NearhandError):
        merge_bundles([churn, damaged], out=tmp_path / "x.nearhand")
    with pytest.raises(StorageError):
        merge_bundles([churn, tmp_path / "none.nearhand"], out=tmp_path / "x.nearhand")

    def cut(manifest: Manifest, files: dict[str, bytes]) -> Manifest:
        files["models/affine-fp32.onnx"] = b"x"
        return manifest

    edited(churn, damaged, cut)
    assert isinstance(refused([churn, damaged], tmp_path, monkeypatch), BundleIntegrityError)


def test_a_place_that_is_a_folder(tmp_path: Path, churn: Path) -> None:
    (tmp_path / "x.nearhand").mkdir()
    with pytest.raises(StorageError, match="is a folder"):
        merge_bundles([churn], out=tmp_path / "x.nearhand")


def test_golden_vectors_that_differ(tmp_path: Path, churn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that computes wrongly: here, one whose answers are those of another model."""
    other = affine(tmp_path / "other.nearhand", "affine", missing_allowed=False)
    golden = json.loads(contents(other)["golden/affine.json"])
    golden["outputs"]["value"][1][0] = "1000"

    def edit(manifest: Manifest, files: dict[str, bytes]) -> Manifest:
        (model,) = manifest.table_models
        reference = add_file(files, "golden/affine.json", (json.dumps(golden) + "\n").encode())
        return replace(manifest, models=(replace(model, golden=replace(model.golden, file=reference)),))

    wrong = edited(other, tmp_path / "wrong.nearhand", edit)
    error = refused([part("kind"), wrong], tmp_path, monkeypatch)
    assert isinstance(error, ModelError)
    assert "golden row 1 gives value" in error.problem
    assert error.place == "golden vectors of affine onnx/fp32"
