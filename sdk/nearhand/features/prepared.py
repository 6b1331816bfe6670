"""A bundle's feature program as it is kept in the slot, with what its fingerprint takes longest to compute."""

from __future__ import annotations

import json

from nearhand.bundle.prepared import Prepared
from nearhand.bundle.schema import Items
from nearhand.features import parts, program, views
from nearhand.features.fold import CompiledProgram
from nearhand.features.items import ItemTable
from nearhand.features.program import Program

_DOCUMENT, _DIGESTS = "program", "program.digests"


def pack_program(compiled: CompiledProgram) -> dict[str, bytes]:
    """What is kept, for :func:`prepared_program`."""
    from nearhand.bundle.packing import pack_document  # once for each bundle

    items = [[list(names), digest] for names, digest in compiled.items.digests.items()]
    digests = {"program": compiled.program.digest, "items": items}
    return {_DOCUMENT: pack_document(compiled.program), _DIGESTS: json.dumps(digests).encode()}


def prepared_program(prepared: Prepared, items: Items | None) -> CompiledProgram | None:
    """The program that was kept, compiled; None: none was.

    Raises:
        BundleIntegrityError: it is of other dataclasses than this SDK's.
    """
    if _DOCUMENT not in prepared:
        return None
    made: Program = prepared.document(_DOCUMENT, (program, views, parts))
    digests = prepared.json(_DIGESTS)
    vars(made)["digest"] = digests["program"]
    known = {tuple(names): digest for names, digest in digests["items"]}
    return CompiledProgram(made, ItemTable.of_bundle(items, known) if items is not None else ItemTable.empty())
