"""Offers: what a promotion promises, and the guards that no learning overrides.

An offer is an amount off from a threshold on ("10 off from 100"), in one currency for all, kept for as long as it says
once it was shown. One that is made to some visitors and not to others says so before the order (Directive 2011/83/EU,
Art. 6(1)(ea)); one that is announced to all as a price reduction states the lowest price of the thirty days before
(Directive 98/6/EC, Art. 6a), individual vouchers don't (Commission notice 2021/C 526/02, 2.3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from entrenous_consent.parsing import Table

__all__ = ["LONGEST_VALID_DAYS", "Offer", "check_offers", "parse_offer"]

LONGEST_VALID_DAYS = 90
_MOST = 10**9
_LANGUAGES = ("en", "fr")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What an arm promises.

    Attributes:
        amount: taken off an order, in minor units of `currency`. threshold: the order it takes, at least.
        valid_days: for how long it is kept once it was shown.
        personalised: whether some visitors get it and others don't. notice: what is shown before the order then, by
            language; empty where everyone gets it.
        lowest_price: what is announced names the lowest price of the thirty days before.
    """

    amount: int
    threshold: int
    currency: str
    valid_days: int
    personalised: bool
    notice: Mapping[str, str]
    lowest_price: bool = False

    def as_table(self) -> dict[str, Any]:
        """Return plain values."""
        table: dict[str, Any] = {
            "amount": self.amount,
            "threshold": self.threshold,
            "currency": self.currency,
            "valid_days": self.valid_days,
            "personalised": self.personalised,
        }
        if self.personalised:
            table["notice"] = dict(self.notice)
        if self.lowest_price:
            table["lowest_price"] = True
        return table

    def cost(self, order: float) -> float:
        """Return what the offer takes off an order, in minor units."""
        return float(self.amount) if order >= self.threshold else 0.0


def parse_offer(table: Table) -> Offer:
    """Return the offer in a table; a manifest, a specification and a campaign write it the same way.

    Raises:
        Malformed: a value out of bounds, an amount that is no less than its threshold, a personalised offer without its
            notice, or one for all without the lowest price.
    """
    currency = table.text("currency", longest=3)
    personalised = table.flag("personalised")
    notice = table.table("notice") if personalised else None
    offer = Offer(
        amount=table.integer("amount", least=1, most=_MOST),
        threshold=table.integer("threshold", least=1, most=_MOST),
        currency=currency,
        valid_days=table.integer("valid_days", least=1, most=LONGEST_VALID_DAYS),
        personalised=personalised,
        notice={language: notice.text(language) for language in _LANGUAGES} if notice else {},
        lowest_price=table.flag("lowest_price", False),
    )
    if notice:
        notice.close()
    if len(currency) != 3 or not currency.isascii() or not currency.isalpha() or not currency.isupper():
        raise table.refuse("currency", "is not a code of ISO 4217", "write it as EUR")
    if offer.amount >= offer.threshold:
        raise table.refuse("amount", "is no less than the threshold: an order would be free", "ask for a larger order")
    if not personalised and not offer.lowest_price:
        remedy = "state lowest_price = true and show it, or make the offer to some visitors: personalised = true"
        raise table.refuse("lowest_price", "is missing of a reduction announced to all", remedy)
    table.close()
    return offer


def check_offers(offers: Mapping[str, Offer | None], default_arm: str, table: Table) -> None:
    """Refuse arms of a promotion that don't belong together.

    Args:
        offers: by arm, None for no offer. default_arm: what the holdout gets.

    Raises:
        Malformed: the default arm makes an offer, no arm does, or they are of several currencies.
    """
    if offers[default_arm] is not None:
        remedy = "let the default be no offer: what it adds is measured against it"
        raise table.refuse("default_arm", "makes an offer", remedy)
    made = [offer for offer in offers.values() if offer is not None]
    if not made or len({offer.currency for offer in made}) != 1:
        raise table.refuse("arms", "make no offer, or in several currencies", "declare offers in one currency")
