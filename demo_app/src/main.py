"""Starts the app: on a phone or a desktop in its own window, here as ``python -m`` or under any ASGI server."""

from __future__ import annotations

import flet as ft

from films_app.main_page import main

if __name__ == "__main__":
    ft.run(main, no_cdn=True)
