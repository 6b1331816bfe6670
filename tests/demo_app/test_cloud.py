"""What lies beyond the device: a real endpoint and a real server of lists, each in a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

pytest.importorskip("nearhand_cloud", reason="the endpoint is not installed")

from films_app.engine import FLIGHT_MODE, Addresses, Engine, Source
from films_app.engine.settings import SettingsFile
from films_app.i18n import TABLES
from films_app.state import Cloud, ForYou, Session, YourPrivacy, consents
from nearhand import Event, UsageError
from nearhand.hybrid.breaker import BreakerState
from nearhand.hybrid.router import Reason
from nearhand.testing import ManualClock
from tests.cloud.endpoint import Endpoint, running_endpoint
from tests.cloud.heavy_server import running_heavy
from tests.demo_app.conftest import START

Story = Callable[[Session, Cloud], Awaitable[None]]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with running_endpoint(tmp_path_factory.mktemp("endpoint")) as running:
        yield running


class Own:
    """What a test's own device has stored at an endpoint that others have used before."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.url = endpoint.url
        self.write_key = endpoint.write_key
        self._endpoint = endpoint
        self._before = len(endpoint.stored())

    def stored(self) -> list[dict[str, Any]]:
        return self._endpoint.stored()[self._before :]


@pytest.fixture
def endpoint(shared: Endpoint) -> Own:
    return Own(shared)


def play(
    films: Path, folder: Path, addresses: Addresses | None, story: Story, clock: ManualClock | None = None
) -> None:
    """Run a story in one window of the app, from its first steps on: three films, and a consent that keeps all here."""

    async def whole() -> None:
        engine = Engine(films, folder, addresses=addresses, clock=clock)
        session = Session(engine, "en")
        await session.boot()
        await engine.welcome(session.catalogue.popular()[:3], "local")
        await story(session, Cloud(session))
        await engine.close()

    asyncio.run(whole())


def addresses_of(endpoint: Own) -> Addresses:
    return Addresses(endpoint.url, endpoint.write_key)


async def like(session: Session, *places: int) -> list[str]:
    """Like films by their popularity; their ids."""
    films = [session.catalogue.popular()[place] for place in places]
    for film in films:
        await session.engine.do("like", film)
    return [film.film_id for film in films]


def test_what_is_done_after_consent_is_sent_and_what_was_done_before_is_not(
    films: Path, tmp_path: Path, endpoint: Own
) -> None:
    async def story(session: Session, cloud: Cloud) -> None:
        await session.engine.set_consent("sync")
        liked = await like(session, 5, 6)
        await cloud.load()
        assert cloud.waiting == 2
        await cloud.send()
        assert (cloud.total, cloud.sent, cloud.waiting) == (2, 2, 0)
        assert cloud.report is not None
        assert cloud.report.is_complete
        assert [(one["event"], one["item_id"]) for one in endpoint.stored()] == [("item_liked", id_) for id_ in liked]

        await session.engine.set_consent("local")
        await like(session, 7)
        await cloud.send()
        assert len(endpoint.stored()) == 2

        privacy = YourPrivacy(session)
        await privacy.load()
        assert privacy.stored is not None
        [entry] = [one for one in privacy.stored.audit if one.what == "events"]
        assert (entry.count, entry.to, entry.why) == (2, endpoint.url, "sync")
        assert entry.bytes > 100

    play(films, tmp_path / "data", addresses_of(endpoint), story)


def test_what_is_deleted_or_erased_goes_from_the_endpoint_by_itself(films: Path, tmp_path: Path, endpoint: Own) -> None:
    async def story(session: Session, cloud: Cloud) -> None:
        engine = session.engine
        await engine.set_consent("sync")
        liked = await like(session, 5, 6)
        await cloud.send()
        moments = (await engine.activity()).moments
        first = next(one for one in moments if one.film is not None and one.film.film_id == liked[0])
        await engine.forget([first.event_id])
        await engine.sending.wait()
        assert [one["item_id"] for one in endpoint.stored()] == liked[1:]
        await engine.erase()
        await engine.sending.wait()
        assert endpoint.stored() == []
        assert [one.what for one in (await engine.stored()).audit] == ["request to erase"]

    play(films, tmp_path / "data", addresses_of(endpoint), story)


def test_an_erasure_that_could_not_be_sent_is_sent_when_the_app_is_opened_again(films: Path, tmp_path: Path) -> None:
    with running_endpoint(tmp_path) as endpoint:
        _erased_offline(films, tmp_path, endpoint)


