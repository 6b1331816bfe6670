"""Malformed feature programs: by name, with the path of what is wrong and what the message says."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from nearhand.features.program import MAX_PROGRAM_BYTES
from tests.sdk.any_program import OPS, VOCABULARIES, program

COUNT: dict[str, Any] = {"op": "count", "name": "n", "events": ["item_viewed"]}
MEAN = {**COUNT, "op": "mean", "value": "properties.seconds"}
LAST = {**COUNT, "op": "last_n", "of": "item_id", "n": 3, "encode": {"buckets": 10}}
AFFINITY = {**COUNT, "op": "affinity", "name": "a", "of": "item.genres", "vocabulary": "genres"}
RATIO = {"op": "ratio", "name": "r", "numerator": "n", "denominator": "n"}
ITEM = {"op": "item", "name": "i", "of": "item.year"}
CONTEXT = {"op": "context", "name": "c", "key": "hour"}
ITEM_AFFINITY = {"op": "item_affinity", "name": "ia", "affinity": "a"}


def head(**fields: Any) -> dict[str, Any]:
    return program(COUNT, **fields)


def count(**fields: Any) -> dict[str, Any]:
    return program({**COUNT, **fields})


def where(**condition: Any) -> dict[str, Any]:
    return count(where=[{"field": "properties.x", **condition}])


def then(*steps: Any) -> dict[str, Any]:
    return count(then=list(steps))


def without(content: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name != key}


def ratios(count: int) -> list[dict[str, Any]]:
    """Ratios of ratios: the k-th reads 2ᵏ views."""
    names = ["n", *(f"r{place}" for place in range(count))]
    return [{**RATIO, "name": name, "numerator": below, "denominator": below} for below, name in pairwise(names)]


DURATION = "is not a duration from 1s to 3650d; write one such as"
NUMBER = "not a number of an event; use properties.NAME, context.NAME or item.NAME"
NAME = "not an identifier; use 1 to 64 of a-z, 0-9 and _, beginning with a letter"
NOT_JSON = "is not a JSON document"

# name → (the document · the path of what is wrong · how "problem; remedy" begins)
Cases = dict[str, tuple[Any, str, str]]

BYTES: Cases = {
    "nothing": (b"", "", f"{NOT_JSON} (Expecting value: line 1 column 1 (char 0)); write one JSON object in UTF-8"),
    "half an object": (b'{"format": 1', "", f"{NOT_JSON} (Expecting ',' delimiter"),
    "two objects": (b"{}{}", "", f"{NOT_JSON} (Extra data"),
    "not UTF-8": (b'{"name": "\xff"}', "", f"{NOT_JSON} ('utf-8' codec can't decode byte 0xff"),
    "UTF-16": (json.dumps(count()).encode("utf-16"), "", f"{NOT_JSON} ('utf-8' codec can't decode byte 0xff"),
    "a key twice": (b'{"name": "p", "name": "q"}', "", f'{NOT_JSON} (the key "name" stands twice in one object)'),
    "a key twice, deep": (b'{"views": [{"n": 1, "n": 1}]}', "", f'{NOT_JSON} (the key "n" stands twice in one object)'),
    "NaN": (b'{"format": NaN}', "", f"{NOT_JSON} (NaN is not a number of JSON)"),
    "infinity": (b'{"format": -Infinity}', "", f"{NOT_JSON} (-Infinity is not a number of JSON)"),
    "a number too large for anything": (b"1" * 5000, "", f"{NOT_JSON} (Exceeds the limit"),
    "an exponent too large for anything": (b"1e99999999999999999999", "", f"{NOT_JSON} (the number 1e9999999999999"),
    "lists 100,000 deep": (b"[" * 100_000, "", f"{NOT_JSON} (maximum recursion depth"),
    "objects 100,000 deep": (b'{"views":' * 100_000 + b"1" + b"}" * 100_000, "", f"{NOT_JSON} (maximum recursion"),
    "half of a pair": (count(name="\ud800"), "", f"{NOT_JSON} ('utf-8' codec can't encode character '\\ud800'"),
    "half of a pair, a key": ({"\udfff": 1}, "", f"{NOT_JSON} ('utf-8' codec can't encode character '\\udfff'"),
    "too many bytes": (b" " * (MAX_PROGRAM_BYTES + 1), "", "has 16,000,001 bytes; keep it within 16,000,000"),
    "a list": ([count()], "", "is a list, not an object; give an object"),
    "a text": ("count", "", 'is "count", not an object; give an object'),
    "a number": (b"0.5", "", "is 0.5, not an object; give an object"),
}
HEADS: Cases = {
    "format: missing": (without(count(), "format"), "format", "is missing; add it"),
    "format: a later one, with keys unknown here": (
        {"format": 2, "speed": "high"},
        "format",
        "is 2, not 1; write 1, or update nearhand",
    ),
    "format: text": (head(format="1"), "format", 'is "1", not an integer; give an integer'),
    "format: true": (head(format=True), "format", "is true, not an integer"),
    "format: a fraction": (head(format=1.0), "format", "is 1.0, not an integer"),
    "name: missing": (without(count(), "name"), "name", "is missing; add it"),
    "name: with a space": (head(name="my program"), "name", f"is 'my program', {NAME}"),
    "name: null": (head(name=None), "name", "is null, not a string; give a string"),
    "version: two numbers": (head(version="1.0"), "version", "is '1.0', not MAJOR.MINOR.PATCH; write one such as"),
    "version: a number": (head(version=1.0), "version", "is 1.0, not a string"),
    "ttl: a word": (head(ttl="soon"), "ttl", f"'soon' {DURATION}"),
    "views: missing": (without(count(), "views"), "views", "is missing; add it"),
    "views: an object": ({**count(), "views": {"n": COUNT}}, "views", "is an object, not a list; give a list"),
    "views: none": ({**count(), "views": []}, "views", "has 0 views; give 1 to 1000"),
    "views: too many": ({**count(), "views": [COUNT] * 1001}, "views", "has 1001 views; give 1 to 1000"),
    "a slip of a key": (head(vocabulary={}), "vocabulary", "is not a known key; did you mean 'vocabularies'?"),
    "a key unlike any": (head(zzz=1), "zzz", "is not a known key; use one of format, name, outputs, ttl, version"),
    "a key of two lines": (head(**{"a\nb": 1}), '"a\\nb"', "is not a known key"),
    "a vocabulary: none of its texts": (head(vocabularies={"g": []}), "vocabularies.g", "is empty; list its texts"),
    "a vocabulary: a text twice": (
        head(vocabularies={"g": ["x", "y", "x"]}),
        "vocabularies.g",
        "has 'x' twice; list every text once",
    ),
    "a vocabulary: a name of two lines": (head(vocabularies={"a\nb": []}), 'vocabularies."a\\nb"', "is empty"),
    "a vocabulary: a number in it": (head(vocabularies={"g": ["x", 7]}), "vocabularies.g[1]", "is 7, not a string"),
    "outputs: a slip": (
        program({**COUNT, "name": "views_7d"}, outputs=["view_7d"]),
        "outputs[0]",
        "is 'view_7d', not a view; did you mean 'views_7d'?",
    ),
    "outputs: a view twice": (head(outputs=["n", "n"]), "outputs[1]", "is 'n', which stands there twice; list it o"),
    "outputs: empty": (head(outputs=[]), "outputs", "is empty; list at least one view, or leave it out"),
    "outputs: a text": (head(outputs="n"), "outputs", 'is "n", not a list'),
}
VIEWS: Cases = {
    "view: a text": (program("count"), "views[0]", 'is "count", not an object; give an object'),
    "op: a slip": (program(COUNT, count(op="cuont")["views"][0]), "views[1].op", 'is "cuont", not a known op; did you'),
    "op: unlike any": (count(op="zzz"), "views[0].op", f'is "zzz", not a known op; use one of {OPS}'),
    "op: missing": (program(without(COUNT, "op")), "views[0].op", f"is missing; use one of {OPS}"),
    "op: null": (count(op=None), "views[0].op", "is null, not a known op; use one of"),
    "op: megabytes": (count(op="o" * 2_000_000), "views[0].op", f'is "{"o" * 59}, not a known op; use one of'),
    "key: a slip": (count(windw="7d"), "views[0].windw", "is not a known key; did you mean 'window'?"),
    "key: another op's": (
        count(n=3),
        "views[0].n",
        "is not a known key; use one of events, name, op, then, where, win",
    ),
    "key: missing": (program(without(MEAN, "value")), "views[0].value", "is missing; add it"),
    "name: taken": (program(COUNT, MEAN), "views[1].name", "'n' is taken; give every view its own name"),
    "name: upper case": (count(name="Views"), "views[0].name", f"is 'Views', {NAME}"),
    "name: a digit first": (count(name="7d"), "views[0].name", f"is '7d', {NAME}"),
    "name: 65 characters": (count(name="n" * 65), "views[0].name", f"is '{'n' * 65}', {NAME}"),
    "events: none": (count(events=[]), "views[0].events", "is empty, so the view stays at nothing; list at least one"),
    "events: a text": (count(events="item_viewed"), "views[0].events", 'is "item_viewed", not a list; give a list'),
    "events: a number in it": (count(events=["x", 3]), "views[0].events[1]", "is 3, not a string; give a string"),
    "events: one twice": (count(events=["x", "y", "x"]), "views[0].events", "has 'x' twice; list it once"),
    "events: no name": (count(events=["x", ""]), "views[0].events[1]", "is '', not an event type; use 1 to 256 print"),
    "events: a reset": (
        count(events=["preferences_reset"]),
        "views[0].events[0]",
        "is 'preferences_reset', which feeds no view; leave it out",
    ),
    "window: no unit": (count(window="7"), "views[0].window", f"'7' {DURATION}"),
    "window: an unknown unit": (count(window="7x"), "views[0].window", f"'7x' {DURATION}"),
    "window: a fraction": (count(window="1.5h"), "views[0].window", f"'1.5h' {DURATION}"),
    "window: nothing": (count(window="0d"), "views[0].window", f"'0d' {DURATION}"),
    "window: over ten years": (count(window="522w"), "views[0].window", f"'522w' {DURATION}"),
    "window: a number": (count(window=7), "views[0].window", "is 7, not a string; give a string"),
    "half_life: missing": (count(op="decay"), "views[0].half_life", "is missing; add it"),
    "half_life: foreign digits": (count(op="recency", half_life="٣d"), "views[0].half_life", f"'٣d' {DURATION}"),
    "half_life: beside a window": (
        program({**AFFINITY, "window": "7d", "half_life": "7d"}, vocabularies=VOCABULARIES),
        "views[0].half_life",
        "stands beside a window; give one of them, or none for the whole history",
    ),
    "session: a window within the gap": (
        count(op="session", measure="depth", gap="40d"),
        "views[0].window",
        "is '30d', not longer than the gap; give a longer window",
    ),
    "session: an unknown measure": (
        count(op="session", measure="depht"),
        "views[0].measure",
        "is \"depht\", not one of length, depth, dwell, index; did you mean 'depth'?",
    ),
    "time_since: an unknown unit": (
        count(op="time_since", unit="weeks"),
        "views[0].unit",
        'is "weeks", not one of seconds, minutes, hours, days; use one of seconds, minutes, hours, days',
    ),
    "decimals: 7": (program({**MEAN, "decimals": 7}), "views[0].decimals", "is 7, out of range; give 0 to 6"),
    "decimals: a fraction": (program({**MEAN, "decimals": 2.5}), "views[0].decimals", "is 2.5, not an integer"),
    "default: of a sum": (
        program({**MEAN, "op": "sum", "default": 1}),
        "views[0].default",
        "is 1, but the sum of nothing is 0; leave it out",
    ),
    "default: NaN as a text": (program({**MEAN, "default": "NaN"}), "views[0].default", 'is "NaN", not a finite deci'),
    "default: too large": (
        program({**MEAN, "default": -1e16}),
        "views[0].default",
        'is "-1E+16", not within ± 1E+15 in at most 40 characters; round it, or use a smaller number',
    ),
    "default: 500 digits": (
        program({**MEAN, "default": "0." + "3" * 500}),
        "views[0].default",
        f'is "0.{"3" * 57}, not within ± 1E+15 in at most 40 characters; round it, or use a smaller number',
    ),
    "default: out of range for a float": (
        json.dumps(program({**MEAN, "default": 7})).replace("7", "1e400").encode(),
        "views[0].default",
        'is "1E+400", not a finite decimal number; write a number such as 0.5',
    ),
    "default: true": (program({**MEAN, "default": True}), "views[0].default", "is true, not a number; give a number"),
    "n: 0": (program({**LAST, "n": 0}), "views[0].n", "is 0, out of range; give 1 to 4096"),
    "n: absurd": (program({**LAST, "n": 4097}), "views[0].n", "is 4097, out of range; give 1 to 4096"),
    "width: absurd": (
        program({"op": "pushed", "name": "p", "width": 2**60}),
        "views[0].width",
        "is an integer of more than 53 bits; use a smaller number",
    ),
    "width: negative": (program({"op": "pushed", "name": "p", "width": -1}), "views[0].width", "is -1, out of range"),
    "weights: for another event": (
        program({**AFFINITY, "weights": {"item_liked": 2}}, vocabularies=VOCABULARIES),
        "views[0].weights.item_liked",
        "is not among the view's events; add it to events",
    ),
    "weights: for an event of two lines": (
        program({**AFFINITY, "weights": {"a\nb": 2}}, vocabularies=VOCABULARIES),
        'views[0].weights."a\\nb"',
        "is not among the view's events",
    ),
    "weights: too large": (
        program({**AFFINITY, "weights": {"item_viewed": -1e9}}, vocabularies=VOCABULARIES),
        "views[0].weights.item_viewed",
        "is -1000000000.0, out of range; give one within ± 1,000,000",
    ),
    "weights: null": (
        program({**AFFINITY, "weights": {"item_viewed": None}}, vocabularies=VOCABULARIES),
        "views[0].weights.item_viewed",
        "is null, not a number",
    ),
    "encoding: unknown": (
        program({"op": "weekday", "name": "w", "encoding": "sine"}),
        "views[0].encoding",
        'is "sine", not one of number, cyclic; use one of number, cyclic',
    ),
    "context: no key": (
        program({**CONTEXT, "key": ""}),
        "views[0].key",
        "is '', not a name of the context; use 1 to 64",
    ),
    "context: steps after an encoded text": (
        program({**CONTEXT, "encode": {"buckets": 9}, "then": [{"step": "log"}]}),
        "views[0].then",
        "follows an encoded text; leave out then, or encode",
    ),
    "context: a default for an encoded text": (
        program({**CONTEXT, "encode": {"buckets": 9}, "default": 3}),
        "views[0].default",
        "is 3, but the code of no text is 0; leave it out",
    ),
    "item: of an event": (program({**ITEM, "of": "properties.x"}), "views[0].of", "is 'properties.x', not of the cata"),
    "item: several numbers": (
        program({**ITEM, "n": 2}),
        "views[0].n",
        "is 2, but a number is one; leave it out, or enco",
    ),
}
OPERANDS: Cases = {
    "value: a text operand": (program({**MEAN, "value": "item_id"}), "views[0].value", f"is 'item_id', {NUMBER}"),
    "value: an unknown namespace": (program({**MEAN, "value": "event.x"}), "views[0].value", f"is 'event.x', {NUMBER}"),
    "value: a bare namespace": (program({**MEAN, "value": "item"}), "views[0].value", f"is 'item', {NUMBER}"),
    "value: no name": (program({**MEAN, "value": "context."}), "views[0].value", f"is 'context.', {NUMBER}"),
    "value: an empty part": (program({**MEAN, "value": "item.a..b"}), "views[0].value", f"is 'item.a..b', {NUMBER}"),
    "value: a name longer than any": (
        program({**MEAN, "value": "properties." + "x" * 65}),
        "views[0].value",
        f"is 'properties.{'x' * 49}', {NUMBER}",
    ),
    "of: an unknown operand": (
        count(op="distinct", of="session"),
        "views[0].of",
        "is 'session', not a text of an event; use item_id, event, local_hour, weekday, properties.NAME, context.NAME",
    ),
    "where: an object": (count(where={"field": "x"}), "views[0].where", "is an object, not a list; give a list"),
    "where: asks for nothing": (
        where(),
        "views[0].where[0]",
        "asks for nothing; give at_least and/or below, or any_of",
    ),
    "where: asks for two kinds": (
        where(at_least=1, any_of=["a"]),
        "views[0].where[0]",
        "asks for a number and for a text; give at_least and/or below, or any_of",
    ),
    "where: bounds the wrong way round": (
        where(at_least=2, below=1),
        "views[0].where[0].below",
        "is 1, not above at_least; give a larger bound, or swap them",
    ),
    "where: bounds with nothing between": (where(at_least="1", below=1), "views[0].where[0].below", "is 1, not above"),
    "where: any of none": (where(any_of=[]), "views[0].where[0].any_of", "is empty, so no event fits; list at least"),
    "where: any of a text": (where(any_of="a"), "views[0].where[0].any_of", 'is "a", not a list'),
    "where: a bound of a text operand": (
        count(where=[{"field": "properties.x", "below": 1}, {"field": "event", "below": 1}]),
        "views[0].where[1].field",
        f"is 'event', {NUMBER}",
    ),
    "where: a bound that is no number": (where(below="much"), "views[0].where[0].below", 'is "much", not a finite dec'),
    "where: no field": (count(where=[{"below": 1}]), "views[0].where[0].field", "is missing; add it"),
    "then: a text": (then("log"), "views[0].then[0]", 'is "log", not an object; give an object'),
    "then: a slip": (
        then({"step": "lgo"}),
        "views[0].then[0].step",
        "is \"lgo\", not a known step; did you mean 'log'?",
    ),
    "then: no step": (then({}), "views[0].then[0].step", "is missing; use one of log, normalize, clip, bucket"),
    "then: a scale of 0": (
        then({"step": "log"}, {"step": "normalize", "offset": 0, "scale": 0}),
        "views[0].then[1].scale",
        "is 0, not a positive number from 1E-15; give the standard deviation, or the range",
    ),
    "then: a scale that is 0 as a float": (
        then({"step": "normalize", "offset": 0, "scale": "1E-400"}),
        "views[0].then[0].scale",
        "is 1E-400, not a positive number from 1E-15",
    ),
    "then: a clip to one value": (
        then({"step": "clip", "low": 1, "high": 1}),
        "views[0].then[0].high",
        "is 1, not above low; give a larger bound, or swap them",
    ),
    "then: boundaries out of order": (
        then({"step": "bucket", "boundaries": [1, 3, 2]}),
        "views[0].then[0].boundaries[2]",
        "is 2, not above 3; sort them, each once",
    ),
    "then: a boundary twice": (
        then({"step": "bucket", "boundaries": [1, 1]}),
        "views[0].then[0].boundaries[1]",
        "is 1, not above 1; sort them, each once",
    ),
    "then: no boundary": (then({"step": "bucket", "boundaries": []}), "views[0].then[0].boundaries", "is empty; give"),
    "then: a bucket before another step": (
        then({"step": "log"}, {"step": "bucket", "boundaries": [1]}, {"step": "log"}),
        "views[0].then[1]",
        "is a bucket before the last step; move it to the end",
    ),
    "encode: by nothing": (
        program({**LAST, "encode": {}}),
        "views[0].encode",
        "has neither a vocabulary nor buckets; give one of them",
    ),
    "encode: by both": (
        program({**LAST, "encode": {"vocabulary": "genres", "buckets": 5}}, vocabularies=VOCABULARIES),
        "views[0].encode",
        "has a vocabulary and buckets; give one of them",
    ),
    "encode: no bucket": (program({**LAST, "encode": {"buckets": 0}}), "views[0].encode.buckets", "is 0, out of range"),
    "encode: too many buckets": (
        program({**LAST, "encode": {"buckets": 2**30}}),
        "views[0].encode.buckets",
        "is 1073741824, out of range; give 1 to 2^30 - 1 buckets",
    ),
    "encode: a negative seed": (
        program({**LAST, "encode": {"buckets": 5, "seed": -1}}),
        "views[0].encode.seed",
        "is -1, out of range; give 0 to 2^32 - 1",
    ),
}
REFERENCES: Cases = {
    "vocabulary: none there": (
        program(AFFINITY),
        "views[0].vocabulary",
        "is 'genres', not a vocabulary; add it to voc",
    ),
    "vocabulary: a slip": (
        program({**AFFINITY, "vocabulary": "genre"}, vocabularies=VOCABULARIES),
        "views[0].vocabulary",
        "is 'genre', not a vocabulary; did you mean 'genres'?",
    ),
    "encode: an unknown vocabulary": (
        program({**LAST, "encode": {"vocabulary": "films"}}, vocabularies=VOCABULARIES),
        "views[0].encode.vocabulary",
        "is 'films', not a vocabulary; use one of genres, directors",
    ),
    "affinity: too wide for a column": (
        program(AFFINITY, vocabularies={"genres": [str(place) for place in range(4097)]}),
        "views[0].vocabulary",
        "has more than 4096 texts; leave the view out of outputs, or use a smaller vocabulary",
    ),
    "ratio: of itself": (
        program(COUNT, {**RATIO, "denominator": "r"}),
        "views[1].denominator",
        "is 'r', which is no view above this one; use one of n",
    ),
    "ratio: of a later view": (
        program(RATIO, COUNT),
        "views[0].numerator",
        "is 'n', which is no view above this one; put a view of one number before this one",
    ),
    "ratio: a slip": (
        program({**COUNT, "name": "views"}, {**RATIO, "numerator": "view", "denominator": "views"}),
        "views[1].numerator",
        "is 'view', which is no view above this one; did you mean 'views'?",
    ),
    "ratio: of many numbers": (
        program(COUNT, AFFINITY, {**RATIO, "numerator": "a"}, vocabularies=VOCABULARIES),
        "views[2].numerator",
        "is 'a', which is not a view of one number; use one of n",
    ),
    "ratio: of a candidate's number": (
        program(COUNT, ITEM, {**RATIO, "denominator": "i"}),
        "views[2].denominator",
        "is 'i', which is not a view of one number; use one of n",
    ),
    "ratio: of ratios of ratios": (
        program(COUNT, *ratios(30)),
        "views[7]",
        "reads 128 views, ratios of ratios taken apart; stay within 64",
    ),
    "item_difference: of a context": (
        program(CONTEXT, {**ITEM, "op": "item_difference", "minus": "c"}),
        "views[1].minus",
        "is 'c', which is not a view of one number; put a view of one number before this one",
    ),
    "item_affinity: of a number": (
        program(COUNT, {**ITEM_AFFINITY, "affinity": "n"}),
        "views[1].affinity",
        "is 'n', which is not an affinity view; put an affinity view before this one",
    ),
    "item_affinity: of what a candidate does not have": (
        program({**AFFINITY, "of": "local_hour"}, ITEM_AFFINITY, vocabularies=VOCABULARIES),
        "views[1].affinity",
        "is 'a', an affinity for 'local_hour', which a candidate does not have; use one whose `of` is item.NAME",
    ),
}
MALFORMED = {**BYTES, **HEADS, **VIEWS, **OPERANDS, **REFERENCES}


MISMATCHES: dict[str, tuple[dict[str, Any], str, str]] = {
    "a missing column": (
        program({**ITEM, "of": "item.price"}),
        "views[0].of",
        "'item.price' is not in the catalogue; use one of item.director, item.genres, item.score, item.title, ",
    ),
    "a missing column, in an operand": (
        program(COUNT, {**MEAN, "name": "m", "value": "item.price"}),
        "views[1].value",
        "'item.price' is not in the catalogue; use one of",
    ),
    "a missing column, in a condition": (
        count(where=[{"field": "properties.x", "below": 1}, {"field": "item.brand", "any_of": ["x"]}]),
        "views[0].where[1].field",
        "'item.brand' is not in the catalogue; use one of",
    ),
    "a missing column, in a view that is no output": (
        program(COUNT, {**ITEM, "of": "item.price"}, outputs=["n"]),
        "views[1].of",
        "'item.price' is not in the catalogue; use one of",
    ),
    "texts as a number": (
        program({**ITEM, "of": "item.genres"}),
        "views[0].of",
        "'item.genres' has ",
    ),
    "a text as a number, in an operand": (
        program({**MEAN, "value": "item.title"}),
        "views[0].value",
        "'item.title' has ",
    ),
    "a text as a number, whose first cell is unknown": (
        count(where=[{"field": "item.director", "at_least": 1}]),
        "views[0].where[0].field",
        "'item.director' has ",
    ),
    "a text as a number, in a difference": (
        program(COUNT, {**ITEM, "op": "item_difference", "of": "item.title", "minus": "n"}),
        "views[1].of",
        "'item.title' has ",
    ),
    "a fraction as a text": (
        program({**ITEM, "of": "item.score", "encode": {"buckets": 9}}),
        "views[0].of",
        "'item.score' has '0.5', not a text; use a column with a text per item",
    ),
}
