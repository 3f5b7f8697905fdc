"""What a card says of an uplift and of situations, where it has no likelihood to speak of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from entrenous_exporters.card.speech import Section, figure, percent, purposes, say

__all__ = ["situation_sections", "situation_title", "uplift_sections", "uplift_title"]

Facts = Mapping[str, Any]


def uplift_title(facts: Facts, language: str) -> str:
    """Return the card of an uplift in one sentence: against the best constant arm, whatever it says."""
    uplift = facts["uplift"]
    fullest = max(uplift["patterns"], key=lambda one: len(one["purposes"]))
    policy, constant = fullest["policy"]["snips"], uplift["best_constant"]
    beats = policy["low"] > constant["value"]
    verdict = say(
        language,
        "more" if beats else "not clearly more",
        "plus" if beats else "pas nettement plus",
    )
    return say(
        language,
        f"With {purposes(fullest)} granted, acting only where it pays brings {figure(policy['value'], language)} a "
        f"visitor ({figure(policy['low'], language)} to {figure(policy['high'], language)}): {verdict} than "
        f"{constant['arm']} for everybody, which brings {figure(constant['value'], language)}.",
        f"Avec {purposes(fullest)} accordés, n'agir que là où cela rapporte donne "
        f"{figure(policy['value'], language)} par visiteur ({figure(policy['low'], language)} à "
        f"{figure(policy['high'], language)}) : {verdict} que "
        f"{constant['arm']} pour tous, qui donne {figure(constant['value'], language)}.",
    )


def uplift_sections(facts: Facts, language: str) -> tuple[Section, ...]:
    """Return what each action adds, and what acting on it is worth."""
    uplift = facts["uplift"]
    top = percent(uplift["top"], language)
    ranked = [
        (
            purposes(pattern),
            one["arm"],
            *(figure(one[key], language) for key in ("qini", "auuc", "uplift_at_top")),
        )
        for pattern in uplift["patterns"]
        for one in pattern["actions"]
    ]
    worth = [
        (purposes(pattern), name.upper(), *(figure(pattern["policy"][name][key], language) for key in _INTERVAL))
        for pattern in uplift["patterns"]
        for name in ("ips", "snips")
    ]
    constant = uplift["best_constant"]
    always = say(language, f"{constant['arm']} for everybody", f"{constant['arm']} pour tous")
    worth.append((always, "", *(figure(constant[key], language) for key in _INTERVAL)))
    granted, interval = say(language, "granted", "accordé"), say(language, "95 % interval", "intervalle à 95 %")
    return (
        Section(
            key="gains",
            heading=say(language, "What an action adds", "Ce qu'une action apporte"),
            sentences=(
                say(
                    language,
                    f"How well visitors are ranked by what an action adds over {uplift['control']}: 0 is a random "
                    f"order. The last column is what it adds, a visitor, among the {top} ranked highest.",
                    f"Comment les visiteurs sont classés selon ce qu'une action apporte par rapport à "
                    f"{uplift['control']} : 0 est un ordre au hasard. La dernière colonne est ce qu'elle apporte, par "
                    f"visiteur, parmi les {top} les mieux classés.",
                ),
            ),
            headings=(granted, "action", "Qini", "AUUC", say(language, f"adds, top {top}", f"apport, {top} premiers")),
            rows=tuple(ranked),
        ),
        Section(
            key="policy",
            heading=say(language, "What acting on it is worth", "Ce que vaut d'agir ainsi"),
            sentences=(
                say(
                    language,
                    "The outcome less the cost, a visitor, had the test been dealt by the model; beside it the best "
                    "arm for everybody. A model that does not beat it is worth nothing, however well it ranks.",
                    "Le résultat moins le coût, par visiteur, si le test avait été distribué par le modèle ; à côté, "
                    "le meilleur bras pour tous. Un modèle qui ne le dépasse pas ne vaut rien, si bien qu'il classe.",
                ),
            ),
            headings=(granted, say(language, "estimate", "estimation"), say(language, "value", "valeur"), interval, ""),
            rows=tuple(worth),
        ),
    )


_INTERVAL = ("value", "low", "high")


def situation_title(facts: Facts, language: str) -> str:
    """Return the card of situations in one sentence."""
    situations = facts["situations"]
    count = len(situations["names"]) - 1
    fullest = max(situations["patterns"], key=lambda one: len(one["purposes"]))
    rates = [one for one in fullest["reached"] if one is not None]
    return say(
        language,
        f"{facts['name']} {facts['version']} tells {count} situations apart; of their visits between "
        f"{percent(min(rates), language)} and {percent(max(rates), language)} reach the goal.",
        f"{facts['name']} {facts['version']} distingue {count} situations ; entre {percent(min(rates), language)} et "
        f"{percent(max(rates), language)} de leurs visites atteignent le but.",
    )


def situation_sections(facts: Facts, language: str) -> tuple[Section, ...]:
    """Return how common each situation is, how often its visits reach the goal, and what a refusal costs."""
    situations = facts["situations"]
    rows = [
        (
            purposes(pattern),
            percent(pattern["same_as_fullest"], language),
            *(
                f"{percent(share, language)} / {'–' if rate is None else percent(rate, language)}"
                for share, rate in zip(pattern["shares"], pattern["reached"], strict=True)
            ),
        )
        for pattern in situations["patterns"]
    ]
    return (
        Section(
            key="situations",
            heading=say(language, "Situations", "Situations"),
            sentences=(
                say(
                    language,
                    "For each consent: how often the same situation is named as with everything granted; then, of each "
                    "situation, its share of the visits and how many of them reach the goal.",
                    "Pour chaque consentement : combien de fois la même situation est nommée que si tout était "
                    "accordé ; puis, pour chaque situation, sa part des visites et combien d'entre elles atteignent "
                    "le but.",
                ),
            ),
            headings=(
                say(language, "granted", "accordé"),
                say(language, "same as fullest", "comme le plus complet"),
                *situations["names"],
            ),
            rows=tuple(rows),
        ),
    )
