"""A real MLServer with a bundle, for tests of the server and of its clients; and a small heavy bundle to serve.

The small bundle is that of :mod:`tests.sdk.serving_factory` with another ranker, which reads what the device sends and
``match`` and ``popularity`` and ``year`` (of the candidate), ``likes_30d``, ``latest.0`` (category),
``retrieval.score`` and that of the latest five items. Its catalogue is that of the device's, so the same rows mean the
same films.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from nearhand.bundle.serving import ListPolicy
from nearhand.ranking import RETRIEVAL_SCORE
from nearhand_cloud.heavy import HeavyModel, write_settings
from nearhand_cloud.heavy.serving import is_ready
from nearhand_converters.door import convert_model
from nearhand_converters.merge import merge_bundles
from nearhand_converters.recipe import TableRecipe
from tests import tiny
from tests.sdk import serving_factory

RECENT_SCORE = f"{RETRIEVAL_SCORE}.5"
_STARTS = 3
_PATIENCE_S = 120.0


@dataclass(frozen=True)
class HeavyServer:
    """A running server.

    Attributes:
        url: without a path; model: the served model's name.
        process: MLServer itself.
    """

    url: str
    model: str
    process: subprocess.Popen[bytes]

    def get(self, path: str) -> Any:
        """The JSON of an answer of 200."""
        with urllib.request.urlopen(self.url + path, timeout=_PATIENCE_S) as answer:
            return json.load(answer)

    def infer(self, body: Any) -> tuple[int, Any]:
        """The status and the JSON of an answer to an inference request; a body of bytes is sent as it is."""
        return self.post(body, {"Content-Type": "application/json"})

    def post(self, body: Any, headers: Mapping[str, str]) -> tuple[int, Any]:
        """As :meth:`infer`, with other headers."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/v2/models/{self.model}/infer", data, dict(headers))
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE_S) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read() or b"null")


@contextmanager
def running_heavy(bundle: Path, folder: Path, **settings: Any) -> Iterator[HeavyServer]:
    """``mlserver start`` of a folder written below ``folder``, ready when the block begins; killed if it does not end.

    The block may end the process itself.

    Args:
        settings: more of MLServer's own.
    """
    log = folder / "mlserver.log"
    for _ in range(_STARTS):  # a free port may be taken before the server has it
        port = _free_port()
        server = {"host": "127.0.0.1", "http_port": port, "grpc_port": 0, "metrics_endpoint": None}
        server |= settings
        served = write_settings(bundle, folder / "served", server=server)
        model = json.loads((served / "model-settings.json").read_text(encoding="utf-8"))["name"]
        with log.open("wb") as out:
            mlserver = Path(sys.executable).with_name("mlserver")
            process = subprocess.Popen([mlserver, "start", served], stdout=out, stderr=out, cwd=folder)
        try:
            if _came_up(process, port, model):
                yield HeavyServer(f"http://127.0.0.1:{port}", model, process)
                return
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(_PATIENCE_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
    raise AssertionError(f"MLServer did not start: {log.read_text(encoding='utf-8', errors='replace')[-3000:]}")


def request_body(
    model: HeavyModel,
    history: Sequence[int],
    weights: Sequence[float],
    candidates: Sequence[int],
    features: Sequence[float] | None = None,
) -> dict[str, Any]:
    """An inference request for one list, as a device makes it."""
    inputs = [
        _tensor("history", "INT32", history),
        _tensor("weights", "FP32", weights),
        _tensor("candidates", "INT32", candidates),
    ]
    parameters = {"bundle_version": "1.0.0", "catalogue": model.catalogue}
    if features is not None:
        inputs.append(_tensor("features", "FP32", features))
        parameters["program"] = model.program
    return {"inputs": inputs, "parameters": parameters}


def heavy_bundle() -> Path:
    """The small heavy bundle; made once per test run, in some seconds."""
    return _heavy_bundle()


@cache
def _heavy_bundle() -> Path:
    import lightgbm
    import pandas as pd

    generator = np.random.Generator(np.random.PCG64(8))
    count = 3000
    rows = pd.DataFrame(
        {
            "match": generator.uniform(-1, 1, count),
            "popularity": generator.integers(0, 60, count),
            "year": generator.integers(1950, 2020, count),
            "likes_30d": generator.integers(0, 12, count),
            "latest.0": pd.Categorical(generator.integers(0, tiny.TASTES + 2, count)),
            RETRIEVAL_SCORE: generator.uniform(-0.2, 1.2, count),
            RECENT_SCORE: generator.uniform(-0.2, 1.2, count),
        }
    )
    target = (
        2 * rows[RETRIEVAL_SCORE]
        + 3 * rows[RECENT_SCORE]
        + rows["match"] * (1 + rows["likes_30d"] / 6)
        + rows["popularity"] / 60
    )
    target += (rows["year"] - 1985) / 70 + 0.2 * rows["latest.0"].astype(int)
    model = lightgbm.LGBMRegressor(n_estimators=60, n_jobs=1, verbose=-1, random_state=1, deterministic=True)
    recipe = TableRecipe(name="heavy-order", role="ranker", licence="CC0-1.0", rows=300, golden_rows=4)
    folder = serving_factory.part("tiny").parent
    convert_model(model.fit(rows, target), folder / "heavy-order.nearhand", recipe, targets=["onnx"], sample=rows)
    parts = [serving_factory.part("tiny"), folder / "heavy-order.nearhand"]
    listing = ListPolicy(ranker="heavy-order")
    return merge_bundles(parts, out=folder / "tiny-heavy.nearhand", listing=listing, name="tiny-heavy").path


def _tensor(name: str, datatype: str, data: Sequence[float]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [1, len(data)], "data": list(data)}


def _came_up(process: subprocess.Popen[bytes], port: int, model: str) -> bool:
    until = time.monotonic() + _PATIENCE_S
    while process.poll() is None and time.monotonic() < until:
        if is_ready("127.0.0.1", port, model):
            return True
        time.sleep(0.02)  # between two questions; what is waited for is the answer
    return False


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
