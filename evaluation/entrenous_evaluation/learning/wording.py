"""Why, in words: a sentence or two for each change, in English and French."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import sqrt

from entrenous_evaluation.learning.promotions import Couple, Plan
from entrenous_evaluation.statistics import Estimate, Unknown
from entrenous_evaluation.statistics.quantiles import critical

__all__ = ["Change", "Words"]

_GAINS = {
    "conversion": ("points of conversion", "points de conversion"),
    "revenue_per_visitor": ("of revenue a visitor", "de chiffre d'affaires par visiteur"),
    "margin": ("of margin a visitor, after costs", "de marge par visiteur, après coûts"),
}
_CAUSES = {
    "too_few": ("too few visitors ordered", "trop peu de visiteurs ont commandé"),
    "lost_in_noise": ("the noise hides what there is", "le bruit cache le reste"),
    "not_counted": ("the reports don't count what it takes", "les rapports ne comptent pas ce qu'il faut"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What one tranche would get: shares of 10,000 by arm, before and after, and why, by language."""

    tranche: str
    before: Mapping[str, int]
    after: Mapping[str, int]
    why: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Words:
    """Sentences on one metric; amounts in `currency`, which may be empty."""

    metric: str
    currency: str

    def of_arm(self, arm: str, probability: float, default: str, over: Estimate, parent: str) -> dict[str, str]:
        """Return why an arm is shown most.

        Args:
            over: by how much it brings more than the default. parent: of a tranche that was not measured, `-` where it
                has none; empty for one that was.
        """
        english = f"{arm} is the best with a probability of {probability:.0%}"
        french = f"{arm} est le meilleur avec une probabilité de {_percent(probability)}"
        if arm != default:
            english += f"; over {default} it brings {self._gain(over, 'en')}"
            french += f" ; par rapport à {default}, il apporte {self._gain(over, 'fr')}"
        english, french = english + ".", french + "."
        if parent == "-":
            english += " Nothing was measured here in the last round."
            french += " Rien n'a été mesuré ici au dernier tour."
        elif parent:
            english += f" Nothing was measured here in the last round: it follows {parent}."
            french += f" Rien n'a été mesuré ici au dernier tour : on suit {parent}."
        return {"en": english, "fr": french}

    def of_offer(self, tranche: str, couple: Couple | None, found: Plan) -> dict[str, str]:
        """Return why a tranche gets its offer, or none."""
        if found.phases[tranche] == "test":
            english = "Still on trial: the offers that the guards allow and no offer are shown evenly"
            french = "Encore à l'essai : les offres permises par les garde-fous et l'absence d'offre, à parts égales"
        elif couple is None:
            english = "No offer earns more than none, after its cost"
            french = "Aucune offre ne rapporte plus que l'absence d'offre, coûts déduits"
        else:
            gain = found.gains[tranche]
            english = f"{self._offer(couple, 'en')} earns {self._gain(gain, 'en')} more than no offer"
            french = f"{self._offer(couple, 'fr')} rapporte {self._gain(gain, 'fr')} de plus que sans offre"
        english, french = english + ".", french + "."
        if tranche in found.cheaper:
            english += " The budget pays for fewer than all."
            french += " Le budget n'en paie qu'une partie."
        if tranche in found.released:
            english += " It is more generous than for the less likely to buy, since the data says so."
            french += " C'est plus généreux que pour les moins enclins à acheter, puisque les données le disent."
        return {"en": english, "fr": french}

    def notes(self, couples: Mapping[str, Couple], found: Plan) -> Iterator[dict[str, str]]:
        """Yield what the guards kept back."""
        for arm in found.withheld:
            yield {
                "en": f"{self._offer(couples[arm], 'en')} is withheld: it would leave less than the least margin.",
                "fr": f"{self._offer(couples[arm], 'fr')} est écartée : elle laisserait moins que la marge minimale.",
            }

    def taken_back(self) -> dict[str, str]:
        """Return why offers that serve are taken back though nothing was measured."""
        return {
            "en": "An offer is taken back that leaves less than the least margin, or that the budget may not pay for.",
            "fr": "Est retirée une offre qui laisse moins que la marge minimale, ou que le budget peut ne pas payer.",
        }

    def nothing(self, unknown: Unknown) -> dict[str, str]:
        """Return that there is nothing to learn from yet, and why."""
        english, french = _CAUSES.get(unknown.cause, ("there is too little", "il y a trop peu"))
        return {
            "en": f"There is nothing to learn from yet: {english}.",
            "fr": f"Il n'y a encore rien à apprendre : {french}.",
        }

    def _gain(self, over: Estimate, language: str) -> str:
        half = critical(0.95) * sqrt(over.variance)
        scale = 100 if self.metric == "conversion" else 0.01
        value, low, high = (f"{scale * x:+,.2f}" for x in (over.value, over.value - half, over.value + half))
        unit = "" if self.metric == "conversion" or not self.currency else f" {self.currency}"
        english, french = _GAINS[self.metric]
        if language == "fr":
            return f"{_comma(value)}{unit} {french} ({_comma(low)} à {_comma(high)})"
        return f"{value}{unit} {english} ({low} to {high})"

    def _offer(self, couple: Couple, language: str) -> str:
        unit = f" {self.currency}" if self.currency else ""
        amount, threshold = f"{couple.amount / 100:,.2f}", f"{couple.threshold / 100:,.2f}"
        if language == "fr":
            return f"{_comma(amount)}{unit} de remise dès {_comma(threshold)}{unit}"
        return f"{amount}{unit} off from {threshold}{unit}"


def _percent(share: float) -> str:
    return f"{share * 100:.0f}\u202f%"


def _comma(number: str) -> str:
    return number.translate({ord(","): "\u202f", ord("."): ","})
