"""Decisions: what the rules say, what holds an action back, and that the journal tells how each one came about."""

from __future__ import annotations

import json
import math
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nearhand.bundle.fields import FieldError
from nearhand.bundle.serving import DecisionPolicy, FrequencyCap, Rule
from nearhand.decisions import Decider, Decision, replay
from nearhand.decisions.decider import JOURNAL, KEPT_LINES
from nearhand.errors import ModelError, StorageError, UsageError
from nearhand.events import DAY_MS
from nearhand.profile import ProfileStore
from nearhand.testing.clock import ManualClock
from tests.sdk.event_logs import output_of, run

START_MS = 1_700_000_000_000
SEED = b"the key of a profile"
RULES = (Rule("message", Decimal("0.5"), "Likely to leave."), Rule("discount", Decimal("0.8"), "Nearly gone."))


def make_policy(**fields: Any) -> DecisionPolicy:
    return DecisionPolicy(**{"name": "retention", "predictor": "churn", "rules": RULES, **fields})


def cap(times: int, days: str) -> FrequencyCap:
    return FrequencyCap(times, Decimal(days))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ProfileStore]:
    opened = ProfileStore(tmp_path / "profile.db", durability="process")
    yield opened
    opened.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START_MS)


def decide(store: ProfileStore, clock: ManualClock, prediction: float, policy: DecisionPolicy) -> Decision:
    return Decider(store, [policy], clock, SEED).decide(policy.name, prediction, version="1.0.0")


def lines(store: ProfileStore) -> list[bytes]:
    return [entry.content for entry in store.entries(JOURNAL)]


# Rules


@pytest.mark.parametrize(
    ("prediction", "action", "reason"),
    [
        (0.1, "none", "below_all_rules"),
        (math.nextafter(0.5, 0), "none", "below_all_rules"),
        (0.5, "message", "rule"),
        (0.79, "message", "rule"),
        (0.8, "discount", "rule"),
        (-3.0, "none", "below_all_rules"),
        (1e300, "discount", "rule"),
    ],
)
@pytest.mark.parametrize("rules", [RULES, RULES[::-1]])
def test_the_greatest_threshold_that_is_reached_gives_the_action(
    store: ProfileStore, clock: ManualClock, prediction: float, action: str, reason: str, rules: tuple[Rule, ...]
) -> None:
    decision = decide(store, clock, prediction, make_policy(rules=rules))
    assert (decision.action, decision.reason, decision.propensity) == (action, reason, 1.0)
    assert (decision.prediction, decision.at, decision.holdout, decision.held_back) == (
        prediction,
        START_MS,
        False,
        None,
    )


def test_the_text_says_what_settled_it(store: ProfileStore, clock: ManualClock) -> None:
    policy = make_policy(cooldown_days=Decimal(7))
    decider = Decider(store, [policy], clock, SEED)
    first = decider.decide("retention", 0.9, version="1.0.0", explanation="Few visits.", context={"screen": "home"})
    assert first.text == "0.9 reaches 0.8, so discount. Nearly gone. Few visits."
    again = make_policy(cooldown_days=Decimal(0), rules=(Rule("discount", Decimal("0.8"), "nearly gone"),))
    terse = Decider(store, [again], clock, SEED).decide("retention", 0.9, version="1.0.0", explanation="Few visits")
    assert terse.text == "0.9 reaches 0.8, so discount. nearly gone. Few visits"
    held = decider.decide("retention", 0.6, version="1.0.0")
    until = "2023-11-21 22:13:20 UTC"
    assert held.text == f"message is held back until {until}: nothing for 7 days after an action."
    below = decider.decide("retention", 0.25, version="1.0.0")
    assert below.text == "0.25 reaches no rule, so none."
    noted = json.loads(lines(store)[0])
    assert (noted["version"], noted["explanation"], noted["context"]) == ("1.0.0", "Few visits.", {"screen": "home"})


@pytest.mark.parametrize("prediction", [math.nan, math.inf, -math.inf, np.float32("nan")])
def test_a_prediction_that_is_no_number_decides_nothing(
    store: ProfileStore, clock: ManualClock, prediction: float
) -> None:
    with pytest.raises(ModelError, match=r"predictor 'churn': predicted -?(nan|inf)"):
        decide(store, clock, prediction, make_policy())
    assert lines(store) == []


