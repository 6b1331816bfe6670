"""``nearhand merge``: several bundles become one, with the policies by which it is served.

At most one of them recommends; any of them may have rankers and predictors. What two of them call by one name stays one
if it is the same. If it is not, it is renamed where only the bundle itself uses the name (vocabularies and files), and
refused where an app does (models, event types, decisions).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import TypeVar

from nearhand import __version__
from nearhand.bundle import Archive, BundleFolder, install_bundle, verify_bundle, write_archive
from nearhand.bundle.document import serialize
from nearhand.bundle.fields import listed, nearest
from nearhand.bundle.manifest import Manifest
from nearhand.bundle.schema import (
    FORMAT_VERSION,
    MANIFEST_PATH,
    NAME,
    FeaturesReference,
    FileReference,
    Model,
    Variant,
    semantic_version,
)
from nearhand.bundle.serving import DecisionPolicy, ListPolicy
from nearhand.bundle.tables import TableModel, VocabulariesReference, parse_vocabularies
from nearhand.errors import ModelError, UsageError
from nearhand.events import EventSchema, check_event_types
from nearhand.features import ItemTable, Program, compile_program, read_program
from nearhand.ranking import FeatureRows, RowEncoder, retrieval_windows
from nearhand.runtime import installed_runtimes
from nearhand_converters.output import add_file, check_out, write_conversion
from nearhand_converters.verification import failures, run_golden

T = TypeVar("T")


@dataclass(frozen=True)
class Merge:
    """What a merge gave.

    Attributes:
        path: the bundle.
        golden: how the golden vectors of each variant went; see :func:`nearhand_converters.verification.run_golden`.
    """

    path: Path
    manifest: Manifest
    golden: Mapping[str, str]


def merge_bundles(
    paths: Sequence[str | Path],
    *,
    out: str | Path,
    listing: ListPolicy | None = None,
    decisions: Sequence[DecisionPolicy] = (),
    labels: Mapping[str, Mapping[str, str]] = {},
    program: Program | None = None,
    name: str | None = None,
    version: str | None = None,
) -> Merge:
    """Make one bundle of several, verify it, run its golden vectors on the runtimes that are installed, and write it.

    The same bundles in the same order give the same bytes.

    Args:
        paths: of the bundles; at most one of them recommends.
        out: the bundle's path if it ends in ``.nearhand``, else a folder for ``NAME-VERSION.nearhand``.
        listing: how a list is made of the candidates; None: as the bundle that recommends says.
        decisions: in addition to those of the bundles; one of the same name takes its place.
        labels: feature → language → what people call it; in addition to those of the bundles, whose place they take.
        program: the feature program, for bundles none of which has one, such as those of predictors alone.
        name, version: by default those of the bundle that recommends, else of the first.

    Raises:
        BundleError: one of the bundles is refused.
        UsageError: two bundles recommend, have another feature program, or another model, event type or decision of
            one name; or a policy names what the bundle does not have, or reads what its program does not give.
        ProgramError: the feature program does not fit the catalogue.
        ModelError: golden vectors differ on this machine.
        StorageError: a bundle cannot be read, or the place cannot be written.
        In any of these cases nothing is written.
    """
    parts = _in_order([_read(Path(path)) for path in paths])
    lead = parts[0]
    name = lead.manifest.name if name is None else name
    version = lead.manifest.version if version is None else version
    _check_identity(name, version)
    check_out(Path(out), name, version)
    manifest, files = _merged(parts, listing, decisions, labels, program, name, version)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        trial = work / "merged.nearhand"
        write_archive(trial, {MANIFEST_PATH: serialize(manifest), **files})
        bundle = install_bundle(trial, work / "slots", sdk_version=__version__)
        _check_features(bundle)
        golden = run_golden(bundle, work / "selftests")
    if failed := failures(golden):
        remedy = "convert the model again on a machine where `nearhand verify` passes"
        raise ModelError(golden[failed[0]], place=f"golden vectors of {failed[0]}", remedy=remedy)
    available = installed_runtimes()
    used = dict.fromkeys(variant.runtime for model in manifest.models for variant in model.variants)
    runtimes = {runtime: available[runtime]() for runtime in used if runtime in available}
    # No latencies: they were measured before the merge, by variant, and here several models have variants of one name.
    written = write_conversion(Path(out), manifest, files, {}, runtimes)
    return Merge(written.path, manifest, golden)


# --- what is merged --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Part:
    """A bundle that is merged.

    Attributes:
        place: its file, for errors.
        digest: sha256 of its manifest.
        files: path → bytes of every file but the manifest.
    """

    place: str
    digest: str
    manifest: Manifest
    files: Mapping[str, bytes]
    vocabularies: Mapping[str, tuple[str, ...]]


def _read(path: Path) -> _Part:
    manifest = verify_bundle(path, sdk_version=__version__)
    with Archive.open(path) as archive:
        files = {name: archive.read(name) for name in archive.entries if name != MANIFEST_PATH}
        digest = sha256(archive.read(MANIFEST_PATH)).hexdigest()
    reference = manifest.vocabularies
    vocabularies = {}
    if reference is not None:
        vocabularies = parse_vocabularies(reference, files[reference.file.path], place=str(path))
    return _Part(str(path), digest, manifest, files, vocabularies)


def _in_order(parts: Sequence[_Part]) -> list[_Part]:
    """The one that recommends first, then the others as they were given."""
    if not parts:
        raise UsageError("is empty", place="paths", remedy="give at least one bundle")
    recommend = [part for part in parts if part.manifest.items is not None]
    if len(recommend) > 1:
        raise UsageError(
            f"recommends, and so does {recommend[0].place}",
            place=recommend[1].place,
            remedy="give one bundle that recommends, and others with rankers and predictors",
        )
    return [*recommend, *(part for part in parts if part not in recommend)]


def _check_identity(name: str, version: str) -> None:
    if not re.fullmatch(NAME, name):
        raise UsageError(f"is {name!r}", place="name", remedy="use lowercase words joined by '-' or '_'")
    try:
        semantic_version(version)
    except ValueError as error:
        raise UsageError(str(error), place="version", remedy="give one such as 1.0.0") from None


# --- the merge -------------------------------------------------------------------------------------------------------


def _merged(
    parts: Sequence[_Part],
    listing: ListPolicy | None,
    decisions: Sequence[DecisionPolicy],
    labels: Mapping[str, Mapping[str, str]],
    program: Program | None,
    name: str,
    version: str,
) -> tuple[Manifest, dict[str, bytes]]:
    lead = parts[0].manifest
    files: dict[str, bytes] = {}
    event_types = _event_types(parts)
    items, golden = lead.items, lead.golden
    if items is not None and golden is not None:
        items = replace(items, file=_add(items.file, parts[0], files))
        golden = replace(golden, file=_add(golden.file, parts[0], files))
    features = _features(parts, program, event_types, files)
    retrieval = tuple(
        replace(model, variants=_variants(model, parts[0], files)) for model in lead.models if isinstance(model, Model)
    )
    models, vocabularies = _table_models(parts, files)
    listing = lead.listing if listing is None else listing
    decided = _decisions(parts, decisions)
    _check_serving(lead, models, listing, decided, event_types)
    manifest = Manifest(
        format=FORMAT_VERSION,
        name=name,
        version=version,
        licence="; ".join(dict.fromkeys(part.manifest.licence for part in parts)),
        min_sdk=__version__,
        models=(*retrieval, *models),
        event_types=event_types,
        provenance=_provenance(parts),
        items=items,
        policy=lead.policy,
        golden=golden,
        evidence=lead.evidence,
        features=features,
        vocabularies=_add_vocabularies(vocabularies, files),
        listing=listing,
        decisions=decided,
        labels=_labels([*(part.manifest.labels for part in parts), labels]),
    )
    return manifest, files


def _labels(every: Sequence[Mapping[str, Mapping[str, str]]]) -> dict[str, dict[str, str]]:
    """All of them; of two labels of a feature in one language the later."""
    found: dict[str, dict[str, str]] = {}
    for labels in every:
        for feature, texts in labels.items():
            found.setdefault(feature, {}).update(texts)
    return found


def _table_models(
    parts: Sequence[_Part], files: dict[str, bytes]
) -> tuple[tuple[TableModel, ...], dict[str, tuple[str, ...]]]:
    """The rankers and predictors of all bundles, and the vocabularies of their columns."""
    found: dict[str, tuple[_Part, TableModel]] = {}
    models: list[TableModel] = []
    vocabularies: dict[str, tuple[str, ...]] = {}
    for part in parts:
        for model in part.manifest.table_models:
            known = found.setdefault(model.name, (part, model))
            if known[1] is model:
                models.append(_table_model(model, part, files, vocabularies))
            elif known[1] != model or _texts(known[1], known[0]) != _texts(model, part):
                raise UsageError(
                    f"has another model {model.name!r} than {known[0].place}",
                    place=part.place,
                    remedy="convert one of them with another --name",
                )
    return tuple(models), vocabularies


def _table_model(
    model: TableModel, part: _Part, files: dict[str, bytes], vocabularies: dict[str, tuple[str, ...]]
) -> TableModel:
    columns = []
    for column in model.columns:
        name = column.vocabulary
        if name is not None:
            name = _free(name, part.vocabularies[name], vocabularies)
            vocabularies[name] = part.vocabularies[str(column.vocabulary)]
        columns.append(replace(column, vocabulary=name))
    ranks = model.ranks
    return replace(
        model,
        columns=tuple(columns),
        variants=_variants(model, part, files),
        golden=replace(model.golden, file=_add(model.golden.file, part, files)),
        ranks=None if ranks is None else replace(ranks, file=_add(ranks.file, part, files)),
    )


def _texts(model: TableModel, part: _Part) -> list[tuple[str, ...]]:
    return [part.vocabularies[str(column.vocabulary)] for column in model.categories]


def _variants(model: Model | TableModel, part: _Part, files: dict[str, bytes]) -> tuple[Variant, ...]:
    return tuple(
        replace(
            variant,
            file=_add(variant.file, part, files),
            build_config=None if variant.build_config is None else _add(variant.build_config, part, files),
        )
        for variant in model.variants
    )


def _add(reference: FileReference, part: _Part, files: dict[str, bytes]) -> FileReference:
    """A file of a part put into the bundle, under its own name if that is free."""
    data = part.files[reference.path]
    path = _free(reference.path, data, files)
    files[path] = data
    return replace(reference, path=path)


def _free(name: str, content: T, taken: Mapping[str, T]) -> str:
    """``name``, or with ``-2``, ``-3`` … before its first dot: the first that is not taken, or by the same content."""
    return next(each for each in _names(name) if taken.get(each, content) == content)


def _names(name: str) -> Iterator[str]:
    head, dot, tail = name.partition(".")
    yield name
    yield from (f"{head}-{number}{dot}{tail}" for number in count(2))


def _add_vocabularies(
    vocabularies: Mapping[str, tuple[str, ...]], files: dict[str, bytes]
) -> VocabulariesReference | None:
    if not vocabularies:
        return None
    data = serialize(dict(vocabularies))
    path = _free("vocabularies.json", data, files)
    files[path] = data
    reference = FileReference(path, len(data), sha256(data).hexdigest())
    return VocabulariesReference(reference, {name: len(texts) for name, texts in vocabularies.items()})


def _event_types(parts: Sequence[_Part]) -> dict[str, EventSchema]:
    found: dict[str, EventSchema] = {}
    places: dict[str, str] = {}
    for part in parts:
        for kind, schema in part.manifest.event_types.items():
            if found.setdefault(kind, schema) != schema:
                problem = f"declares the event type {kind!r} in another way than {places[kind]}"
                raise UsageError(problem, place=part.place, remedy="declare it in one way in both recipes")
            places.setdefault(kind, part.place)
    return found


def _features(
    parts: Sequence[_Part], given: Program | None, event_types: Mapping[str, EventSchema], files: dict[str, bytes]
) -> FeaturesReference | None:
    """The one feature program that there is."""
    found = [] if given is None else [("program", given)]
    for part in parts:
        if part.manifest.features is not None:
            path = part.manifest.features.file.path
            found.append((part.place, read_program(part.files[path], place=f"{part.place}: {path}")))
    if not found:
        return None
    first, program = found[0]
    for place, other in found[1:]:
        if other.digest != program.digest:
            raise UsageError(
                f"has the feature program {other.name} {other.version} with the digest {other.digest}, and "
                f"{first} has {program.name} {program.version} with the digest {program.digest}",
                place=place,
                remedy="train the models on one program, and convert with it",
            )
    _check_types(event_types, program.event_types, f"feature program {program.name} of {first}")
    data = serialize(program)
    reference = add_file(files, _free("features.json", data, files), data)
    return FeaturesReference(reference, program.name, program.version)


def _decisions(parts: Sequence[_Part], given: Sequence[DecisionPolicy]) -> tuple[DecisionPolicy, ...]:
    names = [decision.name for decision in given]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"has two decisions {twice!r}", place="decisions", remedy="give each a name of its own")
    found: dict[str, tuple[str, DecisionPolicy]] = {}
    for part in parts:
        for decision in part.manifest.decisions:
            place, known = found.setdefault(decision.name, (part.place, decision))
            if known != decision and decision.name not in names:
                problem = f"has another decision {decision.name!r} than {place}"
                raise UsageError(problem, place=part.place, remedy="say which holds with --serving")
    replaced = {name: decision for name, (_, decision) in found.items()}
    return tuple((replaced | {decision.name: decision for decision in given}).values())


def _provenance(parts: Sequence[_Part]) -> dict[str, str]:
    """What the parts say; where one says something else than those before it, under its name. And their digests."""
    found: dict[str, str] = {}
    for part in parts:
        for key, value in sorted(part.manifest.provenance.items()):
            own = key if found.get(key, value) == value else _free(f"{part.manifest.name}.{key}", value, found)
            found[own] = value
        merged = _free(f"merged.{part.manifest.name}", part.digest, found)
        found[merged] = part.digest
    return found


# --- whether the policies fit ----------------------------------------------------------------------------------------


def _check_serving(
    lead: Manifest,
    models: Sequence[TableModel],
    listing: ListPolicy | None,
    decisions: Sequence[DecisionPolicy],
    event_types: Mapping[str, EventSchema],
) -> None:
    if listing is not None:
        if lead.items is None:
            remedy = "give a bundle with a retrieval model too, or leave the listing out"
            raise UsageError("is given, and none of the bundles recommends", place="listing", remedy=remedy)
        if listing.ranker is not None:
            rankers = [model.name for model in models if model.role == "ranker"]
            _check_name(listing.ranker, rankers, "ranker", "listing.ranker")
        if listing.learning is not None:
            _check_types(event_types, listing.learning.rewards, "listing.learning.rewards")
    predictors = [
        model.name for model in models if model.role == "predictor" and model.task in ("regression", "binary")
    ]
    for decision in decisions:
        what = "predictor for regression or two classes"
        _check_name(decision.predictor, predictors, what, f"decision {decision.name!r}: predictor")


def _check_name(name: str, known: Sequence[str], what: str, place: str) -> None:
    if name not in known:
        remedy = nearest(name, known) if known else f"give a bundle with a {what}"
        raise UsageError(f"is {name!r}, which is no {what} of the bundles", place=place, remedy=remedy)


def _check_types(event_types: Mapping[str, EventSchema], mentioned: Iterable[str], place: str) -> None:
    try:
        check_event_types(event_types, mentioned)
    except ValueError as error:
        raise UsageError(str(error), place=place, remedy="declare it in the recipe of a bundle") from None


def _check_features(bundle: BundleFolder) -> None:
    """Whether the feature program fits the catalogue, and gives the columns of the models that the policies name."""
    manifest = bundle.manifest
    named = [decision.predictor for decision in manifest.decisions]
    if manifest.listing is not None and manifest.listing.ranker is not None:
        named.insert(0, manifest.listing.ranker)
    if manifest.features is None:
        if named:
            raise UsageError(
                f"none of the bundles has a feature program, and {listed(dict.fromkeys(named))} would get no columns",
                place=f"bundle {manifest.name}",
                remedy="convert the retrieval model with a recipe that names one, or give one as the program",
            )
        return
    items = ItemTable.empty() if manifest.items is None else ItemTable.of_bundle(bundle.items())
    path = bundle.path(manifest.features.file)
    program = compile_program(read_program(path.read_bytes(), place=manifest.features.file.path), items)
    vocabularies = bundle.vocabularies()
    for name in dict.fromkeys(named):
        model = manifest.table_model(name)
        encoder = RowEncoder(model.columns, vocabularies, bundle.thresholds(model))
        FeatureRows(program, model, encoder, retrieval_windows(model.columns))
