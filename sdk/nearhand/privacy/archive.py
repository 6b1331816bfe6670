"""A profile as one JSON document, for its user: to read, to keep, and to take to another device.

The document is an object with these keys::

    format        1
    kind          "nearhand profile"
    sha256        of all the other keys: of their canonical JSON, with sorted keys and no spaces, in UTF-8
    exported_at   ms since the epoch
    bundle        {"name", "version"} of the bundle it was used with; any bundle may import it
    preferences   the user's choices; see :class:`nearhand.privacy.Preferences`
    epoch         how often the preferences had been reset
    events        every event, in the order of ``sequence``; the names of :class:`nearhand.events.RecordedEvent`
    features      null, or what older events, which are no longer there, have left: {"fingerprint", "state"}, the
                  feature program's and, in base64, its state; used again only under the same program
    values        name → base64, of what is learned and drawn on the device
    journals      name → lines {"name", "at", "content"}: what was shown and decided; the content in base64

Pushed features are not in it: they are a cache, and are pushed again. Nor is the audit log, which is about this device.
The document is in the clear, whether the profile is encrypted or not.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nearhand.bundle.document import serialize, unique_keys
from nearhand.bundle.durable import storage_errors, sync_file, sync_folder
from nearhand.errors import EventError, StorageError, UsageError, shown
from nearhand.events import RecordedEvent, recorded_from_json, recorded_to_json
from nearhand.hashing import sha256
from nearhand.privacy.preferences import Preferences, read_preferences
from nearhand.profile import Entry
from nearhand.records import dataclass

FORMAT = 1
KIND = "nearhand profile"
_REMEDY = "give a file that privacy.export has written"


@dataclass(frozen=True)
class Archive:
    """All of a profile; see the module."""

    exported_at: int
    bundle: str
    bundle_version: str
    preferences: Preferences
    epoch: int
    events: Sequence[RecordedEvent]
    fingerprint: str | None
    state: bytes | None
    values: Mapping[str, bytes]
    journals: Mapping[str, Sequence[Entry]]


def write_profile(path: Path, archive: Archive, about_to: Callable[[int], object]) -> int:
    """Write the document, whole or not at all.

    Args:
        about_to: is told the size when all but the file's name is on the disk; if it raises, nothing was written.

    Returns:
        its bytes.

    Raises:
        StorageError: the place cannot be written; what was there is as before.
    """
    data = encode_profile(archive)
    temporary = path.with_name(path.name + ".part")
    with storage_errors(str(path)):
        try:
            temporary.touch(mode=0o600)  # it is in the clear, and for its user to read
            with temporary.open("wb") as file:
                file.write(data)
                sync_file(file)
            about_to(len(data))
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    return len(data)


def encode_profile(archive: Archive) -> bytes:
    """The document's bytes: UTF-8, one event on each line."""
    events = [recorded_to_json(event) for event in archive.events]
    head = {
        "format": FORMAT,
        "kind": KIND,
        "exported_at": archive.exported_at,
        "bundle": {"name": archive.bundle, "version": archive.bundle_version},
        "preferences": json.loads(serialize(archive.preferences)),
        "epoch": archive.epoch,
        "features": None
        if archive.state is None
        else {"fingerprint": archive.fingerprint, "state": _text(archive.state)},
        "values": {name: _text(content) for name, content in sorted(archive.values.items())},
        "journals": {
            name: [{"name": line.name, "at": line.at, "content": _text(line.content)} for line in lines]
            for name, lines in sorted(archive.journals.items())
        },
    }
    digest = _digest({**head, "events": [json.loads(event) for event in events]})
    text = json.dumps({**head, "sha256": digest}, ensure_ascii=False, indent=1)
    lines = ",\n".join(events)
    return f'{text[:-2]},\n "events": [\n{lines}\n ]\n}}\n'.encode()


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()


def read_profile(path: Path) -> Archive:
    """What :func:`write_profile` wrote.

    Raises:
        StorageError: the file cannot be read.
        UsageError: it is no profile, or of a newer format; names the place.
        EventError: an event is malformed; its field begins with ``events[i]``.
    """
    with storage_errors(str(path)):
        data = path.read_bytes()
    try:
        content = json.loads(data, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"is no JSON document ({str(error)[:120]})", place=str(path), remedy=_REMEDY) from None
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise UsageError("is not an exported profile", place=str(path), remedy=_REMEDY)
    if content.get("format") != FORMAT:
        problem = f"has the format {shown(content.get('format'))}, and this SDK reads {FORMAT}"
        raise UsageError(problem, place=str(path), remedy="update the app")
    try:
        if content.pop("sha256") != _digest(content):
            raise ValueError("its sha256 is another one: it was altered, or cut off")
        features = content["features"]
        events = _events(content["events"])
        return Archive(
            exported_at=_whole(content["exported_at"]),
            bundle=_string(content["bundle"]["name"]),
            bundle_version=_string(content["bundle"]["version"]),
            preferences=read_preferences(json.dumps(content["preferences"]).encode()),
            epoch=_epoch(content["epoch"], events),
            events=events,
            fingerprint=None if features is None else _string(features["fingerprint"]),
            state=None if features is None else _bytes(features["state"]),
            values={name: _bytes(text) for name, text in content["values"].items()},
            journals={name: _lines(lines) for name, lines in content["journals"].items()},
        )
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError, StorageError) as error:
        problem = f"is damaged ({type(error).__name__}: {str(error)[:120]})"
        raise UsageError(problem, place=str(path), remedy=_REMEDY) from error


def _epoch(found: Any, events: Sequence[RecordedEvent]) -> int:
    epoch, last = _whole(found), events[-1].epoch if events else 0
    if epoch < last:
        raise ValueError(f"the epoch is {epoch}, and that of the last event {last}")
    return epoch


def _events(found: Any) -> list[RecordedEvent]:
    if not isinstance(found, list):
        raise TypeError("events is not a list")
    events: list[RecordedEvent] = []
    for number, content in enumerate(found):
        try:
            event = recorded_from_json(json.dumps(content))
        except EventError as error:
            raise EventError(f"events[{number}].{error.field}", error.problem, remedy=_REMEDY) from error
        last = events[-1] if events else None
        if last is not None and (event.sequence <= last.sequence or event.epoch < last.epoch):
            problem = "is not after that of the event before it"
            raise EventError(f"events[{number}].sequence", problem, remedy=_REMEDY)
        events.append(event)
    if len({event.event_id for event in events}) != len(events):
        raise ValueError("two events have the same identifier")
    return events


def _lines(found: Any) -> list[Entry]:
    lines = [Entry(0, _string(line["name"]), _whole(line["at"]), _bytes(line["content"])) for line in found]
    if len({line.name for line in lines}) != len(lines):
        raise ValueError("two lines of a journal have the same name")
    return lines


def _string(found: Any) -> str:
    if not isinstance(found, str):
        raise TypeError(f"{shown(found)} is no text")
    return found


def _whole(found: Any) -> int:
    if type(found) is not int or not -(2**63) <= found < 2**63:
        raise ValueError(f"{shown(found)} is no whole number of 64 bits")
    return found


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _bytes(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"a content is not base64 ({error})") from None
