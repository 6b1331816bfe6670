"""Runs on every machine: devices that live through tapes, and what they read.

    python compute_features.py PROGRAMS.json TAPES.json OUTPUT.json

Needs numpy and nearhand, nothing else. The tapes are those of ``tests.conformance.streams``; the output is a sha256 of
all readings for each program.
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nearhand.features import (
    CompiledProgram,
    FeatureFold,
    ItemTable,
    ReplayEvent,
    compile_program,
    read_program,
)

ABSORBED_MS = 60_000
"""A clock that was set back by no more than this is not followed."""


class Device:
    """A device without its database: what the SDK does with the fold, and nothing of how the fold does it.

    Attributes:
        program: the one in use. An update exchanges it with the other one.
        readings: what was read, in its order; see :func:`reading`.
    """

    def __init__(self, programs: tuple[CompiledProgram, CompiledProgram], item_ids: Sequence[str]) -> None:
        self.program, self._other = programs
        self._item_ids = candidates_of(self.program, item_ids)
        self._log: dict[int, ReplayEvent] = {}
        self._checkpoint: bytes | None = None
        self._fold = FeatureFold(self.program)
        self.readings: list[bytes] = []

    def play(self, step: Sequence[Any]) -> None:
        """Do one step of a tape."""
        match step:
            case "record", fields:
                event = ReplayEvent(*fields)
                self._log[event.sequence] = event
                self._fold.offer(event)
            case "read", now, as_of, *situation:
                self._read(now, as_of, situation)
            case "close", as_of:
                self._fold.advance(as_of)
                self._restart()
            case ("restart",):
                self._restart()
            case ("rebuild",):
                self._rebuild()
            case "forget", sequence:
                del self._log[sequence]
                self._rebuild()
            case "evict", sequences, as_of:
                fold = self._from_checkpoint()
                for sequence in sequences:
                    fold.offer(self._log.pop(sequence))
                fold.advance(as_of)
                self._checkpoint = fold.dump()
            case ("update",):
                self.program, self._other = self._other, self.program
                self._checkpoint = None
                self._rebuild()
            case _:
                raise ValueError(f"{step} is no step")

    def _read(self, now: int, as_of: int, situation: list[Any]) -> None:
        if now + 1 < self._fold.earliest - ABSORBED_MS:
            self._rebuild()
        fold = self._fold
        chosen = max(now + 1, fold.earliest, fold.newest_epoch_from)
        if chosen != as_of:
            raise AssertionError(f"the device reads at {chosen}, and the rules of time say {as_of}")
        self.readings.append(reading(fold, as_of, situation, self._item_ids))

    def _from_checkpoint(self) -> FeatureFold:
        return (
            FeatureFold(self.program) if self._checkpoint is None else FeatureFold.load(self.program, self._checkpoint)
        )

    def _restart(self) -> None:
        self._fold = FeatureFold.load(self.program, self._fold.dump())

    def _rebuild(self) -> None:
        self._fold = self._from_checkpoint()
        for event in self._log.values():
            self._fold.offer(event)


def candidates_of(program: CompiledProgram, item_ids: Sequence[str]) -> Sequence[str]:
    """Whom a program is read for: nobody in particular if it has no columns of candidates."""
    return item_ids if program.item_floats + program.item_ints else ("",)


def reading(fold: FeatureFold, as_of: int, situation: Sequence[Any], item_ids: Sequence[str]) -> bytes:
    """What is read at an instant, to the bit: for each candidate the profile's columns, then the candidate's."""
    vector, found = fold.read(as_of, *situation), fold.candidates(as_of, item_ids, *situation)
    return b"".join(
        floats.tobytes() + item_floats.tobytes() + ints.tobytes() + item_ints.tobytes()
        for (floats, ints), item_floats, item_ints in zip(
            [(vector.floats, vector.ints)] * len(item_ids), found.floats, found.ints, strict=True
        )
    )


def main() -> None:
    """See the module."""
    programs_path, tapes_path, output = map(Path, sys.argv[1:4])
    content, tapes = json.loads(programs_path.read_text()), json.loads(tapes_path.read_text())
    columns = {
        name: tuple(tuple(cell) if isinstance(cell, list) else cell for cell in cells)
        for name, cells in content["columns"].items()
    }
    items = ItemTable(tuple(content["item_ids"]), columns)
    digests = {}
    for name, versions in content["programs"].items():
        first, second = (compile_program(read_program(each.encode(), place=name), items) for each in versions)
        digest = hashlib.sha256()
        for tape in tapes:
            device = Device((first, second), content["candidates"])
            for step in tape:
                device.play(step)
            digest.update(b"".join(device.readings))
        digests[name] = digest.hexdigest()
    output.write_text(json.dumps(digests))


if __name__ == "__main__":
    main()
