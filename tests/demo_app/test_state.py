"""What the screens show, without a screen: stores over the real engine, followed as a screen would."""

from __future__ import annotations

import asyncio
import re
import string
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import films_app
from films_app.engine import Engine, Film, Home, Pick, Rail, Settings
from films_app.engine.settings import SettingsFile
from films_app.i18n import NAMES, TABLES, Texts, language_of
from films_app.state import FilmPage, ForYou, Place, Search, Session, Sight, Welcome, YourActivity, YourPrivacy
from films_app.state import for_you as for_you_module
from films_app.state import session as session_module
from films_app.state.for_you import Pull, in_sight_first, slots
from nearhand.testing import ManualClock
from tests.demo_app.conftest import START


def play(films: Path, folder: Path, story: Callable[[Session], Awaitable[None]]) -> None:
    """Run a story in one window."""

    async def whole() -> None:
        engine = Engine(films, folder, clock=ManualClock(now_ms=START))
        session = Session(engine, "en")
        await session.boot()
        await story(session)
        await engine.close()

    asyncio.run(whole())


async def ready(session: Session) -> ForYou:
    for_you, welcome = ForYou(session), Welcome(session)
    for film in session.catalogue.popular()[:3]:
        welcome.toggle(film)
    await welcome.finish("local")
    return for_you


def test_the_first_steps_lead_to_a_personal_list(films: Path, tmp_path: Path) -> None:
    async def story(session: Session) -> None:
        phases = [session.phase]
        for_you = await ready(session)
        assert [*phases, session.phase] == ["welcome", "ready"]
        assert for_you.home is not None
        assert for_you.home.is_personal

    play(films, tmp_path, story)


def test_a_reaction_is_said_can_be_undone_and_is_followed(films: Path, tmp_path: Path) -> None:
    async def story(session: Session) -> None:
        for_you = await ready(session)
        changes: list[object] = []
        leave = for_you.follow(lambda: changes.append(for_you.home))
        assert for_you.home is not None
        assert for_you.home.hero is not None
        before = for_you.home.hero.film
        await session.react("dismiss", for_you.home.hero)
        assert for_you.home.hero.film != before
        assert changes
        assert session.notice is not None
        assert before.title in session.notice.text
        assert session.notice.undo is not None
        await session.notice.undo()
        assert session.notice is None
        assert for_you.home.hero.film == before
        leave()
        heard = len(changes)
        await for_you.refresh()
        assert len(changes) == heard

    play(films, tmp_path, story)


def a_home(hero: str, **rails: str) -> Home:
    """One film for each letter."""

    def pick(letter: str) -> Pick:
        return Pick(Film(letter, letter, 1990, (), "", 1))

    made = tuple(Rail(name, tuple(map(pick, films))) for name, films in rails.items())  # type: ignore[arg-type]
    return Home(pick(hero), made, True, 1.0)


def letters(home: Home) -> dict[str, str]:
    return {slot: "".join(pick.film.film_id for pick in rail.picks) for slot, rail in slots(home)}


def test_what_is_in_sight_comes_first_and_nothing_else_moves() -> None:
    old = a_home("a", top="bcdefg", different="hijklm", new="nopqrs")
    new = a_home("b", top="cdefgt", different="ijklmu", new="vwxyzo")
    shown = in_sight_first(new, old, Sight(first=0, last=1, films=3))
    assert shown.hero == new.hero
    # The first three are the new ones; what follows stood there before, but no film is there twice.
    assert letters(shown) == {"top-0": "cdefgt", "different-0": "ijklmu", "new-0": "nopqrs"}
    shown = in_sight_first(new, old, Sight(first=2, last=2, films=2), {"new-0": 2})
    assert letters(shown) == {"top-0": "bcdefg", "different-0": "hijklm", "new-0": "noxyzs"}


def test_at_first_only_what_is_in_sight_is_there_and_a_new_rail_is_there_at_once() -> None:
    new = a_home("a", top="bcdef", new="ghijk")
    assert letters(in_sight_first(new, None, Sight(0, 0, 2))) == {"top-0": "bc"}
    old = a_home("a", top="bcdef")
    assert letters(in_sight_first(new, old, Sight(0, 0, 2))) == {"top-0": "bcdef", "new-0": "ghijk"}


