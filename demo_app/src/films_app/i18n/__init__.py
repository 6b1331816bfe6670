"""Every word the app says, in each of its languages. What Nearhand says (why a film) comes from Nearhand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from films_app.i18n import de, en, es, fr, hi

TABLES: Mapping[str, Mapping[str, str]] = {
    "en": en.TEXTS,
    "de": de.TEXTS,
    "es": es.TEXTS,
    "fr": fr.TEXTS,
    "hi": hi.TEXTS,
}
NAMES: Mapping[str, str] = {"en": "English", "de": "Deutsch", "es": "Español", "fr": "Français", "hi": "हिन्दी"}
USUAL = "en"


@dataclass(frozen=True)
class Texts:
    """The texts of one language; call it with a key, and what stands in the braces of the text."""

    language: str

    def __call__(self, key: str, **fields: object) -> str:
        """
        Raises:
            KeyError: there is no such text.
        """
        return TABLES[self.language][key].format(**fields)

    def has(self, key: str) -> bool:
        """Whether there is such a text."""
        return key in TABLES[self.language]

    def genre(self, name: str) -> str:
        """A genre of the catalogue; as it is written there, if it is none that the app knows."""
        return TABLES[self.language].get(f"genre.{name}", name)

    def number(self, number: float, digits: int = 0) -> str:
        """With the separators of the language."""
        text = f"{number:,.{digits}f}"
        if self.language in ("de", "es"):
            return text.translate(str.maketrans(",.", ".,"))
        return text.translate(str.maketrans(",.", "\u202f,")) if self.language == "fr" else text

    def percent(self, share: float) -> str:
        """Such as 35 %."""
        space = "" if self.language in ("en", "hi") else "\u00a0"
        return f"{round(share * 100)}{space}%"

    def size(self, count: int) -> str:
        """Bytes, as people say them."""
        if count < 1000:
            return f"{count} B"
        return f"{self.number(count / 1000)} kB" if count < 1_000_000 else f"{self.number(count / 1e6, 1)} MB"


def language_of(locale: str) -> str:
    """The app's language for a locale such as ``de-AT``; English where it has none."""
    language = locale.replace("_", "-").partition("-")[0].lower()
    return language if language in TABLES else USUAL


def texts(language: str) -> Texts:
    """The texts of one of the app's languages."""
    return Texts(language)
