"""What a conversion writes: the bundle, and beside it a sidecar with the timings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nearhand.bundle import write_archive
from nearhand.bundle.document import serialize
from nearhand.bundle.durable import storage_errors
from nearhand.bundle.manifest import Manifest
from nearhand.bundle.schema import MANIFEST_PATH, FileReference, Precision, RuntimeName, Variant
from nearhand.errors import RuntimeUnavailableError, StorageError
from nearhand.runtime import Runtime, installed_runtimes
from nearhand_converters.targets.target import Artifact


@dataclass(frozen=True)
class Conversion:
    """What a conversion gave.

    Attributes:
        path: the bundle; measured_path: the sidecar with the timings.
        latency_us: variant, such as ``onnx/int8`` → median time of one call, microseconds, on this machine: encoder and
            index together, or one row of a ranker or predictor.
    """

    path: Path
    measured_path: Path
    manifest: Manifest
    latency_us: Mapping[str, float]


def load_runtimes(targets: Iterable[RuntimeName]) -> dict[RuntimeName, Runtime]:
    """The runtime of each target, without which nothing built for it could be proved.

    Raises:
        RuntimeUnavailableError: one is not installed.
    """
    available = installed_runtimes()
    for target in targets:
        if target not in available:
            raise RuntimeUnavailableError(
                f"the runtime of target {target!r} is not installed, so nothing built for it could be proved",
                remedy=f"pip install nearhand[{'onnx' if target == 'ort' else target}], or leave it out of --target",
            )
    return {target: available[target]() for target in targets}


def check_out(out: Path, name: str, version: str) -> None:
    """Refuse early what could not be written later.

    Raises:
        StorageError: the bundle's place is a folder, or below a file.
    """
    path = _bundle_path(out, name, version)
    if path.is_dir():
        problem = "is a folder, where the bundle would be written"
        raise StorageError(problem, place=str(path), remedy="give another path, or a folder without .nearhand")
    above = next(parent for parent in path.parents if parent.exists())
    if not above.is_dir():
        raise StorageError("is a file, not a folder", place=str(above), remedy="give a path in a folder")


def add_file(files: dict[str, bytes], path: str, data: bytes) -> FileReference:
    """Put a file into a bundle, and refer to it."""
    files[path] = data
    return FileReference(path, len(data), hashlib.sha256(data).hexdigest())


def variant_of(
    artifact: Artifact, model: str, runtime: RuntimeName, precision: Precision, files: dict[str, bytes]
) -> Variant:
    """An artifact as a variant of a model, its files put into the bundle."""
    path = f"models/{model}-{precision}.{runtime}"
    config = artifact.build_config
    return Variant(
        runtime=runtime,
        precision=precision,
        file=add_file(files, path, artifact.data),
        versions=artifact.versions,
        operators=artifact.operators,
        inputs=artifact.inputs,
        outputs=artifact.outputs,
        build_config=None if config is None else add_file(files, f"{path}.config", config),
    )


def write_conversion(
    out: Path,
    manifest: Manifest,
    files: Mapping[str, bytes],
    latency_us: Mapping[str, float],
    runtimes: Mapping[RuntimeName, Runtime],
) -> Conversion:
    """Write a bundle and its sidecar.

    Args:
        out: the bundle's path if it ends in ``.nearhand``, else a folder for ``NAME-VERSION.nearhand``.
        files: path → bytes of every file but the manifest.

    Raises:
        StorageError: the place cannot be written.
    """
    path = _bundle_path(out, manifest.name, manifest.version)
    with storage_errors(str(path.parent)):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_archive(path, {MANIFEST_PATH: serialize(manifest), **files})
    return Conversion(path, _write_measured(path, latency_us, runtimes), manifest, latency_us)


def _bundle_path(out: Path, name: str, version: str) -> Path:
    return out if out.suffix == ".nearhand" else out / f"{name}-{version}.nearhand"


def _write_measured(bundle: Path, latency: Mapping[str, float], runtimes: Mapping[RuntimeName, Runtime]) -> Path:
    """Timings stay out of the bundle: they would change its bytes."""
    path = _measured_path(bundle)
    document = {
        "latency_us": {variant: round(value, 1) for variant, value in latency.items()},
        "runtimes": {name: runtime.version for name, runtime in runtimes.items()},
    }
    temporary = path.with_name(path.name + ".part")
    with storage_errors(str(path)):
        try:
            temporary.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def read_measured(bundle: Path) -> dict[str, float]:
    """The latencies of the sidecar next to a bundle, variant → microseconds; empty without a readable one."""
    try:
        latency: dict[str, float] = json.loads(_measured_path(bundle).read_text(encoding="utf-8"))["latency_us"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return latency


def _measured_path(bundle: Path) -> Path:
    return bundle.with_name(bundle.name.removesuffix(".nearhand") + ".measured.json")
