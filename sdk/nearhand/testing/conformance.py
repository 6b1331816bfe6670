"""What every runtime must do. An adapter is done when it passes; each check says what it asks for.

::

    @pytest.mark.parametrize("check", RUNTIME_CHECKS, ids=lambda check: check.__name__)
    def test_my_runtime(check: RuntimeCheck) -> None:
        check(MyRuntime(), ModelFiles(...))

The checks bring their own truth: the fold-in and the inner products of ``ModelFiles.table``, in float64.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearhand.bundle.schema import TensorSpec
from nearhand.errors import ModelError
from nearhand.records import dataclass
from nearhand.retrieval import padded
from nearhand.runtime import Runtime, Session, Tensors

TOLERANCE = 1e-5
"""Relative to the largest number of the exact answer: float32 arithmetic in any order of summation."""

INT32 = np.iinfo(np.int32)


@dataclass(frozen=True)
class ModelFiles:
    """The two model files of one variant of a bundle, and the truth about them.

    Attributes:
        encoder, index: the files.
        table: float32 [items, factors], the item rows that both files hold; of int8 rows their float32 products with
            the scales. At least 2 items.
        window: length of the encoder's history input.
        confidence_cap: the largest magnitude of a confidence that the encoder was built for.
    """

    encoder: Path
    index: Path
    table: NDArray[np.float32]
    window: int
    confidence_cap: float

    def user_vector(self, tensors: Tensors) -> NDArray[np.float64]:
        """The exact answer of the encoder, float64 [factors]."""
        rows, confidences = tensors["history_rows"], tensors["history_confidences"].astype(np.float64)
        known = (rows >= 0) & (rows < len(self.table))
        history, confidences = self.table[rows[known]].astype(np.float64), confidences[known]
        matrix = np.eye(self.table.shape[1]) + (history.T * (np.abs(confidences) - 1)) @ history
        return np.linalg.solve(matrix, np.maximum(confidences, 0) @ history)

    def histories(self) -> Iterator[dict[str, NDArray[Any]]]:
        """Encoder inputs of every kind: full and short, likes alone and with dislikes, the same each time."""
        generator = np.random.Generator(np.random.PCG64(20))
        most = min(self.window, len(self.table))
        for length in (most, 1, most // 2 + 1, 2, most):
            for lowest in (1.0, -self.confidence_cap):
                rows = generator.permutation(len(self.table))[:length].tolist()
                confidences = generator.uniform(lowest, self.confidence_cap, length).tolist()
                yield self.history(rows[:most], confidences[:most])

    def history(self, rows: list[int], confidences: list[float]) -> dict[str, NDArray[Any]]:
        """The encoder's inputs for a history."""
        padded_rows, padded_confidences = padded(rows, confidences, self.window)
        return {"history_rows": padded_rows, "history_confidences": padded_confidences}

    def query(self, k: int, seed: int = 0) -> dict[str, NDArray[Any]]:
        """The index's inputs for some user vector, the same for a seed."""
        generator = np.random.Generator(np.random.PCG64(seed))
        vector = generator.normal(size=(1, self.table.shape[1])).astype(np.float32)
        return {"user_vector": vector, "k": np.array([k], np.int32)}


RuntimeCheck = Callable[[Runtime, ModelFiles], None]
"""Raises AssertionError if the runtime does not conform."""


