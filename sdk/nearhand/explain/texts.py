"""What explanations say: the sentences of six languages.

A sentence is a template whose fields, in braces, are replaced by texts of the app and its user. These are put in as
they are, and what they hold is never read as a template: a title may have braces, percent signs, or any writing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal, TypeAlias, get_args

from nearhand.errors import UsageError
from nearhand.records import dataclass

Message: TypeAlias = Literal[
    "popular",  # there is no history yet
    "similar",
    "recent",  # the history as a whole
    "new",
    "exploration",
    "pinned",
    "because",
    "about",  # because of events that have no verb in this language
    "fewer",
    "more",
    "shorter_since",
    "longer_since",
    "lower",
    "higher",
    "different",
    "usual",
    "nothing_unusual",
]
MESSAGES: tuple[Message, ...] = get_args(Message)
FALLBACK = "en"
"""The language of a locale whose own there is none of."""


@dataclass(frozen=True)
class _Joint:
    """How a list reads: ``separator`` between its parts, ``last`` before the last one.

    Attributes:
        exception: a pattern at the beginning of the last part, and what then stands before it instead.
    """

    separator: str
    last: str
    exception: tuple[str, str] | None = None

    def join(self, parts: Sequence[str]) -> str:
        if len(parts) < 2:
            return "".join(parts)
        last = self.last
        if self.exception is not None and re.match(self.exception[0], parts[-1], re.IGNORECASE):
            last = self.exception[1]
        return self.separator.join(parts[:-1]) + last + parts[-1]


@dataclass(frozen=True)
class Language:
    """The texts of one language.

    Attributes:
        messages: message → template.
        title: the template of a title within a sentence; clause: that of a verb and its titles.
        verbs: event type → what goes into ``clause``.
        titles, clauses, phrases: how lists of them read.
    """

    messages: Mapping[Message, str]
    title: str
    clause: str
    verbs: Mapping[str, str]
    titles: _Joint
    clauses: _Joint
    phrases: _Joint


def _of_words(conjunction: str, exception: tuple[str, str] | None = None) -> dict[str, _Joint]:
    joint = _Joint(", ", conjunction, exception)
    return {"titles": joint, "clauses": joint, "phrases": joint}


LANGUAGES: Mapping[str, Language] = {
    "en": Language(
        messages={
            "popular": "Popular with many people",
            "similar": "Similar to {title}",
            "recent": "Because of your recent activity",
            "new": "New in the catalogue",
            "exploration": "Picked to learn your taste",
            "pinned": "Placed here by the app",
            "because": "Because you {clauses}",
            "about": "Because of your activity with {titles}",
            "fewer": "fewer {feature} than usual",
            "more": "more {feature} than usual",
            "shorter_since": "less time since {feature} than usual",
            "longer_since": "longer since {feature} than usual",
            "lower": "lower {feature} than usual",
            "higher": "higher {feature} than usual",
            "different": "unusual {feature}",
            "usual": "{feature} as usual",
            "nothing_unusual": "Nothing unusual",
        },
        title="{title}",
        clause="{verb} {titles}",
        verbs={
            "item_viewed": "viewed",
            "item_clicked": "looked at",
            "item_liked": "liked",
            "item_disliked": "disliked",
            "item_saved": "saved",
            "item_purchased": "bought",
            "impression": "saw",
            "recommendation_dismissed": "dismissed",
        },
        **_of_words(" and "),
    ),
    "de": Language(
        messages={
            "popular": "Bei vielen beliebt",
            "similar": "Ähnlich wie {title}",
            "recent": "Wegen deiner letzten Aktivitäten",
            "new": "Neu im Katalog",
            "exploration": "Ausgewählt, um deinen Geschmack kennenzulernen",
            "pinned": "Von der App hierher gesetzt",
            "because": "Weil du {clauses} hast",
            "about": "Wegen deiner Aktivitäten rund um {titles}",
            "fewer": "weniger {feature} als sonst",
            "more": "mehr {feature} als sonst",
            "shorter_since": "kürzer her als sonst: {feature}",
            "longer_since": "länger her als sonst: {feature}",
            "lower": "{feature} niedriger als sonst",
            "higher": "{feature} höher als sonst",
            "different": "{feature} anders als sonst",
            "usual": "{feature} wie sonst",
            "nothing_unusual": "Alles wie sonst",
        },
        title="{title}",
        clause="{titles} {verb}",
        verbs={
            "item_viewed": "gesehen",
            "item_clicked": "angeklickt",
            "item_liked": "mit „Gefällt mir“ bewertet",
            "item_disliked": "mit „Gefällt mir nicht“ bewertet",
            "item_saved": "gespeichert",
            "item_purchased": "gekauft",
            "impression": "angezeigt bekommen",
            "recommendation_dismissed": "ausgeblendet",
        },
        **_of_words(" und "),
    ),
    "es": Language(
        messages={
            "popular": "Popular entre muchas personas",
            "similar": "Parecido a {title}",
            "recent": "Por tu actividad reciente",
            "new": "Nuevo en el catálogo",
            "exploration": "Elegido para conocer tus gustos",
            "pinned": "Colocado aquí por la aplicación",
            "because": "Porque {clauses}",
            "about": "Por tu actividad con {titles}",
            "fewer": "menos {feature} que de costumbre",
            "more": "más {feature} que de costumbre",
            "shorter_since": "menos tiempo que de costumbre desde {feature}",
            "longer_since": "más tiempo que de costumbre desde {feature}",
            "lower": "{feature} por debajo de lo habitual",
            "higher": "{feature} por encima de lo habitual",
            "different": "{feature} fuera de lo habitual",
            "usual": "{feature} como de costumbre",
            "nothing_unusual": "Nada fuera de lo habitual",
        },
        title="{title}",
        clause="{verb} {titles}",
        verbs={
            "item_viewed": "viste",
            "item_clicked": "hiciste clic en",
            "item_liked": "diste «Me gusta» a",
            "item_disliked": "diste «No me gusta» a",
            "item_saved": "guardaste",
            "item_purchased": "compraste",
            "impression": "te mostramos",
            "recommendation_dismissed": "descartaste",
        },
        # "y" becomes "e" before the sound of i, which "hi" is too, unless a diphthong begins: "Rey e Ícaro". By the
        # spelling, as Unicode's CLDR has it; how a foreign title sounds nobody knows.
        **_of_words(" y ", (r"[ií]|h[ií](?![aáeéoó])", " e ")),
    ),
    "fr": Language(
        messages={
            "popular": "Apprécié par beaucoup de monde",
            "similar": "Similaire à {title}",
            "recent": "En raison de votre activité récente",
            "new": "Nouveau dans le catalogue",
            "exploration": "Choisi pour apprendre à connaître vos goûts",
            "pinned": "Placé ici par l'application",
            "because": "Parce que vous avez {clauses}",
            "about": "En raison de votre activité avec {titles}",
            # "Moins de" would have to become "moins d'" before a vowel.
            "fewer": "{feature} en moins grand nombre que d'habitude",
            "more": "{feature} en plus grand nombre que d'habitude",
            "shorter_since": "moins longtemps que d'habitude depuis {feature}",
            "longer_since": "plus longtemps que d'habitude depuis {feature}",
            "lower": "{feature} au-dessous de la normale",
            "higher": "{feature} au-dessus de la normale",
            "different": "{feature} hors de la normale",
            "usual": "{feature} comme d'habitude",
            "nothing_unusual": "Rien d'inhabituel",
        },
        title="{title}",
        clause="{verb} {titles}",
        verbs={
            "item_viewed": "vu",
            "item_clicked": "cliqué sur",
            "item_liked": "aimé",
            "item_disliked": "indiqué ne pas aimer",
            "item_saved": "enregistré",
            "item_purchased": "acheté",
            "impression": "aperçu",
            "recommendation_dismissed": "écarté",
        },
        **_of_words(" et "),
    ),
    "hi": Language(
        messages={
            "popular": "बहुत से लोगों में लोकप्रिय",
            "similar": "{title} से मिलता-जुलता",
            "recent": "आपकी हाल की गतिविधि के कारण",
            "new": "कैटलॉग में नया",
            "exploration": "आपकी पसंद जानने के लिए चुना गया",
            "pinned": "ऐप ने इसे यहाँ रखा है",
            "because": "क्योंकि आपने {clauses}",
            "about": "{titles} से जुड़ी आपकी गतिविधि के कारण",
            "fewer": "सामान्य से कम {feature}",
            "more": "सामान्य से ज़्यादा {feature}",
            "shorter_since": "{feature} के बाद से सामान्य से कम समय",
            "longer_since": "{feature} के बाद से सामान्य से ज़्यादा समय",
            "lower": "{feature} सामान्य से नीचे",
            "higher": "{feature} सामान्य से ऊपर",
            "different": "{feature} सामान्य से अलग",
            "usual": "{feature} हमेशा की तरह",
            "nothing_unusual": "कुछ भी असामान्य नहीं",
        },
        title="{title}",
        clause="{titles} {verb}",
        # With a postposition the verb does not depend on the gender and number of titles, which nobody knows.
        verbs={
            "item_viewed": "को देखा",
            "item_clicked": "पर क्लिक किया",
            "item_liked": "को पसंद किया",
            "item_disliked": "को नापसंद किया",
            "item_saved": "को सहेजा",
            "item_purchased": "को ख़रीदा",
            "impression": "पर नज़र डाली",
            "recommendation_dismissed": "को हटाया",
        },
        **_of_words(" और "),
    ),
    "zh": Language(
        messages={
            "popular": "受到很多人的喜爱",
            "similar": "与{title}相似",
            "recent": "根据您最近的活动",
            "new": "目录中的新内容",
            "exploration": "为了解您的喜好而挑选",
            "pinned": "由应用放在此处",
            "because": "因为您{clauses}",
            "about": "因为您与{titles}的互动",
            "fewer": "{feature}比平时少",
            "more": "{feature}比平时多",
            "shorter_since": "距{feature}的时间比平时短",
            "longer_since": "距{feature}的时间比平时长",
            "lower": "{feature}比平时低",
            "higher": "{feature}比平时高",
            "different": "{feature}与平时不同",
            "usual": "{feature}与平时一样",
            "nothing_unusual": "一切如常",
        },
        title="“{title}”",  # no space tells where a title begins
        clause="{verb}{titles}",
        verbs={
            "item_viewed": "看过",
            "item_clicked": "点击了",
            "item_liked": "喜欢",
            "item_disliked": "不喜欢",
            "item_saved": "收藏了",
            "item_purchased": "购买了",
            "impression": "浏览了",
            "recommendation_dismissed": "忽略了",
        },
        titles=_Joint("、", "和"),
        clauses=_Joint("，", "，并且"),
        phrases=_Joint("，", "，"),
    ),
}
"""Language → its texts. People are addressed as large services address them: du, tú, vous, आप, 您."""


def language_of(locale: str) -> str:
    """The language that a locale gets: ``de-AT``, ``de_AT.UTF-8`` and ``DE`` get ``de``; one without texts ``en``.

    Raises:
        UsageError: the locale is not a text.
    """
    if not isinstance(locale, str):
        raise UsageError(f"{locale!r} is not a text", place="locale", remedy='give a locale such as "de-AT"')
    return _language_of(locale)


@lru_cache(maxsize=64)
def _language_of(locale: str) -> str:
    language = re.split(r"[-_.@]", locale.strip(), maxsplit=1)[0].lower()
    return language if language in LANGUAGES else FALLBACK


def say(message: Message, locale: str = "en", **fields: str) -> str:
    """A message in the language of a locale.

    Args:
        fields: what its template names: ``title``, ``titles``, ``clauses`` or ``feature``. They stand in the result as
            they are, except that Chinese puts a title into quotation marks.

    Raises:
        UsageError: there is no such message, or it needs other fields.
    """
    if message not in MESSAGES:
        raise UsageError(f"there is no message {message!r}", remedy=f"use one of {', '.join(MESSAGES)}")
    language = LANGUAGES[language_of(locale)]
    template = language.messages[message]
    if fields.keys() != fields_of(template):
        needed = ", ".join(sorted(fields_of(template))) or "none"
        raise UsageError(
            f"has the fields {', '.join(sorted(fields)) or 'none'}",
            place=f"message {message!r}",
            remedy=f"give what it needs: {needed}",
        )
    if "title" in fields:
        fields["title"] = _filled(language.title, {"title": fields["title"]})
    return _filled(template, fields)


def because(acts: Sequence[tuple[str, str]], verbs: Mapping[str, str], locale: str = "en") -> str:
    """The sentence that names what somebody did with which items.

    Titles of the same verb stand together. Where an event type has no verb in the language, a sentence without verbs
    names all of the titles.

    Args:
        acts: (event type, title), in the order in which they are to be named; if there are none, the sentence is the
            one about recent activity.
        verbs: event type → English past-tense verb; used for English only.
    """
    if not acts:
        return say("recent", locale)
    name = language_of(locale)
    language = LANGUAGES[name]
    own = verbs if name == "en" else {}
    titles_of: dict[str | None, list[str]] = {}
    quoted = [_filled(language.title, {"title": title}) for _, title in acts]
    for (event, _), title in zip(acts, quoted, strict=True):
        titles_of.setdefault(own.get(event, language.verbs.get(event)), []).append(title)
    if None in titles_of:
        return say("about", locale, titles=language.titles.join(quoted))
    clauses = [
        _filled(language.clause, {"verb": verb, "titles": language.titles.join(titles)})
        for verb, titles in titles_of.items()
        if verb is not None
    ]
    return say("because", locale, clauses=language.clauses.join(clauses))


def listed_phrases(phrases: Sequence[str], locale: str = "en") -> str:
    """Phrases such as "fewer films than usual" as one sentence: a list that begins with a capital.

    A first word with capitals of its own, such as "iPhone", stays as it is.
    """
    text = LANGUAGES[language_of(locale)].phrases.join(phrases)
    first = text.split(maxsplit=1)[:1]
    return text[:1].upper() + text[1:] if first and first[0].islower() else text


@lru_cache(maxsize=512)
def _parsed(template: str) -> tuple[str, ...]:
    """What is between the fields, at even places, and the fields' names, at odd ones."""
    return tuple(re.split(r"\{(\w+)\}", template))


@lru_cache(maxsize=512)
def fields_of(template: str) -> frozenset[str]:
    """The names of a template's fields."""
    return frozenset(_parsed(template)[1::2])


def _filled(template: str, fields: Mapping[str, str]) -> str:
    return "".join(fields[part] if place % 2 else part for place, part in enumerate(_parsed(template)))
