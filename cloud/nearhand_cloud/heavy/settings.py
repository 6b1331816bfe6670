"""The folder that ``mlserver start`` serves: a bundle with MLServer's two settings files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nearhand.bundle import verify_bundle
from nearhand.bundle.durable import storage_errors
from nearhand.version import __version__

BUNDLE_FILE = "heavy.nearhand"
BATCH_SIZE = 4
"""Requests of one batch, at most: all wait for the last, and the encoder takes some milliseconds of a core for each."""
BATCH_SECONDS = 0.002
"""How long the first request of a batch waits for others, at most: little beside a deadline of 150 ms."""
RUNTIME = "nearhand_cloud.heavy.runtime.HeavyRuntime"


def write_settings(
    bundle: str | Path,
    folder: str | Path,
    *,
    name: str | None = None,
    server: Mapping[str, Any] | None = None,
    batch_size: int = BATCH_SIZE,
    batch_seconds: float = BATCH_SECONDS,
) -> Path:
    """Verify a bundle, copy it into a folder, and write ``model-settings.json`` and ``settings.json`` beside it.

    The folder can be moved, uploaded and mounted as a whole.

    Args:
        name: the model's; by default the bundle's.
        server: more of MLServer's own settings, such as ``http_port``; by default its ports are 8080 (HTTP), 8081
            (gRPC) and 8082 (metrics), on all interfaces.
        batch_size: how many requests are run at once, at most; 1: each by itself.
        batch_seconds: how long one waits for others.

    Raises:
        BundleError: the bundle is refused.
        UsageError: it makes no recommendations.
        StorageError: the bundle cannot be read, or the folder cannot be written.
    """
    source, target = Path(bundle), Path(folder)
    manifest = verify_bundle(source, sdk_version=__version__)
    manifest.model("encoder")  # without one there is nothing to score with
    model = {
        "name": manifest.name if name is None else name,
        "implementation": RUNTIME,
        "parameters": {
            "uri": f"./{BUNDLE_FILE}",
            "version": manifest.version,
            "extra": {"max_batch_size": batch_size, "max_batch_time": batch_seconds},
        },
    }
    # One process: the models run outside of Python's lock, and more replicas are more processes.
    settings = {"debug": False, "parallel_workers": 0, **(server or {})}
    with storage_errors(str(target)):
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target / BUNDLE_FILE)
        for path, content in (("model-settings.json", model), ("settings.json", settings)):
            (target / path).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return target