def inputs_and_outputs_are_reported(runtime: Runtime, files: ModelFiles) -> None:
    """Names, dtypes and shapes are those of the contract, −1 where the run decides."""
    _, factors = files.table.shape
    wanted = {
        files.encoder: (
            (
                TensorSpec("history_confidences", "float32", (files.window,)),
                TensorSpec("history_rows", "int32", (files.window,)),
            ),
            (
                TensorSpec("history_vectors", "float32", (files.window, factors)),
                TensorSpec("user_vector", "float32", (1, factors)),
            ),
        ),
        files.index: (
            (TensorSpec("k", "int32", (1,)), TensorSpec("user_vector", "float32", (1, factors))),
            (
                TensorSpec("candidate_rows", "int32", (-1,)),
                TensorSpec("candidate_scores", "float32", (-1,)),
                TensorSpec("candidate_vectors", "float32", (-1, factors)),
            ),
        ),
    }
    for path, (inputs, outputs) in wanted.items():
        with closing(runtime.load(path)) as session:
            for given, specs in ((session.inputs, inputs), (session.outputs, outputs)):
                by_name = tuple(sorted(given, key=lambda spec: spec.name))
                _require(by_name == specs, f"{path.name} reports {by_name}, not {specs}")
    _require(bool(runtime.name) and bool(runtime.version), "the runtime has no name or no version")


def outputs_have_the_reported_form(runtime: Runtime, files: ModelFiles) -> None:
    """What comes out has the names, dtypes and shapes that the session says."""
    with _sessions(runtime, files) as (encoder, index):
        for session, tensors in ((encoder, next(files.histories())), (index, files.query(2))):
            outputs = session.run(tensors)
            _require(list(outputs) == [spec.name for spec in session.outputs], f"outputs are {list(outputs)}")
            for spec in session.outputs:
                array = outputs[spec.name]
                shape = tuple(2 if dimension == -1 else dimension for dimension in spec.shape)
                _require(
                    array.dtype == np.dtype(spec.dtype) and array.shape == shape,
                    f"output {spec.name} is {array.dtype} {array.shape}, not {spec.dtype} {shape}",
                )


def encoder_is_right(runtime: Runtime, files: ModelFiles) -> None:
    """The user vector is the exact fold-in of the history; the rows that were used are those of the table."""
    with _sessions(runtime, files) as (encoder, _):
        for tensors in files.histories():
            outputs = encoder.run(tensors)
            _require_close(outputs["user_vector"][0], files.user_vector(tensors), "user_vector")
            rows = tensors["history_rows"]
            wanted = np.where((rows >= 0)[:, None], files.table[np.maximum(rows, 0)], np.float32(0))
            _require(np.array_equal(outputs["history_vectors"], wanted), "history_vectors are not rows of the table")


def empty_history_gives_zeros(runtime: Runtime, files: ModelFiles) -> None:
    """0/0 inside the solver is a 0, not a NaN."""
    with _sessions(runtime, files) as (encoder, _):
        outputs = encoder.run(files.history([], []))
        _require(not outputs["user_vector"].any(), f"user_vector is {outputs['user_vector']}")
        _require(not outputs["history_vectors"].any(), "history_vectors are not zeros")


def dislikes_alone_give_zeros(runtime: Runtime, files: ModelFiles) -> None:
    """A user without a like has no direction."""
    with _sessions(runtime, files) as (encoder, _):
        outputs = encoder.run(files.history([0, 1], [-1.0, -files.confidence_cap]))
        _require(not outputs["user_vector"].any(), f"user_vector is {outputs['user_vector']}")


def foreign_rows_contribute_nothing(runtime: Runtime, files: ModelFiles) -> None:
    """Rows outside the catalogue are items of zero factors, whatever their confidence; none wraps around."""
    items = len(files.table)
    foreign = [-1, -2, -items, items, items + 1, 2 * items, INT32.max, INT32.max - 1, INT32.min, INT32.min + 1]
    with _sessions(runtime, files) as (encoder, _):
        known = encoder.run(files.history([1], [files.confidence_cap]))["user_vector"]
        for row in foreign[: files.window]:
            alone = encoder.run(files.history([row], [files.confidence_cap]))
            _require(not alone["user_vector"].any(), f"row {row} alone gives {alone['user_vector']}")
            _require(not alone["history_vectors"].any(), f"row {row} is some item's row")
            if files.window > 1:
                beside = encoder.run(files.history([1, row], [files.confidence_cap, files.confidence_cap]))
                _require_close(beside["user_vector"], known.astype(np.float64), f"user_vector beside row {row}")


