"""What the app remembers about itself: small, and written whole or not at all."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

Look: TypeAlias = Literal["dark", "light", "system"]
LOOKS: tuple[Look, ...] = ("dark", "light", "system")


@dataclass(frozen=True)
class Settings:
    """The app's own choices.

    Attributes:
        is_welcomed: whether the first steps are done.
        language: of the texts, such as ``de``; "": the device's.
        is_in_flight: whether the app's network access is refused.
        asks_cloud: whether the user wants lists to be ranked in the cloud, where there is a server for it.
        endpoint, write_key, heavy, heavy_model: where the app may reach out to; see
            :class:`films_app.engine.Addresses`. Whoever installs the app writes them; they are not the user's, and stay
            when the user erases everything.
        is_calm: whether nothing on the screens is to move by itself.
        damage_told: how many damaged files the user was told of.
    """

    is_welcomed: bool = False
    look: Look = "dark"
    language: str = ""
    is_in_flight: bool = False
    asks_cloud: bool = False
    endpoint: str = ""
    write_key: str = ""
    heavy: str = ""
    heavy_model: str = ""
    is_calm: bool = False
    damage_told: int = 0


class SettingsFile:
    """Settings in a file. One that is missing, damaged or of another version of the app gives what is usual."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.current = self._read()

    def change(self, **changes: Any) -> Settings:
        """Set some of them, durably.

        Raises:
            OSError: they could not be written, and are as before.
        """
        settings = replace(self.current, **changes)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(".part")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(asdict(settings), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        self.current = settings
        return settings

    def erase(self) -> None:
        """Forget all that the user has chosen."""
        now = self.current
        kept = Settings(**{name: getattr(now, name) for name in ("endpoint", "write_key", "heavy", "heavy_model")})
        self._path.unlink(missing_ok=True)
        self.current = Settings()
        if kept != self.current:
            self.change(**asdict(kept))

    def _read(self) -> Settings:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return Settings()
        usual = asdict(Settings())
        known = {name.name for name in fields(Settings)}
        if not isinstance(found, dict):
            return Settings()
        fitting = {name: value for name, value in found.items() if name in known and type(value) is type(usual[name])}
        if fitting.get("look", "dark") not in LOOKS:
            fitting.pop("look")
        return Settings(**fitting)
