"""What the endpoint says of itself, at ``/openapi.json``."""

from __future__ import annotations

from typing import Any

from nearhand.version import __version__

DOCUMENT: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Nearhand cloud", "version": __version__},
    "paths": {},
}
