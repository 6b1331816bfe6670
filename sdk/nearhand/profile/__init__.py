"""What a profile keeps beside its events: choices, learned state, and journals of what was shown, decided and sent."""

from nearhand.profile.erase import destroy_profile
from nearhand.profile.store import Entry, ProfileStore

__all__ = ["Entry", "ProfileStore", "destroy_profile"]
