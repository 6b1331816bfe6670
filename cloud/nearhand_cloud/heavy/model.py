"""The heavy variant of a bundle in this process: what the server runs, and what its answers are compared with."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nearhand.bundle import BundleFolder, install_bundle
from nearhand.bundle.schema import Precision
from nearhand.clock import SystemClock
from nearhand.config import Config
from nearhand.errors import ModelError, UsageError
from nearhand.features import CompiledProgram, ItemTable, compile_program, read_program
from nearhand.monitoring import Meter
from nearhand.ranking import FeatureRows, Predictor, SentFeatures, TableRows, retrieval_windows
from nearhand.retrieval import Retriever, open_retriever, padded
from nearhand.runtime import installed_runtimes
from nearhand.version import __version__

MAX_CANDIDATES = 200
MAX_HISTORY = 1024
"""Of a longer history than the model's window the latest items count; of one longer than this, nothing."""


@dataclass(frozen=True, eq=False)
class Asked:
    """One list to score. Make it with :meth:`HeavyModel.asked`, which checks it.

    Attributes:
        history: int32 [h], the item rows of the window, the latest last; weights: float32 [h], their confidences.
        candidates: int32 [n] item rows.
        features: float32 [columns], the profile's; None: they were not sent.
    """

    history: NDArray[np.int32]
    weights: NDArray[np.float32]
    candidates: NDArray[np.int32]
    features: NDArray[np.float32] | None


@dataclass(frozen=True)
class _Ranker:
    """
    Attributes:
        windows: of how many of the latest items it reads retrieval scores, beside those of the whole history.
    """

    predictor: Predictor
    rows: FeatureRows
    sent: SentFeatures
    windows: tuple[int, ...]


