"""What the app chooses when it opens a :class:`nearhand.Personalizer`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nearhand.errors import UsageError

Durability = Literal["process", "power"]


@dataclass(frozen=True)
class Config:
    """Choices with a default that suits a phone.

    Attributes:
        runtime: ``"onnx"`` or ``"tflite"``; None takes the first that is installed, in the bundle's order.
        precision: ``"fp32"`` or ``"int8"``; None takes the smallest variant that the bundle has for the runtime.
        durability: what an event that ``record`` acknowledged survives. ``"process"``: the app being killed at any
            moment. ``"power"``: the battery being pulled too (an fsync for every event).
        profile: the local profile, each with its own event log. Letters, digits, ``-`` and ``_``, at most 64.
    """

    runtime: Literal["onnx", "tflite"] | None = None
    precision: Literal["fp32", "int8"] | None = None
    durability: Durability = "power"
    profile: str = "default"

    def __post_init__(self) -> None:
        for field, value, allowed in (
            ("runtime", self.runtime, (None, "onnx", "tflite")),
            ("precision", self.precision, (None, "fp32", "int8")),
            ("durability", self.durability, ("process", "power")),
        ):
            if value not in allowed:
                raise UsageError(
                    f"{value!r} is not a choice",
                    place=f"Config.{field}",
                    remedy="use one of " + ", ".join(repr(choice) for choice in allowed),
                )
        plain = self.profile.replace("-", "").replace("_", "")
        if not (plain.isascii() and plain.isalnum() and len(self.profile) <= 64):
            raise UsageError(
                f"{self.profile!r} is not a profile name",
                place="Config.profile",
                remedy="use at most 64 letters, digits, '-' and '_'",
            )
