"""What an app gets of a bundle of the zoo's models, through the SDK that a phone runs; its clock is moved by hand."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from nearhand import Config, Event, Personalizer, __version__
from nearhand.bundle import install_bundle
from nearhand.events import DAY_MS
from nearhand.testing import ManualClock
from nearhand_converters.show import print_recommendations

_MONDAY_EVENING = 1_780_345_800_000  # 2026-06-01 20:30 UTC
_HISTORY = (("Heat", False), ("Casino", False), ("The Godfather", True), ("Pulp Fiction", True))
"""What the viewer watches, a film every second evening, and whether they like it."""


def show(bundle: Path, segments: Sequence[str]) -> None:
    """Print the story of one viewer: lists with their reasons, the taste, and what is done when they stay away.

    Args:
        segments: the names of the segments, by their number.
    """
    clock = ManualClock(_MONDAY_EVENING - 2 * (len(_HISTORY) - 1) * DAY_MS)
    with tempfile.TemporaryDirectory() as folder:
        slot = install_bundle(bundle, Path(folder) / "slots", sdk_version=__version__)
        items = slot.items()
        item_ids = {title: items.item_ids[row] for row, title in reversed(list(enumerate(items.titles)))}
        with Personalizer.open(slot.folder, folder, config=Config(durability="process", seed=7), clock=clock) as p:
            _tell(p, clock, item_ids, segments)


def _tell(p: Personalizer, clock: ManualClock, item_ids: Mapping[str, str], segments: Sequence[str]) -> None:
    status = p.status()
    click.echo(f"{status.bundle} {status.bundle_version} on {status.runtime} {status.runtime_version}, "
               f"{status.precision}; nothing leaves the device")  # fmt: skip
    click.echo("\nA new viewer, of whom nothing is known:")
    print_recommendations(p.recommend(3))

    for place, (title, liked) in enumerate(_HISTORY):
        clock.advance(2 * DAY_MS if place else 0)
        item_id = item_ids[title]
        p.record(Event("item_viewed", item_id=item_id))
        if liked:
            p.record(Event("item_liked", item_id=item_id))
    told = "; ".join(f"{title} (liked)" if liked else title for title, liked in _HISTORY)
    click.echo(f"\nAfter a week of {told}:")
    listed = p.recommend(10)
    print_recommendations(listed)

    liked_now = listed[2]
    click.echo(f"\nThe viewer likes {liked_now.title}; the next list answers:")
    p.record(Event("item_viewed", item_id=liked_now.item_id, recommendation_id=liked_now.recommendation_id))
    p.record(Event("item_liked", item_id=liked_now.item_id, recommendation_id=liked_now.recommendation_id))
    print_recommendations(p.recommend(5))

    number = p.segment("segments").label
    click.echo(f"\nSegment {number}" + (f": {segments[number]}" if number < len(segments) else ""))
    for days, when in ((0, "That evening"), (21, "After three weeks of silence"), (2, "Two days later")):
        clock.advance(days * DAY_MS)
        churn = p.predict("churn")
        decision = p.decide("retention")
        click.echo(f"{when}: {churn.value:.0%} likely to stay away for a month. {churn.explanation.text}.")
        why = decision.text.removesuffix(churn.explanation.text).strip()  # which ends with that
        click.echo(f"  {decision.name}: {decision.action} ({decision.reason}). {why}")
