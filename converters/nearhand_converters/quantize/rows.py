"""Row-wise symmetric int8: one scale for each item, so that a rare item's small row is as exact as a popular one's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class QuantizedRows:
    """``values`` int8 [rows, width] in ±127 and ``scales`` float32 [rows]; a row is values × scale."""

    values: NDArray[np.int8]
    scales: NDArray[np.float32]

    def dequantized(self) -> NDArray[np.float32]:
        """The float32 rows that the graph computes: each int8 value, exact in float32, times its row's scale."""
        return self.values.astype(np.float32) * self.scales[:, None]


def quantize_rows(table: NDArray[np.float32]) -> QuantizedRows:
    """Quantize float32 [rows, width]; the largest magnitude of each row becomes ±127.

    A row within 1e-30 of zero becomes zeros with scale 1: its own scale would be subnormal, which some processors
    take for zero.
    """
    largest = np.abs(table).max(axis=1, initial=0.0).astype(np.float32)
    scales = np.where(largest > 1e-30, largest / np.float32(127), np.float32(1)).astype(np.float32)
    values = np.clip(np.rint(table / scales[:, None]), -127, 127).astype(np.int8)
    return QuantizedRows(values, scales)