class HeavyModel:
    """Scores candidates from a history and a profile's features. Make one with :meth:`open`; safe for several threads.

    The retrieval score of a candidate is the inner product of its vector and of the user's, whom the bundle's encoder
    makes of the history. Where the bundle's list policy has a ranker, that gives the scores: of the retrieval scores,
    which it may read of the latest items alone too, and of the features that the bundle's program makes of the
    profile's.

    Attributes:
        name, version: the bundle's.
        catalogue: sha256 of the bundle's items file, in hexadecimal; rows mean something only under the same one.
        program: sha256 of the bundle's feature program file; "" if no feature is read.
        columns: the features of the profile that are read, in the order in which they are sent.
        window: how many of the latest items of a history count.
        items: how many items the catalogue has.
    """

    def __init__(self, bundle: BundleFolder, retriever: Retriever, ranker: _Ranker | None, closing: ExitStack) -> None:
        manifest = bundle.manifest
        items = bundle.items()
        self.name = manifest.name
        self.version = manifest.version
        self.catalogue = manifest.retrieval.items.file.sha256
        self.columns = () if ranker is None else ranker.sent.names
        self.program = manifest.features.file.sha256 if self.columns and manifest.features is not None else ""
        self.window = retriever.window
        self.items = len(items.item_ids)
        self._item_ids = items.item_ids
        self._retriever = retriever
        self._ranker = ranker
        self._closing = closing
        self._vectors = _item_vectors(retriever, self.items)
        self._lock = threading.Lock()
        # The encoder takes most of the time, and runs outside of Python's lock.
        self._threads = ThreadPoolExecutor(_cores(), thread_name_prefix="nearhand-encoder")
        closing.callback(self._threads.shutdown)

    @classmethod
    def open(cls, bundle: str | Path) -> HeavyModel:
        """Verify a bundle, unpack it into a temporary folder, and load it on onnxruntime, in float32 where it has that.

        Raises:
            BundleError: the bundle is refused.
            UsageError: it makes no recommendations, or its ranker reads what does not follow from what is sent.
            RuntimeUnavailableError: it does not compute correctly here.
            StorageError: it cannot be read or unpacked.
        """
        with ExitStack() as unless_it_opens:
            work = Path(unless_it_opens.enter_context(tempfile.TemporaryDirectory(prefix="nearhand-heavy-")))
            folder = install_bundle(Path(bundle), work / "slots", sdk_version=__version__)
            manifest = folder.manifest
            variants = manifest.model("encoder").variants
            exact = any((variant.runtime, variant.precision) == ("onnx", "fp32") for variant in variants)
            precision: Precision | None = "fp32" if exact else None
            config = Config(runtime="onnx", precision=precision)
            selftests = work / "selftests"
            retriever = open_retriever(folder, config, installed_runtimes(), selftests, Meter(SystemClock())).retriever
            ranker = None
            if manifest.listing is not None and manifest.listing.ranker is not None:
                ranker = _open_ranker(folder, manifest.listing.ranker, selftests)
                unless_it_opens.callback(ranker.predictor.close)
            return cls(folder, retriever, ranker, unless_it_opens.pop_all())

    def asked(
        self, history: ArrayLike, weights: ArrayLike, candidates: ArrayLike, features: ArrayLike | None = None
    ) -> Asked:
        """Check what is asked.

        Args:
            history: int32 [h] item rows, the latest last; −1 is padding.
            weights: float32 [h], their confidences; a negative one is a dislike.
            candidates: int32 [n] item rows, n at most 200.
            features: float32 [columns]; None: those of a profile of which nothing is known.

        Raises:
            UsageError: a row is not of the catalogue or stands twice, a number is not finite, there are too many or
                none, or nothing of the history was liked.
        """
        rows, confidences = np.asarray(history, np.int32), np.asarray(weights, np.float32)
        if rows.ndim != 1 or len(rows) > MAX_HISTORY:
            raise _wrong("history", f"has the shape {list(rows.shape)}", f"give at most {MAX_HISTORY} item rows")
        if confidences.shape != rows.shape:
            raise _wrong("weights", f"have the shape {list(confidences.shape)}", f"give {len(rows)}, one for each item")
        _check_finite("weights", confidences)
        kept = rows != -1
        rows, confidences = rows[kept], confidences[kept]
        self._check_rows("history", rows)
        rows, confidences = rows[-self.window :], confidences[-self.window :]
        if not (confidences > 0).any():
            raise _wrong("history", "has no item with a positive weight", "rank what is popular on the device instead")
        chosen = np.asarray(candidates, np.int32)
        if chosen.ndim != 1 or not 1 <= len(chosen) <= MAX_CANDIDATES:
            raise _wrong("candidates", f"have the shape {list(chosen.shape)}", f"give 1 to {MAX_CANDIDATES} item rows")
        self._check_rows("candidates", chosen)
        if features is None:
            return Asked(rows, confidences, chosen, None)
        sent = np.asarray(features, np.float32)
        if sent.shape != (len(self.columns),):
            raise _wrong("features", f"have the shape {list(sent.shape)}", f"give {len(self.columns)}, or leave it out")
        _check_finite("features", sent)
        return Asked(rows, confidences, chosen, sent)

    def scores(
        self, history: ArrayLike, weights: ArrayLike, candidates: ArrayLike, features: ArrayLike | None = None
    ) -> NDArray[np.float32]:
        """The candidates' scores, float32 [n], higher is better; for the arguments see :meth:`asked`.

        Raises:
            UsageError: an argument is wrong.
            ModelError: a model fails, or gives a number that is not finite.
        """
        return self.batch([self.asked(history, weights, candidates, features)])[0]

    def batch(self, lists: Sequence[Asked]) -> list[NDArray[np.float32]]:
        """The scores of several lists, each as it has them alone: float32 [n] for each.

        Raises:
            ModelError: a model fails, or gives a number that is not finite.
        """
        latest = (self.window, *(() if self._ranker is None else self._ranker.windows))
        asked_for = [(asked, count) for asked in lists for count in latest]
        found = list(self._threads.map(self._retrieved, *zip(*asked_for, strict=True)))
        retrieved = [found[start : start + len(latest)] for start in range(0, len(found), len(latest))]
        if self._ranker is None:
            return [scores for (scores,) in retrieved]
        with self._lock:  # what reads features keeps what it has looked up
            rows = [self._rows(self._ranker, asked, scores) for asked, scores in zip(lists, retrieved, strict=True)]
            table = TableRows(
                np.concatenate([each.numbers for each in rows]), np.concatenate([each.categories for each in rows])
            )
            scores = self._ranker.predictor.scores(table).astype(np.float32)
        ends = np.cumsum([len(each) for each in rows])
        return np.split(scores, ends[:-1])

    def close(self) -> None:
        """Free the models and remove the unpacked bundle. Closing twice is fine."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _retrieved(self, asked: Asked, latest: int) -> NDArray[np.float32]:
        """The retrieval scores that the latest items of the history give."""
        rows, weights = asked.history[-latest:].tolist(), asked.weights[-latest:].tolist()
        user = self._retriever.encode(*padded(rows, weights, self.window))
        scores: NDArray[np.float32] = self._vectors[asked.candidates] @ user.vector[0]
        if not np.isfinite(scores).all():
            remedy = "check the weights, or build the bundle again"
            raise ModelError("gives a number that is not finite", place="encoder", remedy=remedy)
        return scores

    def _rows(self, ranker: _Ranker, asked: Asked, retrieved: Sequence[NDArray[np.float32]]) -> TableRows:
        scores = np.stack(retrieved, axis=1) if ranker.windows else retrieved[0]
        vector = ranker.sent.vector(asked.features)
        features = ranker.sent.candidates(vector, [self._item_ids[row] for row in asked.candidates.tolist()])
        return ranker.rows.rows(vector, features, None, scores.astype(np.float64))

    def _check_rows(self, name: str, rows: NDArray[np.int32]) -> None:
        if len(rows) and not (rows.min() >= 0 and rows.max() < self.items):
            wrong = rows[(rows < 0) | (rows >= self.items)][0]
            raise _wrong(name, f"has the row {wrong}", f"give rows of this catalogue, 0 to {self.items - 1}")
        if len(np.unique(rows)) != len(rows):
            raise _wrong(name, "has a row twice", "give every item once")


def _cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _open_ranker(folder: BundleFolder, name: str, selftests: Path) -> _Ranker:
    model = folder.manifest.table_model(name)
    program = _program(folder)
    sent = SentFeatures.read_by(program, [column.name for column in model.columns])
    predictor = Predictor.of(folder, name, config=Config(runtime="onnx"), selftests=selftests)
    windows = retrieval_windows(model.columns)
    return _Ranker(predictor, FeatureRows(program, model, predictor.encoder, windows), sent, windows)


def _program(folder: BundleFolder) -> CompiledProgram:
    reference = folder.manifest.features
    if reference is None:
        remedy = "merge it with a bundle that has one: it says what the ranker is given"
        raise UsageError("has no feature program", place=f"bundle {folder.manifest.name}", remedy=remedy)
    source = folder.path(reference.file).read_bytes()
    return compile_program(read_program(source, place=reference.file.path), ItemTable.of_bundle(folder.items()))


def _item_vectors(retriever: Retriever, items: int) -> NDArray[np.float32]:
    """float32 [items, factors]: the encoder gives those of the items that it reads."""
    parts = []
    for start in range(0, items, retriever.window):
        rows = range(start, min(start + retriever.window, items))
        found = retriever.encode(*padded(rows, [1.0] * len(rows), retriever.window)).history_vectors
        parts.append(found[: len(rows)].copy())
    return np.concatenate(parts)


def _check_finite(name: str, numbers: NDArray[np.float32]) -> None:
    if not np.isfinite(numbers).all():
        raise _wrong(name, "have a number that is not finite", "give numbers within float32")


def _wrong(name: str, problem: str, remedy: str) -> UsageError:
    return UsageError(problem, place=name, remedy=remedy)
