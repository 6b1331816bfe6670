"""Choices that are refused when they are made, and identifiers."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearhand import Config, UsageError
from nearhand.ids import is_id, random_id


def test_the_defaults_suit_a_phone() -> None:
    assert Config() == Config(
        runtime=None, precision=None, durability="power", profile="default", log_bytes=16_000_000, log_days=400
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("runtime", "torch"),
        ("runtime", ""),
        ("runtime", "ONNX"),
        ("precision", "int4"),
        ("precision", 8),
        ("durability", None),
        ("durability", "none"),
    ],
)
def test_a_choice_that_is_none_names_its_field_and_the_choices(field: str, value: Any) -> None:
    with pytest.raises(UsageError) as caught:
        Config(**{field: value})
    assert caught.value.place == f"Config.{field}"
    assert repr(value) in caught.value.problem
    assert caught.value.remedy.startswith("use one of ")


@pytest.mark.parametrize("profile", ["a", "kid-1", "kid_2", "0", "a" * 64, "-a", "_1_"])
def test_a_profile_is_a_plain_name(profile: str) -> None:
    assert Config(profile=profile).profile == profile


@pytest.mark.parametrize(
    "profile",
    [
        "",
        "Anna",
        "-",
        "__",
        ".",
        "..",
        "a/b",
        "a\\b",
        "../a",
        "/a",
        "a b",
        "a\n",
        "a\x00",
        "é",
        "٣",
        "a.b",
        "a:b",
        "a" * 65,
    ],
)
def test_a_profile_that_could_be_another_path_is_refused(profile: str) -> None:
    with pytest.raises(UsageError, match=r"Config\.profile"):
        Config(profile=profile)


@pytest.mark.parametrize(
    ("cap", "lowest", "highest"), [("log_bytes", 100_000, 1_000_000_000_000), ("log_days", 1, 36_500)]
)
def test_a_cap_of_the_log_is_a_number_in_reason(cap: str, lowest: int, highest: int) -> None:
    for number in (lowest, highest):
        assert getattr(Config(**{cap: number}), cap) == number  # type: ignore[arg-type]
    for wrong in (lowest - 1, highest + 1, 0, -1, float(lowest), str(lowest), None, True):
        with pytest.raises(UsageError) as caught:
            Config(**{cap: wrong})  # type: ignore[arg-type]
        assert caught.value.place == f"Config.{cap}"
        assert caught.value.remedy == f"use an integer from {lowest:,} to {highest:,}"


@given(st.text(max_size=80))
def test_no_text_becomes_a_profile_with_a_separator(profile: str) -> None:
    try:
        Config(profile=profile)
    except UsageError:
        return
    assert 1 <= len(profile) <= 64
    assert set(profile) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_")


def test_a_config_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Config().profile = "other"  # type: ignore[misc]


def test_random_ids_are_ids_and_differ() -> None:
    made = {random_id() for _ in range(1000)}
    assert len(made) == 1000
    assert all(map(is_id, made))


@pytest.mark.parametrize("text", ["", "a" * 31, "a" * 33, "A" * 32, "g" * 32, "a" * 31 + "\n", "٣" * 32, "-" * 32])
def test_other_text_is_not_an_id(text: str) -> None:
    assert not is_id(text)
