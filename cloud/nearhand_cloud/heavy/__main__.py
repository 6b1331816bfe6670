"""``python -m nearhand_cloud.heavy``: serve a heavy model, or write the folder that ``mlserver start`` serves."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from nearhand.errors import NearhandError
from nearhand_cloud.heavy.serving import DEFAULT_PORT, end_with_parent, serve
from nearhand_cloud.heavy.settings import BATCH_SECONDS, BATCH_SIZE, write_settings


def main(arguments: list[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit code: 1 if a bundle was refused, or the server failed.
    """
    options = _parser().parse_args(arguments)
    try:
        if options.command == "settings":
            size, seconds = options.batch_size, options.batch_seconds
            folder = write_settings(
                options.bundle, options.folder, name=options.name, batch_size=size, batch_seconds=seconds
            )
            print(f"wrote {folder}; serve it with: mlserver start {folder}")
            return 0
        if options.with_parent:
            end_with_parent()
        asked = serve(options.bundle, host=options.host, port=options.port, metrics_port=options.metrics_port)
    except NearhandError as error:
        print(f"nearhand-cloud: {error}", file=sys.stderr)
        return 1
    return 0 if asked else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m nearhand_cloud.heavy", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    settings = commands.add_parser("settings", help="write the folder that `mlserver start` serves")
    settings.add_argument("bundle", type=Path, help="a .nearhand file")
    settings.add_argument("folder", type=Path, help="where to; made if need be")
    settings.add_argument("--name", help="the model's name; by default the bundle's")
    settings.add_argument("--batch-size", type=int, default=BATCH_SIZE, help="requests that are run at once, at most")
    settings.add_argument(
        "--batch-seconds", type=float, default=BATCH_SECONDS, help="how long one waits for others, at most"
    )

    served = commands.add_parser("serve", help="serve a bundle until SIGTERM comes")
    served.add_argument("bundle", type=Path, help="a .nearhand file")
    served.add_argument("--host", default="127.0.0.1")
    served.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 for a free one")
    served.add_argument("--metrics-port", type=int, help="of Prometheus metrics; by default there are none")
    served.add_argument("--with-parent", action="store_true", help="end when stdin ends")
    return parser


if __name__ == "__main__":
    sys.exit(main())
