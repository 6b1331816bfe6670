"""The feature program that is measured: 30 views, six of them of candidates. It stays as it is when the zoo's grows."""

from __future__ import annotations

from pathlib import Path

from nearhand.features import Program, read_program


def thirty_views() -> Program:
    """The program."""
    path = Path(__file__).with_name("films_30_views.json")
    return read_program(path.read_bytes(), place=path.name)
