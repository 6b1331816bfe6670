"""What the screens show, as plain objects that can be followed. Knows the engine, and no toolkit."""

from films_app.state.cloud import Cloud, consents
from films_app.state.for_you import ForYou, Sight, slots
from films_app.state.screens import (
    ENOUGH_LOVED,
    FilmPage,
    Search,
    UnderTheHood,
    Welcome,
    YourActivity,
    YourPrivacy,
)
from films_app.state.session import TABS, Notice, Place, Session, Tab
from films_app.state.store import Store

__all__ = [
    "ENOUGH_LOVED",
    "TABS",
    "Cloud",
    "FilmPage",
    "ForYou",
    "Notice",
    "Place",
    "Search",
    "Session",
    "Sight",
    "Store",
    "Tab",
    "UnderTheHood",
    "Welcome",
    "YourActivity",
    "YourPrivacy",
    "consents",
    "slots",
]