def _erased_offline(films: Path, tmp_path: Path, endpoint: Endpoint) -> None:
    SettingsFile(tmp_path / "data" / "settings.json").change(endpoint=endpoint.url, write_key=endpoint.write_key)

    async def first(session: Session, cloud: Cloud) -> None:
        await session.engine.set_consent("sync")
        await like(session, 5)
        await cloud.send()
        endpoint.kill()
        await session.engine.erase()  # which keeps the addresses: they are not the user's
        await cloud.load()
        assert cloud.is_sending
        await session.engine.sending.wait()
        await cloud.load()
        assert cloud.waiting == 1
        assert cloud.report is not None
        assert cloud.report.errors

    async def second(session: Session, cloud: Cloud) -> None:
        await session.engine.sending.wait()
        await cloud.load()
        assert cloud.waiting == 0

    play(films, tmp_path / "data", None, first)
    assert len(endpoint.stored()) == 1
    endpoint.restart()
    play(films, tmp_path / "data", None, second)
    assert endpoint.stored() == []


def test_the_way_of_a_long_sync_is_told_and_it_can_be_stopped(films: Path, tmp_path: Path, endpoint: Own) -> None:
    async def story(session: Session, cloud: Cloud) -> None:
        engine = session.engine
        await engine.set_consent("sync")
        film = session.catalogue.popular()[0].film_id
        engine._open_profile.record_many([Event("item_viewed", item_id=film)] * 1200)
        await cloud.load()
        told = list[tuple[bool, int]]()

        def note() -> None:
            told.append((cloud.is_sending, cloud.sent))
            if cloud.sent:
                cloud.stop()

        leave = cloud.follow(note)
        await cloud.send()
        leave()
        # After the first batch the SDK waits, so that not all devices come at once.
        assert (True, 500) in told
        assert (cloud.total, cloud.waiting, cloud.is_sending) == (1200, 700, False)
        assert len(endpoint.stored()) == 500
        await cloud.send()
        assert len(endpoint.stored()) == 1200

    play(films, tmp_path / "data", addresses_of(endpoint), story)


def test_two_windows_share_one_sync(films: Path, tmp_path: Path, endpoint: Own) -> None:
    async def story(session: Session, cloud: Cloud) -> None:
        await session.engine.set_consent("sync")
        await like(session, 5)
        other = Cloud(session)
        await asyncio.gather(cloud.send(), other.send())
        assert cloud.report is other.report
        assert cloud.report is not None
        assert (cloud.report.events_sent, cloud.report.errors) == (1, ())

    play(films, tmp_path / "data", addresses_of(endpoint), story)


def test_flight_mode_refuses_what_is_connected_already_and_nothing_is_noted_as_having_left(
    films: Path, tmp_path: Path, endpoint: Own
) -> None:
    async def story(session: Session, cloud: Cloud) -> None:
        engine = session.engine
        await engine.set_consent("sync")
        await like(session, 5)
        await cloud.send()  # and the connection is kept
        before = (await engine.stored()).audit
        await engine.change_settings(is_in_flight=True)
        refused = FLIGHT_MODE.refused
        await like(session, 6)
        await engine.send_what_waits()
        assert not cloud.is_sending  # nobody asked for it
        await cloud.send()
        assert FLIGHT_MODE.refused == refused + 1
        assert cloud.report is not None
        assert "flight mode is on" in cloud.report.errors[0]
        assert cloud.waiting == 1
        assert (await engine.stored()).audit == before
        assert len(endpoint.stored()) == 1
        await engine.change_settings(is_in_flight=False)
        await cloud.send()
        assert len(endpoint.stored()) == 2

    play(films, tmp_path / "data", addresses_of(endpoint), story)


def test_flight_mode_stops_a_sync_that_is_running(films: Path, tmp_path: Path, endpoint: Own) -> None:
    async def story(session: Session, cloud: Cloud) -> None:
        engine = session.engine
        await engine.set_consent("sync")
        film = session.catalogue.popular()[0].film_id
        engine._open_profile.record_many([Event("item_viewed", item_id=film)] * 1200)

        begun = asyncio.Event()
        leave = cloud.follow(lambda: begun.set() if cloud.sent else None)
        sending = asyncio.ensure_future(cloud.send())
        await begun.wait()
        await engine.change_settings(is_in_flight=True)
        await sending
        leave()
        assert cloud.waiting == 700
        assert len(endpoint.stored()) == 500

    play(films, tmp_path / "data", addresses_of(endpoint), story)


