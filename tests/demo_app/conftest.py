"""The films app on the built-in sample: its engine alone, and the whole of it in a real browser."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

from films_app.engine import FLIGHT_MODE, Engine
from nearhand.testing import ManualClock

if TYPE_CHECKING:
    from playwright.sync_api import Browser

T = TypeVar("T")
START = 1_760_000_000_000
"""When the tests' devices begin, ms."""


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A films bundle of real films and simulated users: retrieval only, in all four variants."""
    from model_zoo.datasets.sample import sample_dataset
    from model_zoo.films_als.train import train
    from nearhand_converters.data import read_dataset
    from nearhand_converters.pipeline import convert
    from nearhand_converters.recipe import read_recipe
    from nearhand_converters.sources.factors import read_factors

    folder = tmp_path_factory.mktemp("films")
    train(sample_dataset(300), folder)
    out = folder / "films.nearhand"
    convert(
        read_factors(folder / "model.npz"),
        read_dataset(folder),
        read_recipe(folder / "recipe.toml"),
        out,
        targets=["onnx", "tflite"],
        precisions=["fp32", "int8"],
    )
    return out


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Real Chromium, without a window."""
    pytest.importorskip("flet_web", reason="the app's toolkit is not installed")
    pytest.importorskip("playwright", reason="Playwright is not installed")
    from tests.demo_app.phone import CHROMIUM, browser

    if not CHROMIUM.exists():
        missing = f"{CHROMIUM} is not there: apt-get install chromium"
        if os.environ.get("NEARHAND_REQUIRE_BROWSER") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    with browser() as started:
        yield started


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(now_ms=START)


class Device:
    """An engine that tests drive step by step, without an event loop of their own."""

    def __init__(self, make: Callable[[], Engine]) -> None:
        self._make = make
        self.engine = make()

    def run(self, work: Awaitable[T]) -> T:
        async def wait() -> T:
            return await work

        return asyncio.run(wait())

    def restart(self) -> None:
        """Close the app, and open it again."""
        self.run(self.engine.close())
        self.engine = self._make()
        self.run(self.engine.open("en"))


@pytest.fixture
def device(films: Path, tmp_path: Path, clock: ManualClock) -> Iterator[Device]:
    """The app's engine with a new profile, open."""
    made = Device(lambda: Engine(films, tmp_path / "data", clock=clock))
    made.run(made.engine.open("en"))
    yield made
    made.run(made.engine.close())


@pytest.fixture(autouse=True)
def _flight_mode_is_off() -> Iterator[None]:
    """It is one switch for the process, and other tests need the loopback and more."""
    yield
    FLIGHT_MODE.switch(False)
