"""Features that leave the device, and what follows from them where they arrive.

A ranker reads features of the profile and of candidates. The latter are many, and those that compare an item with the
profile follow from features of the profile: only these are sent, and the same feature program makes the others of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nearhand.errors import UsageError
from nearhand.features import CandidateFeatures, CompiledProgram, FeatureFold, FeatureVector
from nearhand.features.candidates import Candidates
from nearhand.features.compile import Frame
from nearhand.ranking.feature_rows import feature_places

if TYPE_CHECKING:
    from numpy.typing import NDArray


class SentFeatures:
    """Which features of a profile are sent, in which order, and the features that a server makes of them.

    Attributes:
        names: the columns of the profile that are sent, as :func:`nearhand.ranking.feature_places` names them.
    """

    def __init__(self, program: CompiledProgram, names: Iterable[str]) -> None:
        """
        Raises:
            UsageError: one of the names is not a column of the profile that the program gives.
        """
        self.names = tuple(names)
        places = feature_places(program)
        for name in self.names:
            if name not in places or places[name].of != "profile":
                raise UsageError(
                    f"{name!r} is not a feature of the profile",
                    place=f"feature program {program.program.name}",
                    remedy="ask for columns that the program gives, with the same program on both sides",
                )
        self._program = program
        self._nobody = FeatureFold(program).read(0)
        self._frame = Frame(0, 0, {}, {})
        self._notes = program.item_columns.bind(program.make_states())
        # Of each kind of number: where in the vector, and where in what is sent.
        self._places = {
            dtype: np.array(
                [(places[name].index, at) for at, name in enumerate(self.names) if places[name].dtype == dtype], np.intp
            ).reshape(-1, 2)
            for dtype in ("float32", "int32")
        }
        columns = {column.name: column for column in program.columns if column.of == "profile"}
        self._derived = [
            (columns[derived[0].name], derived[1]) if derived is not None and derived[0].name in columns else None
            for derived in program.item_columns.derived.values()
        ]

    @classmethod
    def read_by(cls, program: CompiledProgram, columns: Iterable[str]) -> SentFeatures:
        """What has to be sent for models that read the given table columns; those that no program gives count not.

        Raises:
            UsageError: a column of candidates does not follow from features of the profile: it needs the events.
        """
        places = feature_places(program)
        widths = {column.name: column.width for column in program.columns}
        wanted: set[str] = set()
        for name in columns:
            place = places.get(name)
            if place is None:
                continue
            if place.of == "profile":
                wanted.add(name)
            elif name in program.item_columns.derived:
                derived = program.item_columns.derived[name]
                if derived is None or derived[0].name not in widths:
                    raise UsageError(
                        f"column {name!r} does not follow from features of the profile",
                        place=f"feature program {program.program.name}",
                        remedy="train a model that is served elsewhere without the column: it needs the events",
                    )
                view = derived[0].name
                width = widths[view]
                wanted.update([view] if width == 1 else [f"{view}.{at}" for at in range(width)])
        return cls(program, [name for name in places if name in wanted])

    def of(self, vector: FeatureVector) -> NDArray[np.float32]:
        """What is sent of a profile: float32 [names]. Codes are numbers too, exact up to 2²⁴."""
        sent = np.empty(len(self.names), np.float32)
        for dtype, values in (("float32", vector.floats), ("int32", vector.ints)):
            index, at = self._places[dtype].T
            sent[at] = values[index]
        return sent

    def vector(self, sent: NDArray[np.float32] | None) -> FeatureVector:
        """The profile's features as they arrive; what was not sent is that of a profile without events.

        Args:
            sent: float32 [names]; None: nothing was sent.
        """
        if sent is None:
            return self._nobody
        floats, ints = self._nobody.floats.copy(), self._nobody.ints.copy()
        index, at = self._places["float32"].T
        floats[index] = sent[at]
        index, at = self._places["int32"].T
        ints[index] = np.rint(sent[at].astype(np.float64)).clip(-(2**31), 2**31 - 1).astype(np.int32)
        return FeatureVector(0, floats, ints)

    def candidates(self, vector: FeatureVector, item_ids: Sequence[str]) -> CandidateFeatures:
        """The features of candidates that follow from a profile's: those of the program, of values in float32.

        What rests on events that no feature shows is that of a profile without events.
        """
        found = Candidates(tuple(item_ids), self._program.items.rows)
        notes = []
        for note, derived in zip(self._notes, self._derived, strict=True):
            if derived is None:
                notes.append(note(self._frame, found))
            else:
                column, make = derived
                values = vector.floats if column.dtype == "float32" else vector.ints
                notes.append(make(values[column.offset : column.offset + column.width].tolist()))
        floats, ints = self._program.item_columns.arrays(found, [notes])
        return CandidateFeatures(vector.as_of, floats[0], ints[0])
