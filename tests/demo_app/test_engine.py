"""The app's engine, with the real SDK and a real bundle, and no screen."""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from films_app.engine import FLIGHT_MODE, Engine, Film, FlightModeError, Home, Question, Rail
from nearhand.errors import StorageError
from nearhand.testing import ManualClock
from tests.demo_app.conftest import Device
from tests.sdk.hooked_runtime import HookedRuntime
from tests.sdk.serving_factory import serving_bundle

LOVED = ("Goodfellas", "Heat", "Jurassic Park")


def film(engine: Engine, title: str) -> Film:
    assert engine.catalogue is not None
    return next(one for one in engine.catalogue.films.values() if one.title == title)


def welcomed(device: Device, *titles: str) -> list[Film]:
    films = [film(device.engine, title) for title in titles or LOVED]
    device.run(device.engine.welcome(films, "local"))
    return films


def because(home: Home) -> list[str]:
    return [rail.about.title for rail in home.rails if rail.about is not None]


def rail(home: Home, name: str) -> Rail:
    return next(one for one in home.rails if one.name == name)


def titles(home: Home) -> list[str]:
    shown = [] if home.hero is None else [home.hero.film.title]
    return shown + [pick.film.title for one in home.rails for pick in one.picks]


def test_a_new_user_gets_what_is_popular(device: Device) -> None:
    home = device.run(device.engine.home())
    assert not home.is_personal
    assert because(home) == []
    assert home.hero is not None
    assert home.hero.film == device.engine.catalogue.popular()[0]  # type: ignore[union-attr]


def test_what_is_loved_first_makes_the_lists_personal(device: Device) -> None:
    loved = welcomed(device)
    home = device.run(device.engine.home())
    assert home.is_personal
    assert set(because(home)) < {one.title for one in loved}
    assert not {one.title for one in loved} & set(titles(home))
    assert any(title in home.hero.text for title in LOVED)  # type: ignore[union-attr]


def test_no_film_is_twice_on_the_screen_but_where_a_rail_is_about_another_one(device: Device) -> None:
    welcomed(device)
    home = device.run(device.engine.home())
    others = [pick.film for one in home.rails if one.name != "because" for pick in one.picks]
    assert len(set(others)) == len(others)


def test_a_like_changes_the_next_list_and_its_undo_brings_the_old_one_back(device: Device) -> None:
    welcomed(device)
    engine = device.engine
    before = device.run(engine.home())
    liked = rail(before, "different").picks[0]
    done = device.run(engine.do("like", liked.film, liked.recommendation_id))
    after = device.run(engine.home())
    assert because(after)[0] == liked.film.title
    assert liked.film.title not in titles(after)
    device.run(engine.undo(done))
    assert titles(device.run(engine.home())) == titles(before)


@pytest.mark.parametrize("deed", ["dislike", "dismiss", "watch"])
def test_what_was_answered_is_not_shown_again(device: Device, deed: Any) -> None:
    welcomed(device)
    hero = device.run(device.engine.home()).hero
    assert hero is not None
    done = device.run(device.engine.do(deed, hero.film))
    assert hero.film.title not in titles(device.run(device.engine.home()))
    device.run(device.engine.undo(done))
    assert device.run(device.engine.home()).hero.film == hero.film  # type: ignore[union-attr]


def test_looking_at_a_film_is_no_taste(device: Device) -> None:
    welcomed(device)
    before = device.run(device.engine.home())
    assert before.hero is not None
    device.run(device.engine.opened(before.hero.film, before.hero.recommendation_id))
    assert titles(device.run(device.engine.home())) == titles(before)


def test_a_film_that_was_looked_at_is_one_to_continue_with_until_there_is_an_answer(device: Device) -> None:
    welcomed(device)
    engine = device.engine
    before = device.run(engine.home())
    looked = rail(before, "top").picks[2].film
    device.run(engine.opened(looked, None))
    home = device.run(engine.home())
    assert [pick.film for pick in rail(home, "continue").picks] == [looked]
    assert looked not in [pick.film for pick in rail(home, "top").picks]
    assert home.hero is not None
    assert before.hero is not None
    assert home.hero.film == before.hero.film
    done = device.run(engine.do("watch", looked))
    assert "continue" not in [one.name for one in device.run(engine.home()).rails]
    device.run(engine.undo(done))
    device.run(engine.reset_taste())
    assert "continue" not in [one.name for one in device.run(engine.home()).rails]


def test_the_top_of_the_screen_is_there_before_the_whole(device: Device) -> None:
    welcomed(device)

    async def both() -> list[Home]:
        return [home async for home in device.engine.homes()]

    top, whole = device.run(both())
    assert [one.is_whole for one in (top, whole)] == [False, True]
    assert top.hero == whole.hero
    assert top.rails == whole.rails[: len(top.rails)]
    assert {one.name for one in whole.rails[len(top.rails) :]} == {"different", "new", "trending"}


