"""What the app knows and does: Nearhand behind it, and no toolkit in front of it."""

from films_app.engine.catalogue import SORTS, Catalogue, Film, Question, Sort
from films_app.engine.cloud import Addresses, Beyond, Source
from films_app.engine.engine import Engine
from films_app.engine.facts import (
    Activity,
    Advice,
    Cause,
    Deed,
    Done,
    Forecast,
    Home,
    Hood,
    Moment,
    Pick,
    Rail,
    Stored,
    Taste,
    TasteShare,
    Variant,
    Why,
)
from films_app.engine.flight import FLIGHT_MODE, FlightMode, FlightModeError
from films_app.engine.lists import DEADLINE_MS
from films_app.engine.settings import LOOKS, Look, Settings, SettingsFile

__all__ = [
    "DEADLINE_MS",
    "FLIGHT_MODE",
    "LOOKS",
    "SORTS",
    "Activity",
    "Addresses",
    "Advice",
    "Beyond",
    "Catalogue",
    "Cause",
    "Deed",
    "Done",
    "Engine",
    "Film",
    "FlightMode",
    "FlightModeError",
    "Forecast",
    "Home",
    "Hood",
    "Look",
    "Moment",
    "Pick",
    "Question",
    "Rail",
    "Settings",
    "SettingsFile",
    "Sort",
    "Source",
    "Stored",
    "Taste",
    "TasteShare",
    "Variant",
    "Why",
]
