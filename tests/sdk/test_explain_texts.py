"""Six languages: every sentence is complete, and whatever stands in it stands in it as it is."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearhand.bundle.schema import Items
from nearhand.errors import UsageError
from nearhand.events import EVENT_TYPES
from nearhand.explain import LANGUAGES, Explanation, because, explain, language_of, plain, say
from nearhand.explain.texts import MESSAGES, fields_of, listed_phrases
from nearhand.retrieval import HistoryItem
from nearhand.retrieval.history import HistoryEvent

LOCALES = sorted(LANGUAGES)
VERBS = {"item_viewed": "watched", "item_liked": "liked", "page_turned": "read"}
ABOUT_ITEMS = sorted(kind for kind, schema in EVENT_TYPES.items() if schema.item)
ODD = [
    "{title}",
    "{0} {",
    "}}",
    "100% %s %(a)d",
    "שלום {verb}",
    "مرحبا",
    "🎬👩‍👩‍👧",
    "\\1 \\g<0>",
    "A\nB",
    "",
    "$t",
    "&amp; <b>",
    "“",
]

titles = st.sampled_from(ODD) | st.text(max_size=12)


def plain_text(template: str) -> str:
    """What is left of a template without its fields."""
    return re.sub(r"\{\w+\}", "", template)


def test_there_are_six_languages() -> None:
    assert LOCALES == ["de", "en", "es", "fr", "hi", "zh"]


@pytest.mark.parametrize("locale", LOCALES)
def test_a_language_has_every_message(locale: str) -> None:
    assert set(LANGUAGES[locale].messages) == set(MESSAGES)
    for message, template in LANGUAGES[locale].messages.items():
        assert fields_of(template) == fields_of(LANGUAGES["en"].messages[message]), message
        assert not re.search(r"[{}%]", plain_text(template)), message
        assert template == template.strip()


@pytest.mark.parametrize("locale", LOCALES)
def test_a_language_has_a_verb_for_every_event_about_an_item(locale: str) -> None:
    verbs = LANGUAGES[locale].verbs
    assert sorted(verbs) == ABOUT_ITEMS
    assert len(set(verbs.values())) == len(verbs)
    assert all(verb.strip() == verb != "" for verb in verbs.values())


@pytest.mark.parametrize("locale", [each for each in LOCALES if each != "en"])
def test_nothing_is_left_in_english(locale: str) -> None:
    for message, template in LANGUAGES[locale].messages.items():
        assert template != LANGUAGES["en"].messages[message]
    english = set(LANGUAGES["en"].verbs.values())
    assert english.isdisjoint(LANGUAGES[locale].verbs.values())
    if locale in ("hi", "zh"):
        texts = [*LANGUAGES[locale].messages.values(), *LANGUAGES[locale].verbs.values()]
        assert not any(re.search("[a-zA-Z]", plain_text(text)) for text in texts)


@pytest.mark.parametrize("locale", LOCALES)
@given(text=titles)
def test_every_message_takes_every_text(locale: str, text: str) -> None:
    for message, template in LANGUAGES[locale].messages.items():
        fields = dict.fromkeys(fields_of(template), text)
        shown = f"“{text}”" if "title" in fields and locale == "zh" else text
        before, *after = re.split(r"\{\w+\}", template)
        assert say(message, locale, **fields) == before + "".join(shown + each for each in after)


@pytest.mark.parametrize(
    ("locale", "language"),
    [
        ("de", "de"), ("de-AT", "de"), ("de_AT", "de"), ("DE", "de"), ("de-Latn-AT-1996", "de"),
        ("de_AT.UTF-8@euro", "de"), ("zh-Hans-CN", "zh"), ("zh_TW", "zh"), ("fr-CA", "fr"), (" hi ", "hi"),
        ("es-419", "es"), ("en-GB", "en"),
        ("nl", "en"), ("deu", "en"), ("C", "en"), ("POSIX", "en"), ("", "en"), ("-", "en"), ("{title}", "en"),
    ],
)  # fmt: skip
def test_a_locale_gets_its_language_or_english(locale: str, language: str) -> None:
    assert language_of(locale) == language
    assert say("popular", locale) == LANGUAGES[language].messages["popular"]


@pytest.mark.parametrize("locale", [None, 7, b"de", ["de"]])
def test_a_locale_is_a_text(locale: Any) -> None:
    with pytest.raises(UsageError, match="locale"):
        language_of(locale)


def test_a_message_needs_its_fields() -> None:
    with pytest.raises(UsageError, match="needs: title"):
        say("similar")
    with pytest.raises(UsageError, match="needs: none"):
        say("popular", title="Heat")
    with pytest.raises(UsageError, match="no message 'unheard'"):
        say("unheard")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("locale", "texts"),
    [
        ("en", ["Because you watched A", "Because you watched A and B", "Because you watched A, B and C"]),
        ("de", ["Weil du A gesehen hast", "Weil du A und B gesehen hast", "Weil du A, B und C gesehen hast"]),
        ("es", ["Porque viste A", "Porque viste A y B", "Porque viste A, B y C"]),
        ("fr", ["Parce que vous avez vu A", "Parce que vous avez vu A et B", "Parce que vous avez vu A, B et C"]),
        ("hi", ["क्योंकि आपने A को देखा", "क्योंकि आपने A और B को देखा", "क्योंकि आपने A, B और C को देखा"]),
        ("zh", ["因为您看过“A”", "因为您看过“A”和“B”", "因为您看过“A”、“B”和“C”"]),
    ],
)
def test_a_list_reads_as_its_language_lists(locale: str, texts: list[str]) -> None:
    for count, text in enumerate(texts, start=1):
        assert because([("item_viewed", title) for title in "ABC"[:count]], VERBS, locale) == text


@pytest.mark.parametrize(
    ("locale", "text"),
    [
        ("en", "Because you liked A and C and watched B"),
        ("de", "Weil du A und C mit „Gefällt mir“ bewertet und B gesehen hast"),
        ("es", "Porque diste «Me gusta» a A y C y viste B"),
        ("fr", "Parce que vous avez aimé A et C et vu B"),
        ("hi", "क्योंकि आपने A और C को पसंद किया और B को देखा"),
        ("zh", "因为您喜欢“A”和“C”，并且看过“B”"),
    ],
)
def test_each_verb_has_its_titles(locale: str, text: str) -> None:
    assert because([("item_liked", "A"), ("item_viewed", "B"), ("item_liked", "C")], VERBS, locale) == text


@pytest.mark.parametrize(
    ("last", "joined"),
    [
        ("Ícaro", "A e Ícaro"), ("inside", "A e inside"), ("Hijos", "A e Hijos"), ("Hielo", "A y Hielo"),
        ("Hiato", "A y Hiato"), ("Yo", "A y Yo"), ("Brasil", "A y Brasil"), ("", "A y "),
    ],
)  # fmt: skip
def test_spanish_avoids_two_sounds_of_i(last: str, joined: str) -> None:
    assert because([("item_viewed", "A"), ("item_viewed", last)], {}, "es") == f"Porque viste {joined}"
    assert because([("item_viewed", "A"), ("item_clicked", "B")], {}, "es") == "Porque viste A e hiciste clic en B"


def test_english_takes_the_bundle_s_verbs_and_the_others_their_own() -> None:
    acts = [("item_viewed", "A")]
    assert because(acts, {"item_viewed": "listened to"}) == "Because you listened to A"
    assert because(acts, {}) == "Because you viewed A"
    assert because(acts, {"item_viewed": "listened to"}, "de") == "Weil du A gesehen hast"


@pytest.mark.parametrize(
    ("locale", "text"),
    [
        ("en", "Because you read A and liked B"),
        ("de", "Wegen deiner Aktivitäten rund um A und B"),
        ("es", "Por tu actividad con A y B"),
        ("fr", "En raison de votre activité avec A et B"),
        ("hi", "A और B से जुड़ी आपकी गतिविधि के कारण"),
        ("zh", "因为您与“A”和“B”的互动"),
    ],
)
def test_a_type_of_the_bundle_s_own_has_no_verb_in_other_languages(locale: str, text: str) -> None:
    assert because([("page_turned", "A"), ("item_liked", "B")], VERBS, locale) == text


def test_a_type_without_any_verb_keeps_its_titles() -> None:
    assert because([("page_turned", "A")], {}) == "Because of your activity with A"


@pytest.mark.parametrize("locale", LOCALES)
@given(acts=st.lists(st.tuples(st.sampled_from([*ABOUT_ITEMS, "own"]), titles), min_size=1, max_size=5))
def test_no_title_and_no_verb_is_lost(locale: str, acts: list[tuple[str, str]]) -> None:
    said = because(acts, VERBS, locale)
    known = {**LANGUAGES[locale].verbs, **(VERBS if locale == "en" else {})}
    if all(event in known for event, _ in acts):
        for verb in {known[event] for event, _ in acts}:
            assert verb in said
    for _, title in acts:
        assert title in said
    # With marks for titles, the sentence is the same but for the titles: nothing of them was read as a template.
    marks = [(event, f"⟦{place}⟧") for place, (event, _) in enumerate(acts)]
    parts = re.split(r"⟦(\d+)⟧", because(marks, VERBS, locale))
    woven = "".join(acts[int(part)][1] if place % 2 else part for place, part in enumerate(parts))
    assert said == woven or locale == "es"  # where the title decides between y and e


def test_phrases_become_a_sentence() -> None:
    assert listed_phrases(["fewer films than usual"]) == "Fewer films than usual"
    assert listed_phrases(["a", "b", "c"], "de-CH") == "A, b und c"
    assert listed_phrases(["gastos por debajo de lo habitual"], "es") == "Gastos por debajo de lo habitual"
    assert listed_phrases(["iPhone-Sitzungen niedriger als sonst"], "de") == "iPhone-Sitzungen niedriger als sonst"
    assert listed_phrases([""]) == listed_phrases([]) == ""
    assert listed_phrases(["电影比平时少", "时长比平时高"], "zh") == "电影比平时少，时长比平时高"


# --- explanations in a language --------------------------------------------------------------------------------------

ITEMS = Items(
    item_ids=("a", "b"), titles=("{title} 100%", "عربي"), years=(0,) * 2, genres=((),) * 2, directors=("",) * 2,
    popularity=(0,) * 2,
)  # fmt: skip
HISTORY = [HistoryItem(row, 1.0, (HistoryEvent(f"e{row}", "item_viewed", 1.0),)) for row in range(2)]


@pytest.mark.parametrize(
    ("locale", "text"),
    [
        ("en-US", "Because you watched عربي and {title} 100%"),
        ("de-AT", "Weil du عربي und {title} 100% gesehen hast"),
        ("zh-CN", "因为您看过“عربي”和“{title} 100%”"),
        ("xx", "Because you watched عربي and {title} 100%"),
    ],
)
def test_explanations_are_in_the_locale_s_language(locale: str, text: str) -> None:
    (found,) = explain(HISTORY, np.array([[0.1, 0.2]]), ITEMS, VERBS, locale)
    assert found.text == text
    (recent,) = explain(HISTORY, np.array([[0.0, -0.2]]), ITEMS, VERBS, locale)
    assert recent.text == say("recent", locale)


@pytest.mark.parametrize("locale", LOCALES)
def test_reasons_beside_the_history_are_explanations_too(locale: str) -> None:
    assert plain("similar", locale, title="{x}").text == say("similar", locale, title="{x}")
    assert plain("exploration", locale) == Explanation(LANGUAGES[locale].messages["exploration"])
    assert plain("pinned", locale).evidence == ()
