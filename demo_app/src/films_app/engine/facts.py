"""What the engine says to the screens: plain, frozen, and without a word of any language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from films_app.engine.catalogue import Film
from nearhand.bundle.schema import Precision, RuntimeName
from nearhand.features.store import FeatureStatus
from nearhand.privacy import AuditEntry, Consent

Deed: TypeAlias = Literal["like", "dislike", "dismiss", "watch", "less_like"]
RailName: TypeAlias = Literal["top", "because", "continue", "different", "new", "trending"]


@dataclass(frozen=True)
class Done:
    """Something the user did, with what it takes to undo it."""

    deed: Deed
    film: Film
    event_ids: tuple[str, ...]
    is_recorded: bool


@dataclass(frozen=True)
class Pick:
    """A film at its place.

    Attributes:
        text: the sentence that says why; only the first film of a screen has one.
        recommendation_id: of its list; None: it comes from the catalogue.
    """

    film: Film
    text: str = ""
    recommendation_id: str | None = None


@dataclass(frozen=True)
class Rail:
    """A row of films. ``about`` is the film that it is about, for ``because``."""

    name: RailName
    picks: tuple[Pick, ...]
    about: Film | None = None


@dataclass(frozen=True)
class Home:
    """The first screen.

    Attributes:
        is_personal: whether any of it comes from the user's history.
        took_ms: how long all of it took.
        is_whole: False: only what stands at the top; the rest is being made.
    """

    hero: Pick | None
    rails: tuple[Rail, ...]
    is_personal: bool
    took_ms: float
    is_whole: bool = True


@dataclass(frozen=True)
class Moment:
    """An event of the user's, as the screens show it.

    Attributes:
        event: its type; film: None where it is about none that the catalogue has.
        day: the local day, ``YYYY-MM-DD``; time: the local time, ``HH:MM``.
        detail: what was searched for, and such.
        is_past: whether a reset of the taste came after it, so that it counts no more.
    """

    event_id: str
    event: str
    film: Film | None
    at_ms: int
    day: str
    time: str
    detail: str
    is_past: bool


@dataclass(frozen=True)
class Cause:
    """One of the user's events behind a recommendation.

    Attributes:
        share: of all that speaks for the film or against it, 0 to 1; below 0 it speaks against it.
    """

    moment: Moment
    share: float


@dataclass(frozen=True)
class Why:
    """Why a film is recommended, or would be."""

    film: Film
    text: str
    causes: tuple[Cause, ...]


@dataclass(frozen=True)
class TasteShare:
    """How much of the user's taste a genre is, over time.

    Attributes:
        share: of the whole, 0 to 1.
        by_day: for each day with events, the earliest first: that day's share of the genre, 0 to 1.
    """

    genre: str
    share: float
    by_day: tuple[float, ...]


@dataclass(frozen=True)
class Taste:
    """The user's genres, the strongest first, and the days they are told for."""

    genres: tuple[TasteShare, ...]
    days: tuple[str, ...]


@dataclass(frozen=True)
class Activity:
    """What the profile holds, the latest first."""

    moments: tuple[Moment, ...]
    taste: Taste


@dataclass(frozen=True)
class Stored:
    """What is stored of the user, and what has left.

    Attributes:
        files: what a file is for → its bytes.
        rows: events in the log.
        audit: the latest first.
        set_aside: the files that a damaged history, or damaged choices, were moved to.
    """

    consent: Consent
    is_personalized: bool
    blocked: tuple[Film, ...]
    less_like: tuple[Film, ...]
    files: Mapping[str, int] = field(hash=False)
    rows: int
    audit: tuple[AuditEntry, ...]
    set_aside: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """All together."""
        return sum(self.files.values())


@dataclass(frozen=True)
class Variant:
    """One of the forms the retrieval model comes in.

    Attributes:
        bytes: of encoder and index together.
        overlap: the mean share of the source model's top 10 that it has, 0 to 1.
    """

    runtime: RuntimeName
    precision: Precision
    bytes: int
    overlap: float
    is_active: bool


@dataclass(frozen=True)
class Forecast:
    """What a predictor says of the profile: a probability from 0 to 1, and what it rests on."""

    name: str
    value: float
    text: str


@dataclass(frozen=True)
class Advice:
    """What a policy of the bundle says is to be done."""

    name: str
    action: str
    reason: str
    text: str


@dataclass(frozen=True)
class Hood:
    """What runs, and how fast.

    Attributes:
        durations_ms: of the latest lists, in the order they were made.
        policies: what can be asked for advice.
        is_in_flight: whether the network is refused; refused: how many attempts were.
    """

    bundle: str
    version: str
    digest: str
    films: int
    runtime: RuntimeName | None
    runtime_version: str | None
    precision: Precision | None
    variants: tuple[Variant, ...]
    durations_ms: tuple[float, ...]
    features: FeatureStatus | None
    ranker: str | None
    forecasts: tuple[Forecast, ...]
    policies: tuple[str, ...]
    degradations: Mapping[str, int] = field(hash=False)
    is_in_flight: bool
    refused: int
