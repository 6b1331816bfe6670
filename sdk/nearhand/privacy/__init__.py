"""The user in charge: consent, blocks, export, import, erase, and what has left the device."""
