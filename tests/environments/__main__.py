"""`python -m tests.environments prepare [NAME…]` makes environments; `python -m tests.environments list` shows them."""

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.environments.cache import PrepareError
from tests.environments.environment import Environment
from tests.environments.machines import environments
from tests.environments.phones import phones


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    known = {**environments(), **phones()}
    parser = argparse.ArgumentParser(prog="python -m tests.environments", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="show every environment and whether it is prepared")
    making = commands.add_parser("prepare", help="make environments that are not there yet (uses the network)")
    making.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(known)}; default: all")
    chosen = parser.parse_args(arguments)
    if chosen.command == "list":
        for environment in known.values():
            print(f"{environment.name:20} {environment.missing() or 'ready'}: {environment.description}")
        return 0
    names = list(dict.fromkeys(chosen.names)) or list(known)
    for name in names:
        if name not in known:
            making.error(f"no environment {name!r}; there are {', '.join(known)}")
    # At once: each spends its time on another thing (network, unpacking, emulation), and none on Python.
    with ThreadPoolExecutor() as pool:
        outcomes = list(pool.map(_prepare, [known[name] for name in names]))
    return 0 if all(outcomes) else 1


def _prepare(environment: Environment) -> bool:
    """Make one environment and print one line about it; return whether it is there now."""
    start = time.perf_counter()
    try:
        made = environment.prepare()
    except (PrepareError, OSError) as error:
        print(f"{environment.name:20} failed: {error}", flush=True)
        return False
    size = sum(folder.size() for folder in environment.folders) / 1e6
    seconds = time.perf_counter() - start
    print(f"{environment.name:20} {'made' if made else 'ready'} ({seconds:.1f} s, {size:.0f} MB)", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
