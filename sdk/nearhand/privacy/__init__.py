"""The user in charge: consent, blocks, export, import, erase, and what has left the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nearhand.lazily import lazily
from nearhand.privacy.preferences import Consent, Preferences, PreferenceStore

if TYPE_CHECKING:
    from nearhand.privacy.audit import Audit, AuditEntry
    from nearhand.privacy.privacy import Kept, Privacy
else:
    __getattr__ = lazily(__name__, {"audit": ["Audit", "AuditEntry"], "privacy": ["Kept", "Privacy"]})

__all__ = ["Audit", "AuditEntry", "Consent", "Kept", "PreferenceStore", "Preferences", "Privacy"]
