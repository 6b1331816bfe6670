"""What the app chooses when it opens a :class:`nearhand.Personalizer`."""

from __future__ import annotations

from typing import Literal

from nearhand.errors import UsageError, shown
from nearhand.records import dataclass

Durability = Literal["process", "power"]

_ALPHANUMERIC = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")


@dataclass(frozen=True)
class Config:
    """Choices with a default that suits a phone.

    Attributes:
        runtime: ``"onnx"``, ``"tflite"`` or ``"ort"``; None takes the first that is installed, in the bundle's order.
        precision: ``"fp32"`` or ``"int8"``; None takes the smallest variant that the bundle has for the runtime.
        durability: what an event that ``record`` acknowledged survives. ``"process"``: the app being killed at any
            moment. ``"power"``: the battery being pulled too (an fsync for every event).
        profile: the local profile, each with its own event log. 1 to 64 lowercase letters, digits, ``-`` and ``_``, at
            least one of them a letter or digit. It names a folder, and some file systems do not tell ``Anna`` from
            ``anna``.
        log_bytes: how many bytes of events a profile's log keeps, 100,000 to 10¹²; above that the oldest go. See
            :class:`nearhand.events.Caps` for both caps. What an event that went has done to the features stays, and
            how many went is counted.
        log_days: for how many days it keeps an event after it was recorded, 1 to 36,500.
        locale: the language of explanations, such as ``"de-AT"``: English, German, Spanish, French, Hindi and Chinese
            are known, and another one gets English.
        seed: for what is drawn at random where the bundle's policies say so: a whole number makes it repeatable, None
            is for users.
        pushed_bytes: how many bytes of pushed features are kept, 1,000 to 10¹²; above that the least recently used go.
    """

    runtime: Literal["onnx", "tflite", "ort"] | None = None
    precision: Literal["fp32", "int8"] | None = None
    durability: Durability = "power"
    profile: str = "default"
    log_bytes: int = 16_000_000
    log_days: int = 400
    pushed_bytes: int = 1_000_000
    locale: str = "en"
    seed: int | None = None

    def __post_init__(self) -> None:
        for field, value, allowed in (
            ("runtime", self.runtime, (None, "onnx", "tflite", "ort")),
            ("precision", self.precision, (None, "fp32", "int8")),
            ("durability", self.durability, ("process", "power")),
        ):
            if value not in allowed:
                raise UsageError(
                    f"{shown(value)} is not a choice",
                    place=f"Config.{field}",
                    remedy="use one of " + ", ".join(repr(choice) for choice in allowed),
                )
        if not (isinstance(self.profile, str) and _is_profile(self.profile)):
            raise UsageError(
                f"{shown(self.profile)} is not a profile name",
                place="Config.profile",
                remedy="use 1 to 64 lowercase letters, digits, '-' and '_'",
            )
        if not isinstance(self.locale, str):
            raise UsageError(
                f"{shown(self.locale)} is not a text", place="Config.locale", remedy='use one such as "de-AT"'
            )
        if not (self.seed is None or (type(self.seed) is int and abs(self.seed) < 2**63)):
            raise UsageError(
                f"{shown(self.seed)} is no seed", place="Config.seed", remedy="use a whole number, or None"
            )
        for field, number, lowest, highest in (
            ("log_bytes", self.log_bytes, 100_000, 10**12),  # room for a few of the largest events
            ("log_days", self.log_days, 1, 36_500),
            ("pushed_bytes", self.pushed_bytes, 1_000, 10**12),
        ):
            if type(number) is not int or not lowest <= number <= highest:
                raise UsageError(
                    f"{shown(number)} is not a cap",
                    place=f"Config.{field}",
                    remedy=f"use an integer from {lowest:,} to {highest:,}",
                )


def _is_profile(name: str) -> bool:
    letters = frozenset(name)
    return len(name) <= 64 and letters <= _ALPHANUMERIC | {"-", "_"} and not letters.isdisjoint(_ALPHANUMERIC)
