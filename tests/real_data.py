"""The public data sets that some tests read, where NEARHAND_DATA has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def real_data(*path: str) -> Path:
    """A data set's place. Without it the test is skipped, or fails where NEARHAND_REQUIRE_DATA=1 says that it is."""
    found = Path(os.environ.get("NEARHAND_DATA", "")).joinpath(*path)
    if "NEARHAND_DATA" not in os.environ or not found.exists():
        reason = f"needs {'/'.join(path)}: set NEARHAND_DATA"
        if os.environ.get("NEARHAND_REQUIRE_DATA") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return found
