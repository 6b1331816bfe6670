"""What a comparison with the original leaves in the bundle: its evidence, and the golden vectors of every device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearhand.bundle.schema import RuntimeName
from nearhand.bundle.tables import OutputParity, TableGolden, VariantParity
from nearhand_converters.errors import UnsupportedModelError
from nearhand_converters.parity.tabular import RELATIVE, Original, Parity, Run

_MARGIN = 1e-3
"""A label is clear if the best is better than the next by this part of the largest number of the row, or a decision is
away from 0 by this part of what decisions usually are."""
_TRIED = 4
"""How many times as many rows as are kept are looked at for a label that rounding could change."""
_MEASURED = 4.0
"""How many times the difference that was measured here a device may be off."""


def variant_parity(runtime: RuntimeName, found: Parity) -> VariantParity:
    """A comparison as it stands in the manifest."""
    return VariantParity(
        runtime=runtime,
        precision="fp32",
        outputs=tuple(
            OutputParity(one.name, _decimal(one.difference), _decimal(one.relative), _decimal(one.tolerance))
            for one in found.outputs
        ),
        labels_equal=found.labels or 0,
        labels_tied=found.ties,
        leaves_equal=found.leaves,
    )


def golden_vectors(
    original: Original, runs: Sequence[Run], compared: Sequence[VariantParity], count: int
) -> TableGolden:
    """Rows whose answers every device must give: spread over those compared, finite, and with a clear label.

    Args:
        runs: the artifacts, which have passed the comparison; what they differ by is what a device may differ by too.
        count: how many rows at most.

    Raises:
        UnsupportedModelError: the original answers no row with finite numbers.
    """
    outputs = original.outputs
    usable = ~np.isinf(original.rows.numbers).any(axis=1)
    for name, values in outputs.items():
        if name != "label":
            with np.errstate(over="ignore"):
                usable &= np.isfinite(_table(values).astype(np.float32)).all(axis=1)
    if not usable.any():
        raise UnsupportedModelError(
            "its answers are infinite or NaN for every row", code="not-finite", remedy="train again; training diverged"
        )
    clear = _spread(np.flatnonzero(usable & _clear(outputs)), _TRIED * count)
    clear = clear[~_close(original, clear)]
    chosen = _spread(clear if len(clear) else np.flatnonzero(usable), count)
    rows = original.rows[chosen]
    expected = {name: _table(values)[chosen] for name, values in outputs.items()}
    found = [run(rows) for run in runs]
    tolerances = {}
    for name, values in expected.items():
        if name == "label":  # without one clear label nothing can be asked of them
            tolerances[name] = Decimal(0 if len(clear) else 2**31)
            continue
        measured = max(float(np.abs(_table(given[name]) - values).max(initial=0.0)) for given in found)
        allowed = max(float(one.tolerance) for variant in compared for one in variant.outputs if one.output == name)
        # All zeros say nothing of how far off zero may be.
        tolerances[name] = _decimal(max(RELATIVE * float(np.abs(values).max()), _MEASURED * measured) or allowed)
    return TableGolden(
        numbers=tuple(tuple(None if np.isnan(x) else Decimal(repr(x)) for x in row) for row in rows.numbers.tolist()),
        categories=tuple(map(tuple, rows.categories.tolist())),
        outputs={
            name: tuple(tuple(Decimal(f"{value:.9g}") for value in row) for row in values.tolist())
            for name, values in expected.items()
        },
        tolerances=tolerances,
    )


def _clear(outputs: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """bool [rows]: whether the label is beyond doubt."""
    name = next((n for n in ("probability", "score", "distance") if n in outputs), None)
    rows = len(next(iter(outputs.values())))
    if "label" not in outputs or name is None:
        return np.ones(rows, np.bool_)
    values = _table(outputs[name])
    size = np.abs(values).max(axis=1)
    if values.shape[1] == 1:  # a decision function of two classes, or one cluster
        usual = np.median(size[np.isfinite(size)]) if np.isfinite(size).any() else 0.0
        return size > _MARGIN * usual if name == "score" else np.ones(rows, np.bool_)
    best = np.sort(-values if name == "distance" else values, axis=1)[:, -2:]
    clear: NDArray[np.bool_] = best[:, 1] - best[:, 0] > _MARGIN * size
    return clear


def _close(original: Original, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
    """bool [rows]: whether rounding alone could give another label, as of a sum that cancels behind a step."""
    outputs = original.outputs
    name = next((n for n in ("probability", "score", "distance") if n in outputs), None)
    if "label" not in outputs or name is None or not len(rows):
        return np.zeros(len(rows), np.bool_)
    values, label = _table(outputs[name])[rows], outputs["label"][rows]
    if values.shape[1] == 1:
        return original.tied(1 - label, rows) if name == "score" else np.zeros(len(rows), np.bool_)
    best = np.argsort(values if name == "distance" else -values, axis=1, kind="stable")
    return original.tied(np.where(best[:, 0] == label, best[:, 1], best[:, 0]), rows)


def _spread(rows: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """At most ``count`` of the rows, from the first to the last."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, count).astype(int))] if len(rows) else rows


def _table(values: NDArray[Any]) -> NDArray[np.float64]:
    """An output as float64 [rows, values]."""
    return values.astype(np.float64).reshape(len(values), -1)


def _decimal(value: float) -> Decimal:
    """Rounded up: what is allowed stays allowed."""
    digits = Decimal(value)
    return digits.quantize(Decimal((0, (1,), digits.adjusted() - 2)), "ROUND_UP").normalize() if value else Decimal(0)