def test_without_addresses_there_is_nothing_beyond(films: Path, tmp_path: Path) -> None:
    async def story(session: Session, cloud: Cloud) -> None:
        await session.engine.set_consent("sync")
        await like(session, 5)
        await session.engine.send_what_waits()
        await cloud.load()
        assert cloud.beyond is not None
        assert (cloud.beyond.outbox, cloud.beyond.can_rank, cloud.beyond.cloud) == (None, False, None)
        assert (cloud.waiting, cloud.is_sending) == (0, False)
        assert session.engine.addresses.hosts == ""

    play(films, tmp_path, None, story)
    assert Addresses.named({}) is None
    assert consents("") == ("local", "off")


def test_addresses_are_checked_and_named() -> None:
    with pytest.raises(UsageError, match="sends in the clear"):
        Addresses.named({"FILMS_ENDPOINT": "http://films.example", "FILMS_WRITE_KEY": "key"})
    with pytest.raises(UsageError, match="write_key"):
        Addresses.named({"FILMS_ENDPOINT": "https://films.example"})
    with pytest.raises(UsageError, match="films\\.example"):
        Addresses.named({"FILMS_HEAVY": "films.example"})
    found = Addresses.named({"FILMS_HEAVY": "https://films.example", "FILMS_HEAVY_MODEL": "large", "OTHER": "1"})
    assert found == Addresses(heavy="https://films.example", heavy_model="large")
    config = found.hybrid_config()
    assert config is not None
    assert (config.endpoint, config.model) == ("https://films.example", "large")
    assert found.hosts == "films.example"
    assert "key" not in repr(Addresses("https://films.example", "key"))
    both = Addresses("https://a.example", "key", "http://127.0.0.1:9000")
    assert both.hosts == "a.example, 127.0.0.1:9000"
    assert both.ports == {443, 9000}
    assert consents(both.hosts) == ("local", "sync", "off")


def test_lists_come_from_the_cloud_until_its_server_stops(films: Path, tmp_path: Path) -> None:
    clock = ManualClock(now_ms=START)  # so that the server is never found slow, which here it may be

    async def story(session: Session, cloud: Cloud) -> None:
        engine, for_you = session.engine, ForYou(session)

        async def made() -> tuple[Source | None, str]:
            """Where the first list comes from now, and why."""
            clock.advance(2_000)  # after a failure the server is tried again
            await for_you.refresh()
            await cloud.load()
            assert for_you.home is not None
            assert for_you.home.hero is not None
            assert cloud.beyond is not None
            source = for_you.source(for_you.home.hero)
            if cloud.beyond.cloud is None:
                return source, ""
            first = next(decision for decision in cloud.beyond.cloud.last if decision.at == clock.now_ms())
            return source, first.reason if first.outcome == "local" else first.outcome

        async def until_cloud() -> bool:
            """A machine that has much to do may be late some times."""
            for _ in range(30):
                if (await made())[0] == "cloud":
                    return True
            return False

        assert await made() == (None, "")  # it is not switched on
        await cloud.ask(True)
        assert await made() == ("device", "consent")
        await engine.set_consent("sync")
        assert await made() == ("device", "no_history")  # of what was done before consent nothing is asked
        await like(session, 5, 6)
        assert await until_cloud()
        assert for_you.home is not None
        assert {rail.name for rail in for_you.home.rails if for_you.source(*rail.picks) == "device"} >= {"because"}
        assert "history and candidates" in [entry.what for entry in (await engine.stored()).audit]

        await engine.change_settings(is_in_flight=True)
        assert await made() == ("device", "offline")
        await engine.change_settings(is_in_flight=False)
        assert await until_cloud()

        heavy.process.kill()
        heavy.process.wait()
        assert await made() == ("device", "network")
        assert cloud.beyond is not None
        assert cloud.beyond.cloud is not None
        assert cloud.beyond.cloud.breaker == "open"  # so the lists after it do not even try
        await cloud.ask(False)
        assert await made() == (None, "")

    with running_heavy(films, tmp_path) as heavy:
        play(films, tmp_path / "data", Addresses(heavy=heavy.url), story, clock)


@pytest.mark.parametrize("language", sorted(TABLES))
def test_all_that_the_sdk_may_say_has_words(language: str) -> None:
    known = TABLES[language]
    reasons = set(get_args(Reason)) - {"metered", "unknown_network", "battery", "too_many", "confident"}  # never asked
    assert {f"cloud.why.{reason}" for reason in reasons} <= known.keys()
    assert {f"cloud.server.{state}" for state in get_args(BreakerState)} <= known.keys()
