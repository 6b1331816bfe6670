"""The app in a browser, from this machine: ``python -m films_app.web``. Everything it needs it serves itself."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import flet as ft

from films_app.main_page import engine, main
from nearhand import UsageError

ASSETS = Path(__file__).resolve().parent.parent / "assets"


def app() -> Any:
    """The ASGI application. Nothing comes from elsewhere: fonts and the drawing engine are served too."""
    return ft.run(main, export_asgi_app=True, no_cdn=True, assets_dir=str(ASSETS))


def serve(host: str, port: int) -> None:
    """Serve until it is stopped."""
    import uvicorn

    print(f"Films is on http://{host}:{port}", flush=True)
    # The standard event loop: the interpreter sees what it connects to, and so flight mode does.
    uvicorn.run(app(), host=host, port=port, log_level="warning", ws="websockets-sansio", loop="asyncio")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8550)
    options = parser.parse_args()
    try:
        engine()
    except UsageError as error:  # an address that is none is said before a window is opened
        parser.error(str(error))
    serve(options.host, options.port)
