"""What is left to do with a profile whose key is lost, or that nobody wants any more: it goes."""

from __future__ import annotations

from pathlib import Path

from nearhand.bundle.durable import path_of
from nearhand.errors import StorageError, UsageError
from nearhand.events.quarantine import delete_quarantined, files_of, sync_folder

_DATABASES = ("events.db", "pushed.db", "profile.db")
_LOCK = "sync.lock"


def destroy_profile(folder: str | Path) -> None:
    """Delete all that a profile stores, quarantined files included, without opening any of it; no key is needed.

    The profile must be closed, in every process. Done again, it goes on where it was stopped, and a profile that is not
    there is no error. The blocks of deleted files are the file system's to use again: of what was not encrypted, a
    forensic look at the storage may find some.

    Args:
        folder: the profile's own, ``profiles/<name>`` in the app's data folder.

    Raises:
        UsageError: it is no path, or that of an app's whole data folder; nothing was deleted.
        StorageError: a file could not be deleted; others may have been.
    """
    folder = path_of(folder, "destroy_profile(folder)")
    if (folder / "profiles").is_dir():
        problem = f"{str(folder)!r} is a data folder, and not that of one profile"
        remedy = "give profiles/NAME in it, such as profiles/default"
        raise UsageError(problem, place="destroy_profile(folder)", remedy=remedy)
    if not folder.is_dir():
        return
    try:
        for name in _DATABASES:
            path = folder / name
            delete_quarantined(path)
            for file in files_of(path):
                file.unlink(missing_ok=True)
        (folder / _LOCK).unlink(missing_ok=True)
        sync_folder(folder)
    except OSError as error:
        remedy = "close whatever has the profile open, and do it again"
        raise StorageError(f"could not be deleted ({error})", place=str(folder), remedy=remedy) from error
