"""What a profile keeps beside its events: choices, learned state, and journals of what was shown, decided and sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nearhand.lazily import lazily
from nearhand.profile.store import ERASING, Entry, ProfileStore

if TYPE_CHECKING:
    from nearhand.profile.erase import destroy_profile
else:
    __getattr__ = lazily(__name__, {"erase": ["destroy_profile"]})

__all__ = ["ERASING", "Entry", "ProfileStore", "destroy_profile"]
