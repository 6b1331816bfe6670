"""Features: one declarative program, folded on the device and replayed for training by the same code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nearhand.features.compile import Column, FeaturePlace
from nearhand.features.fold import CandidateFeatures, CompiledProgram, FeatureFold, FeatureVector, compile_program
from nearhand.features.items import ItemTable
from nearhand.features.program import Program, read_program
from nearhand.lazily import lazily

if TYPE_CHECKING:
    from nearhand.features.event import ReplayEvent
    from nearhand.features.replay import Label, replay_profile
else:
    __getattr__ = lazily(__name__, {"event": ["ReplayEvent"], "replay": ["Label", "replay_profile"]})

__all__ = [
    "CandidateFeatures",
    "Column",
    "CompiledProgram",
    "FeatureFold",
    "FeaturePlace",
    "FeatureVector",
    "ItemTable",
    "Label",
    "Program",
    "ReplayEvent",
    "compile_program",
    "read_program",
    "replay_profile",
]
