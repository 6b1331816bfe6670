"""What the commands print for people: a bundle's evidence, its models, and what they answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click
from rich.console import Console
from rich.table import Table

from nearhand import Recommendation
from nearhand.bundle.manifest import Manifest
from nearhand.bundle.schema import Estimate
from nearhand.bundle.serving import DecisionPolicy, ListPolicy
from nearhand.bundle.tables import TableModel
from nearhand.ranking import Predictions


def print_evidence(manifest: Manifest, latency_us: Mapping[str, float]) -> None:
    shown = manifest.retrieval.evidence
    fp32 = {variant.runtime: variant.bytes for variant in shown.variants if variant.precision == "fp32"}
    table = Table("variant", "bytes", "of fp32", "NDCG@10", "change against the source", "top-10 overlap")
    if latency_us:
        table.add_column("latency")
    for variant in shown.variants:
        whole = fp32.get(variant.runtime)
        row = [
            f"{variant.runtime} {variant.precision}",
            f"{variant.bytes:,}",
            f"{variant.bytes / whole:.1%}" if whole else "",
            _estimate(variant.ndcg_at_10, "{:.4f}"),
            _estimate(variant.ndcg_change, "{:+.2%}"),
            f"{variant.top10_overlap:.4f}",
        ]
        if latency_us:
            latency = latency_us.get(f"{variant.runtime}/{variant.precision}")
            row.append("" if latency is None else f"{latency:.0f} µs")
        table.add_row(*row)
    click.echo(f"data: {shown.data}")
    click.echo(
        f"source model on {shown.users:,} held-out users: NDCG@10 {_estimate(shown.source_ndcg_at_10, '{:.4f}')}, "
        f"Recall@50 {_estimate(shown.source_recall_at_50, '{:.4f}')}; "
        f"popularity: NDCG@10 {shown.popularity_ndcg_at_10.value:.4f}"
    )
    Console(width=120).print(table)
    for name, reason in shown.dropped.items():
        click.echo(f"dropped {name}: {reason}")


def print_slices(manifest: Manifest) -> None:
    """Where a variant loses, if it does: NDCG@10 against the source model by kinds of users and items."""
    shown = manifest.retrieval.evidence
    table = Table("change of NDCG@10", "users", *(f"{v.runtime} {v.precision}" for v in shown.variants))
    for part in zip(*(variant.slices for variant in shown.variants), strict=True):
        table.add_row(part[0].name, f"{part[0].users:,}", *(_estimate(one.ndcg_change, "{:+.2%}") for one in part))
    Console(width=150).print(table)
    click.echo(
        f"the window of {manifest.retrieval.policy.window} items itself changes the source model's NDCG@10 by "
        + _estimate(shown.window_ndcg_change, "{:+.2%}")
    )


def print_table_model(model: TableModel, latency_us: Mapping[str, float]) -> None:
    """What a ranker or a predictor is, and how it compares with the original."""
    classes = f", classes {_listed(model.classes)}" if model.classes else ""
    click.echo(f"{model.role} {model.name}: {model.provenance['source']} ({model.task}{classes})")
    click.echo(f"compared with the original on {model.parity.description}")
    table = Table("variant", "bytes", "output", "largest difference", "relative", "allowed", "labels", "leaves")
    if latency_us:
        table.add_column("one row")
    parities = {(one.runtime, one.precision): one for one in model.parity.variants}
    for variant in model.variants:
        found = parities[variant.runtime, variant.precision]
        for output in found.outputs:
            row = [f"{variant.runtime} {variant.precision}", f"{variant.file.bytes:,}", output.output]
            numbers = (output.largest_difference, output.largest_relative_difference, output.tolerance)
            row += [f"{float(number):.2g}" for number in numbers]
            tied = f", {found.labels_tied:,} ties" if found.labels_tied else ""
            row.append(f"{found.labels_equal:,} equal{tied}" if found.labels_equal else "")
            row.append(f"{found.leaves_equal:,} equal" if found.leaves_equal else "")
            if latency_us:
                latency = latency_us.get(f"{variant.runtime}/{variant.precision}")
                row.append("" if latency is None else f"{latency:.0f} µs")
            table.add_row(*row)
    Console(width=140).print(table)


def print_serving(manifest: Manifest) -> None:
    """How a list is made, and when which action is taken."""
    if manifest.listing is not None:
        print_listing(manifest.listing)
    for decision in manifest.decisions:
        print_decision(decision)


def print_listing(listing: ListPolicy) -> None:
    """What a list is made of, in the order in which it happens."""
    click.echo(f"lists are ordered by {'the ranker ' + listing.ranker if listing.ranker else 'the retrieval score'}")
    if listing.learning is not None:
        learning = listing.learning
        rewards = ", ".join(f"{event} {reward:+}" for event, reward in learning.rewards.items())
        click.echo(f"  learning: weight {learning.weight}, optimism {learning.optimism}, ridge {learning.ridge}, "
                   f"remembers about {learning.memory:,} rewards: {rewards}")  # fmt: skip
    if listing.freshness is not None:
        freshness = listing.freshness
        click.echo(f"  freshness: weight {freshness.weight}, half of it after {freshness.half_life_days} days")
    if listing.diversity:
        click.echo(f"  diversity: {listing.diversity}")
    if listing.category_cap:
        click.echo(f"  at most {listing.category_cap} items with one of the same {listing.category}")
    if listing.exploration is not None:
        exploration = listing.exploration
        click.echo(
            f"  exploration: temperature {exploration.temperature}, among the best {exploration.candidates} candidates"
        )


def print_decision(decision: DecisionPolicy) -> None:
    """Its rules, the highest first, and what holds it back."""
    click.echo(f"decision {decision.name}, from the predictor {decision.predictor}")
    for rule in sorted(decision.rules, key=lambda rule: rule.at_least, reverse=True):
        click.echo(f"  {rule.action} from {rule.at_least} on" + (f": {rule.reason}" if rule.reason else ""))
    click.echo(f"  else {decision.otherwise}")
    held = [f"at most {cap.times} in {cap.days} days" for cap in decision.caps]
    if decision.cooldown_days:
        held.append(f"{decision.cooldown_days} days between two")
    if decision.holdout:
        held.append(f"none for {decision.holdout:.1%} of the profiles")
    if decision.exploration:
        held.append(f"{decision.exploration:.1%} drawn at random")
    if held:
        click.echo("  " + ", ".join(held))


def print_columns(model: TableModel, vocabularies: Mapping[str, Sequence[str]]) -> None:
    """What a row has to have."""
    table = Table("column", "kind", "known categories", "may be missing", "may be unknown", "typical")
    for column in model.columns:
        texts = vocabularies[column.vocabulary] if column.vocabulary is not None else ()
        known = f"{len(texts):,}: {_listed(texts)}" if column.kind == "category" else ""
        unknown = ("yes" if column.unknown else "no") if column.kind == "category" else ""
        typical = "" if column.typical is None else f"{float(column.typical):g}"
        table.add_row(column.name, column.kind, known, "yes" if column.missing else "no", unknown, typical)
    Console(width=120).print(table)
    if model.ranks is not None:
        click.echo(f"numbers are given as ranks among {sum(model.ranks.counts):,} thresholds: {model.ranks.reason}")
    for note in model.notes:
        click.echo(f"note: {note}")


def print_predictions(predictions: Predictions, most: int = 20) -> None:
    """The first rows of an answer."""
    table = Table("row", *predictions.outputs, *(["class"] if predictions.classes else []))
    labels = predictions.labels
    for row in range(min(len(predictions), most)):
        values = [_listed([f"{number:.6g}" for number in output[row : row + 1].ravel().tolist()])
                  for output in predictions.outputs.values()]  # fmt: skip
        table.add_row(str(row + 1), *values, *labels[row : row + 1])
    Console(width=120).print(table)
    if len(predictions) > most:
        click.echo(f"… {len(predictions) - most:,} more rows; use --json for all of them")


def _listed(texts: Sequence[str], most: int = 6) -> str:
    return ", ".join(texts[:most]) + (" …" if len(texts) > most else "")


def _estimate(estimate: Estimate, form: str) -> str:
    value, low, high = (form.format(number) for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


def print_recommendations(recommendations: Sequence[Recommendation]) -> None:
    table = Table("", "item", "title", "score", "why", "source")
    for item in recommendations:
        row = (str(item.position + 1), item.item_id, item.title, f"{item.score:.4f}")
        table.add_row(*row, item.explanation.text, item.source)
    Console(width=150).print(table)
