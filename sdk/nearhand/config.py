"""What the app chooses when it opens a :class:`nearhand.Personalizer`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from nearhand.errors import UsageError

Durability = Literal["process", "power"]

_PROFILE = re.compile(r"(?=.*[a-z0-9])[a-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Config:
    """Choices with a default that suits a phone.

    Attributes:
        runtime: ``"onnx"`` or ``"tflite"``; None takes the first that is installed, in the bundle's order.
        precision: ``"fp32"`` or ``"int8"``; None takes the smallest variant that the bundle has for the runtime.
        durability: what an event that ``record`` acknowledged survives. ``"process"``: the app being killed at any
            moment. ``"power"``: the battery being pulled too (an fsync for every event).
        profile: the local profile, each with its own event log. 1 to 64 lowercase letters, digits, ``-`` and ``_``, at
            least one of them a letter or digit. It names a folder, and some file systems do not tell ``Anna`` from
            ``anna``.
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
        if not (isinstance(self.profile, str) and _PROFILE.fullmatch(self.profile)):
            raise UsageError(
                f"{self.profile!r} is not a profile name",
                place="Config.profile",
                remedy="use 1 to 64 lowercase letters, digits, '-' and '_'",
            )
