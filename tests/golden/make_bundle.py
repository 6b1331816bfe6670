"""Writes ``bundle.sha256``: the hashes of two bundles whose bytes must never change by accident.

Run ``python -m tests.golden.make_bundle`` from the root of the repository when a change of the format is meant.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from nearhand.bundle.archive import write_archive
from tests.sdk.bundle_factory import make_entries

GOLDEN = Path(__file__).with_name("bundle.sha256")


def generate() -> str:
    """The golden file's text, in the form of ``sha256sum``."""
    cases = {
        "archive.nearhand": {"manifest.json": b"{}", "b/c.bin": bytes(range(256)), "a.txt": b"", "b.txt": b"text\n"},
        "films.nearhand": make_entries(),
    }
    lines = []
    with TemporaryDirectory() as folder:
        for name, entries in cases.items():
            path = Path(folder, name)
            write_archive(path, entries)
            lines.append(f"{sha256(path.read_bytes()).hexdigest()}  {name}\n")
    return "".join(lines)


if __name__ == "__main__":
    GOLDEN.write_text(generate(), encoding="ascii", newline="\n")
