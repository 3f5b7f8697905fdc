"""What an examination finds: one line a check, for whoever is on call, and the same for a program."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from entrenous_consent.errors import Refusal

__all__ = ["Finding", "Findings", "mend", "ok", "told", "warn"]

Verdict: TypeAlias = Literal["ok", "warn", "mend"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check and what came of it.

    Attributes:
        check: what was looked at, in a word.
        verdict: `mend` where the worker does not do its work, or will not at its next start or visit; `warn` where it
            does, and somebody should know.
        what, place, remedy: as those of a `Refusal`.
    """

    check: str
    verdict: Verdict
    what: str
    place: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.verdict:<5} {self.check:<10} {Refusal(self.what, place=self.place, remedy=self.remedy)}"

    def table(self) -> dict[str, Any]:
        """Return it as JSON says it."""
        return asdict(self)


Findings: TypeAlias = Iterator[Finding]


def ok(check: str, what: str, place: object = "") -> Finding:
    """Return that a check found nothing to do."""
    return Finding(check=check, verdict="ok", what=what, place=str(place))


def warn(check: str, what: str, place: object, remedy: str) -> Finding:
    """Return that somebody should know."""
    return Finding(check=check, verdict="warn", what=what, place=str(place), remedy=remedy)


def mend(check: str, what: str, place: object, remedy: str) -> Finding:
    """Return that something is to be mended."""
    return Finding(check=check, verdict="mend", what=what, place=str(place), remedy=remedy)


def told(check: str, work: Callable[[], Iterable[Finding]]) -> Findings:
    """Yield what `work` finds; where it is refused or fails, that is what is to be mended, and other checks go on."""
    try:
        yield from work()
    except Refusal as error:
        yield mend(check, error.what, error.place, error.remedy)
    except Exception as error:  # another library's words may repeat what it was handed
        yield mend(
            check, f"could not be examined ({type(error).__name__})", "doctor", "this is a fault of ours: report it"
        )
