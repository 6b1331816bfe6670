"""The heavy model behind a real MLServer: scores are those in process, whoever asks beside; wrong inputs; its end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import Any

import numpy as np
import pytest

from nearhand_cloud.heavy import HeavyModel
from tests import tiny
from tests.cloud.heavy_server import HeavyServer, heavy_bundle, request_body, running_heavy

CASES = 24


@pytest.fixture(scope="module")
def model() -> Iterator[HeavyModel]:
    with HeavyModel.open(heavy_bundle()) as opened:
        yield opened


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeavyServer]:
    with running_heavy(heavy_bundle(), tmp_path_factory.mktemp("heavy")) as started:
        yield started


def _case(model: HeavyModel, seed: int) -> dict[str, Any]:
    """What one device asks: another length of each part for each seed; every third sends no features."""
    generator = np.random.Generator(np.random.PCG64(seed))
    length = int(generator.integers(1, 2 * model.window))
    count = int(generator.integers(1, 201))
    features = None if seed % 3 == 0 else generator.uniform(-1, 8, len(model.columns)).astype(np.float32).tolist()
    weights = generator.choice([-4.0, 1.5, 4.0, 20.0], length)
    weights[-1] = 4.0
    return {
        "history": generator.choice(tiny.ITEMS, length, replace=False).tolist(),
        "weights": weights.tolist(),
        "candidates": generator.choice(tiny.ITEMS, count, replace=False).tolist(),
        "features": features,
    }


def _scores(answer: tuple[int, Any]) -> list[float]:
    status, body = answer
    assert status == 200, body
    (output,) = body["outputs"]
    assert (output["name"], output["datatype"]) == ("scores", "FP32")
    assert output["shape"] == [1, len(output["data"])]
    found: list[float] = output["data"]
    return found


def test_served_scores_are_those_in_process(server: HeavyServer, model: HeavyModel) -> None:
    for seed in range(CASES):
        case = _case(model, seed)
        np.testing.assert_allclose(_scores(server.infer(request_body(model, **case))), model.scores(**case), atol=1e-5)


def test_scores_do_not_depend_on_who_asks_at_the_same_time(server: HeavyServer, model: HeavyModel) -> None:
    bodies = [request_body(model, **_case(model, seed)) for seed in range(CASES)]
    alone = [_scores(server.infer(body)) for body in bodies]
    with ThreadPoolExecutor(CASES) as devices:
        together = [_scores(answer) for answer in devices.map(server.infer, bodies)]
    assert together == alone


def test_a_wrong_request_does_not_fail_those_that_come_with_it(server: HeavyServer, model: HeavyModel) -> None:
    good = [request_body(model, **_case(model, seed)) for seed in range(CASES)]
    bad = deepcopy(good)
    for body in bad:
        body["parameters"]["catalogue"] = "0" * 64
    with ThreadPoolExecutor(2 * CASES) as devices:
        answers = list(devices.map(server.infer, [body for pair in zip(good, bad, strict=True) for body in pair]))
    assert [status for status, _ in answers] == [200, 400] * CASES
    for at, (_, body) in enumerate(answers[::2]):
        assert body["outputs"][0]["shape"] == [1, len(good[at]["inputs"][2]["data"])]


def test_several_lists_in_one_request(server: HeavyServer, model: HeavyModel) -> None:
    case = _case(model, 1)
    other = {**case, "candidates": case["candidates"][::-1], "weights": [9.0] * len(case["weights"])}
    body = request_body(model, **case)
    for tensor, more in zip(body["inputs"], request_body(model, **other)["inputs"], strict=True):
        tensor["data"] = [tensor["data"], more["data"]]  # nested, as the protocol allows
        tensor["shape"][0] = 2
    status, answer = server.infer(body)
    assert status == 200, answer
    found = np.reshape(answer["outputs"][0]["data"], answer["outputs"][0]["shape"])
    np.testing.assert_allclose(found, [model.scores(**case), model.scores(**other)], atol=1e-5)


def test_the_metadata_is_what_the_model_takes(server: HeavyServer, model: HeavyModel) -> None:
    found = server.get(f"/v2/models/{server.model}")
    assert found["name"] == "tiny-heavy"
    assert found["versions"] == [model.version]
    tensors = {each["name"]: each for each in found["inputs"]}
    assert {name: (each["datatype"], each["shape"]) for name, each in tensors.items()} == {
        "history": ("INT32", [-1, -1]),
        "weights": ("FP32", [-1, -1]),
        "candidates": ("INT32", [-1, -1]),
        "features": ("FP32", [-1, len(model.columns)]),
    }
    assert tensors["features"]["parameters"]["columns"].split(",") == list(model.columns)
    assert found["outputs"] == [{"name": "scores", "datatype": "FP32", "shape": [-1, -1]}]
    about = found["parameters"]
    assert (about["catalogue"], about["program"]) == (model.catalogue, model.program)
    assert (about["window"], about["max_candidates"]) == (model.window, 200)


def _changed(model: HeavyModel, name: str, **changes: Any) -> dict[str, Any]:
    """A good request with one tensor changed."""
    body = request_body(model, **_case(model, 1))
    next(each for each in body["inputs"] if each["name"] == name).update(changes)
    return body


_LIKED = ("weights", [1.0])
WRONG: dict[str, Any] = {
    "history: a row beyond the catalogue": ("history", {"data": [tiny.ITEMS], "shape": [1, 1]}, _LIKED),
    "history: a row below the padding": ("history", {"data": [-2], "shape": [1, 1]}, _LIKED),
    "history: twice the same": ("history", {"data": [5, 5], "shape": [1, 2]}, ("weights", [1.0, 1.0])),
    "history: nothing liked": ("history", {"data": [5], "shape": [1, 1]}, ("weights", [-1.0])),
    "history: nothing at all": ("history", {"data": [], "shape": [1, 0]}, ("weights", [])),
    "history: text": ("history", {"data": ["5"], "shape": [1, 1]}),
    "history: a fraction": ("history", {"data": [5.5], "shape": [1, 1]}),
    "history: true": ("history", {"data": [True], "shape": [1, 1]}),
    "history: no number": ("history", {"data": [None], "shape": [1, 1]}),
    "history: beyond int32": ("history", {"data": [2**40], "shape": [1, 1]}),
    "history: beyond int64": ("history", {"data": [2**70], "shape": [1, 1]}),
    "history: another type": ("history", {"datatype": "INT64"}),
    "history: no dimension": ("history", {"shape": []}),
    "history: one dimension": ("history", {"data": [5], "shape": [1]}),
    "history: a negative dimension": ("history", {"data": [5], "shape": [1, -1]}),
    "history: no list": ("history", {"data": [], "shape": [0, 0]}),
    "history: a vast shape": ("history", {"data": [5], "shape": [1, 10**18]}),
    "history: ragged": ("history", {"data": [[1, 2], [3]], "shape": [1, 3]}),
    "history: an object": ("history", {"data": {"a": 1}, "shape": [1, 1]}),
    "history: too long": ("history", {"data": list(range(-1, -2, -1)) * 1025, "shape": [1, 1025]}),
    "weights: one too few": ("weights", {"data": [1.0], "shape": [1, 1]}),
    "weights: beyond float32": ("history", {"data": [5], "shape": [1, 1]}, ("weights", [1e39])),
    "weights: deep": ("weights", {"data": [[[1.0]]], "shape": [1, 1]}),
    "candidates: none": ("candidates", {"data": [], "shape": [1, 0]}),
    "candidates: padding": ("candidates", {"data": [-1], "shape": [1, 1]}),
    "candidates: too many": ("candidates", {"data": list(range(201)), "shape": [1, 201]}),
    "candidates: twice the same": ("candidates", {"data": [7, 7], "shape": [1, 2]}),
    "features: one too few": ("features", {"data": [1.0], "shape": [1, 1]}),
    "candidates: two lists": ("candidates", {"data": [1, 2], "shape": [2, 1]}),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_tensor_is_named(server: HeavyServer, model: HeavyModel, name: str) -> None:
    tensor, changes, *more = WRONG[name]
    body = _changed(model, tensor, **changes)
    for other, data in more:
        next(each for each in body["inputs"] if each["name"] == other).update(data=data, shape=[1, len(data)])
    status, answer = server.infer(body)
    assert status == 400, answer
    assert answer["error"].startswith(f"{name.partition(':')[0]}: "), answer


def test_wrong_parameters_are_named(server: HeavyServer, model: HeavyModel) -> None:
    def asked(**changes: Any) -> str:
        body = request_body(model, **_case(model, 1))
        body["parameters"].update(changes)
        status, answer = server.infer(body)
        assert status == 400, answer
        error: str = answer["error"]
        return error

    assert asked(catalogue="0" * 64).startswith(f"catalogue: is {'0' * 64!r}, and the server's is {model.catalogue};")
    assert asked(catalogue=None).startswith("catalogue: is missing;")
    assert asked(catalogue=["a"]).startswith("catalogue: ")
    assert asked(program="0" * 64).startswith("program: ")
    body = request_body(model, **_case(model, 1))
    missing = {**body, "inputs": body["inputs"][1:]}
    assert server.infer(missing)[1]["error"].startswith("history: is missing")
    twice = {**body, "inputs": [*body["inputs"], body["inputs"][0]]}
    assert server.infer(twice)[1]["error"].startswith("history: stands twice")
    unknown = {**body, "inputs": [*body["inputs"], {**body["inputs"][0], "name": "user_id"}]}
    assert server.infer(unknown)[1]["error"].startswith("user_id: is not an input")
    assert server.infer({**body, "outputs": [{"name": "labels"}]})[1]["error"].startswith("labels: is not an output")
    assert server.infer({**body, "id": "line\nbreak"})[1]["error"].startswith("id: ")
    assert server.infer({**body, "id": "\N{GRINNING FACE}"})[0] == 400


def test_a_body_that_is_no_request_is_the_clients_fault(server: HeavyServer) -> None:
    json_type = {"Content-Type": "application/json"}
    for body, headers in (
        (b"", json_type),
        (b"{", json_type),
        (b"\xff\xfe", json_type),
        (b"[]", json_type),
        (b"null", json_type),
        (b"[" * 100_000, json_type),
        (b'{"inputs": 5}', json_type),
        (b'{"inputs": [{"name": "history"}]}', json_type),
        (b'{"inputs": [], "parameters": {"headers": 5}}', json_type),
        (b'{"inputs": []}', {"Content-Type": "text/plain"}),
        (b"no gzip", {**json_type, "Content-Encoding": "gzip"}),
    ):
        status, _ = server.post(body, headers)
        assert 400 <= status < 500, (status, body[:40])


def test_sigterm_ends_the_server_cleanly(model: HeavyModel, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("ending")
    with running_heavy(heavy_bundle(), folder) as server:
        case = _case(model, 2)
        assert server.infer(request_body(model, **case))[0] == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
    assert "Traceback" not in (folder / "mlserver.log").read_text(encoding="utf-8")