def index_is_right(runtime: Runtime, files: ModelFiles) -> None:
    """The best ten of a hundred candidates are the best ten of the catalogue, with float32 scores of its own rows."""
    count = min(len(files.table), 100)
    with _sessions(runtime, files) as (_, index):
        for seed in range(20):
            tensors = files.query(count, seed)
            outputs = index.run(tensors)
            exact = files.table.astype(np.float64) @ tensors["user_vector"][0].astype(np.float64)
            _require_candidates(outputs, count, exact, files.table)
            best = np.sort(outputs["candidate_scores"])[::-1][:10]
            wanted = np.sort(exact)[::-1][:10]
            slack = TOLERANCE * float(np.abs(exact).max())
            # By score and not by row: two items whose scores differ in the last bit may change places.
            _require(bool((np.abs(best - wanted) <= slack).all()), f"the best scores are {best}, not {wanted}")


def every_k_is_served(runtime: Runtime, files: ModelFiles) -> None:
    """From 1 to the whole catalogue, in any order on one session; large catalogues are sampled."""
    items = len(files.table)
    some = np.unique(np.geomspace(1, items, 200).astype(int)) if items > 1000 else np.arange(1, items + 1)
    tensors = files.query(1)
    exact = files.table.astype(np.float64) @ tensors["user_vector"][0].astype(np.float64)
    with _sessions(runtime, files) as (_, index):
        for k in np.concatenate([some[::-1], some[::7]]).tolist():
            outputs = index.run({**tensors, "k": np.array([k], np.int32)})
            _require_candidates(outputs, k, exact, files.table)


def runs_are_repeatable(runtime: Runtime, files: ModelFiles) -> None:
    """The same inputs give the same bits, after other inputs and in another session."""
    with _sessions(runtime, files) as first, _sessions(runtime, files) as second:
        for tensors in (files.history([], []), *files.histories()):
            wanted = first[0].run(tensors)
            for seed in range(3):
                first[0].run(next(files.histories()))
                query = files.query(1 + seed, seed)
                _require_same(first[1].run(query), second[1].run(query))
                _require_same(first[0].run(tensors), wanted)
            _require_same(second[0].run(tensors), wanted)


def sessions_are_independent(runtime: Runtime, files: ModelFiles) -> None:
    """Two loads of one file share nothing that a run or a close could change."""
    one, other = next(files.histories()), files.history([0], [1.0])
    with _sessions(runtime, files) as (encoder, index):
        before, found = encoder.run(one), index.run(files.query(2))
        with _sessions(runtime, files) as (second_encoder, second_index):
            second_encoder.run(other)
            second_index.run(files.query(1, seed=1))
            _require_same(encoder.run(one), before)
            _require_same(second_encoder.run(one), before)
        _require_same(encoder.run(one), before)
        _require_same(index.run(files.query(2)), found)


def threads_share_a_session(runtime: Runtime, files: ModelFiles) -> None:
    """Eight threads at one session get what one thread gets."""
    work: list[tuple[int, dict[str, NDArray[Any]]]] = [(0, tensors) for tensors in files.histories()]
    work += [(1, files.query(1 + seed % len(files.table), seed)) for seed in range(10)]
    work *= 8
    with _sessions(runtime, files) as sessions:
        wanted = [sessions[which].run(tensors) for which, tensors in work]
        with ThreadPoolExecutor(8) as pool:
            given = list(pool.map(lambda job: sessions[job[0]].run(job[1]), work))
    for one, other in zip(given, wanted, strict=True):
        _require_same(one, other)