def test_what_is_refused_is_named(store: ProfileStore, clock: ManualClock) -> None:
    decider = Decider(store, [make_policy()], clock)
    with pytest.raises(UsageError, match=r"'retension' is not a decision .* did you mean 'retention'"):
        decider.decide("retension", 0.5, version="1.0.0")
    bad: Any
    for bad in ({"at": object()}, {"at": math.nan}, {("a",): 1}):
        with pytest.raises(UsageError, match=r"decide\(context\): is not JSON"):
            decider.decide("retention", 0.5, version="1.0.0", context=bad)
    with pytest.raises(UsageError, match=r"over the limit of 8,000"):
        decider.decide("retention", 0.5, version="1.0.0", context={"text": "x" * 8_000})
    with pytest.raises(UsageError, match="have the names"):
        Decider(store, [make_policy(), make_policy(predictor="other")], clock)
    with pytest.raises(FieldError, match="times"):
        cap(1001, "1")
    assert lines(store) == []


# Cooldown and caps


def test_a_cooldown_ends_to_the_millisecond(store: ProfileStore, clock: ManualClock) -> None:
    policy = make_policy(cooldown_days=Decimal("1.5"))
    assert decide(store, clock, 0.9, policy).action == "discount"
    clock.advance(DAY_MS * 3 // 2 - 1)
    held = decide(store, clock, 0.6, policy)
    assert (held.action, held.reason, held.held_back, held.propensity) == ("none", "cooldown", "message", 1.0)
    assert decide(store, clock, 0.1, policy).reason == "below_all_rules"  # there is nothing to hold back
    clock.advance(1)
    assert decide(store, clock, 0.6, policy).action == "message"


def test_a_cap_slides_and_the_one_that_holds_longest_is_named(store: ProfileStore, clock: ManualClock) -> None:
    policy = make_policy(caps=(cap(1, "1"), cap(2, "10")))
    taken = []
    for _ in range(24 * 30):
        decision = decide(store, clock, 0.9, policy)
        if decision.action == "discount":
            taken.append((clock.now_ms() - START_MS) / DAY_MS)
        else:
            times = "at most 1 in 1 days" if len(taken) % 2 else "at most 2 in 10 days"
            assert decision.reason == "frequency_cap"
            assert times in decision.text
        clock.advance(DAY_MS // 24)
    assert taken == [0.0, 1.0, 10.0, 11.0, 20.0, 21.0]


def test_what_the_journal_has_lost_still_counts(store: ProfileStore, clock: ManualClock) -> None:
    policy = make_policy(caps=(cap(1, "90"),))
    assert decide(store, clock, 0.9, policy).action == "discount"
    for _ in range(KEPT_LINES + 200):
        clock.advance(60_000)
        decide(store, clock, 0.1, policy)
    assert KEPT_LINES <= len(lines(store)) < KEPT_LINES + 64
    assert all(decision.action == "none" for decision in Decider(store, [policy], clock).history("retention"))
    assert decide(store, clock, 0.9, policy).reason == "frequency_cap"


def test_another_policy_of_the_same_name_goes_on_counting(store: ProfileStore, clock: ManualClock) -> None:
    for _ in range(5):
        assert decide(store, clock, 0.9, make_policy()).action == "discount"
        clock.advance(DAY_MS)
    stricter = make_policy(caps=(cap(4, "30"),))
    assert decide(store, clock, 0.9, stricter).reason == "frequency_cap"
    assert decide(store, clock, 0.9, make_policy(name="other", caps=stricter.caps)).action == "discount"
    assert len(Decider(store, [stricter], clock).history("retention")) == 6


def test_a_clock_that_was_years_ahead_holds_back_for_one_window_only(store: ProfileStore, clock: ManualClock) -> None:
    policy = make_policy(caps=(cap(1, "7"),))
    clock.jump_to(START_MS + 3000 * DAY_MS)
    assert decide(store, clock, 0.9, policy).action == "discount"
    clock.jump_to(START_MS)
    assert decide(store, clock, 0.9, policy).reason == "frequency_cap"
    clock.advance(7 * DAY_MS - 1)
    assert decide(store, clock, 0.9, policy).reason == "frequency_cap"
    clock.advance(1)
    assert decide(store, clock, 0.9, policy).action == "discount"


@pytest.mark.parametrize("at", [253_402_300_740_000, 2**63 - 1, -(2**63)])
def test_while_something_is_held_back_a_clock_beyond_all_dates_is_no_error(
    store: ProfileStore, clock: ManualClock, at: int
) -> None:
    policy = make_policy(caps=(cap(1, "7"),))
    clock.jump_to(at)
    assert decide(store, clock, 0.9, policy).action == "discount"
    held = decide(store, clock, 0.9, policy)
    assert held.reason == "frequency_cap"
    assert f"until {at + 7 * DAY_MS:,} ms after 1970" in held.text


# Lives: any sequence of decisions, jumps of the clock and restarts


class Step(NamedTuple):
    """Time passes, the clock jumps, perhaps the app is started anew, and then a policy is asked."""

    passes_ms: int
    jumps_ms: int
    restarts: bool
    policy: int
    prediction: float


class Made(NamedTuple):
    decision: Decision
    lived_ms: int  # since the start, by a clock that does not jump
    ahead_ms: int  # the sum of all jumps forward so far


POLICIES = (
    make_policy(
        cooldown_days=Decimal(2), caps=(cap(2, "7"), cap(5, "30")), holdout=Decimal("0.5"), exploration=Decimal("0.2")
    ),
    make_policy(name="nudge", caps=(cap(3, "1.25"),), exploration=Decimal("0.5")),
    make_policy(name="once", cooldown_days=Decimal("0.25"), caps=(cap(1, "365"), cap(2, "3000"))),
)


def live(steps: list[Step], seed: bytes, *, restarts: bool) -> tuple[list[Made], list[bytes]]:
    """What was decided, and the lines of the journal at the end."""
    clock = ManualClock(START_MS)
    made: list[Made] = []
    lived = ahead = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "profile.db"
        store = ProfileStore(path, durability="process")
        decider = Decider(store, POLICIES, clock, seed)
        for step in steps:
            clock.advance(step.passes_ms)
            clock.jump_to(clock.now_ms() + step.jumps_ms)
            lived, ahead = lived + step.passes_ms, ahead + max(0, step.jumps_ms)
            if restarts and step.restarts:
                store.close()
                store = ProfileStore(path, durability="process")
                decider = Decider(store, POLICIES, clock, None if made else seed)  # the stored key is used
            name = POLICIES[step.policy].name
            made.append(Made(decider.decide(name, step.prediction, version="1.0.0"), lived, ahead))
        kept = lines(store)
        store.close()
    return made, kept


def check_limits(policy: DecisionPolicy, made: list[Made]) -> Counter[str]:
    """Each decision of one policy against the rule, from the times alone; gives how often each reason was met."""
    assert len({each.decision.holdout for each in made}) <= 1
    windows = [(limit.times, int(limit.days * DAY_MS)) for limit in policy.caps]
    windows.append((1, int(policy.cooldown_days * DAY_MS)))
    ages: list[int] = []  # of the actions taken so far
    taken: list[Made] = []
    earliest: list[int] = []  # since each of them, by the device's clock
    for each in made:
        decision = each.decision
        earliest = [min(time, decision.at) for time in earliest]
        ages = [decision.at - time for time in earliest]
        full = any(sum(age < window for age in ages) >= times for times, window in windows)
        acted = decision.action != policy.otherwise
        if decision.holdout:
            assert (acted, decision.reason, decision.propensity) == (False, "holdout", 1.0)
        elif full:
            assert (acted, decision.propensity) == (False, 1.0)
            assert (decision.held_back is not None) == (decision.reason in ("cooldown", "frequency_cap"))
        else:
            assert decision.reason in ("rule", "below_all_rules", "explored")
            assert decision.held_back is None
        if acted:
            # In true time a window is shorter by the jumps forward at most.
            for times, window in windows:
                recent = [
                    earlier
                    for earlier in taken
                    if each.lived_ms - earlier.lived_ms + each.ahead_ms - earlier.ahead_ms < window
                ]
                assert len(recent) < times
            taken.append(each)
            earliest.append(decision.at)
    return Counter(each.decision.reason for each in made)


def check_life(steps: list[Step], seed: bytes) -> Counter[str]:
    made, kept = live(steps, seed, restarts=True)
    reasons: Counter[str] = Counter()
    for policy in POLICIES:
        reasons += check_limits(policy, [each for each in made if each.decision.name == policy.name])
    decisions = [each.decision for each in made]
    # Every line tells how its decision came about, whatever it notes of the result.
    assert [replay(line, POLICIES) for line in kept] == decisions[-len(kept) :]
    for line in kept:
        altered = {**json.loads(line), "action": "altered", "propensity": 0.0, "text": "", "held_back": None}
        assert replay(json.dumps(altered), POLICIES) == replay(line, POLICIES)
    # And restarts change nothing.
    unbroken, _ = live(steps, seed, restarts=False)
    assert [replace(each.decision, decision_id="") for each in unbroken] == [
        replace(decision, decision_id="") for decision in decisions
    ]
    return reasons


_STEPS = st.builds(
    Step,
    passes_ms=st.integers(0, 20 * DAY_MS) | st.sampled_from([0, 1, DAY_MS // 4, 2 * DAY_MS, 7 * DAY_MS]),
    jumps_ms=st.just(0) | st.integers(-60 * DAY_MS, 60 * DAY_MS),
    restarts=st.booleans(),
    policy=st.integers(0, len(POLICIES) - 1),
    prediction=st.sampled_from([0.2, 0.5, 0.6, 0.9]),
)


@given(st.lists(_STEPS, max_size=30), st.binary(max_size=4))
@settings(max_examples=40)
@example([Step(0, 0, False, 1, 0.9), Step(0, -DAY_MS, True, 1, 0.9), Step(DAY_MS, 0, True, 1, 0.9)], b"")
def test_limits_hold_and_every_line_replays_in_any_life(steps: list[Step], seed: bytes) -> None:
    check_life(steps, seed)


def test_limits_hold_through_a_year() -> None:
    rng = np.random.default_rng(20_240_501)
    reasons: Counter[str] = Counter()
    for profile in range(3):
        steps = []
        lived = 0
        while lived < 365 * DAY_MS:
            passes = int(rng.exponential(DAY_MS))
            lived += passes
            jumps = int(rng.normal(0, 5 * DAY_MS)) if rng.random() < 0.05 else 0
            restarts = bool(rng.random() < 0.2)
            steps.append(Step(passes, jumps, restarts, int(rng.integers(len(POLICIES))), float(rng.random())))
        reasons += check_life(steps, bytes([profile]))
    assert min(reasons.values()) >= 10, reasons
    assert set(reasons) == {"rule", "below_all_rules", "explored", "holdout", "cooldown", "frequency_cap"}


# Holdout and exploration


def test_the_share_of_the_holdout_is_what_the_policy_says(store: ProfileStore, clock: ManualClock) -> None:
    policies = [make_policy(holdout=Decimal("0.2")), make_policy(name="other", holdout=Decimal("0.2"))]
    profiles = 2000
    held: list[tuple[bool, bool]] = []
    for profile in range(profiles):
        store.put("decision_key", None)
        decider = Decider(store, policies, clock, profile.to_bytes(16, "big"))
        decisions = [decider.decide(policy.name, 0.9, version="1.0.0") for policy in policies]
        for decision in decisions:
            assert decision.action == ("none" if decision.holdout else "discount")
            assert decision.held_back == ("discount" if decision.holdout else None)
        held.append((decisions[0].holdout, decisions[1].holdout))
    for share, expected in (
        (np.mean([one for one, _ in held]), 0.2),
        (np.mean([other for _, other in held]), 0.2),
        (np.mean([one and other for one, other in held]), 0.04),  # each policy has a holdout of its own
    ):
        assert abs(share - expected) < 3.3 * math.sqrt(expected * (1 - expected) / profiles)


@pytest.mark.parametrize(("holdout", "expected"), [("0", False), ("1", True)])
def test_nobody_or_everybody_is_held_out(store: ProfileStore, clock: ManualClock, holdout: str, expected: bool) -> None:
    for profile in range(100):
        store.put("decision_key", None)
        policy = make_policy(holdout=Decimal(holdout))
        assert Decider(store, [policy], clock, bytes([profile])).decide("retention", 0.9, version="1.0.0").holdout is (
            expected
        )


def test_a_profile_has_one_key_and_a_new_one_after_it_was_erased(store: ProfileStore, clock: ManualClock) -> None:
    decide(store, clock, 0.9, make_policy())
    assert store.get("decision_key") == SEED
    Decider(store, [make_policy()], clock).decide("retention", 0.9, version="1.0.0")
    assert store.get("decision_key") == SEED
    store.clear()
    decider = Decider(store, [make_policy()], clock)
    decider.decide("retention", 0.9, version="1.0.0")
    key = store.get("decision_key")
    assert key is not None
    assert len(key) == 16
    store.clear()
    decider.decide("retention", 0.9, version="1.0.0")
    assert store.get("decision_key") not in (None, key)


def test_each_action_is_taken_as_often_as_its_propensity_says(store: ProfileStore, clock: ManualClock) -> None:
    decider = Decider(store, [make_policy(exploration=Decimal("0.3"))], clock, SEED)
    for prediction, ruled in ((0.2, "none"), (0.6, "message"), (0.9, "discount")):
        made = [decider.decide("retention", prediction, version="1.0.0") for _ in range(2000)]
        counts = Counter(decision.action for decision in made)
        assert {decision.action: decision.propensity for decision in made} == {
            action: 0.8 if action == ruled else 0.1 for action in ("none", "message", "discount")
        }
        for decision in made:
            expected = decision.propensity
            assert abs(counts[decision.action] / 2000 - expected) < 3.3 * math.sqrt(expected * (1 - expected) / 2000)
        explored = sum(decision.reason == "explored" for decision in made) / 2000
        assert abs(explored - 0.3) < 3.3 * math.sqrt(0.3 * 0.7 / 2000)


def test_while_a_limit_holds_nothing_is_random(store: ProfileStore, clock: ManualClock) -> None:
    decider = Decider(store, [make_policy(cooldown_days=Decimal(1), exploration=Decimal(1))], clock, SEED)
    while decider.decide("retention", 0.9, version="1.0.0").action == "none":
        pass
    made = [decider.decide("retention", 0.9, version="1.0.0") for _ in range(100)]
    assert {(decision.action, decision.propensity) for decision in made} == {("none", 1.0)}
    assert {decision.held_back for decision in made} == {None, "message", "discount"}
    assert {decision.reason for decision in made} == {"explored", "cooldown"}


# The journal


def test_a_decision_is_in_the_file_when_it_is_returned(store: ProfileStore, clock: ManualClock, tmp_path: Path) -> None:
    decision = decide(store, clock, 0.9, make_policy())
    other = ProfileStore(tmp_path / "profile.db", durability="process")
    entry = other.find(JOURNAL, decision.decision_id)
    other.close()
    assert entry is not None
    assert entry.at == START_MS
    assert entry.content.isascii()
    assert b"\n" not in entry.content
    values = json.loads(entry.content)
    assert entry.content == json.dumps(values, sort_keys=True, separators=(",", ":")).encode()


class Failing(ProfileStore):
    """Its journal takes a line, and then the disk is full."""

    fails = True

    def append(self, journal: str, name: str, at: int, content: bytes, *, keep: int) -> None:
        super().append(journal, name, at, content, keep=keep)
        if self.fails:
            raise StorageError("the disk is full", place="profile.db", remedy="make space")


def test_a_decision_that_is_not_kept_is_not_made(tmp_path: Path, clock: ManualClock) -> None:
    store = Failing(tmp_path / "profile.db", durability="process")
    policy = make_policy(caps=(cap(1, "1"),))
    with pytest.raises(StorageError, match="full"):
        decide(store, clock, 0.9, policy)
    assert lines(store) == []
    store.fails = False
    assert decide(store, clock, 0.9, policy).action == "discount"
    store.close()


def test_the_history_has_the_decisions_of_one_policy_in_their_order(store: ProfileStore, clock: ManualClock) -> None:
    decider = Decider(store, POLICIES, clock, SEED)
    made = [decider.decide(("nudge", "once")[n % 2], n / 10, version="1.0.0", explanation="Ü\u2028") for n in range(8)]
    assert decider.history("nudge") == made[::2]
    assert Decider(store, (), clock).history("once") == made[1::2]
    assert decider.history("retention") == []


def test_a_line_is_replayed_under_its_own_policy_only(store: ProfileStore, clock: ManualClock) -> None:
    policy = make_policy()
    decision = decide(store, clock, 0.9, policy)
    (line,) = lines(store)
    changed = make_policy(rules=(RULES[0],))
    assert replay(line, [changed, policy]) == decision
    with pytest.raises(UsageError, match=r"replay\(policies\): none of them is 'retention'"):
        replay(line, [changed])


def test_a_damaged_line_is_named(store: ProfileStore, clock: ManualClock) -> None:
    store.append(JOURNAL, "x", START_MS, b'{"name":"retention"}', keep=10)
    with pytest.raises(StorageError, match="line 1 is not an object with the fields of a decision"):
        Decider(store, [make_policy()], clock).history("retention")


def test_what_is_no_line_is_refused(store: ProfileStore, clock: ManualClock) -> None:
    policy = make_policy()
    decide(store, clock, 0.9, policy)
    (line,) = lines(store)
    values = json.loads(line)
    wrong: Any
    for name in values:
        for wrong in (None, True, 7, 0.5, "text", [None], {}):
            altered = json.dumps({**values, name: wrong})
            if type(wrong) is not type(values[name]) and (name, wrong) != ("held_back", "text"):
                with pytest.raises(UsageError, match=rf"replay\(line\): has a .*{name}"):
                    replay(altered, [policy])
        with pytest.raises(UsageError, match="not an object with the fields"):
            replay(json.dumps({key: value for key, value in values.items() if key != name}), [policy])
    for end in range(len(line)):
        with pytest.raises(UsageError, match="is not JSON"):
            replay(line[:end], [policy])
    for text in ("[]", json.dumps({**values, "more": 1}), json.dumps({**values, "actions": ["1"]})):
        with pytest.raises(UsageError):
            replay(text, [policy])


# Several at once


def test_threads_do_not_exceed_a_cap(store: ProfileStore, clock: ManualClock) -> None:
    policy = make_policy(caps=(cap(7, "1"),))
    decider = Decider(store, [policy], clock, SEED)
    together = threading.Barrier(8)
    made: list[Decision] = []

    def work() -> None:
        together.wait()
        made.extend(decider.decide("retention", 0.9, version="1.0.0") for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == len(decider.history("retention")) == 160
    assert sum(decision.action == "discount" for decision in made) == 7


OTHER_PROCESS = """
import sys
from decimal import Decimal
from pathlib import Path

from nearhand.bundle.serving import DecisionPolicy, FrequencyCap, Rule
from nearhand.decisions import Decider
from nearhand.profile import ProfileStore
from nearhand.testing.clock import ManualClock

policy = DecisionPolicy("retention", "churn", (Rule("message", Decimal(0)),), caps=(FrequencyCap(30, Decimal(1)),))
decider = Decider(ProfileStore(Path(sys.argv[1]), durability="process"), [policy], ManualClock())
print("ready", flush=True)
sys.stdin.readline()
print(sum(decider.decide("retention", 1.0, version="1").action == "message" for _ in range(100)))
"""


def test_processes_do_not_exceed_a_cap(tmp_path: Path) -> None:
    processes = [run(OTHER_PROCESS, tmp_path / "profile.db") for _ in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert sum(int(output_of(process)) for process in processes) == 30


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"decisions": 1, "actions": ["x"]}', b'{"decisions": 1.5, "actions": []}']
)
def test_a_damaged_state_is_told_and_no_cap_is_guessed(tmp_path: Path, content: bytes) -> None:
    with closing(ProfileStore(tmp_path / "profile.db", durability="process")) as store:
        policy = DecisionPolicy(name="retention", predictor="churn", rules=(Rule("offer", Decimal("0.5")),))
        decider = Decider(store, [policy], ManualClock(1_700_000_000_000), b"seed")
        assert decider.decide("retention", 0.9, version="1.0.0").action == "offer"
        (name,) = set(decider.values) - {"decision_key"}
        store.put(name, content)
        with pytest.raises(StorageError, match="decision_state/retention: is not what was written"):
            decider.decide("retention", 0.9, version="1.0.0")
        assert len(decider.history("retention")) == 1
