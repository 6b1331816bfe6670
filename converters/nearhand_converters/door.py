"""For engineers with a model in memory: one call that does what ``nearhand convert`` does with a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nearhand.bundle.schema import RuntimeName
from nearhand_converters.output import Conversion
from nearhand_converters.parity.rows import rows_from_table
from nearhand_converters.recipe import TableRecipe
from nearhand_converters.registry import adopt_model, default_sources
from nearhand_converters.sample import SampleTable
from nearhand_converters.sources.model import Source
from nearhand_converters.tabular import Progress, Sample, convert_tabular


def convert_model(
    model: object,
    out: str | Path,
    recipe: TableRecipe | None = None,
    *,
    targets: Sequence[RuntimeName] = ("onnx", "tflite"),
    sample: SampleTable | None = None,
    sources: Sequence[Source] | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> Conversion:
    """Convert a fitted model into a bundle, after comparing every artifact with the model itself.

    Args:
        model: a fitted model of a supported library; it is not changed.
        out: the bundle's path if it ends in ``.nearhand``, else a folder for ``NAME-VERSION.nearhand``.
        recipe: its name and version, and how it is built.
        targets: the runtimes to build for.
        sample: rows of your own to compare beside those made from the model: column → values, or a pandas data frame.
        sources: who may read the model; by default all that there are.

    Raises:
        SourceError: it is not a fitted model of a supported library.
        UnsupportedModelError: the model, or a part of it, is not converted; says the nearest supported rewrite.
        UnsupportedOperatorError: a target has no form for it.
        DataError: the sample does not fit the model.
        ParityError: an artifact does not compute what the model does; nothing is written.
        RuntimeUnavailableError: a target's runtime is not installed.
        StorageError: the bundle cannot be written.
    """
    found = adopt_model(model, default_sources() if sources is None else sources)
    return convert_tabular(
        found.model,
        Path(out),
        recipe or TableRecipe(),
        targets=targets,
        provenance=found.provenance,
        sample=None if sample is None else Sample(rows_from_table(found.model, sample), "the given table"),
        progress=progress,
    )