def outputs_belong_to_the_caller(runtime: Runtime, files: ModelFiles) -> None:
    """Neither another run, nor close, nor writing to other outputs changes an array that was returned."""
    with _sessions(runtime, files) as sessions:
        calls = (
            (sessions[0], next(files.histories()), files.history([0], [1.0])),
            (sessions[1], files.query(2), files.query(2, seed=1)),
        )
        for session, tensors, others in calls:
            outputs = session.run(tensors)
            kept = {name: array.copy() for name, array in outputs.items()}
            session.run(others)
            _require_same(outputs, kept)
            scratch = session.run(tensors)
            for name, array in scratch.items():
                _require(array.flags.writeable, f"output {name} is read-only")
                array.fill(7)
            _require_same(outputs, kept)
            _require_same(session.run(tensors), kept)
            session.close()
            _require_same(outputs, kept)


def inputs_are_left_alone(runtime: Runtime, files: ModelFiles) -> None:
    """Inputs are not written to, may be read-only or strided, and may be changed by the caller after the run."""
    with _sessions(runtime, files) as (encoder, index):
        for session, tensors in ((encoder, next(files.histories())), (index, files.query(2))):
            wanted = session.run(tensors)
            kept = {name: array.copy() for name, array in tensors.items()}
            frozen = {name: array.copy() for name, array in tensors.items()}
            for array in frozen.values():
                array.setflags(write=False)
            strided = {name: np.repeat(array, 2, axis=-1)[..., ::2] for name, array in tensors.items()}
            for form in (frozen, strided):
                outputs = session.run(form)
                _require_same(outputs, wanted)
            for array in strided.values():
                array.fill(1)
            _require_same(outputs, wanted)
            _require_same(session.run(tensors), wanted)
            _require_same(tensors, kept)


def wrong_inputs_are_refused(runtime: Runtime, files: ModelFiles) -> None:
    """A missing, unknown or ill-formed input is a ModelError that names it, and the session stays usable."""
    with _sessions(runtime, files) as (encoder, index):
        for session, tensors in ((encoder, next(files.histories())), (index, files.query(2))):
            wanted = session.run(tensors)
            _refused(lambda: session.run({**tensors, "stranger": np.zeros(1, np.float32)}), "stranger")  # noqa: B023
            for name, array in tensors.items():
                other = np.float32 if array.dtype == np.int32 else np.int32
                bad: dict[str, NDArray[Any] | None] = {
                    "missing": None,
                    "of another kind": array.astype(other),
                    "wider": array.astype(np.float64 if other is np.int32 else np.int64),
                    "of the other byte order": array.astype(array.dtype.newbyteorder()),
                    "longer": np.repeat(array, 2, axis=-1),
                    "empty": array[..., :0],
                    "of more dimensions": array[None],
                    "of no dimension": array.ravel()[0:1].reshape(()),
                }
                for what, value in bad.items():
                    rest = {key: tensor for key, tensor in tensors.items() if key != name}
                    given = rest if value is None else {**rest, name: value}
                    _refused(lambda: session.run(given), name, f"input {name} {what}")  # noqa: B023
            _require_same(session.run(tensors), wanted)


def too_large_k_is_refused(runtime: Runtime, files: ModelFiles) -> None:
    """More candidates than there are items is a ModelError, not a crash, and the session stays usable."""
    with _sessions(runtime, files) as (_, index):
        wanted = index.run(files.query(2))
        for k in (len(files.table) + 1, INT32.max):
            _refused(lambda: index.run(files.query(k)), what=f"k = {k}")  # noqa: B023
        _require_same(index.run(files.query(2)), wanted)


