"""Ratios instead of seconds: within each group every peer is divided by ours, measured in the same run."""

from __future__ import annotations

import pytest

OURS = "nearhand"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print for each group our median as a ratio to each peer's."""
    groups: dict[str, dict[str, float]] = {}
    session = getattr(config, "_benchmarksession", None)
    for bench in session.benchmarks if session is not None else ():
        groups.setdefault(bench.group, {})[bench.params["contender"]] = bench.stats.median
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
