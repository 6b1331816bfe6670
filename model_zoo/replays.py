"""The events of a data set, and the features of the zoo's program as of any instant, by Nearhand's own replay."""

from __future__ import annotations

import tempfile
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nearhand.events import RecordedEvent
from nearhand.features import CompiledProgram, ItemTable, compile_program, read_program
from nearhand_converters.data import Catalogue, Dataset
from nearhand_converters.replay.events import read_events, reading_of
from nearhand_converters.replay.files import open_source
from nearhand_converters.replay.run import Labels, replay

LIKED_FROM, DISLIKED_TO = 4.0, 2.0
"""The ratings that are a like and a dislike, as in Nearhand's reading of MovieLens."""


def zoo_program(catalogue: Catalogue, popularity: Sequence[int]) -> CompiledProgram:
    """The feature program of films-als over a catalogue as a bundle has it.

    Args:
        popularity: of each item, how many positive interactions it has.
    """
    source = (resources.files("model_zoo.films_als") / "features.json").read_bytes()
    columns: dict[str, Any] = {
        "title": catalogue.titles,
        "year": catalogue.years,
        "genres": catalogue.genres,
        "director": [director or None for director in catalogue.directors],
        "popularity": popularity,
    }
    return compile_program(read_program(source, place="features.json"), ItemTable(catalogue.item_ids, columns))


class Viewers:
    """The events that a device would have recorded of each user of a data set.

    A film is viewed when it is rated; it is liked, or disliked, in the same moment where the rating says so.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._data = dataset.interactions
        self._item_ids = dataset.catalogue.item_ids
        order = np.lexsort((self._data.timestamp, self._data.user))
        starts = np.searchsorted(self._data.user[order], np.arange(len(self._data.users) + 1))
        self._places = [order[start:stop] for start, stop in pairwise(starts.tolist())]
        self._events: dict[int, list[RecordedEvent]] = {}

    def times(self, user: int) -> NDArray[np.int64]:
        """When a user did something: int64 [interactions], ms, ascending."""
        found: NDArray[np.int64] = self._data.timestamp[self._places[user]]
        return found

    def events(self, user: int, before: int | None = None) -> list[RecordedEvent]:
        """A user's events, oldest first: those before an instant (ms), or all."""
        if user not in self._events:
            self._events[user] = list(self._recorded(user))
        found = self._events[user]
        return found if before is None else found[: bisect_left(found, before, key=lambda event: event.timestamp)]

    def _recorded(self, user: int) -> Iterator[RecordedEvent]:
        sequence = 0
        for position in self._places[user].tolist():
            timestamp = int(self._data.timestamp[position])
            for kind in self._kinds(position):
                sequence += 1
                yield RecordedEvent(
                    event_id=f"{user}-{sequence}",
                    sequence=sequence,
                    timestamp=timestamp,
                    recorded_at=timestamp,
                    utc_offset_minutes=0,
                    epoch=0,
                    event=kind,
                    item_id=self._item_ids[self._data.item[position]],
                    user=None,
                    recommendation_id=None,
                    context={},
                    properties={},
                )

    def _kinds(self, position: int) -> tuple[str, ...]:
        rating = None if self._data.rating is None else float(self._data.rating[position])
        if rating is not None and rating >= LIKED_FROM:
            return ("item_viewed", "item_liked")
        if rating is not None and rating <= DISLIKED_TO:
            return ("item_viewed", "item_disliked")
        return ("item_viewed",)

    def write(self, path: Path, users: Sequence[int]) -> None:
        """The events of some users as Parquet that a replay reads; a user's name is the number."""
        rows = [
            (str(user), event.sequence, event.timestamp, event.recorded_at, event.event, event.item_id)
            for user in users
            for event in self.events(user)
        ]
        names = ("user", "sequence", "timestamp", "recorded_at", "event", "item_id")
        pq.write_table(pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))), path)


def training_table(viewers: Viewers, program: CompiledProgram, labels: Mapping[str, Sequence[Any]], out: Path) -> Any:
    """Replay the events of the users of ``labels``: the features of each label as of its instant.

    Args:
        labels: columns of one length: ``user`` (numbers), ``timestamp`` (ms), perhaps ``item_id``, and what is carried.
        out: the Parquet file.

    Returns:
        The table as it is in ``out``: a row for each label, users in the order of their numbers as texts.
    """
    users = sorted(set(labels["user"]))
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        events, asked = Path(folder) / "events.parquet", Path(folder) / "labels.parquet"
        viewers.write(events, users)
        pq.write_table(pa.table({**labels, "user": list(map(str, labels["user"]))}), asked)
        reading = reading_of(program.program, frozenset(), frozenset())
        replay(open_source(events), read_events, Labels(open_source(asked)), program, reading, out)
    return pq.read_table(out)


def columns_of(table: Any, names: Sequence[str]) -> NDArray[np.float64]:
    """Columns of a training table as a model's rows: float64 [rows, columns]. ``genres.3`` is a place of a wide one."""
    return np.stack([_column(table, name) for name in names], axis=1)


def _column(table: Any, name: str) -> NDArray[np.float64]:
    whole, dot, place = name.rpartition(".")
    if name in table.column_names or not dot:
        found: NDArray[np.float64] = table[name].to_numpy().astype(np.float64)
        return found
    column = table[whole].combine_chunks()
    return np.asarray(column.flatten()).reshape(len(table), -1)[:, int(place)].astype(np.float64)
