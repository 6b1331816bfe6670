"""The bandit against the formula it implements, the learner against a plain reading of its rules, and both at work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nearhand.bundle.serving import Learning
from nearhand.errors import UsageError
from nearhand.events import RESET, Event, EventLog, RecordedEvent
from nearhand.learning import Estimate, Exposure, Exposures, Learner, LinearBandit, doubly_robust, ips
from nearhand.monitoring import Meter
from nearhand.profile import ProfileStore
from nearhand.testing.clock import ManualClock

NOW = 1_700_000_000_000
REWARDS = {"item_clicked": Decimal(1), "item_purchased": Decimal(5), "recommendation_dismissed": Decimal(-1)}


def policy(**fields: Any) -> Learning:
    return Learning(**{"rewards": REWARDS, "memory": 50, **fields})


def by_the_formula(
    x: NDArray[np.floating], learned: list[tuple[NDArray[np.floating], float]], of: Learning
) -> NDArray[np.float64]:
    """The bonus as the documentation says it, of features and rewards, the earliest first."""
    gamma = 1 - 1 / of.memory

    def unit(row: NDArray[np.floating]) -> NDArray[np.float64]:
        long: NDArray[np.float64] = row.astype(np.float64)
        scaled: NDArray[np.float64] = long / max(1.0, float(np.linalg.norm(long)))
        return scaled

    a = float(of.ridge) * np.eye(x.shape[1])
    b = np.zeros(x.shape[1])
    for age, (row, reward) in enumerate(reversed(learned)):
        a += gamma**age * np.outer(unit(row), unit(row))
        b += gamma**age * max(-10.0, min(10.0, reward)) * unit(row)
    inverse = np.linalg.inv(a)
    rows = np.array([unit(row) for row in x])
    uncertainty = np.sqrt(np.einsum("ij,jk,ik->i", rows, inverse, rows))
    bonus: NDArray[np.float64] = rows @ inverse @ b + float(of.optimism) * uncertainty
    return bonus


def learned_from(rng: np.random.Generator, count: int, d: int) -> list[tuple[NDArray[np.floating], float]]:
    return [(rng.normal(size=d) * rng.choice([0.1, 1.0]), float(rng.normal() * 6)) for _ in range(count)]


def taught(bandit: LinearBandit, lessons: list[tuple[NDArray[np.floating], float]]) -> LinearBandit:
    for row, reward in lessons:
        bandit.update(row, reward)
    return bandit


@settings(max_examples=60)
@given(
    st.integers(0, 2**32),
    st.sampled_from([1, 2, 17, 33, 65]),
    st.integers(0, 120),
    st.sampled_from([1, 2, 50, 10**6]),
    st.sampled_from(["0.01", "1", "100"]),
    st.sampled_from(["0", "0.5", "3"]),
)
def test_the_bonus_is_that_of_the_formula(
    seed: int, d: int, count: int, memory: int, ridge: str, optimism: str
) -> None:
    rng = np.random.default_rng(seed)
    of = policy(memory=memory, ridge=Decimal(ridge), optimism=Decimal(optimism))
    lessons = learned_from(rng, count, d)
    x = rng.normal(size=(7, d)).astype(np.float32)
    bandit = taught(LinearBandit(of, d), lessons)
    np.testing.assert_allclose(bandit.bonus(x), by_the_formula(x, lessons, of), rtol=1e-8, atol=1e-8)
    assert bandit.updates == count


def test_nothing_learned_is_the_prior() -> None:
    x = np.array([[0.6, 0.8], [0.0, 0.0], [3.0, 4.0]])
    bonus = LinearBandit(policy(ridge=Decimal(4), optimism=Decimal(2)), 2).bonus(x)
    np.testing.assert_allclose(bonus, [1.0, 0.0, 1.0])
    assert bonus.dtype == np.float64


def test_what_is_old_fades_to_the_prior() -> None:
    x = np.eye(3)
    bandit = taught(LinearBandit(policy(memory=20), 3), [(x[0], 1.0)] * 100)
    assert bandit.bonus(x)[0] > 0.9
    taught(bandit, [(np.zeros(3), 0.0)] * 1000)
    np.testing.assert_allclose(bandit.bonus(x), LinearBandit(policy(memory=20), 3).bonus(x))


@pytest.mark.parametrize("memory", [1, 2000, 10**6])
def test_it_stays_sound_whatever_it_is_fed(memory: int) -> None:
    """Features that coincide, with the weakest prior: the factor exists, and the bonus is finite."""
    rng = np.random.default_rng(0)
    bandit = LinearBandit(policy(memory=memory, ridge=Decimal("1e-16"), optimism=Decimal(1)), 33)
    base = rng.normal(size=33)
    for step in range(3000):
        bandit.update(base, 1e300)
        if step % 500 == 0:
            assert np.isfinite(bandit.bonus(rng.normal(size=(5, 33)))).all()
    # The reward, cut to 10, and the uncertainty after that many: 1/√memory at the most.
    assert 9.9 < bandit.bonus(base[None])[0] < 11.1


@given(st.integers(0, 2**32), st.integers(1, 40), st.data())
def test_a_corrected_reward_is_as_if_it_had_come_at_once(seed: int, count: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    lessons = learned_from(rng, count, 5)
    place = data.draw(st.integers(0, count - 1))
    reward = data.draw(st.floats(-20, 20))
    bandit = taught(LinearBandit(policy(), 5), lessons)
    bandit.correct(lessons[place][0], lessons[place][1], reward, place + 1)
    right = [*lessons[:place], (lessons[place][0], reward), *lessons[place + 1 :]]
    x = rng.normal(size=(4, 5))
    np.testing.assert_allclose(bandit.bonus(x), by_the_formula(x, right, policy()), rtol=1e-9, atol=1e-9)


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(0, 60), st.sampled_from([1, 3, 33]))
def test_a_dump_is_read_back_to_the_bit_and_goes_on_the_same(seed: int, count: int, d: int) -> None:
    rng = np.random.default_rng(seed)
    bandit = taught(LinearBandit(policy(), d), learned_from(rng, count, d))
    text = json.dumps(bandit.dump())
    again = LinearBandit(policy(), d)
    again.load(json.loads(text))
    assert json.dumps(again.dump()) == text
    more, x = learned_from(rng, 5, d), rng.normal(size=(6, d))
    assert again.bonus(x).tobytes() == bandit.bonus(x).tobytes()
    assert taught(again, more).bonus(x).tobytes() == taught(bandit, more).bonus(x).tobytes()


def test_a_reset_forgets_everything() -> None:
    rng = np.random.default_rng(0)
    bandit = taught(LinearBandit(policy(), 4), learned_from(rng, 30, 4))
    bandit.reset()
    assert bandit.dump() == LinearBandit(policy(), 4).dump()
    x = rng.normal(size=(3, 4))
    assert bandit.bonus(x).tobytes() == LinearBandit(policy(), 4).bonus(x).tobytes()


def dumped(**fields: Any) -> dict[str, Any]:
    return {"version": 1, "dimension": 2, "updates": 3, "gram": [2.0, 1.0, 2.0], "response": [0.5, -0.5], **fields}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "bandit version: is not 1"),
        (dumped(version=2), "bandit version: is not 1"),
        (dumped(dimension=3), "bandit dimension: is 3, not 2"),
        (dumped(updates=-1), "bandit updates: is -1"),
        (dumped(updates=True), "bandit updates: is True"),
        (dumped(gram=[2.0, 1.0]), "bandit gram: is not a list of 3 numbers"),
        (dumped(gram=[2.0, 1.0, "2"]), "bandit gram: is not a list of 3 numbers"),
        (dumped(gram=[2.0, 1.0, float("nan")]), "bandit gram: has a number that is not within"),
        (dumped(response=[1e10, 0.0]), "bandit response: has a number that is not within"),
        (dumped(gram=[2.0, 9.0, 2.0]), "bandit gram: is not positive semidefinite; give what dump"),
    ],
)
def test_what_is_no_dump_is_refused_and_changes_nothing(content: object, message: str) -> None:
    bandit = LinearBandit(policy(), 2)
    bandit.load(dumped())
    before, bonus = bandit.dump(), bandit.bonus(np.eye(2)).tobytes()
    with pytest.raises(UsageError, match=message):
        bandit.load(content)
    assert bandit.dump() == before
    assert bandit.bonus(np.eye(2)).tobytes() == bonus


def test_bad_arguments_are_named() -> None:
    bandit = LinearBandit(policy(), 2)
    for dimension in (0, 66):
        with pytest.raises(UsageError, match=f"dimension: {dimension} is not from 1 to 65"):
            LinearBandit(policy(), dimension)
    with pytest.raises(UsageError, match=r"have the shape \[3\], not \[2\]"):
        bandit.update(np.zeros(3), 1.0)
    with pytest.raises(UsageError, match=r"have the shape \[1, 3\], not \[1, 2\]"):
        bandit.bonus(np.zeros((1, 3)))
    with pytest.raises(UsageError, match="not all finite"):
        bandit.bonus(np.array([[0.0, np.nan]]))
    for x, reward in (([0.0, 0.0], float("nan")), ([0.0, 0.0], -float("inf")), ([0.0, float("inf")], 1.0)):
        with pytest.raises(UsageError, match="finite"):
            bandit.update(np.array(x), reward)
    assert bandit.dump() == LinearBandit(policy(), 2).dump()


# The learner: events in, bonuses out.

SPACE = "space-1"
LISTS, PLACES, FACTORS = 4, 3, 3


@dataclass
class Device:
    """What stays when the app is closed: the store and the log."""

    store: ProfileStore
    log: EventLog
    exposures: Exposures
    meter: Meter

    def learner(self, *, space: str = SPACE, factors: int = FACTORS, **fields: Any) -> Learner:
        return Learner(self.store, self.exposures, policy(**fields), factors=factors, space=space, meter=self.meter)

    def show(self, recommendation_id: str, features: NDArray[np.float32], *, space: str = SPACE) -> None:
        k = len(features)
        item_ids = tuple(f"m_{position}" for position in range(k))
        ones = (1.0,) * k
        self.exposures.log(Exposure(recommendation_id, NOW, "local", item_ids, ones, ones, features, {}, space))

    def show_all(self, learner: Learner, seed: int = 0) -> dict[str, NDArray[np.float32]]:
        rng = np.random.default_rng(seed)
        shown = {f"r{number}": learner.features(normal(rng, PLACES, FACTORS)) for number in range(LISTS)}
        for recommendation_id, features in shown.items():
            self.show(recommendation_id, features)
        return shown

    def record(self, kind: str, number: int, position: int, **fields: Any) -> RecordedEvent:
        return self.log.append(Event(kind, f"m_{position}", recommendation_id=f"r{number}", **fields))


def normal(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return rng.normal(size=shape).astype(np.float32)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    clock = ManualClock(NOW)
    with (
        closing(ProfileStore(tmp_path / "profile.db", durability="process")) as store,
        EventLog(tmp_path / "events.db", clock=clock, durability="process") as log,
    ):
        yield Device(store, log, Exposures(store, clock), Meter(clock))


def event(sequence: int, kind: str, number: int, position: int) -> RecordedEvent:
    about = (None, None) if kind == RESET else (f"m_{position}", f"r{number}")
    return RecordedEvent(f"e{sequence}", sequence, NOW, NOW, 0, kind, about[0], None, about[1], 0, {}, {})


ANY_EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["impression", "impression", *REWARDS, "item_liked", RESET]),
        st.integers(0, LISTS),  # the last was never shown
        st.integers(0, PLACES),  # the last was not in the list
    ),
    max_size=60,
).map(lambda drawn: [event(sequence, *parts) for sequence, parts in enumerate(drawn, 1)])


def by_the_rules(
    events: list[RecordedEvent], shown: dict[str, NDArray[np.float32]]
) -> list[tuple[NDArray[np.floating], float]]:
    """Each (list, item) once, in the order in which they were first heard of, with its largest reward, else 0."""
    begin = max((at + 1 for at, each in enumerate(events) if each.event == RESET), default=0)
    heard: dict[tuple[str, int], list[float]] = {}
    for each in events[begin:]:
        if each.recommendation_id in shown and each.item_id in [f"m_{position}" for position in range(PLACES)]:
            pair = each.recommendation_id, int(each.item_id[2:])
            if each.event == "impression":
                heard.setdefault(pair, [])
            elif each.event in REWARDS:
                heard.setdefault(pair, []).append(float(REWARDS[each.event]))
    return [(shown[name][position], max(rewards, default=0.0)) for (name, position), rewards in heard.items()]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    """For hypothesis: the lists stay as they are, and each example begins with no state."""
    folder = tmp_path_factory.mktemp("shared")
    clock = ManualClock(NOW)
    with (
        closing(ProfileStore(folder / "profile.db", durability="process")) as store,
        EventLog(folder / "events.db", clock=clock, durability="process") as log,
    ):
        yield Device(store, log, Exposures(store, clock), Meter(clock))


@settings(max_examples=60)
@given(ANY_EVENTS)
def test_events_teach_what_the_rules_say(shared: Device, events: list[RecordedEvent]) -> None:
    shared.store.put("bandit", None)
    learner = shared.learner()
    shown = shared.show_all(learner)
    for each in events:
        learner.observe(each)
    lessons = by_the_rules(events, shown)
    x = learner.features(normal(np.random.default_rng(1), 6, FACTORS))
    np.testing.assert_allclose(learner.bonus(x), by_the_formula(x, lessons, policy()), rtol=1e-9, atol=1e-9)
    assert learner.updates == len(lessons)
    assert learner.through == len(events)


@settings(max_examples=40)
@given(ANY_EVENTS, st.data())
def test_a_restart_or_a_kill_at_any_time_changes_no_bit(
    shared: Device, events: list[RecordedEvent], data: st.DataObject
) -> None:
    shared.store.put("bandit", None)
    learner = shared.learner()
    shared.show_all(learner)
    learner.replay(events)
    lived = learner.export()
    shared.store.put("bandit", None)
    learner = shared.learner()
    for _ in range(data.draw(st.integers(0, 4))):
        done = learner.through
        until = data.draw(st.integers(done, len(events)))
        again = sorted(data.draw(st.tuples(st.integers(0, until), st.integers(0, until))))
        for each in [*events[done:until], *events[again[0] : again[1]]]:
            learner.observe(each)
        assert learner.through == until
        if data.draw(st.booleans()):
            learner.save()
        learner = shared.learner()
    for each in events[learner.through :]:
        learner.observe(each)
    assert learner.export() == lived
    learner.replay(events)
    assert learner.export() == lived


def test_events_that_come_again_teach_nothing(device: Device) -> None:
    learner = device.learner()
    device.show_all(learner)
    assert learner.observe(device.record("item_clicked", 0, 1, event_id="c1"))
    before = learner.export()["bandit"]
    assert not learner.observe(device.record("item_clicked", 0, 1, event_id="c1"))
    assert not learner.observe(device.record("item_clicked", 0, 1))
    assert not learner.observe(device.record("impression", 0, 1))
    assert not learner.observe(device.record("recommendation_dismissed", 0, 1))
    assert learner.export()["bandit"] == before
    assert learner.observe(device.record("item_purchased", 0, 1))
    assert learner.updates == 1


def test_a_reward_below_zero_takes_the_place_of_an_impression(device: Device) -> None:
    learner = device.learner(optimism=Decimal(0))
    shown = device.show_all(learner)
    assert learner.observe(device.record("impression", 0, 0))
    assert learner.bonus(shown["r0"])[0] == 0
    assert learner.observe(device.record("recommendation_dismissed", 0, 0))
    assert learner.bonus(shown["r0"])[0] < 0


def test_the_state_is_saved_often_enough_that_the_log_has_the_rest(device: Device) -> None:
    learner = device.learner()
    device.show_all(learner)
    for number in range(200):
        learner.observe(device.record("impression", number % LISTS, number % PLACES))
        assert device.learner().through > learner.through - 64


def test_following_the_log_picks_up_where_it_was_left(device: Device) -> None:
    learner = device.learner()
    device.show_all(learner)
    learner.follow(device.log)
    for number in range(100):
        device.record("item_clicked" if number % 3 else "impression", number % LISTS, number % PLACES)
        if number in (5, 70, 99):
            learner.follow(device.log)
        if number == 30:
            learner = device.learner()  # killed: what was not saved is read again
    assert learner.through == 100
    lived = learner.export()
    learner.replay(device.log.since(0))
    assert learner.export() == lived
    learner.save()
    assert device.learner().export() == lived


def test_a_forgotten_event_has_taught_nothing(device: Device) -> None:
    learner = device.learner()
    device.show_all(learner)
    device.record("impression", 0, 0)
    learner.follow(device.log)
    never = learner.export()
    secret = device.record("item_purchased", 0, 1)
    learner.follow(device.log)
    learner.save()
    assert device.log.forget(secret.event_id)
    learner.follow(device.log)
    assert learner.export()["bandit"] == never["bandit"]
    assert learner.export()["credits"] == never["credits"]
    stored = device.store.get("bandit")
    assert stored is not None
    assert json.loads(stored)["bandit"] == never["bandit"]


def test_a_log_that_began_anew_is_read_from_its_start(device: Device, tmp_path: Path) -> None:
    learner = device.learner()
    device.show_all(learner)
    for position in range(PLACES):
        device.record("item_clicked", 0, position)
    learner.follow(device.log)
    with EventLog(tmp_path / "fresh.db", clock=ManualClock(NOW), durability="process") as fresh:
        fresh.append(Event("item_clicked", "m_0", recommendation_id="r1"))
        learner.follow(fresh)
        assert (learner.updates, learner.through) == (1, 1)


def test_resets(device: Device) -> None:
    learner = device.learner()
    device.show_all(learner)
    device.record("item_clicked", 0, 0)
    learner.follow(device.log)
    learner.reset()
    assert (learner.updates, learner.through) == (0, 1)
    learner.follow(device.log)
    assert device.learner().updates == learner.updates == 0
    device.record("item_clicked", 0, 0)
    device.log.reset()
    device.record("item_clicked", 0, 1)
    learner.follow(device.log)
    assert learner.updates == 1
    learner.replay(device.log.since(0))
    assert learner.updates == 1


def test_what_cannot_be_attributed_teaches_nothing(device: Device) -> None:
    learner = device.learner()
    device.show_all(learner)
    device.show("r9", np.ones((PLACES, FACTORS + 1), np.float32), space="another")
    device.show("r8", np.zeros((PLACES, 0), np.float32))  # a list of what is popular has no vectors
    for number in (8, 9, 7):
        assert not learner.observe(device.record("item_clicked", number, 0))
    assert not learner.observe(device.log.append(Event("item_clicked", "m_0")))
    assert learner.updates == 0


@pytest.mark.degrades
def test_a_list_that_cannot_be_read_teaches_nothing_and_the_others_do(device: Device) -> None:
    learner = device.learner()
    device.show_all(learner)
    device.store.append("exposure", "r1", NOW, b"no list", keep=500)
    for number in (0, 1, 2):
        device.record("item_clicked", number, 0)
    learner.follow(device.log)
    assert learner.updates == 2
    assert learner.through == 3
    assert [text.partition(":")[0] for text in device.meter.degradations()] == [
        "a list that was noted cannot be read, and teaches nothing"
    ]


def test_the_state_of_other_vectors_is_not_used(device: Device) -> None:
    learner = device.learner()
    device.show_all(learner)
    learner.observe(device.record("item_clicked", 0, 0))
    learner.save()
    other = device.learner(space="another")
    assert (other.updates, other.through) == (0, 0)
    assert device.learner().updates == 1  # until the other one saves its own


@pytest.mark.degrades
@pytest.mark.parametrize("content", [b"{", b"\xff", b'{"version":1,"space":"space-1"}', b"[]", b"null"])
def test_a_state_that_cannot_be_read_is_learned_again_and_counted(device: Device, content: bytes) -> None:
    learner = device.learner()
    device.show_all(learner)
    device.record("item_clicked", 0, 0)
    learner.follow(device.log)
    learner.save()
    lived = learner.export()
    device.store.put("bandit", content)
    again = device.learner()
    again.follow(device.log)
    assert again.export() == lived
    assert [text.partition(":")[0] for text in device.meter.degradations()] == [
        "what was learned could not be read, and is learned again from the log"
    ]


def test_an_export_is_imported_elsewhere(device: Device, tmp_path: Path) -> None:
    learner = device.learner()
    device.show_all(learner)
    for number in range(6):
        device.record("item_clicked", number % LISTS, number % PLACES)
    learner.follow(device.log)
    content = json.loads(json.dumps(learner.export()))
    clock = ManualClock(NOW)
    with (
        closing(ProfileStore(tmp_path / "other.db", durability="process")) as store,
        EventLog(tmp_path / "other-events.db", clock=clock, durability="process") as log,
    ):
        log.append_many([Event("item_clicked", "m_0", recommendation_id="r0")] * 9)
        other = Device(store, log, Exposures(store, clock), Meter(clock))
        imported = other.learner()
        imported.import_(content, log)
        imported.follow(log)
        assert imported.through == 9
        assert imported.export()["bandit"] == content["bandit"]
        assert other.learner().export() == imported.export()
        before = imported.export()
        for wrong, message in (
            ({**content, "version": 2}, "learned state version: is not 1"),
            ({**content, "space": "x"}, "learned state space: is 'x', not 'space-1'"),
            ({**content, "through": "1"}, "learned state through: is '1'"),
            ({**content, "rewrites": 0.5}, "learned state rewrites: is 0.5"),
            ({**content, "credits": {"r0": [[0, 1]]}}, "learned state credits: are not lists"),
            ({**content, "credits": []}, "learned state credits: are not lists"),
            ({**content, "bandit": None}, "bandit version: is not 1"),
            (None, "learned state version"),
        ):
            with pytest.raises(UsageError, match=message):
                imported.import_(wrong, log)
        assert imported.export() == before


def test_a_state_that_was_replaced_is_taken_over(device: Device, tmp_path: Path) -> None:
    learner = device.learner()
    device.show_all(learner)
    for number in range(6):
        device.record("item_clicked", number % LISTS, number % PLACES)
    learner.follow(device.log)
    learner.save()
    lived = learner.export()
    content = device.store.get("bandit")
    with EventLog(tmp_path / "other-events.db", clock=ManualClock(NOW), durability="process") as log:
        log.append_many([Event("item_clicked", "m_0", recommendation_id="r0")] * 9)
        learner.reset()
        device.store.put("bandit", content)
        learner.reload(log)
        learner.follow(log)
        assert (learner.export()["bandit"], learner.through) == (lived["bandit"], 9)
        assert device.learner().export() == learner.export()
        device.store.put("bandit", None)
        learner.reload(log)
        assert (learner.updates, learner.through) == (0, 0)
        learner.follow(log)
        assert (learner.updates, learner.through) == (1, 9)


def test_the_state_stays_small(device: Device) -> None:
    """Credits go with the lists they are of."""
    device.exposures = Exposures(device.store, ManualClock(NOW), keep=10)
    learner = device.learner()
    features = learner.features(np.eye(FACTORS, dtype=np.float32))
    for number in range(400):
        device.show(f"r{number}", features)
        learner.observe(event(number + 1, "item_clicked", number, 0))
    learner.save()
    credits = learner.export()["credits"]
    assert isinstance(credits, dict)
    assert len(credits) < 10 + 64 + 64 + 64
    assert "r399" in credits


def test_few_factors_are_scaled_and_get_a_bias(device: Device) -> None:
    vectors = np.array([[3.0, 0.0, 4.0], [0.0, 0.0, 0.0]], np.float32)
    features = device.learner().features(vectors)
    np.testing.assert_allclose(features, [[0.6, 0.0, 0.8, 1.0], [0.0, 0.0, 0.0, 1.0]], rtol=1e-6)
    assert features.dtype == np.float32
    with pytest.raises(UsageError, match=r"item vectors: have the shape \[2, 2\], not \[n, 3\]"):
        device.learner().features(vectors[:, :2])


def test_many_factors_are_projected_and_stay_alike(device: Device) -> None:
    """What is alike stays alike (Johnson and Lindenstrauss), and the signs are the same for ever."""
    rng = np.random.default_rng(0)
    learner = device.learner(factors=256)
    centres = normal(rng, 20, 256)
    near = learner.features(centres + 0.3 * normal(rng, 20, 256)).astype(np.float64)[:, :-1]
    features = learner.features(centres)
    assert features.shape == (20, 33)
    cosines = near @ features.astype(np.float64)[:, :-1].T
    assert (cosines.argmax(axis=1) == np.arange(20)).all()
    assert np.abs(cosines - np.diag(np.diag(cosines))).max() < 0.75
    signs = np.sign(learner.features(np.eye(256, dtype=np.float32))[:, :-1])
    assert abs(signs.mean()) < 0.05
    bits = ["".join("+" if sign > 0 else "-" for sign in row) for row in signs[[0, 1, 255]]]
    assert bits == [
        "---------+--++-+-++++++-+++++---",
        "---++--+---+++--+-++++-----+-+--",
        "--+--+++++---+-----+-+++---++-++",
    ]


# At work: users whose tastes the ranker knows by half.

USERS, ROUNDS, K, ITEMS, DIM = 100, 200, 10, 50, 16
TEMPERATURE, WEIGHT = 0.4, 6.0


def drawn(
    scores: NDArray[np.float64], k: int, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """k places drawn one after the other, with the odds exp(score / temperature) of what is left; and the chances.

    The Gumbel trick draws all at once (Yellott 1977); the first place's chance of each item is the plain softmax.
    """
    logits = scores / (TEMPERATURE * scores.std())
    chances = np.exp(logits - logits.max())
    return np.argsort(-(logits + rng.gumbel(size=len(scores))))[:k], chances / chances.sum()


@dataclass(frozen=True)
class Simulation:
    """What happened to each user [users], and the first places that the bandit drew [users · rounds]."""

    frozen_clicks: NDArray[np.float64]
    bandit_clicks: NDArray[np.float64]
    rewards: NDArray[np.float64]
    chosen: NDArray[np.intp]
    chances: NDArray[np.float64]  # [n, items] of the logging policy
    frozen_first: NDArray[np.intp]
    features: NDArray[np.float64]  # [n, items, 2]: what was known when the list was made
    click_chances: NDArray[np.float64]  # [n, items], hidden from all


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    rng = np.random.default_rng(2024)
    of = Learning(rewards={"item_clicked": Decimal(1)}, optimism=Decimal("0.3"))
    n = USERS * ROUNDS
    items = rng.normal(size=(ITEMS, DIM))
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    x = np.concatenate([items, np.ones((ITEMS, 1))], axis=1).astype(np.float32)
    frozen_clicks, bandit_clicks = np.zeros(USERS), np.zeros(USERS)
    rewards, chosen, frozen_first = np.zeros(n), np.zeros(n, np.intp), np.zeros(n, np.intp)
    chances, click_chances, features = np.zeros((n, ITEMS)), np.zeros((n, ITEMS)), np.zeros((n, ITEMS, 2))
    for user in range(USERS):
        taste, noise = rng.normal(size=(2, DIM))
        belief = 0.5 * taste + np.sqrt(0.75) * noise
        clicked = 1 / (1 + np.exp(2.0 - 2.0 * items @ taste))
        ranker = items @ belief
        ranker = (ranker - ranker.mean()) / ranker.std()
        frozen = np.argsort(-ranker)[:K]
        frozen_clicks[user] = (rng.random((ROUNDS, K)) < clicked[frozen]).mean()
        bandit = LinearBandit(of, DIM + 1)
        for turn in range(user * ROUNDS, (user + 1) * ROUNDS):
            bonus = bandit.bonus(x)
            places, chances[turn] = drawn(ranker + WEIGHT * bonus, K, rng)
            clicks = (rng.random(K) < clicked[places]).astype(np.float64)
            for place, click in zip(places, clicks.tolist(), strict=True):
                bandit.update(x[place], click)
            bandit_clicks[user] += clicks.mean() / ROUNDS
            rewards[turn], chosen[turn], frozen_first[turn] = clicks[0], places[0], frozen[0]
            features[turn, :, 0], features[turn, :, 1], click_chances[turn] = ranker, bonus, clicked
    return Simulation(frozen_clicks, bandit_clicks, rewards, chosen, chances, frozen_first, features, click_chances)


def test_the_bandit_earns_more_clicks_than_the_frozen_ranker(simulation: Simulation) -> None:
    frozen, bandit = simulation.frozen_clicks, simulation.bandit_clicks
    rng = np.random.default_rng(0)
    resamples = rng.integers(USERS, size=(2000, USERS))
    gains = bandit[resamples].mean(axis=1) / frozen[resamples].mean(axis=1) - 1
    gain, (low, high) = bandit.mean() / frozen.mean() - 1, np.percentile(gains, [2.5, 97.5])
    print(f"click rate {frozen.mean():.4f} -> {bandit.mean():.4f}: {gain:+.1%} [{low:+.1%}, {high:+.1%}]")
    assert gain >= 0.15
    assert low > 0


@pytest.mark.parametrize("estimator", ["ips", "dr"])
@pytest.mark.parametrize("of", ["the policy that logged", "the frozen ranker"])
def test_the_bandits_own_log_tells_what_a_policy_is_worth(simulation: Simulation, of: str, estimator: str) -> None:
    decisions = np.arange(len(simulation.rewards))
    target = simulation.chances
    if of == "the frozen ranker":
        target = np.zeros_like(simulation.chances)
        target[decisions, simulation.frozen_first] = 1.0
    truth = float((target * simulation.click_chances).sum(axis=1).mean())
    found = estimated(simulation, target, estimator)
    print(f"{estimator} of {of}: {found} for {truth:.4f}")
    assert found.low <= truth <= found.high
    assert found.high - found.low < 0.1


def estimated(simulation: Simulation, target: NDArray[np.float64], estimator: str) -> Estimate:
    decisions, chosen = np.arange(len(simulation.rewards)), simulation.chosen
    propensities = simulation.chances[decisions, chosen]
    if estimator == "ips":
        return ips(simulation.rewards, propensities, target[decisions, chosen])
    return doubly_robust(simulation.rewards, propensities, target, chosen, simulation.features)