def test_why_names_the_events_and_their_shares_make_a_whole(device: Device) -> None:
    welcomed(device)
    hero = device.run(device.engine.home()).hero
    assert hero is not None
    why = device.run(device.engine.why(hero.film))
    assert why.text == hero.text
    assert {cause.moment.film.title for cause in why.causes if cause.moment.film} == set(LOVED)
    assert sum(abs(cause.share) for cause in why.causes) == pytest.approx(1)
    assert [cause.share for cause in why.causes] == sorted((cause.share for cause in why.causes), reverse=True)


def test_a_deleted_event_is_in_no_reason_any_more(device: Device) -> None:
    welcomed(device)
    hero = device.run(device.engine.home()).hero
    assert hero is not None
    cause = device.run(device.engine.why(hero.film)).causes[0]
    assert device.run(device.engine.forget([cause.moment.event_id])) == 1
    home = device.run(device.engine.home())
    assert cause.moment.film is not None
    assert cause.moment.film.title not in because(home)
    assert home.hero is not None
    left = device.run(device.engine.why(home.hero.film))
    assert cause.moment not in [one.moment for one in left.causes]
    assert cause.moment.film.title not in left.text


def test_less_like_a_film_can_be_undone(device: Device) -> None:
    welcomed(device)
    before = device.run(device.engine.home())
    assert before.hero is not None
    done = device.run(device.engine.do("less_like", before.hero.film))
    stored = device.run(device.engine.stored())
    assert stored.less_like == (before.hero.film,)
    assert titles(device.run(device.engine.home())) != titles(before)
    device.run(device.engine.undo(done))
    assert titles(device.run(device.engine.home())) == titles(before)


def test_the_activity_is_all_of_it_and_its_taste_that_of_the_likes(device: Device, clock: ManualClock) -> None:
    loved = welcomed(device)
    clock.advance(milliseconds=86_400_000)
    device.run(device.engine.do("like", film(device.engine, "Head-On")))
    activity = device.run(device.engine.activity())
    assert [moment.film.title for moment in activity.moments if moment.film] == ["Head-On", *reversed(LOVED)]
    assert len({moment.day for moment in activity.moments}) == 2
    assert sum(genre.share for genre in activity.taste.genres) == pytest.approx(1)
    assert {genre.genre for genre in activity.taste.genres} == {
        genre for one in (*loved, film(device.engine, "Head-On")) for genre in one.genres
    }
    assert len(activity.taste.days) == 2
    for place in range(2):
        assert sum(genre.by_day[place] for genre in activity.taste.genres) == pytest.approx(1)


def test_after_a_reset_the_history_stays_and_the_taste_is_gone(device: Device) -> None:
    welcomed(device)
    device.run(device.engine.reset_taste())
    activity = device.run(device.engine.activity())
    assert [moment.is_past for moment in activity.moments] == [False, True, True, True]
    assert activity.taste.genres == ()
    assert not device.run(device.engine.home()).is_personal


def test_without_consent_nothing_is_recorded_and_lists_are_everybodys(device: Device) -> None:
    device.run(device.engine.welcome([film(device.engine, "Heat")], "off"))
    done = device.run(device.engine.do("like", film(device.engine, "Goodfellas")))
    assert not done.is_recorded
    assert device.run(device.engine.activity()).moments == ()
    assert not device.run(device.engine.home()).is_personal


def test_without_a_profile_lists_are_everybodys_and_recording_goes_on(device: Device) -> None:
    everybodys = titles(device.run(device.engine.home()))[:5]
    welcomed(device)
    device.run(device.engine.set_personalized(False))
    home = device.run(device.engine.home())
    assert not home.is_personal
    assert set(titles(home)[:5]) & set(everybodys)
    assert device.run(device.engine.do("like", film(device.engine, "Head-On"))).is_recorded


def test_seen_films_are_noted_once_for_each_list(device: Device) -> None:
    welcomed(device)
    home = device.run(device.engine.home())
    device.run(device.engine.seen(home))
    device.run(device.engine.seen(home))
    shown = [one for one in device.run(device.engine.activity()).moments if one.event == "impression"]
    assert len(shown) == 4


def test_an_export_is_noted_and_erasing_leaves_nothing(device: Device, tmp_path: Path) -> None:
    welcomed(device)
    device.run(device.engine.change_settings(look="light", is_in_flight=True))
    exported = device.run(device.engine.export())
    assert len(json.loads(exported.read_text())["events"]) == 3
    assert [entry.why for entry in device.run(device.engine.stored()).audit] == ["export"]
    device.run(device.engine.erase())
    assert not exported.exists()
    assert not device.engine.settings.is_welcomed
    assert not FLIGHT_MODE.is_on
    stored = device.run(device.engine.stored())
    assert (stored.rows, stored.audit, stored.consent) == (0, (), "local")
    loved = [film(device.engine, title).film_id.encode() for title in LOVED]
    for path in (tmp_path / "data" / "profiles").rglob("*"):
        if path.is_file():
            assert not [one for one in loved if one in path.read_bytes()]


def test_a_restart_changes_nothing(device: Device) -> None:
    welcomed(device)
    before = titles(device.run(device.engine.home()))
    device.restart()
    assert device.engine.settings.is_welcomed
    assert titles(device.run(device.engine.home())) == before


