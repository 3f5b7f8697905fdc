"""The ledger: what releases have cost, and when the next one is due. It forgets nothing and is no visitor's.

Releases of one experiment are about different visitors, so it costs a visitor one epsilon however many there
are (parallel composition); experiments of one report add up (sequential composition; Dwork, Roth 2014, 3.14 and 3.16).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from entrenous_consent.errors import Forbidden, Malformed
from entrenous_consent.packing import pack, unpack
from entrenous_consent.policy import Report

__all__ = ["Account", "Ledger"]

_LIMIT = 1 << 20
_DAY = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One experiment of one report.

    Attributes:
        began: when it was first in force, Unix seconds. last: the release before, or `began`. releases: how many.
        epsilon: what a visitor in it has paid at most: the largest of its releases.
    """

    began: int
    last: int
    releases: int = 0
    epsilon: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Accounts by (report, experiment)."""

    accounts: Mapping[tuple[str, str], Account] = field(default_factory=dict)

    def spent(self, report: str) -> float:
        """Return what whoever took part in every experiment of a report has paid."""
        return sum(account.epsilon for (name, _), account in self.accounts.items() if name == report)

    def opened(self, report: str, experiment: str, now: int) -> Ledger:
        """Return a ledger that knows the experiment, as begun `now` if it is new."""
        if (report, experiment) in self.accounts:
            return self
        return Ledger(accounts={**self.accounts, (report, experiment): Account(began=now, last=now)})

    def next(self, report: Report, experiment: str) -> int:
        """Return when the next release is due, whoever is in it: the first once its first window has closed."""
        account = self.accounts[report.name, experiment]
        first = report.window_days * _DAY if not account.releases else 0
        return account.last + first + report.every_days * _DAY

    def debited(self, report: Report, experiment: str, now: int) -> Ledger:
        """Return the ledger after a release.

        Raises:
            Forbidden: the report's lifetime budget would not hold it.
        """
        account = self.accounts[report.name, experiment]
        more = max(report.epsilon - account.epsilon, 0.0)
        if self.spent(report.name) + more > report.lifetime_epsilon * (1 + 1e-12):
            raise Forbidden(
                f"has spent {self.spent(report.name):g} of {report.lifetime_epsilon:g} epsilon",
                place=f"reports.{report.name}",
                remedy="end the experiment; a higher lifetime_epsilon is the DPO's to sign",
            )
        paid = replace(account, last=now, releases=account.releases + 1, epsilon=account.epsilon + more)
        return Ledger(accounts={**self.accounts, (report.name, experiment): paid})

    def pack(self) -> bytes:
        """Return the ledger as msgpack."""
        return pack(
            [
                [report, experiment, one.began, one.last, one.releases, one.epsilon]
                for (report, experiment), one in sorted(self.accounts.items())
            ]
        )

    @classmethod
    def unpack(cls, data: bytes | None) -> Ledger:
        """Return the ledger that `pack` wrote; an empty one for None.

        Raises:
            Malformed: the bytes are no ledger.
        """
        if data is None:
            return cls()
        try:
            return cls(
                accounts={
                    (report, experiment): Account(began=began, last=last, releases=releases, epsilon=epsilon)
                    for report, experiment, began, last, releases, epsilon in unpack(
                        data, place="ledger", longest=_LIMIT
                    )
                }
            )
        except (TypeError, ValueError) as error:
            raise Malformed("is not a ledger", place="ledger", remedy="restore the store from its backup") from error
