"""The test models as MLServer serves them."""

from __future__ import annotations

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.errors import InferenceError
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

from tests.oip.models import rerank


class Echo(MLModel):  # type: ignore[misc,unused-ignore]
    """Gives each input back under its own name, or those that are asked for."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        wanted = [output.name for output in payload.outputs or []] or [one.name for one in payload.inputs]
        given = {one.name: one for one in payload.inputs}
        if missing := [name for name in wanted if name not in given]:
            raise InferenceError(f"no output {missing[0]}")
        found = [
            ResponseOutput(name=one.name, shape=one.shape, datatype=one.datatype, data=one.data)
            for one in (given[name] for name in wanted)
        ]
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=found)


class Rerank(MLModel):  # type: ignore[misc,unused-ignore]
    """See :func:`tests.oip.models.rerank`."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        given = {one.name: NumpyCodec.decode_input(one) for one in payload.inputs}
        if "candidates" not in given:
            raise InferenceError("no input candidates")
        scores = rerank(given["history"], given["weights"], given["candidates"])
        output = NumpyCodec.encode_output("scores", np.asarray(scores, np.float32))
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=[output])
