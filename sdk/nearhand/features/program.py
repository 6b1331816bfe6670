"""The feature program: what is computed from a profile's events, as one declarative document.

The dataclasses *are* the schema, told apart by ``op``. A program is hand-written JSON; in a bundle it stands in its
canonical bytes. The same program is folded on the device and replayed for training.

Durations are texts such as ``"90s"``, ``"30m"``, ``"12h"``, ``"7d"``, ``"2w"``. An operand says what is read of an
event:

* a number: ``properties.NAME``, ``context.NAME`` or ``item.NAME`` (a column of the catalogue); a name may be a path
  with dots;
* a text or list of texts: the same, or ``item_id``, ``event``, ``local_hour``, ``weekday`` (Monday is ``"0"``).

An event that does not have the operand, or has it in another kind, does not enter the view.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Any

from nearhand.bundle.fields import FieldError, join, nearest
from nearhand.bundle.schema import semantic_version
from nearhand.errors import ProgramError
from nearhand.features.parts import MAX_WIDTH, check_duration, check_name
from nearhand.features.views import SCALAR_VIEWS, Affinity, Ratio, View
from nearhand.hashing import sha256
from nearhand.records import dataclass

PROGRAM_FORMAT = 1
MAX_PROGRAM_BYTES = 16_000_000
MAX_VIEWS = 1000
MAX_RATIO_READS = 64


@dataclass(frozen=True)
class Program:
    """Views, in the order of their columns.

    Attributes:
        vocabularies: name → its texts, each once.
        outputs: the views that become columns, in this order; None: all of them, in theirs. The others are computed
            only as far as these refer to them.
        ttl: time to live: how old a vector may be that is served while nothing new has happened.
    """

    format: int
    name: str
    version: str
    views: tuple[View, ...]
    vocabularies: dict[str, tuple[str, ...]] | None = None
    outputs: tuple[str, ...] | None = None
    ttl: str = "1m"

    def __post_init__(self) -> None:
        check_name(self.name)
        try:
            semantic_version(self.version)
        except ValueError:
            problem = f"is {self.version[:40]!r}, not MAJOR.MINOR.PATCH"
            raise FieldError("version", problem, "write one such as 1.0.0") from None
        check_duration("ttl", self.ttl)
        if not 1 <= len(self.views) <= MAX_VIEWS:
            raise FieldError("views", f"has {len(self.views)} views", f"give 1 to {MAX_VIEWS}")
        for name, texts in (self.vocabularies or {}).items():
            self._check_vocabulary(name, texts)
        names = [view.name for view in self.views]
        for position, name in enumerate(names):
            if name in names[:position]:
                raise FieldError(f"views[{position}].name", f"{name!r} is taken", "give every view its own name")
        for position, view in enumerate(self.views):
            self._check_references(position, view)
        self._check_ratios()
        self._check_outputs(names)

    @cached_property
    def digest(self) -> str:
        """sha256 of the canonical bytes, in hexadecimal."""
        from nearhand.bundle.document import serialize  # a prepared program has it

        return sha256(serialize(self)).hexdigest()

    @property
    def event_types(self) -> frozenset[str]:
        """The types of event that the views read."""
        return frozenset(event for view in self.views for event in getattr(view, "events", ()))

    def vocabulary(self, name: str) -> tuple[str, ...]:
        """The texts of a vocabulary, which the checks made sure to be there."""
        return (self.vocabularies or {})[name]

    def view(self, name: str) -> View:
        """The view of that name, which the checks made sure to be there."""
        return next(view for view in self.views if view.name == name)

    def _check_vocabulary(self, name: str, texts: tuple[str, ...]) -> None:
        field = join("vocabularies", name)
        if not texts:
            raise FieldError(field, "is empty", "list its texts")
        if len(set(texts)) != len(texts):
            twice = next(text for text, count in Counter(texts).items() if count > 1)
            raise FieldError(field, f"has {twice[:60]!r} twice", "list every text once")

    def _check_references(self, position: int, view: View) -> None:
        field = f"views[{position}]"
        known = self.vocabularies or {}
        encode = getattr(view, "encode", None)
        for place, name in (
            ("vocabulary", getattr(view, "vocabulary", None)),
            ("encode.vocabulary", encode.vocabulary if encode is not None else None),
        ):
            if name is not None and name not in known:
                remedy = nearest(name, known) if known else "add it to vocabularies"
                raise FieldError(f"{field}.{place}", f"is {name[:60]!r}, not a vocabulary", remedy)
        if isinstance(view, Affinity) and len(known[view.vocabulary]) > MAX_WIDTH and self._is_output(view.name):
            remedy = "leave the view out of outputs, or use a smaller vocabulary"
            raise FieldError(f"{field}.vocabulary", f"has more than {MAX_WIDTH} texts", remedy)
        for place, kind, kinds in (
            ("numerator", "a view of one number", SCALAR_VIEWS),
            ("denominator", "a view of one number", SCALAR_VIEWS),
            ("minus", "a view of one number", SCALAR_VIEWS),
            ("affinity", "an affinity view", (Affinity,)),
        ):
            if (name := getattr(view, place, None)) is not None:
                self._check_reference(f"{field}.{place}", name, self.views[:position], kind, kinds)

    def _check_reference(
        self, field: str, name: str, earlier: Sequence[View], kind: str, kinds: tuple[type, ...]
    ) -> None:
        # Only earlier views can be referred to, so there is no circle.
        target = next((view for view in earlier if view.name == name), None)
        if not isinstance(target, kinds):
            problem = f"is {name[:60]!r}, which is " + ("no view above this one" if target is None else f"not {kind}")
            fit = [view.name for view in earlier if isinstance(view, kinds)]
            raise FieldError(field, problem, nearest(name, fit) if fit else f"put {kind} before this one")
        if isinstance(target, Affinity) and not target.of.startswith("item."):
            problem = f"is {name!r}, an affinity for {target.of[:60]!r}, which a candidate does not have"
            raise FieldError(field, problem, "use one whose `of` is item.NAME")

    def _check_ratios(self) -> None:
        # A ratio reads both its views, so a chain of ratios would read 2, 4, 8, … of them.
        reads: dict[str, int] = {}
        for position, view in enumerate(self.views):
            if isinstance(view, Ratio):
                reads[view.name] = reads.get(view.numerator, 1) + reads.get(view.denominator, 1)
                if reads[view.name] > MAX_RATIO_READS:
                    problem = f"reads {reads[view.name]} views, ratios of ratios taken apart"
                    raise FieldError(f"views[{position}]", problem, f"stay within {MAX_RATIO_READS}")

    def _check_outputs(self, names: Sequence[str]) -> None:
        for position, name in enumerate(self.outputs or ()):
            if name not in names:
                raise FieldError(f"outputs[{position}]", f"is {name[:60]!r}, not a view", nearest(name, names))
            if name in (self.outputs or ())[:position]:
                raise FieldError(f"outputs[{position}]", f"is {name!r}, which stands there twice", "list it once")
        if self.outputs == ():
            raise FieldError("outputs", "is empty", "list at least one view, or leave it out")

    def _is_output(self, name: str) -> bool:
        return self.outputs is None or name in self.outputs


def read_program(data: bytes, *, place: str) -> Program:
    """A program from its JSON.

    Args:
        place: what to call it in an error, such as the file's name.

    Raises:
        ProgramError: not a JSON object of the schema; the error's place ends in the path of what is wrong.
    """
    from nearhand.bundle.document import decode, unique_keys  # a prepared program is not read

    if len(data) > MAX_PROGRAM_BYTES:
        raise ProgramError(
            f"has {len(data):,} bytes",
            place=place,
            remedy=f"keep it within {MAX_PROGRAM_BYTES:,}: shorten vocabularies",
        )
    try:
        text = data.decode("utf-8-sig")
        content = json.loads(text, parse_float=_decimal, parse_constant=_no_constant, object_pairs_hook=unique_keys)
        if "\\u" in text:
            json.dumps(content, ensure_ascii=False, default=str).encode()  # an escape can spell a lone surrogate
    except (ValueError, RecursionError) as error:
        raise ProgramError(
            f"is not a JSON document ({str(error)[:120]})", place=place, remedy="write one JSON object in UTF-8"
        ) from None
    _check_format(content, place)
    program: Program = decode(Program, content, place=f"{place}: ", refuse=_refuse)
    return program


def _check_format(content: Any, place: str) -> None:
    """Before anything else: what is unknown here may be known to a later format."""
    found = content.get("format") if isinstance(content, dict) else None
    if type(found) is int and found != PROGRAM_FORMAT:
        remedy = f"write {PROGRAM_FORMAT}, or update nearhand"
        raise ProgramError(f"is {str(found)[:20]}, not {PROGRAM_FORMAT}", place=f"{place}: format", remedy=remedy)


def _refuse(problem: str, place: str, remedy: str) -> ProgramError:
    return ProgramError(problem, place=place, remedy=remedy)


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(f"the number {text[:40]} is out of range") from None


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a number of JSON")
