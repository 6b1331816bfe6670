"""The app's only door to Nearhand: one profile, one worker thread, and nothing that waits for a network."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from films_app.engine.catalogue import Catalogue, Film
from films_app.engine.cloud import Addresses, Beyond, Sending, Source, surroundings
from films_app.engine.facts import Activity, Advice, Cause, Deed, Done, Home, Hood, Moment, Stored, Why
from films_app.engine.flight import FLIGHT_MODE
from films_app.engine.history import local, moments, taste_of
from films_app.engine.insight import advice, hood
from films_app.engine.lists import RAIL, Lists
from films_app.engine.settings import Settings, SettingsFile
from nearhand import Config, Event, NearhandError, Personalizer, Recommendation
from nearhand.bundle import open_slot
from nearhand.bundle.schema import Precision, RuntimeName
from nearhand.clock import Clock, SystemClock
from nearhand.network import Call, Transport, default_transport
from nearhand.privacy import Consent
from nearhand.profile import destroy_profile
from nearhand.runtime import Runtime
from nearhand.sync import SyncReport
from nearhand.version import __version__

T = TypeVar("T")

_LISTS = 100
"""Of so many it is known where they were ranked."""
_EVENTS: dict[Deed, str] = {
    "like": "item_liked",
    "dislike": "item_disliked",
    "dismiss": "recommendation_dismissed",
    "watch": "item_viewed",
}
_FILES = {"events.db": "events", "profile.db": "choices", "pushed.db": "cache"}


class Engine:
    """What the screens ask, and do. Every method that touches the profile runs in the engine's own thread.

    One thread, so what the user did last is what the next list knows, and changing the model never meets a list that
    is being made. The event loop that draws the screens is never held.
    """

    def __init__(
        self,
        bundle: Path,
        data_dir: Path,
        *,
        clock: Clock | None = None,
        runtimes: Mapping[RuntimeName, Callable[[], Runtime]] | None = None,
        addresses: Addresses | None = None,
    ) -> None:
        """
        Args:
            addresses: where it may reach out to; None: as the stored settings say.
        """
        self._bundle = bundle
        self._runtimes = runtimes
        self._data = data_dir
        self._clock = clock or SystemClock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="films")
        self._settings = SettingsFile(data_dir / "settings.json")
        self._runtime: RuntimeName | None = None
        self._precision: Precision | None = None
        self._personalizer: Personalizer | None = None
        self._durations: deque[float] = deque(maxlen=200)
        self._shown: str | None = None
        self._ranked: dict[str, Source] = {}
        self._followers: list[Callable[[object], None]] = []
        self._transport: Transport | None = None
        self._addresses = addresses
        self.sending = Sending(self._sync)
        self.catalogue: Catalogue | None = None
        FLIGHT_MODE.switch(self._settings.current.is_in_flight)

    def follow(self, told: Callable[[object], None]) -> Callable[[], None]:
        """Be told, with who did it, when the profile has changed, until what this returns is called."""
        self._followers.append(told)
        return lambda: self._followers.remove(told)

    def announce(self, by: object) -> None:
        """Tell all who follow that the profile has changed."""
        for told in tuple(self._followers):
            told(by)

    @property
    def addresses(self) -> Addresses:
        """Where the app may reach out to."""
        return self._addresses or Addresses()

    @property
    def asks_cloud(self) -> bool:
        """Whether lists may come from the cloud."""
        return bool(self.addresses.heavy) and self.settings.asks_cloud

    def source(self, recommendation_id: str | None) -> Source:
        """Where a list was ranked. What is no list of Nearhand's comes from the catalogue, on this device."""
        return self._ranked.get(recommendation_id or "", "device")

    @property
    def settings(self) -> Settings:
        """The app's own choices."""
        return self._settings.current

    def today(self) -> str:
        """The local day, ``YYYY-MM-DD``."""
        now = self._clock.now_ms()
        return f"{local(now, self._clock.utc_offset_minutes(now)):%Y-%m-%d}"

    async def open(self, language: str) -> Catalogue:
        """Open the bundle and the profile, once; later calls give what is open.

        Raises:
            NearhandError: the bundle is refused, or the profile cannot be used.
        """
        was_open = self._personalizer is not None
        catalogue = await self._do(lambda: self._open(language))
        if not was_open:
            await self.send_what_waits()
        return catalogue

    async def new_damage(self) -> bool:
        """Whether a file was found damaged, and moved aside, of which the user was not told yet; now counted as told.

        ``OSError``: that could not be kept.
        """
        return await self._do(self._new_damage)

    async def close(self) -> None:
        """Let go of everything."""
        self.sending.cancel()
        await self.sending.wait()
        await self._do(self._close)
        self._thread.shutdown()

    async def change_settings(self, **changes: object) -> Settings:
        """Set some of the app's own choices. ``OSError``: they could not be kept."""
        settings = await self._do(lambda: self._settings.change(**changes))
        FLIGHT_MODE.switch(settings.is_in_flight)
        if settings.is_in_flight:
            self.sending.cancel()
            if self._transport is not None:
                self._transport.close()  # flight mode refuses what connects, and does not see what is connected
        return settings

    async def speak(self, language: str) -> None:
        """Give explanations in another language."""
        await self._do(lambda: self._reopen(language, self._runtime, self._precision))

    async def use_variant(self, runtime: RuntimeName, precision: Precision) -> None:
        """Run another form of the model. If it does not run here, the one that ran goes on.

        Raises:
            NearhandError: it does not run here.
        """
        await self._do(lambda: self._reopen(self._language, runtime, precision))

    async def pause(self) -> None:
        """The app goes to the background: write everything down, and give the memory of the models back."""
        await self._do(lambda: None if self._personalizer is None else self._personalizer.pause())

    async def resume(self) -> None:
        """The app comes back: load the models again, so that the next list does not wait for it."""
        await self._do(lambda: None if self._personalizer is None else self._personalizer.resume())
        await self.send_what_waits()

    async def start_over(self) -> None:
        """Delete a profile that cannot be opened any more, and the app's own choices with it.

        Raises:
            StorageError: a file of it could not be deleted.
        """
        await self._do(self._start_over)

    # What the user does

    async def do(self, deed: Deed, film: Film, recommendation_id: str | None = None) -> Done:
        """Note that the user likes a film, dislikes it, has watched it, or wants to see it, or its like, less."""
        return await self._do(lambda: self._note(deed, film, recommendation_id))

    async def undo(self, done: Done) -> None:
        """Make as if :meth:`do` had not been called."""
        await self._do(lambda: self._undo(done))

    async def opened(self, film: Film, recommendation_id: str | None) -> None:
        """Note that the user looked at a film. That is no taste: it may still be what the lists should show."""
        event = Event(
            "navigated",
            item_id=film.film_id,
            recommendation_id=recommendation_id,
            properties={"screen": "film"},
        )
        await self._do(lambda: self._open_profile.record(event))

    async def searched(self, text: str, results: int) -> None:
        """Note what the user looked for."""
        event = Event("search", properties={"query": text[:200], "results": results})
        await self._do(lambda: self._open_profile.record(event))

    async def welcome(self, films: Sequence[Film], consent: Consent) -> None:
        """The first steps are done: keep the consent, and with it what the user loves."""
        await self._do(lambda: self._welcome(films, consent))

    async def forget(self, event_ids: Sequence[str]) -> int:
        """Delete events, with all that came of them, here and where they were sent to; how many there were."""
        count = await self._do(lambda: sum(self._open_profile.privacy.forget(event_id) for event_id in event_ids))
        await self.send_what_waits()
        return count

    async def unblock(self, film: Film) -> None:
        """Let a film be recommended again, or what is like it."""
        await self._do(lambda: self._unblock(film))

    async def reset_taste(self) -> None:
        """Begin anew: what came before stays visible, and is no taste any more."""
        await self._do(self._open_profile.privacy.reset)

    async def set_consent(self, consent: Consent) -> None:
        """Choose whether anything is recorded."""
        await self._do(lambda: self._open_profile.privacy.set_consent(consent))

    async def set_personalized(self, personalized: bool) -> None:
        """Choose whether lists look at the history."""
        await self._do(lambda: self._open_profile.privacy.set_personalized(personalized))

    async def export(self) -> Path:
        """Write all of the profile into a file of the app's folder, and say where."""
        return await self._do(self._export)

    async def erase(self) -> None:
        """Delete everything of the user: the profile, what was exported or sent, and the app's own choices."""
        await self._do(self._erase)
        await self.send_what_waits(anew=True)

    async def send_what_waits(self, *, anew: bool = False) -> None:
        """Send in the background what may be sent, and what the user took back; not in flight mode.

        Args:
            anew: whether what is being sent already does not do.
        """
        outbox = (await self.beyond()).outbox if self.addresses.endpoint and not FLIGHT_MODE.is_on else None
        if outbox is not None and (outbox.pending or outbox.erasures):
            self.sending.start(anew=anew)

    async def ask_cloud(self, on: bool) -> None:
        """Let lists be ranked in the cloud from now on, or no more."""
        await self._do(lambda: self._ask_cloud(on))

    # What the screens show

    async def homes(self) -> AsyncIterator[Home]:
        """The first screen, as of now: first what stands at the top of it, then the whole."""
        lists = await self._do(self._begin)
        yield lists.top()
        yield await self._do(lists.whole)

    async def home(self) -> Home:
        """The whole of the first screen, as of now."""
        return await self._do(lambda: self._begin().whole())

    async def seen(self, home: Home) -> None:
        """Note which films of the first screen were really in sight, once for each list."""
        await self._do(lambda: self._seen(home))

    async def similar(self, film: Film) -> tuple[Film, ...]:
        """Films like this one."""
        return await self._do(lambda: self._similar(film))

    async def why(self, film: Film) -> Why:
        """Which events speak for a film, and how much."""
        return await self._do(lambda: self._why(film))

    async def mine(self, film: Film) -> tuple[Moment, ...]:
        """The user's own events with a film, the latest first."""
        return await self._do(lambda: tuple(one for one in self._moments() if one.film == film))

    async def activity(self) -> Activity:
        """Everything that was recorded, and the taste that it makes."""
        return await self._do(self._activity)

    async def stored(self) -> Stored:
        """What is stored, and what has left."""
        return await self._do(self._stored)

    async def hood(self) -> Hood:
        """What runs, and how fast."""
        return await self._do(lambda: hood(self._open_profile, self._manifest, self._durations))

    async def beyond(self) -> Beyond:
        """What lies beyond the device."""
        return await self._do(self._beyond)

    async def advice(self, policy: str) -> Advice:
        """What a policy of the bundle says is to be done now. It is noted, and counts."""
        return await self._do(lambda: advice(self._open_profile, policy))

    # In the engine's thread

    async def _do(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    @property
    def _open_profile(self) -> Personalizer:
        if self._personalizer is None:
            raise NearhandError("the engine is not open", remedy="await open() first")
        return self._personalizer

    @property
    def _films(self) -> Catalogue:
        assert self.catalogue is not None  # it comes with the profile
        return self.catalogue

    def _open(self, language: str) -> Catalogue:
        if self._personalizer is None:
            self._language = language
            if self._addresses is None:
                chosen = self.settings
                self._addresses = Addresses(chosen.endpoint, chosen.write_key, chosen.heavy, chosen.heavy_model)
            self._personalizer = self._opened(language, self._runtime, self._precision)
            folder = open_slot(Path(self._personalizer.status().slot), __version__)
            self._manifest = folder.manifest
            self.catalogue = Catalogue(folder.items())
        return self._films

    def _new_damage(self) -> bool:
        count = len(self._open_profile.status().quarantined)
        is_new = count > self._settings.current.damage_told
        if count != self._settings.current.damage_told:
            self._settings.change(damage_told=count)
        return is_new

    def _opened(self, language: str, runtime: RuntimeName | None, precision: Precision | None) -> Personalizer:
        config = Config(locale=language, runtime=runtime, precision=precision)
        addresses = self.addresses
        if addresses.hosts and self._transport is None:
            self._transport = default_transport()
            FLIGHT_MODE.stand_for_others(addresses.ports)
        return Personalizer.open(
            self._bundle,
            self._data,
            config=config,
            clock=self._clock,
            runtimes=self._runtimes,
            sync=addresses.sync_config(),
            hybrid=addresses.hybrid_config() if self.asks_cloud else None,
            surroundings=surroundings,
            transport=self._transport,
        )

    def _reopen(self, language: str, runtime: RuntimeName | None, precision: Precision | None) -> None:
        before = self._open_profile
        self._personalizer = self._opened(language, runtime, precision)
        before.close()
        self._language, self._runtime, self._precision = language, runtime, precision
        self._durations.clear()

    def _close(self) -> None:
        if self._personalizer is not None:
            self._personalizer.close()
            self._personalizer = None
        if self._transport is not None:
            self._transport.close()

    def _start_over(self) -> None:
        self._close()
        destroy_profile(self._profile_folder)
        self._settings.erase()

    @property
    def _profile_folder(self) -> Path:
        return self._data / "profiles" / "default"

    def _note(self, deed: Deed, film: Film, recommendation_id: str | None) -> Done:
        profile = self._open_profile
        event_ids: tuple[str, ...] = ()
        is_recorded = False
        if deed in _EVENTS:
            event = Event(_EVENTS[deed], item_id=film.film_id, recommendation_id=recommendation_id)
            recorded = profile.record(event)
            is_recorded = recorded.sequence > 0
            event_ids = (recorded.event_id,)
        if deed == "dismiss":
            profile.privacy.block(item_id=film.film_id)
        if deed == "less_like":
            profile.privacy.less_like(film.film_id)
        return Done(deed, film, event_ids, is_recorded or deed not in _EVENTS)

    def _undo(self, done: Done) -> None:
        privacy = self._open_profile.privacy
        for event_id in done.event_ids:
            privacy.forget(event_id)
        if done.deed == "dismiss":
            privacy.unblock(item_id=done.film.film_id)
        if done.deed == "less_like":
            privacy.undo_less_like(done.film.film_id)

    def _unblock(self, film: Film) -> None:
        self._open_profile.privacy.unblock(item_id=film.film_id)
        self._open_profile.privacy.undo_less_like(film.film_id)

    def _welcome(self, films: Sequence[Film], consent: Consent) -> None:
        profile = self._open_profile
        profile.privacy.set_consent(consent)
        if films and consent != "off":
            profile.record_many([Event("item_liked", item_id=film.film_id) for film in films])
        self._settings.change(is_welcomed=True)

    def _export(self) -> Path:
        folder = self._data / "exports"
        folder.mkdir(parents=True, exist_ok=True)
        moment = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC)
        path = folder / f"films-{moment:%Y%m%d-%H%M%S}.json"
        self._open_profile.privacy.export(path)
        return path

    def _erase(self) -> None:
        self._open_profile.privacy.erase()
        exports = self._data / "exports"
        if exports.is_dir():
            for path in exports.iterdir():
                path.unlink()
            exports.rmdir()
        self._settings.erase()
        FLIGHT_MODE.switch(False)
        self._durations.clear()
        self._shown = None

    def _recommend(self, k: int, **request: object) -> list[Recommendation]:
        start = time.perf_counter()
        found = self._open_profile.recommend(k, **request)  # type: ignore[arg-type]
        self._durations.append((time.perf_counter() - start) * 1000)
        if found:
            self._ranked[found[0].recommendation_id] = "cloud" if found[0].source == "cloud" else "device"
            while len(self._ranked) > _LISTS:
                del self._ranked[next(iter(self._ranked))]
        return found

    def _begin(self) -> Lists:
        privacy = self._open_profile.privacy
        return Lists(self._films, self._recommend, self._similar, privacy.preferences, self._moments())

    def _seen(self, home: Home) -> None:
        top = next((rail for rail in home.rails if rail.name == "top"), None)
        if home.hero is None or top is None or home.hero.recommendation_id == self._shown:
            return
        self._shown = home.hero.recommendation_id
        self._open_profile.record_many(
            [
                Event(
                    "impression",
                    item_id=pick.film.film_id,
                    recommendation_id=pick.recommendation_id,
                    properties={"position": position},
                )
                for position, pick in enumerate((home.hero, *top.picks[:3]))
            ]
        )

    def _similar(self, film: Film, k: int = RAIL) -> tuple[Film, ...]:
        return tuple(self._films.films[one.item_id] for one in self._open_profile.similar(film.film_id, k))

    def _why(self, film: Film) -> Why:
        ids = [film.film_id]
        found = self._open_profile.recommend(1, only=ids, candidates=ids)
        if not found or not found[0].explanation.evidence:
            return Why(film, found[0].explanation.text if found and found[0].source == "fallback" else "", ())
        evidence = found[0].explanation.evidence
        moments = {one.event_id: one for one in self._moments()}
        total = sum(abs(one.contribution) for one in evidence) or 1.0
        causes = [Cause(moments[one.event_id], one.contribution / total) for one in evidence if one.event_id in moments]
        return Why(film, found[0].explanation.text, tuple(causes))

    def _moments(self) -> list[Moment]:
        return moments(self._open_profile.events(), self._films)

    def _activity(self) -> Activity:
        happened = self._moments()
        return Activity(tuple(happened), taste_of([one for one in happened if not one.is_past]))

    def _stored(self) -> Stored:
        privacy = self._open_profile.privacy
        chosen = privacy.preferences
        files: Counter[str] = Counter()
        for path in self._profile_folder.iterdir():
            known = next((purpose for name, purpose in _FILES.items() if path.name.startswith(name)), "other")
            files[known] += path.stat().st_size
        return Stored(
            consent=chosen.consent,
            is_personalized=chosen.personalized,
            blocked=tuple(film for one in chosen.blocked_items if (film := self._films.get(one))),
            less_like=tuple(film for one in chosen.less_like if (film := self._films.get(one))),
            files=dict(files),
            rows=len(self._open_profile.events()),
            audit=tuple(reversed(privacy.audit())),
            set_aside=self._open_profile.status().quarantined,
        )

    def _sync(self, cancelled: threading.Event) -> SyncReport:
        """In a thread of its own: lists are made meanwhile."""
        if FLIGHT_MODE.is_on and self._transport is not None:
            # Events are noted as having left before they do. Nothing does now, so what is refused holds no events.
            self._transport.send(Call("GET", f"{self.addresses.endpoint}/healthz"))
        return self._open_profile.sync(cancelled=cancelled)

    def _ask_cloud(self, on: bool) -> None:
        self._settings.change(asks_cloud=on)
        self._reopen(self._language, self._runtime, self._precision)

    def _beyond(self) -> Beyond:
        status = self._open_profile.status()
        return Beyond(
            consent=status.consent,
            outbox=status.sync,
            can_rank=bool(self.addresses.heavy),
            asks=self.asks_cloud,
            cloud=status.hybrid,
            is_in_flight=FLIGHT_MODE.is_on,
        )
