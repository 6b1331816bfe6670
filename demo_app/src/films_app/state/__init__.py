"""What the screens show, as plain objects that can be followed. Knows the engine, and no toolkit."""

from films_app.state.screens import (
    ENOUGH_LOVED,
    FilmPage,
    ForYou,
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
    "FilmPage",
    "ForYou",
    "Notice",
    "Place",
    "Search",
    "Session",
    "Store",
    "Tab",
    "UnderTheHood",
    "Welcome",
    "YourActivity",
    "YourPrivacy",
]
