"""What the endpoint says of itself, at ``/openapi.json``: every answer that it gives, and every limit that it sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nearhand.version import __version__
from nearhand_cloud.documents import MAX_ERASED_EVENTS, MAX_FEATURE_BYTES, MAX_VALUES
from nearhand_cloud.shapes import CODES, MAX_BODY_BYTES, MAX_EVENTS

JSONSchema = dict[str, Any]

_HEX_32 = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
_HEX_64 = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_NAME = {"type": "string", "minLength": 1, "maxLength": 256}
_TIME = {
    "type": "string",
    "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})$",
}
_INT64 = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
_COUNT = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
_OFFSET = {"type": "integer", "minimum": -1439, "maximum": 1439}
_SCALARS = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}}
_JSON = "application/json"


def _object(properties: JSONSchema, required: list[str] | None = None, **more: Any) -> JSONSchema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required is None else required,
        **more,
    }


def _ref(name: str) -> JSONSchema:
    return {"$ref": f"#/components/schemas/{name}"}


_SEGMENT_EVENT = _object(
    {
        "type": {"const": "track"},
        "messageId": {**_NAME, "description": "The event's id; of those with one id an install has one."},
        "anonymousId": {**_HEX_32, "description": "The install id."},
        "event": {**_NAME, "examples": ["item_viewed"]},
        "timestamp": _TIME,
        "properties": {"type": "object", "properties": {"item_id": {"type": ["string", "null"]}}},
        "context": _object(
            {
                "nearhand": _object(
                    {
                        "sequence": _COUNT,
                        "recorded_at": {**_INT64, "description": "Milliseconds since 1970 by the device's clock."},
                        "utc_offset_minutes": _OFFSET,
                        "epoch": _COUNT,
                        "recommendation_id": {"type": ["string", "null"]},
                    },
                    ["sequence", "recorded_at", "utc_offset_minutes", "epoch"],
                )
            }
        ),
    },
    ["type", "messageId", "anonymousId", "event", "timestamp", "context"],
)
_CLOUD_EVENT = _object(
    {
        "specversion": {"const": "1.0"},
        "id": _NAME,
        "source": {"type": "string", "pattern": "^urn:nearhand:install:[0-9a-f]{32}$"},
        "type": {"type": "string", "pattern": r"^org\.nearhand\.event\..+$"},
        "time": _TIME,
        "datacontenttype": {"const": _JSON},
        "data": _object(
            {"item_id": {"type": ["string", "null"]}, "properties": {"type": "object"}, "context": _SCALARS}, []
        ),
        "nearhandsequence": _COUNT,
        "nearhandrecordedat": _TIME,
        "nearhandoffset": _OFFSET,
        "nearhandepoch": _COUNT,
        "nearhandrecommendation": _NAME,
    },
    [
        "specversion",
        "id",
        "source",
        "type",
        "time",
        "data",
        "nearhandsequence",
        "nearhandrecordedat",
        "nearhandoffset",
        "nearhandepoch",
    ],
)
_FEATURE = _object(
    {
        "name": {"type": "string", "minLength": 1, "maxLength": 256, "pattern": r"^[^\u0000-\u001f]+$"},
        "values": {
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_VALUES,
            "items": {"type": "number", "minimum": -3.4e38, "maximum": 3.4e38},
        },
        "ttl_ms": {"type": "integer", "minimum": 1, "maximum": 2**53 - 1},
        "source": {"type": "string", "minLength": 1, "maxLength": 256, "pattern": r"^[^\u0000-\u001f]+$"},
    },
    additionalProperties=False,
)
_ERASURE = {
    "oneOf": [
        _object(
            {"install_id": _HEX_32, "nonce": _HEX_32, "scope": {"const": "install"}, "signature": _HEX_64},
            additionalProperties=False,
        ),
        _object(
            {
                "install_id": _HEX_32,
                "nonce": _HEX_32,
                "scope": {"const": "events"},
                "event_ids": {"type": "array", "items": _NAME, "minItems": 1, "maxItems": MAX_ERASED_EVENTS},
                "signature": _HEX_64,
            },
            additionalProperties=False,
        ),
    ],
    "description": "The signature is HMAC-SHA256, under the bytes of the install key, of the other fields as JSON with "
    "sorted names, no spaces and characters as themselves, in UTF-8.",
}
_KEPT = _object(
    {
        "accepted": _COUNT,
        "duplicates": _COUNT,
        "refused": {
            "type": "array",
            "items": _object(
                {
                    "index": _COUNT,
                    "message_id": {"type": ["string", "null"]},
                    "code": {"enum": list(CODES)},
                    "problem": {"type": "string"},
                }
            ),
        },
    },
    description="Accepted events are durable. An event that is refused will always be; the codes: "
    + "; ".join(f"{code}: {meaning}" for code, meaning in CODES.items())
    + ".",
)

_REFUSALS = {
    400: "The body is not JSON, or not gzip though the head says so, or did not arrive as a whole.",
    401: "The key is missing or wrong.",
    403: "The install key is not that of the install, or the install was erased.",
    404: "There is no such thing.",
    408: "The body did not arrive in time.",
    409: "The nonce was used before.",
    413: "The body is too large, or has too many events.",
    415: "The content type or encoding is not known.",
    422: "The body, or a parameter, is not of the shape.",
    429: "Too many requests of one install: try again after Retry-After.",
    503: "Not now: try again after Retry-After.",
}
_AUTHENTICATED = (401, 429, 503)
_WITH_BODY = (400, 408, 413, 415, 422)


def _answers(*statuses: int, **told: JSONSchema) -> JSONSchema:
    """The answers of an operation: refusals by their status, the others as ``_200=…``."""
    answers: JSONSchema = {name.removeprefix("_"): answer for name, answer in told.items()}
    for status in sorted(statuses):
        answer: JSONSchema = {
            "description": _REFUSALS[status],
            "content": {_JSON: {"schema": _ref("Refusal")}},
        }
        if status in (429, 503):
            answer["headers"] = {
                "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}, "required": True}
            }
        answers[str(status)] = answer
    return answers


def _answer(description: str, schema: JSONSchema | None = None, media_type: str = _JSON) -> JSONSchema:
    if schema is None:
        return {"description": description}
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _parameter(name: str, place: str, schema: JSONSchema, description: str = "", required: bool = True) -> JSONSchema:
    return {"name": name, "in": place, "required": required, "schema": schema, "description": description}


def _body(content: Mapping[str, JSONSchema], limit: int) -> JSONSchema:
    return {
        "required": True,
        "description": f"At most {limit:,} bytes, decompressed too. Content-Encoding: gzip is understood.",
        "content": {media_type: {"schema": schema} for media_type, schema in content.items()},
    }


_INSTALL_KEY = _parameter(
    "X-Nearhand-Install-Key",
    "header",
    _HEX_64,
    "The secret of the install: registered with the first request of an install, compared with every other one.",
)
_WRITE_KEY: list[JSONSchema] = [{"writeKey": []}]
# An event that is malformed is refused by itself, so an element may be anything.
_ANY_SEGMENT_EVENT = {"anyOf": [_ref("SegmentEvent"), {}]}
_ANY_CLOUD_EVENT = {"anyOf": [_ref("CloudEvent"), {}]}

_BATCH = {
    "post": {
        "operationId": "batch",
        "summary": "Events in Segment's shape",
        "security": _WRITE_KEY,
        "parameters": [_INSTALL_KEY],
        "requestBody": _body(
            {
                _JSON: _object(
                    {
                        "sentAt": {"anyOf": [_TIME, {"type": "null"}]},
                        "batch": {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": MAX_EVENTS,
                            "items": _ANY_SEGMENT_EVENT,
                        },
                    },
                    ["batch"],
                )
            },
            MAX_BODY_BYTES,
        ),
        "responses": _answers(403, *_AUTHENTICATED, *_WITH_BODY, _200=_answer("Done.", _ref("Kept"))),
    }
}
_EVENTS = {
    "post": {
        "operationId": "events",
        "summary": "CloudEvents 1.0: a batch, one in structured mode, or one in binary mode (application/json)",
        "security": _WRITE_KEY,
        "parameters": [
            _INSTALL_KEY,
            *(
                _parameter(f"ce-{name}", "header", {"type": "string"}, "Of binary mode.", required=False)
                for name in _CLOUD_EVENT["properties"]
                if name not in ("data", "datacontenttype")
            ),
        ],
        "requestBody": _body(
            {
                "application/cloudevents-batch+json": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": MAX_EVENTS,
                    "items": _ANY_CLOUD_EVENT,
                },
                "application/cloudevents+json": _ANY_CLOUD_EVENT,
                _JSON: {},
            },
            MAX_BODY_BYTES,
        ),
        "responses": _answers(403, *_AUTHENTICATED, *_WITH_BODY, _200=_answer("Done.", _ref("Kept"))),
    }
}
_ERASURES = {
    "post": {
        "operationId": "erasures",
        "summary": "Erase an install, or some of its events",
        "security": _WRITE_KEY,
        "parameters": [{**_INSTALL_KEY, "required": False}],
        "requestBody": _body({_JSON: _ref("Erasure")}, MAX_BODY_BYTES),
        "responses": _answers(
            403, 404, 409, *_AUTHENTICATED, *_WITH_BODY, _200=_answer("Erased.", _object({"erased": _COUNT}))
        ),
    }
}
_GET_FEATURES = {
    "get": {
        "operationId": "features",
        "summary": "The features that the backend has pushed for an install",
        "security": _WRITE_KEY,
        "parameters": [
            _parameter("install_id", "query", _HEX_32),
            _INSTALL_KEY,
            _parameter("If-None-Match", "header", {"type": "string"}, "The ETag of what is there.", required=False),
        ],
        "responses": _answers(
            403,
            404,
            422,
            *_AUTHENTICATED,
            _200=_answer("They are, with an ETag.", _ref("Features")),
            _304=_answer("They are the same."),
        ),
    }
}
_PUT_FEATURES = {
    "put": {
        "operationId": "put-features",
        "summary": "Push features for an install, in place of those that are there",
        "security": [{"serverKey": []}],
        "parameters": [_parameter("install_id", "path", _HEX_32)],
        "requestBody": _body({_JSON: _ref("Features")}, MAX_FEATURE_BYTES),
        "responses": _answers(401, 403, 404, 503, *_WITH_BODY, _204=_answer("They are there.")),
    }
}
_TEXT = {"type": "string"}
_FILES = {
    "get": {
        "operationId": "files",
        "summary": "A static file",
        "parameters": [
            _parameter("path", "path", _TEXT, "May have slashes."),
            _parameter("Range", "header", _TEXT, "One range of bytes; more than one is ignored.", required=False),
            _parameter("If-Range", "header", _TEXT, "The ETag of what is there.", required=False),
            _parameter("If-None-Match", "header", _TEXT, "The ETag of what is there.", required=False),
        ],
        "responses": {
            **_answers(404, 503),
            "200": {"description": "The file.", "content": {"*/*": {}}},
            "206": {"description": "A part of it.", "content": {"*/*": {}}},
            "304": _answer("It is the same."),
            "400": _answer("The range ends before it starts.", _TEXT, "text/plain"),
            "416": _answer("The range starts behind the end.", _TEXT, "text/plain"),
        },
    }
}


def _simple(operation: str, summary: str, answers: JSONSchema) -> JSONSchema:
    return {"get": {"operationId": operation, "summary": summary, "responses": answers}}


DOCUMENT: JSONSchema = {
    "openapi": "3.1.0",
    "info": {
        "title": "Nearhand cloud",
        "version": __version__,
        "description": "The endpoint that devices with Nearhand sync to.",
    },
    "paths": {
        "/v1/batch": _BATCH,
        "/v1/events": _EVENTS,
        "/v1/erasures": _ERASURES,
        "/v1/features": _GET_FEATURES,
        "/v1/installs/{install_id}/features": _PUT_FEATURES,
        "/v1/files/{path}": _FILES,
        "/healthz": _simple(
            "healthz",
            "Whether the process runs",
            _answers(_200=_answer("It does.", _object({"healthy": {"const": True}}))),
        ),
        "/readyz": _simple(
            "readyz",
            "Whether events could be stored now",
            _answers(503, _200=_answer("They could.", _object({"ready": {"const": True}}))),
        ),
        "/metrics": _simple("metrics", "For Prometheus", _answers(_200=_answer("Metrics.", _TEXT, "text/plain"))),
        "/openapi.json": _simple(
            "openapi", "This document", _answers(_200=_answer("OpenAPI 3.1.", {"type": "object"}))
        ),
    },
    "components": {
        "securitySchemes": {
            "writeKey": {"type": "http", "scheme": "basic", "description": "The write key as the name, no password."},
            "serverKey": {"type": "http", "scheme": "bearer", "description": "The backend's key."},
        },
        "schemas": {
            "SegmentEvent": _SEGMENT_EVENT,
            "CloudEvent": _CLOUD_EVENT,
            "Kept": _KEPT,
            "Erasure": _ERASURE,
            "Features": _object(
                {"features": {"type": "array", "items": _FEATURE}},
                additionalProperties=False,
                description="Of those with one name the last counts. An empty list removes all.",
            ),
            "Refusal": _object({"code": _TEXT, "problem": _TEXT, "remedy": _TEXT}),
        },
    },
}
