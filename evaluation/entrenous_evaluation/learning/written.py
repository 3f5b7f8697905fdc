"""A proposal as it is read: a table for a terminal, and TOML to be pasted into a specification."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.table import Table

from entrenous_consent.pseudonyms import BUCKETS
from entrenous_evaluation.learning.proposal import Proposal

__all__ = ["LANGUAGES", "as_toml", "show"]

LANGUAGES = ("en", "fr")

_SAID = {
    "en": (
        "nothing would change",
        ("tranche", "now", "proposed"),
        "A proposal for {name}. It changes nothing: paste it into the specification, train, read the card, sign.",
    ),
    "fr": (
        "rien ne changerait",
        ("tranche", "maintenant", "proposé"),
        "Une proposition pour {name}. Elle ne change rien : la coller dans la spécification, entraîner, lire la fiche, "
        "signer.",
    ),
}


def show(proposal: Proposal, console: Console, language: str) -> None:
    """Print what would change and why."""
    nothing, headings, _ = _SAID[language]
    if proposal.changes:
        table = Table(title=proposal.decision, title_justify="left")
        for heading in headings:
            table.add_column(heading)
        for change in proposal.changes:
            table.add_row(change.tranche, _shares(change.before), _shares(change.after))
        console.print(table)
        for change in proposal.changes:
            console.print(f"{change.tranche}: {change.why[language]}", highlight=False, soft_wrap=True)
    else:
        console.print(f"{proposal.decision}: {nothing}", highlight=False)
    for note in proposal.notes:
        console.print(note[language], highlight=False, soft_wrap=True)


def as_toml(proposal: Proposal, *, language: str, simulated: str = "") -> str:
    """Return TOML: the decision's choice and posteriors, and in comments what would change and why.

    Args:
        simulated: what in the figures did not happen, empty for nothing.
    """
    return "\n".join(_lines(proposal, language, simulated)) + "\n"


def _lines(proposal: Proposal, language: str, simulated: str) -> Iterator[str]:
    yield "# " + _SAID[language][2].format(name=proposal.decision)
    if simulated:
        yield f"# Simulated: {' '.join(simulated.split())}"
    for change in proposal.changes:
        yield f"# {change.tranche}: {_shares(change.before)} -> {_shares(change.after)}. {change.why[language]}"
    for note in proposal.notes:
        yield f"# {note[language]}"
    yield ""
    yield "[decision.choice]"
    for tranche, shares in proposal.choice.items():
        parts = ", ".join(f"{arm} = {share / BUCKETS:g}" for arm, share in shares.items())
        yield f'{tranche} = "{next(iter(shares))}"' if len(shares) == 1 else f"{tranche} = {{ {parts} }}"
    if proposal.posteriors:
        yield ""
        yield "[decision.posteriors]"
    for tranche, arms in proposal.posteriors.items():
        told = ", ".join(f"{arm} = [{mean:.6g}, {deviation:.6g}]" for arm, (mean, deviation) in arms.items())
        yield f"{tranche} = {{ {told} }}"


def _shares(shares: Mapping[str, int]) -> str:
    most = sorted(shares.items(), key=lambda one: -one[1])
    return ", ".join(f"{arm} {share / BUCKETS:.1%}" for arm, share in most)
