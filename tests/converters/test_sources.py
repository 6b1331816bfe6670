"""Reading implicit's files, and refusing what is no such file."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from implicit.cpu.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits

from nearhand_converters.errors import SourceError
from nearhand_converters.sources.factors import FactorModel, read_factors
from tests.converters.factors import checkerboard

FACTORS = np.arange(12, dtype=np.float32).reshape(4, 3) / 7


def arrays(**changed: Any) -> dict[str, Any]:
    """What implicit saves, with some arrays replaced; None leaves one out."""
    saved = {"item_factors": FACTORS, "regularization": np.array(0.1), "alpha": np.array(2.0), **changed}
    return {name: array for name, array in saved.items() if array is not None}


def npz(**changed: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays(**changed))
    return buffer.getvalue()


def read(folder: Path, data: bytes) -> FactorModel:
    path = folder / "model.npz"
    path.write_bytes(data)
    return read_factors(path)


def test_implicits_own_file_is_read(tmp_path: Path) -> None:
    with threadpool_limits(1, "blas"):
        trained = AlternatingLeastSquares(factors=6, regularization=0.25, alpha=3.5, iterations=2, random_state=0)
        trained.fit(checkerboard(40, 20), show_progress=False)
        path = tmp_path / "als.npz"
        trained.save(str(path))
    model = read_factors(path)
    assert model.item_factors.dtype == np.float64
    np.testing.assert_array_equal(model.item_factors, trained.item_factors)
    assert model.regularization == 0.25
    assert model.alpha == 3.5
    assert model.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_compressed_files_and_numbers_of_other_types_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "small.npz"
    np.savez_compressed(path, item_factors=FACTORS.astype(np.float64), regularization=np.int64(1), alpha=np.float32(2))
    model = read_factors(path)
    assert (model.item_factors.shape, model.regularization, model.alpha) == ((4, 3), 1.0, 2.0)


def _at(value: float) -> np.ndarray[Any, Any]:
    changed = FACTORS.copy()
    changed[2, 1] = value
    return changed


ARRAYS: list[tuple[str, dict[str, Any], str, str]] = [
    ("NaN", {"item_factors": _at(np.nan)}, "item_factors[2]", "not finite"),
    ("infinite", {"item_factors": _at(-np.inf)}, "item_factors[2]", "not finite"),
    ("a vector", {"item_factors": FACTORS[0]}, "item_factors", "float32 [3], not floats [items, factors]"),
    ("three dimensions", {"item_factors": FACTORS[None]}, "item_factors", "float32 [1, 4, 3]"),
    ("no items", {"item_factors": FACTORS[:0]}, "item_factors", "float32 [0, 3]"),
    ("integers", {"item_factors": FACTORS.astype(int)}, "item_factors", "int64 [4, 3]"),
    ("text", {"item_factors": FACTORS.astype(str)}, "item_factors", "not floats"),
    ("pickled", {"item_factors": np.array([[{}]])}, "item_factors", "cannot be read"),
    ("no factors", {"item_factors": None}, "item_factors", "is missing"),
    ("no regularization", {"regularization": None}, "regularization", "is missing"),
    ("no alpha", {"alpha": None}, "alpha", "is missing"),
    ("alpha 0", {"alpha": 0.0}, "alpha", "not a positive number"),
    ("alpha below 0", {"alpha": -1.0}, "alpha", "not a positive number"),
    ("alpha NaN", {"alpha": np.nan}, "alpha", "not a positive number"),
    ("alpha infinite", {"alpha": np.inf}, "alpha", "not a positive number"),
    ("alpha complex", {"alpha": 1j}, "alpha", "not a positive number"),
    ("alpha text", {"alpha": "2"}, "alpha", "not a positive number"),
    ("alphas", {"alpha": np.ones(2)}, "alpha", "not a positive number"),
    ("alpha true", {"alpha": np.array(True)}, "alpha", "not a positive number"),
    ("alpha pickled", {"alpha": np.array({})}, "alpha", "cannot be read"),
    ("regularization 0", {"regularization": 0}, "regularization", "not a positive number"),
]


@pytest.mark.parametrize(("changed", "array", "reason"), [c[1:] for c in ARRAYS], ids=[c[0] for c in ARRAYS])
def test_a_wrong_array_is_named(tmp_path: Path, changed: dict[str, Any], array: str, reason: str) -> None:
    with pytest.raises(SourceError) as caught:
        read(tmp_path, npz(**changed))
    assert caught.value.place == f"model.npz: {array}"
    assert reason in caught.value.problem
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


def _npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, FACTORS)
    return buffer.getvalue()


def _zip(name: str, content: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


FILES: list[tuple[str, Callable[[], bytes]]] = [
    ("empty", lambda: b""),
    ("text", lambda: b"item,factor\n1,2\n"),
    ("a pickle", lambda: b"\x80\x04]\x94."),
    ("a single array", _npy),
    ("a zip of something else", lambda: _zip("readme.txt", b"hello")),
    ("an array that is none", lambda: _zip("item_factors.npy", b"not an array")),
    ("a header that is no literal", lambda: _zip("item_factors.npy", b"\x93NUMPY\x01\x00\x0a\x00{'descr': ")),
    ("a header that claims too much", lambda: _zip("item_factors.npy", _huge())),
    ("half a magic", lambda: npz()[:3]),
]


def _huge() -> bytes:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776, 1024), }"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


@pytest.mark.parametrize("make", [each[1] for each in FILES], ids=[each[0] for each in FILES])
def test_another_file_is_refused(tmp_path: Path, make: Callable[[], bytes]) -> None:
    with pytest.raises(SourceError) as caught:
        read(tmp_path, make())
    assert caught.value.place.startswith("model.npz")
    assert "AlternatingLeastSquares.save" in caught.value.remedy


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 1.0])
def test_a_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    whole = npz()
    with pytest.raises(SourceError):
        read(tmp_path, whole[: min(int(share * len(whole)), len(whole) - 1)])


@given(data=st.data())
def test_no_damage_escapes_as_another_error(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Flipped bytes are refused, or hit what nothing depends on; deflated content has more ways to break."""
    buffer = io.BytesIO()
    (np.savez_compressed if data.draw(st.booleans()) else np.savez)(buffer, **arrays())
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    path.write_bytes(content)
    try:
        model = read_factors(path)
    except SourceError:
        return
    assert np.isfinite(model.item_factors).all()
    assert model.alpha > 0


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.npz", "No such file"), (tmp_path, "directory")):
        with pytest.raises(SourceError) as caught:
            read_factors(path)
        assert caught.value.place == str(path)
        assert reason in caught.value.problem