def test_a_pause_changes_nothing(device: Device) -> None:
    welcomed(device)
    before = titles(device.run(device.engine.home()))
    device.run(device.engine.pause())
    assert titles(device.run(device.engine.home())) == before
    device.run(device.engine.resume())
    assert titles(device.run(device.engine.home())) == before


def test_every_variant_gives_the_same_films(device: Device) -> None:
    welcomed(device)
    hood = device.run(device.engine.hood())
    assert len(hood.variants) == 4
    heroes = set()
    for variant in hood.variants:
        device.run(device.engine.use_variant(variant.runtime, variant.precision))
        now = device.run(device.engine.hood())
        assert (now.runtime, now.precision) == (variant.runtime, variant.precision)
        heroes.add(device.run(device.engine.home()).hero.film.title)  # type: ignore[union-attr]
    assert len(heroes) == 1


def test_explanations_follow_the_language(device: Device) -> None:
    welcomed(device)
    device.run(device.engine.speak("de"))
    assert device.run(device.engine.home()).hero.text.startswith("Weil du")  # type: ignore[union-attr]


def test_every_list_is_measured(device: Device) -> None:
    welcomed(device)
    device.run(device.engine.home())
    assert len(device.run(device.engine.hood()).durations_ms) == 3  # for you, different, new


def test_a_slow_model_never_holds_the_event_loop(films: Path, tmp_path: Path, clock: ManualClock) -> None:
    hooked, release = HookedRuntime(), threading.Event()

    async def story() -> int:
        engine = Engine(films, tmp_path / "data", clock=clock, runtimes=hooked.runtimes)
        await engine.open("en")
        await engine.welcome([film(engine, title) for title in LOVED], "local")
        hooked.before = lambda model: release.wait(20)
        making = asyncio.create_task(engine.home())
        turns = 0
        while turns < 1000:  # the loop goes round while the model stands still
            await asyncio.sleep(0)
            turns += 1
        assert not making.done()
        release.set()
        await making
        await engine.close()
        return turns

    assert asyncio.run(story()) == 1000


def test_predictions_and_advice_of_a_bundle_that_has_them(tmp_path: Path, clock: ManualClock) -> None:
    made = Device(lambda: Engine(serving_bundle(tmp_path), tmp_path / "data", clock=clock))
    engine = made.engine
    made.run(engine.open("en"))
    try:
        hood = made.run(engine.hood())
        assert hood.ranker == "order"
        assert [forecast.name for forecast in hood.forecasts] == ["churn"]
        assert 0 <= hood.forecasts[0].value <= 1
        assert hood.policies == ("retention",)
        assert made.run(engine.advice("retention")).text
    finally:
        made.run(engine.close())


async def reach() -> None:
    await asyncio.open_connection("192.0.2.1", 443)


def test_flight_mode_refuses_the_network_and_lists_go_on(device: Device) -> None:
    welcomed(device)
    refused = FLIGHT_MODE.refused
    device.run(device.engine.change_settings(is_in_flight=True))
    with pytest.raises(FlightModeError):
        socket.create_connection(("192.0.2.1", 443), timeout=1)
    with pytest.raises(FlightModeError):
        socket.getaddrinfo("films.invalid", 443)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, pytest.raises(FlightModeError):
        datagrams.sendto(b"", ("192.0.2.1", 53))
    with pytest.raises(FlightModeError):
        asyncio.run(reach())
    assert FLIGHT_MODE.refused == refused + 4
    assert device.run(device.engine.home()).is_personal
    device.restart()
    assert FLIGHT_MODE.is_on


def test_flight_mode_leaves_the_own_machine_in_reach() -> None:
    FLIGHT_MODE.switch(True)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname(), 5):
        pass


def test_a_damaged_profile_is_said_and_can_be_given_up(device: Device, films: Path, tmp_path: Path) -> None:
    device.run(device.engine.close())
    data = tmp_path / "data"
    with closing(sqlite3.connect(data / "profiles" / "default" / "events.db")) as database:
        database.execute("PRAGMA user_version = 9999")  # as if by a much newer app
    device.engine = Engine(films, data)
    with pytest.raises(StorageError):
        device.run(device.engine.open("en"))
    device.run(device.engine.start_over())
    assert len(device.run(device.engine.open("en"))) > 400


def test_search_finds_titles_words_and_accents(device: Device) -> None:
    catalogue = device.engine.catalogue
    assert catalogue is not None
    assert catalogue.search(Question("goodf"))[0].title == "Goodfellas"
    assert all(one.genres for one in catalogue.search(Question("", genre="Horror")))
    nineties = catalogue.search(Question("", decade=1990, sort="oldest"))
    assert {one.decade for one in nineties} == {1990}
    assert [one.year for one in nineties] == sorted(one.year for one in nineties)
    accented = next(one for one in catalogue.films.values() if "é" in one.title)
    assert accented in catalogue.search(Question(accented.title.replace("é", "e").lower()))
    assert catalogue.search(Question("no film is called so")) == []
