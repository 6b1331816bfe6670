"""A profile's whole life, with a mark in everything that is said to it, for tests of the user's control."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nearhand import Config, Event, Personalizer, Recommendation
from nearhand.bundle import Archive, parse, serialize, write_archive
from nearhand.bundle.manifest import Manifest
from nearhand.bundle.schema import MANIFEST_PATH
from nearhand.bundle.serving import ListPolicy
from nearhand.cipher import KeyProvider
from nearhand.events import Scalar
from nearhand.testing import ManualClock
from nearhand_converters.output import add_file
from tests.sdk.event_logs import spoil
from tests.sdk.serving_factory import LISTING, NOW, PROGRAM, serving_bundle

MARK = "planted"
CONFIG = Config(durability="process", seed=3, log_bytes=100_000)
PHONE: Mapping[str, Scalar] = {"device": "phone", f"{MARK}-key": f"{MARK}-context"}
CALM = replace(LISTING, exploration=None)
"""The policy without what is drawn at random."""
KEY = bytes(range(32))


class Keys:
    """A keystore that has one key, or fails."""

    def __init__(self, key: bytes | None = KEY, error: Exception | None = None) -> None:
        self.stored = key
        self.error = error

    def key(self) -> bytes | None:
        if self.error is not None:
            raise self.error
        return self.stored


def bundle_with_pushed(folder: Path, listing: ListPolicy | None = LISTING) -> Path:
    """The serving bundle whose program has a pushed view ``ltv`` of 2 values too."""
    folder.mkdir(parents=True, exist_ok=True)
    path = serving_bundle(folder, listing=listing)
    with Archive.open(path) as archive:
        files = {name: archive.read(name) for name in archive.entries}
    manifest = parse(Manifest, files.pop(MANIFEST_PATH), place=MANIFEST_PATH)
    assert manifest.features is not None
    views = [*PROGRAM["views"], {"op": "pushed", "name": "ltv", "width": 2, "default": -1}]
    file = add_file(files, manifest.features.file.path, json.dumps({**PROGRAM, "views": views}).encode())
    changed = replace(manifest, features=replace(manifest.features, file=file))
    write_archive(path, {MANIFEST_PATH: serialize(changed), **files})
    return path


def open_profile(
    bundle: Path,
    data_dir: Path,
    clock: ManualClock | None = None,
    *,
    config: Config = CONFIG,
    keys: KeyProvider | None = None,
) -> Personalizer:
    return Personalizer.open(
        bundle, data_dir, config=config, clock=ManualClock(NOW) if clock is None else clock, key_provider=keys
    )


def profile_folder(data_dir: Path) -> Path:
    return data_dir / "profiles" / CONFIG.profile


def planted(number: int, item_id: str = f"{MARK}-item", event: str = "item_viewed", **fields: Any) -> Event:
    """An event with a mark in each of its texts."""
    return Event(
        event,
        event_id=f"{MARK}-id-{number}",
        item_id=item_id,
        user=f"{MARK}-user",
        context={f"{MARK}-key": f"{MARK}-context"},
        **{
            "recommendation_id": f"{MARK}-recommendation",
            "properties": {f"{MARK}-key": f"{MARK}-properties" * 5},
            **fields,
        },
    )


def taste(p: Personalizer, clock: ManualClock, rows: Sequence[int], first: int = 1000) -> None:
    """Likes, and views, of films that the catalogue has."""
    for number, row in enumerate(rows):
        clock.advance(3_600_000)
        p.record(planted(first + 2 * number, f"m_{row}"))
        p.record(planted(first + 2 * number + 1, f"m_{row}", "item_liked"))


def answered(p: Personalizer, clock: ManualClock, times: int) -> list[Recommendation]:
    """Lists with an impression of each first film and a like of each third one; the last of them."""
    for number in range(times):
        clock.advance(60_000)
        listed = p.recommend(5, context=PHONE)
        name = listed[0].recommendation_id
        p.record(planted(5000 + 2 * number, listed[0].item_id, "impression", recommendation_id=name))
        p.record(planted(5001 + 2 * number, listed[2].item_id, "item_liked", recommendation_id=name))
    return listed


def live(
    bundle: Path, data_dir: Path, clock: ManualClock, *, keys: KeyProvider | None = None, damage: bool = True
) -> Iterator[None]:
    """Everything that can happen to a profile, step by step; in the end it is closed."""
    if damage:
        with open_profile(bundle, data_dir, clock, keys=keys) as p:
            p.record_many([planted(n) for n in range(200)])
        spoil(profile_folder(data_dir) / "events.db")
    with open_profile(bundle, data_dir, clock, keys=keys) as p:
        taste(p, clock, (6, 12, 18, 7))
        yield
        answered(p, clock, 3)
        p.features.push("ltv", [1.5, 2.5], ttl_seconds=10**7, source=f"{MARK}-source")
        yield
        p.decide("retention", context=PHONE)
        assert bool(p.status().quarantined) == damage
        yield
    yield
    with open_profile(bundle, data_dir, clock, keys=keys) as p:  # there is a snapshot now
        for start in range(0, 320, 64):
            clock.advance(86_400_000)
            p.record_many([planted(n) for n in range(start, start + 64)])
        assert p.status().drops["log_bytes"] > 0
        yield
        assert p.privacy.forget(f"{MARK}-id-319")
        p.privacy.reset()
        yield
        taste(p, clock, (1, 13, 25), 2000)
        p.privacy.block(item_id=f"{MARK}-blocked")
        p.privacy.block(item_id="m_31")
        p.privacy.block(category="taste 3")
        p.privacy.less_like("m_2")
        p.privacy.set_consent("sync")
        p.pause()
        p.resume()
        yield
        for _ in range(2):
            clock.advance(3 * 86_400_000)
            p.decide("retention", context=PHONE)
        answered(p, clock, 4)
        yield
    yield


def all_of(steps: Iterator[None]) -> None:
    for _ in steps:
        pass


def raw(folder: Path) -> bytes:
    """All bytes of all files. By another process: closing a file here would drop SQLite's locks on it."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    return subprocess.run(["cat", *files], capture_output=True, check=True).stdout


def contents(folder: Path) -> dict[str, bytes]:
    """Name → bytes of each file, but for ``-shm``, in which SQLite notes who reads. By another process, as above."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and not file.name.endswith("-shm")]
    return {str(file.relative_to(folder)): subprocess.check_output(["cat", file]) for file in files}


def copied(data_dir: Path, to: Path) -> Path:
    shutil.copytree(data_dir, to)
    return to


def shown(listed: Sequence[Recommendation]) -> list[tuple[Any, ...]]:
    """All of a list but its identifier, which is another each time."""
    return [(one.item_id, one.title, one.score, one.source, one.position, one.propensity) for one in listed]


def served(p: Personalizer, lists: int = 4) -> dict[str, Any]:
    """All that a profile's events and choices have an effect on, to be compared with another one's."""
    return {
        "lists": [shown(p.recommend(8, context={"device": "phone"})) for _ in range(lists)],
        "why": [one.explanation.text for one in p.recommend(3)] if lists else [],
        "similar": shown(p.similar("m_6", 5)),
        "prediction": (p.predict("churn").value, p.predict("churn").label),
        "segment": p.segment(),
        "best time": p.best_time(),
        "features": p.features.vector().floats.tolist() + p.features.vector().ints.tolist(),
        "learned": p.status().learned,
        "preferences": p.privacy.preferences,
    }
