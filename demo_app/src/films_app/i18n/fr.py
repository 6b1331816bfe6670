"""To come."""

from films_app.i18n.en import TEXTS

__all__ = ["TEXTS"]
