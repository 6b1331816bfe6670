"""The app's server with a model that stands still while ``FILMS_HOLD`` is there: ``python -m … --port PORT``."""

from __future__ import annotations

import argparse
import os
import time
from functools import cache
from pathlib import Path

from films_app import main_page, web
from films_app.engine import Engine
from tests.sdk.hooked_runtime import HookedRuntime


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int)
    hold = Path(os.environ["FILMS_HOLD"])

    def wait(_: str) -> None:
        while hold.exists():
            time.sleep(0.02)

    hooked = HookedRuntime()
    hooked.before = wait

    @cache
    def engine() -> Engine:
        return Engine(main_page.bundle_path(), main_page.data_path(), runtimes=hooked.runtimes)

    main_page.engine = engine
    web.serve("127.0.0.1", parser.parse_args().port)


if __name__ == "__main__":
    main()
