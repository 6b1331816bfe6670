"""Ratios instead of seconds: within each group every peer is divided by ours, measured in the same run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from model_zoo.datasets.sample import sample_dataset
from model_zoo.films_als.train import train
from nearhand_converters.data import read_dataset
from nearhand_converters.pipeline import convert
from nearhand_converters.recipe import read_recipe
from nearhand_converters.sources.factors import read_factors
from tests.benchmarks.program import thirty_views

OURS = "nearhand"


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The films bundle on the built-in sample."""
    folder = tmp_path_factory.mktemp("films")
    train(sample_dataset(500), folder)
    out = folder / "films.nearhand"
    convert(
        read_factors(folder / "model.npz"),
        read_dataset(folder),
        replace(read_recipe(folder / "recipe.toml"), features=thirty_views()),
        out,
        targets=["onnx", "tflite"],
        precisions=["fp32", "int8"],
    )
    return out


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print for each group our median as a ratio to each peer's."""
    groups: dict[str, dict[str, float]] = {}
    session = getattr(config, "_benchmarksession", None)
    notes: list[str] = []
    for bench in session.benchmarks if session is not None else ():
        groups.setdefault(bench.group, {})[bench.params["contender"]] = bench.stats.median
        notes += [f"{bench.group}: {what} = {value}" for what, value in bench.extra_info.items()]
    if not groups:
        return
    terminalreporter.section("ratios of medians, this run on this machine")
    for group, medians in groups.items():
        ours = {name: median for name, median in medians.items() if name.startswith(OURS)}
        for name, median in ours.items():
            for peer, other in medians.items():
                if peer not in ours:
                    times = f"({median * 1e6:.0f} µs / {other * 1e6:.0f} µs)"
                    terminalreporter.write_line(f"{group}: {name} / {peer} = {median / other:.2f}  {times}")
    for note in notes:
        terminalreporter.write_line(note)
