"""The user in charge: consent, blocks, export, import, erase, and what has left the device."""

from nearhand.privacy.audit import Audit, AuditEntry
from nearhand.privacy.preferences import Consent, Preferences, PreferenceStore
from nearhand.privacy.privacy import Kept, Privacy

__all__ = ["Audit", "AuditEntry", "Consent", "Kept", "PreferenceStore", "Preferences", "Privacy"]