def test_the_rest_follows_by_itself_and_what_was_in_sight_is_noted(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(for_you_module, "REST_SECONDS", 0)
    monkeypatch.setattr(for_you_module, "STEP_SECONDS", 0)

    async def story(session: Session) -> None:
        for_you = await ready(session)
        await for_you.settled()
        assert for_you.home is not None
        assert for_you.home.hero is not None
        await session.react("like", for_you.home.hero)
        assert for_you.shown is not None
        assert for_you.shown.hero == for_you.home.hero
        assert for_you.shown != for_you.home
        await for_you.settled()
        assert for_you.shown == for_you.home
        moments = (await session.engine.activity()).moments
        assert len([one for one in moments if one.event == "impression"]) == 8  # four of each list

    play(films, tmp_path, story)


def test_back_from_a_film_it_is_one_to_continue_with(films: Path, tmp_path: Path) -> None:
    async def story(session: Session) -> None:
        for_you = await ready(session)
        assert for_you.home is not None
        film = for_you.home.rails[0].picks[0].film
        session.go(f"/film/{film.film_id}")
        await session.engine.opened(film, None)
        session.go("/")
        assert for_you._returning is not None
        await for_you._returning
        assert [pick.film for rail in for_you.home.rails if rail.name == "continue" for pick in rail.picks] == [film]

    play(films, tmp_path, story)


def test_what_is_made_later_does_not_take_away_what_stands_there() -> None:
    old = a_home("a", top="bcd", new="efg")
    shown = in_sight_first(replace(a_home("b", top="cda"), is_whole=False), old, Sight(0, 1, 3))
    assert letters(shown) == {"top-0": "cda", "new-0": "efg"}


def test_pulled_far_enough_the_lists_are_made_anew() -> None:
    pull, shares = Pull(), list[float]()
    pull.follow(lambda: shares.append(pull.share))
    pull.by(48.0)
    assert not pull.let_go()
    pull.by(60.0)
    pull.by(60.0)
    assert pull.let_go()
    pull.to(100.0)  # where lists bounce, the way is told from its beginning
    assert pull.let_go()
    assert shares == [0.5, 0.0, 0.625, 1.0, 0.0, 1.0, 0.0]


def test_a_notice_goes_by_itself(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "NOTICE_SECONDS", 0)

    async def story(session: Session) -> None:
        session.say("gone soon")
        while session.notice is not None:
            await asyncio.sleep(0)

    play(films, tmp_path, story)


def test_a_full_disk_is_said_and_the_app_goes_on(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(session: Session) -> None:
        for_you = await ready(session)
        assert for_you.home is not None
        assert for_you.home.hero is not None

        async def full(*_: Any) -> Any:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(session.engine, "do", full)
        await session.react("like", for_you.home.hero)
        assert session.notice is not None
        assert "No space left on device" in session.notice.text
        assert session.phase == "ready"

    play(films, tmp_path, story)


def test_a_list_that_fails_says_so_and_can_be_tried_again(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(session: Session) -> None:
        for_you = await ready(session)

        async def broken() -> Any:
            raise OSError("the disk is gone")
            yield

        with monkeypatch.context() as patched:
            patched.setattr(session.engine, "homes", broken)
            await for_you.refresh()
        assert for_you.problem == "the disk is gone"
        await for_you.refresh()
        assert for_you.problem == ""

    play(films, tmp_path, story)


def test_a_bundle_that_is_missing_is_said(tmp_path: Path) -> None:
    async def story() -> None:
        session = Session(Engine(tmp_path / "none.nearhand", tmp_path), "en")
        await session.boot()
        assert session.phase == "broken"
        assert "none.nearhand" in session.problem

    asyncio.run(story())


def test_why_loses_the_event_that_was_removed(films: Path, tmp_path: Path) -> None:
    async def story(session: Session) -> None:
        for_you = await ready(session)
        assert for_you.home is not None
        assert for_you.home.hero is not None
        page = FilmPage(session, for_you.home.hero.film)
        await page.load()
        await page.open_why()
        assert page.why is not None
        cause = page.why.causes[0]
        await page.forget(cause)
        assert cause.moment not in [one.moment for one in page.why.causes]

    play(films, tmp_path, story)


def test_chosen_events_are_deleted_together(films: Path, tmp_path: Path) -> None:
    async def story(session: Session) -> None:
        for_you, activity = await ready(session), YourActivity(session)
        await activity.load()
        assert activity.activity is not None
        likes = [one for one in activity.activity.moments if one.event == "item_liked"]
        activity.choose(True)
        activity.toggle((likes[0].event_id,))
        activity.toggle((likes[1].event_id,))
        activity.toggle((likes[1].event_id,))
        activity.toggle((likes[2].event_id,))
        await activity.delete(tuple(activity.chosen))
        left = [one.event_id for one in activity.activity.moments if one.event == "item_liked"]
        assert left == [likes[1].event_id]
        assert for_you.home is not None
        assert [rail.about for rail in for_you.home.rails if rail.about] == [likes[1].film]

    play(films, tmp_path, story)


def test_erasing_leads_to_the_first_step(films: Path, tmp_path: Path) -> None:
    async def story(session: Session) -> None:
        await ready(session)
        privacy = YourPrivacy(session)
        session.go("/privacy")
        await privacy.erase()
        assert session.phase == "welcome"
        assert session.place == Place()

    play(films, tmp_path, story)


def test_what_one_window_does_the_others_show(films: Path, tmp_path: Path) -> None:
    async def story(session: Session) -> None:
        other = Session(session.engine, "en")
        others_for_you = ForYou(other)
        await other.boot()
        told: list[object] = []
        leave = session.engine.follow(told.append)
        for_you = await ready(session)
        assert told == [session]
        await other.follow_others()
        phases = [other.phase]
        assert for_you.home is not None
        assert others_for_you.home is not None
        assert for_you.home.hero is not None
        assert others_for_you.home.hero is not None
        assert others_for_you.home.hero.film == for_you.home.hero.film
        leave()
        await YourPrivacy(session).erase()
        await other.follow_others()
        assert [*phases, other.phase] == ["ready", "welcome"]
        assert told == [session]

    play(films, tmp_path, story)


def test_the_device_decides_the_language_until_the_user_does(films: Path, tmp_path: Path) -> None:
    async def story(session: Session) -> None:
        await session.hear_language("fr")
        assert session.language == "fr"
        await session.set_language("hi")
        await session.hear_language("de")
        assert session.language == "hi"

    play(films, tmp_path, story)


def test_what_was_searched_for_is_noted_once_nothing_more_is_typed(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(session: Session) -> None:
        await ready(session)
        search = Search(session)
        for typed in ("h", "he", "heat"):
            search.look_for(typed)
        assert search.films[0].title == "Heat"
        monkeypatch.setattr("films_app.state.screens.SEARCH_PAUSE_SECONDS", 0)
        search.look_for("heat ")
        assert search._noting is not None
        await search._noting
        moments = (await session.engine.activity()).moments
        assert [one.detail for one in moments if one.event == "search"] == ["heat"]

    play(films, tmp_path, story)


def test_places_and_addresses() -> None:
    place = Place().go("/search").go("/film/a").go("/film/b")
    assert place == Place("search", ("a", "b"))
    assert place.route == "/film/b"
    assert place.go("/film/a") == Place("search", ("a",))
    assert place.go("/privacy") == Place("privacy")
    assert Place().go("/nowhere") == Place("home")


def test_settings_survive_and_damage_gives_the_usual(tmp_path: Path) -> None:
    file = SettingsFile(tmp_path / "settings.json")
    file.change(look="light", language="hi")
    assert SettingsFile(tmp_path / "settings.json").current == Settings(look="light", language="hi")
    for damage in ("", "[]", '{"look": "purple", "is_welcomed": "yes", "other": 1}'):
        (tmp_path / "settings.json").write_text(damage)
        assert SettingsFile(tmp_path / "settings.json").current == Settings()


@pytest.mark.parametrize("language", sorted(TABLES))
def test_every_language_has_every_text_with_the_same_fields(language: str) -> None:
    def fields(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    english, own = TABLES["en"], TABLES[language]
    assert set(own) == set(english)
    assert {key for key in english if fields(english[key]) != fields(own[key])} == set()
    assert language in NAMES
    if language != "en":
        same = [key for key in english if own[key] == english[key] and not key.startswith("genre.")]
        assert len(same) < 20, same


def test_every_text_that_the_app_asks_for_is_there_and_every_text_is_asked_for() -> None:
    folder = Path(next(iter(films_app.__path__)))
    source = "".join(path.read_text() for path in folder.rglob("*.py") if path.parent.name != "i18n")
    asked = set(re.findall(r"""texts\(\s*["']([a-z_.]+)["']""", source))
    assert asked <= set(TABLES["en"])
    made: tuple[str, ...] = (
        "act.",
        "consent.",
        "deed.",
        "done.",
        "event.",
        "genre.",
        "privacy.file.",
        "privacy.look.",
        "rail.",
    )
    made += ("search.sort.", "tab.")
    made += ("audit.", "cloud.server.", "cloud.why.", "source.", "sync.drop.")
    unasked = {key for key in TABLES["en"] if f'"{key}"' not in source and f"'{key}'" not in source}
    assert {key for key in unasked if not key.startswith(made)} == set()


def test_languages_numbers_and_sizes() -> None:
    assert [language_of(locale) for locale in ("de-AT", "pt-BR", "hi", "")] == ["de", "en", "hi", "en"]
    assert Texts("de").number(1234.5, 1) == "1.234,5"
    assert Texts("en").size(45_056) == "45 kB"
    assert Texts("fr").percent(0.354) == "35\u00a0%"
