"""The MLServer runtime: ``implementation: nearhand_cloud.heavy.runtime.HeavyRuntime`` in a model's settings.

MLServer's adaptive batching joins requests before a model sees them: a wrong one would fail those that came with it,
and inputs of several lengths would be mixed up. So a request is read and checked first, brought to one length, and
then given to MLServer's batcher; its settings stand in ``parameters.extra``.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
from mlserver import MLModel, ModelSettings
from mlserver.batching import AdaptiveBatcher
from mlserver.errors import InferenceError, MLServerError
from mlserver.types import (
    InferenceRequest,
    InferenceResponse,
    MetadataModelResponse,
    MetadataTensor,
    Parameters,
    RequestInput,
    ResponseOutput,
)
from mlserver.utils import get_model_uri

from nearhand.errors import NearhandError, UsageError
from nearhand_cloud.heavy.model import MAX_CANDIDATES, Asked, HeavyModel
from nearhand_cloud.heavy.settings import BATCH_SECONDS, BATCH_SIZE, BUNDLE_FILE
from nearhand_cloud.heavy.wire import OUTPUT, Tensor, TensorKind, inputs_of, read_lists

_PADDING = -1


class HeavyRuntime(MLModel):  # type: ignore[misc] # mlserver has no types
    """Serves one bundle."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        self._closing = ExitStack()  # MLServer unloads what did not load, too

    async def load(self) -> bool:
        """Verify and load the bundle that ``parameters.uri`` names.

        Raises:
            MLServerError: it cannot be served; says why.
        """
        batching = _batching(self._settings)
        path = await get_model_uri(self._settings, wellknown_filenames=[BUNDLE_FILE])
        try:
            self._heavy = await asyncio.to_thread(HeavyModel.open, path)
        except NearhandError as error:
            raise MLServerError(str(error)) from error
        self.inputs = [_described(kind, self._heavy) for kind in inputs_of(self._heavy)]
        self.outputs = [_described(OUTPUT, self._heavy)]
        self._settings.platform = "nearhand"
        self._settings.versions = [self._heavy.version]
        self._closing.callback(self._heavy.close)
        batches = _Batches(batching, self._heavy)
        self._closing.callback(batches.close)
        self._batcher = AdaptiveBatcher(batches) if batching.max_batch_size > 1 else batches
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """The candidates' scores.

        Raises:
            InferenceError: the request is wrong: 400, with the name of what is wrong.
        """
        try:
            _check_form(payload)
            tensors = {
                each.name: Tensor(str(each.datatype), each.shape, getattr(each.data, "root", each.data))
                for each in payload.inputs
            }
            parameters = {} if payload.parameters is None else payload.parameters.model_dump()
            lists = read_lists(self._heavy, tensors, parameters)
        except UsageError as error:
            raise InferenceError(str(error)) from None
        # Others wait for the same batch: who goes away must not take it along.
        found = await asyncio.shield(self._batcher.predict(_packed(lists, self._heavy)))
        width = len(lists[0].candidates)
        scores = np.array(found.outputs[0].data.root, np.float32).reshape(len(lists), MAX_CANDIDATES)[:, :width]
        output = ResponseOutput(
            name=OUTPUT.name, datatype=OUTPUT.datatype, shape=list(scores.shape), data=scores.ravel().tolist()
        )
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=[output])

    async def metadata(self) -> MetadataModelResponse:
        """The inputs and the output, and what a client has to agree with."""
        found: MetadataModelResponse = await super().metadata()
        heavy = self._heavy
        found.parameters = Parameters(
            bundle=heavy.name,
            bundle_version=heavy.version,
            catalogue=heavy.catalogue,
            program=heavy.program,
            window=heavy.window,
            max_candidates=MAX_CANDIDATES,
        )
        return found

    async def unload(self) -> bool:
        """Free the models and remove what was unpacked."""
        self._closing.close()
        return True


class _Batches(MLModel):  # type: ignore[misc] # mlserver has no types
    """Runs what the batcher has joined: the rows of ``_packed``, of one length each."""

    def __init__(self, settings: ModelSettings, heavy: HeavyModel) -> None:
        super().__init__(settings)
        self._heavy = heavy
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="nearhand-heavy")  # while it runs, the next one fills

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        lists = _unpacked(payload)
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._thread, self._heavy.batch, lists)
        scores = np.zeros((len(lists), MAX_CANDIDATES), np.float32)
        for at, each in enumerate(found):
            scores[at, : len(each)] = each
        output = ResponseOutput(
            name=OUTPUT.name, datatype=OUTPUT.datatype, shape=list(scores.shape), data=scores.ravel().tolist()
        )
        return InferenceResponse(model_name=self.name, outputs=[output])

    def close(self) -> None:
        self._thread.shutdown(wait=True)