def unusable_files_are_refused(runtime: Runtime, files: ModelFiles) -> None:
    """A missing file, a folder, and a file that is empty, cut short or no model are a ModelError each.

    Bytes that only look like a model are not tried: parsers in native code may end the process over them. That is why
    a bundle's hashes are verified before any runtime sees a file.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        _refused(lambda: runtime.load(path), "model", "a missing file")
        _refused(lambda: runtime.load(Path(folder)), what="a folder")
        whole = files.encoder.read_bytes()
        contents = {"empty": b"", "text": b"not a model\n" * 100, "cut": whole[: len(whole) // 2], "head": whole[:64]}
        for what, content in contents.items():
            path.write_bytes(content)
            _refused(lambda: runtime.load(path), "model", f"the file {what!r}")


def a_loaded_model_needs_its_file_no_more(runtime: Runtime, files: ModelFiles) -> None:
    """An update may overwrite or remove the file under a session."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        shutil.copyfile(files.index, path)
        with closing(runtime.load(path)) as session:
            wanted = session.run(files.query(2))
            path.write_bytes(b"\xff" * path.stat().st_size)
            _require_same(session.run(files.query(2)), wanted)
            path.unlink()
            _require_same(session.run(files.query(2)), wanted)


def a_closed_session_refuses(runtime: Runtime, files: ModelFiles) -> None:
    """Running after close is a ModelError; closing twice is fine."""
    with _sessions(runtime, files) as (encoder, index):
        for session, tensors in ((encoder, next(files.histories())), (index, files.query(2))):
            session.run(tensors)
            session.close()
            session.close()
            _refused(lambda: session.run(tensors), what="running after close")  # noqa: B023


RUNTIME_CHECKS: tuple[RuntimeCheck, ...] = (
    inputs_and_outputs_are_reported,
    outputs_have_the_reported_form,
    encoder_is_right,
    empty_history_gives_zeros,
    dislikes_alone_give_zeros,
    foreign_rows_contribute_nothing,
    index_is_right,
    every_k_is_served,
    runs_are_repeatable,
    sessions_are_independent,
    threads_share_a_session,
    outputs_belong_to_the_caller,
    inputs_are_left_alone,
    wrong_inputs_are_refused,
    too_large_k_is_refused,
    unusable_files_are_refused,
    a_loaded_model_needs_its_file_no_more,
    a_closed_session_refuses,
)
"""Every check; its ``__name__`` reads as what it asks for."""


# --- how a check says no ----------------------------------------------------------------------------------------------
# AssertionErrors raised by hand: this module runs outside pytest too, and under -O, where assert does nothing.


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise AssertionError(problem)


def _require_close(given: NDArray[np.float32], exact: NDArray[np.float64], what: str) -> None:
    error = float(np.abs(given - exact).max())
    # Written so that a NaN is a failure.
    _require(error <= TOLERANCE * float(np.abs(exact).max()), f"{what} is {given}, not {exact}")


def _require_same(given: Tensors, wanted: Tensors) -> None:
    _require(given.keys() == wanted.keys(), f"{list(given)} instead of {list(wanted)}")
    for name, array in wanted.items():
        _require(given[name].tobytes() == array.tobytes(), f"{name} is {given[name]}, not {array} to the bit")


def _require_candidates(outputs: Tensors, k: int, exact: NDArray[np.float64], table: NDArray[np.float32]) -> None:
    rows = outputs["candidate_rows"]
    _require(rows.shape == (k,) and len(set(rows.tolist())) == k, f"candidate_rows are {rows}, not {k} different ones")
    _require(int(rows.min()) >= 0 and int(rows.max()) < len(table), f"candidate_rows {rows} are not all in the table")
    _require(np.array_equal(outputs["candidate_vectors"], table[rows]), "candidate_vectors are not the rows' vectors")
    error = float(np.abs(outputs["candidate_scores"] - exact[rows]).max())
    _require(error <= TOLERANCE * float(np.abs(exact).max()), f"candidate_scores are off by {error}")


def _refused(call: Callable[[], object], name: str = "", what: str = "") -> None:
    try:
        call()
    except ModelError as error:
        _require(name in str(error), f"the ModelError does not name {name!r}: {error}")
    else:
        raise AssertionError(f"{what or name} was not refused")


@contextmanager
def _sessions(runtime: Runtime, files: ModelFiles) -> Iterator[tuple[Session, Session]]:
    with closing(runtime.load(files.encoder)) as encoder, closing(runtime.load(files.index)) as index:
        yield encoder, index
