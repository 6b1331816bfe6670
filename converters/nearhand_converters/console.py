"""What every command shares: how errors, progress and ``--json`` look."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import click
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from nearhand import NearhandError
from nearhand.errors import ModelError
from nearhand_converters.errors import BudgetError, ParityError

Progress: TypeAlias = Callable[[str, int, int], None]
"""Told the stage, how much of it is done, and its total."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")


@contextmanager
def reporting_errors(*, as_json: bool) -> Iterator[None]:
    """Turn the product's errors into one line on stderr (and a JSON object on stdout if asked) and an exit code."""
    try:
        yield
    except NearhandError as error:
        if as_json:
            content = {"type": type(error).__name__, "problem": error.problem, "place": error.place}
            click.echo(json.dumps({"error": {**content, "remedy": error.remedy}}))
        click.echo("error: " + " ".join(str(error).splitlines()), err=True)
        sys.exit(1 if isinstance(error, BudgetError | ParityError | ModelError) else 2)


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """A progress bar for each stage on stderr, if that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description:<32}"), BarColumn(), TimeElapsedColumn())
    with RichProgress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as bars:
        tasks: dict[str, Any] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done)

        yield report
