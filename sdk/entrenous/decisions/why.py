"""Why a decision was what it was, in plain words: what counted, and what was not looked at.

What counted is found by leaving one thing out at a time: the score of this very vector, less the score without the
feature. For a linear model that is the feature's exact contribution, measured from the value that stands for unknown;
for trees it is what the answer would have lost. Each is scored as it was decided, one row at a time, on this device.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import nan
from types import MappingProxyType
from typing import Any, NamedTuple

from entrenous.decision import Decision
from entrenous.decisions.routes import Scored
from entrenous.features import Feature
from entrenous.markers import words_of
from entrenous_consent.errors import Malformed

__all__ = ["LANGUAGES", "Effect", "Why", "explain", "recalled"]

LANGUAGES = ("en", "fr")
_SHOWN = 3
_Words = Mapping[str, str]

_ANSWERS: Mapping[str, _Words] = MappingProxyType(
    {
        "": {"en": "The answer is the one for “{tranche}”.", "fr": "La réponse est celle de « {tranche} »."},
        "drawn": {
            "en": "The answer was drawn by chance: {share} % of the visitors in “{tranche}” who take part get it.",
            "fr": "La réponse a été tirée au sort : {share} % des participants de « {tranche} » la reçoivent.",
        },
        "holdout": {
            "en": "You are among the few who keep the usual page, so that we can compare.",
            "fr": "Vous faites partie de ceux qui gardent la page habituelle, pour que nous puissions comparer.",
        },
        "not_yet": {
            "en": "This is shown to part of the visitors first, and you are not among them yet.",
            "fr": "Ceci est d'abord montré à une partie des visiteurs ; vous n'en êtes pas encore.",
        },
        "elsewhere": {
            "en": "You take part in another comparison, so this one leaves you out.",
            "fr": "Vous participez à une autre comparaison ; celle-ci ne vous concerne donc pas.",
        },
        "kept": {
            "en": "This offer was made to you before and still holds.",
            "fr": "Cette offre vous a été faite auparavant et tient toujours.",
        },
        "capped": {"en": "You have seen enough of it for now.", "fr": "Vous l'avez assez vu pour le moment."},
        "ineligible": {
            "en": "It is meant for other visits than this one.",
            "fr": "Ceci est destiné à d'autres visites que celle-ci.",
        },
        "contextual": {
            "en": "The answer is for this moment alone: nothing about you was looked at or kept.",
            "fr": "La réponse ne tient qu'au moment : rien sur vous n'a été regardé ni gardé.",
        },
        "forced": {
            "en": "The answer was set by hand, for a check.",
            "fr": "La réponse a été fixée à la main, pour un essai.",
        },
        "consent_missing": {
            "en": "You did not allow it, so nothing was looked at and the usual answer was given.",
            "fr": "Vous ne l'avez pas permis : rien n'a été regardé et la réponse habituelle a été donnée.",
        },
        "otherwise": {
            "en": "Nothing could be decided here, so the usual answer was given.",
            "fr": "Rien n'a pu être décidé ici ; la réponse habituelle a donc été donnée.",
        },
    }
)
_FOR: _Words = MappingProxyType({"en": "Counted for it: {words}.", "fr": "A compté pour : {words}."})
_AGAINST: _Words = MappingProxyType({"en": "Counted against it: {words}.", "fr": "A compté contre : {words}."})
_UNSEEN: _Words = MappingProxyType(
    {
        "en": "Not looked at, because you did not allow it: {words}.",
        "fr": "Pas regardé, parce que vous ne l'avez pas permis : {words}.",
    }
)


class Effect(NamedTuple):
    """What one feature did.

    Attributes:
        feature: its name. words: what it says, in the language asked for.
        effect: the score with it less the score without it: log-odds of a likelihood, the outcome's unit of an uplift.
    """

    feature: str
    words: str
    effect: float


class Why(NamedTuple):
    """An explanation.

    Attributes:
        lines: sentences for whoever the decision is about. effects: every feature that was looked at and did anything,
            the strongest first. withheld: names of what was not looked at.
    """

    lines: tuple[str, ...]
    effects: tuple[Effect, ...]
    withheld: tuple[str, ...]


def explain(decision: Decision, language: str = "en") -> Why:
    """Return why a decision was what it was.

    Args:
        language: one of `LANGUAGES`.

    Raises:
        Malformed: another language.
    """
    if language not in LANGUAGES:
        raise Malformed("is not spoken here", place="language", remedy="use one of: " + ", ".join(LANGUAGES))
    scored: Scored | None = decision.scored
    share = decision.receipt.basis.share if decision.receipt else 10_000
    lines = [_answer(decision.cause, decision.tranche, share, language)]
    if scored is None or decision.receipt is None:
        return Why(tuple(lines), (), ())
    effects = _effects(scored, language) if decision.tranche else ()
    for words, sign in ((_FOR, 1), (_AGAINST, -1)):
        some = [one.words for one in effects if one.effect * sign > 0]
        if some:
            lines.append(words[language].format(words=_listed(some[:_SHOWN])))
    withheld = decision.receipt.basis.withheld
    lines += _unseen(withheld, scored.route.features, language)
    return Why(tuple(lines), effects, withheld)


def recalled(receipt: Mapping[str, Any], features: Iterable[Feature], language: str = "en") -> tuple[str, ...]:
    """Return what a receipt still says of its decision: the answer's reason, and what was not looked at. What counted
    is not kept.

    Args:
        receipt: as `Visitor.export` tells it. features: of the bundle in force, for their words.
        language: one of `LANGUAGES`.
    """
    answer = _answer(receipt["cause"], receipt["tranche"], receipt["share"], language)
    return (answer, *_unseen(receipt["withheld"], features, language))


def _answer(cause: str, tranche: str, share: int, language: str) -> str:
    key = cause if cause in _ANSWERS else "otherwise"
    if not key and share < 10_000:
        key = "drawn"
    return _ANSWERS[key][language].format(tranche=tranche, share=f"{share / 100:g}")


def _unseen(withheld: Iterable[str], features: Iterable[Feature], language: str) -> list[str]:
    spoken = {one.name: words_of(one, language) for one in features}
    words = _listed(spoken.get(name, name.replace("_", " ")) for name in withheld)
    return [_UNSEEN[language].format(words=words)] if words else []


def _listed(words: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(words))


def _effects(scored: Scored, language: str) -> tuple[Effect, ...]:
    route = scored.route
    if route.margins is None:
        return ()
    row = memoryview(bytearray(scored.head.tobytes())).cast("f")
    for position, value in scored.supplied:
        row[position] = value
    whole = route.margins(row)
    column = route.column_of(scored.tranche, whole)
    found = []
    for position in route.reads:
        value = row[position]
        if value == value:
            row[position] = nan
            effect = whole[column] - route.margins(row)[column]
            row[position] = value
            if effect:
                feature = route.features[position]
                found.append(Effect(feature.name, words_of(feature, language), effect))
    return tuple(sorted(found, key=lambda one: (-abs(one.effect), one.feature)))