def _batching(settings: ModelSettings) -> ModelSettings:
    """The settings of the batcher.

    Raises:
        MLServerError: batching is asked of MLServer itself, or a setting is wrong.
    """
    if settings.max_batch_size > 1:
        raise MLServerError(
            "max_batch_size: joins requests before they are checked; give it in parameters.extra instead, as "
            "`python -m nearhand_cloud.heavy settings` does"
        )
    extra = (settings.parameters.extra if settings.parameters else None) or {}
    size, seconds = extra.get("max_batch_size", BATCH_SIZE), extra.get("max_batch_time", BATCH_SECONDS)
    if type(size) is not int or not 1 <= size <= 1024:
        raise MLServerError(f"parameters.extra.max_batch_size: is {size!r}; give 1 to 1024, 1 for no batching")
    if type(seconds) not in (int, float) or not 0 < seconds <= 10:
        raise MLServerError(f"parameters.extra.max_batch_time: is {seconds!r}; give seconds above 0, up to 10")
    found: ModelSettings = settings.model_copy(deep=True)
    found.max_batch_size, found.max_batch_time = size, float(seconds)
    return found


def _check_form(payload: InferenceRequest) -> None:
    if payload.id is not None and not (payload.id.isascii() and payload.id.isprintable()):
        # MLServer puts it into a header of the answer.
        raise UsageError("has other characters than ASCII", place="id", remedy="use letters and digits")
    names = [each.name for each in payload.inputs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError("stands twice", place=twice[:60], remedy="give every input once")
    for each in payload.outputs or []:
        if each.name != OUTPUT.name:
            raise UsageError("is not an output of the model", place=each.name[:60], remedy=f"ask for {OUTPUT.name}")


def _described(kind: TensorKind, model: HeavyModel) -> MetadataTensor:
    about: dict[str, Any] = {}
    if kind.name == "features":
        about["columns"] = ",".join(model.columns)  # a parameter of the protocol is one value
    if kind.is_optional:
        about["optional"] = True
    return MetadataTensor(
        name=kind.name,
        datatype=kind.datatype,
        shape=list(kind.shape),
        parameters=Parameters(**about) if about else None,
    )


# --- requests of one length ------------------------------------------------------------------------------------------

_LIST = "list"


def _packed(lists: list[Asked], model: HeavyModel) -> InferenceRequest:
    """Lists as one tensor of bytes, which the batcher joins without looking at: as wide for each list."""
    record = _record(model.window, len(model.columns))
    packed = np.zeros(len(lists), record)
    packed["history"] = packed["candidates"] = _PADDING
    for row, asked in zip(packed, lists, strict=True):
        row["history"][: len(asked.history)] = asked.history
        row["weights"][: len(asked.weights)] = asked.weights
        row["candidates"][: len(asked.candidates)] = asked.candidates
        if asked.features is not None:
            row["has_features"] = True
            row["features"] = asked.features
    tensor = RequestInput(
        name=_LIST, datatype="BYTES", shape=[len(lists), model.window, len(model.columns)], data=packed.tobytes()
    )
    return InferenceRequest(inputs=[tensor])


def _unpacked(payload: InferenceRequest) -> list[Asked]:
    tensor = payload.inputs[0]
    packed = np.frombuffer(tensor.data.root, _record(*tensor.shape[1:]))
    return [
        Asked(
            row["history"][row["history"] != _PADDING],
            row["weights"][row["history"] != _PADDING],
            row["candidates"][row["candidates"] != _PADDING],
            row["features"] if row["has_features"] else None,
        )
        for row in packed
    ]


def _record(window: int, columns: int) -> np.dtype[np.void]:
    return np.dtype(
        [
            ("history", np.int32, (window,)),
            ("weights", np.float32, (window,)),
            ("candidates", np.int32, (MAX_CANDIDATES,)),
            ("has_features", np.bool_),
            ("features", np.float32, (columns,)),
        ]
    )
