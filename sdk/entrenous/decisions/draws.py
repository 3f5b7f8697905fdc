"""Draws: which side of an experiment a visitor is on, and their place among its arms.

One keyed function of the handle gives 32 bytes, evenly spread, the same for the life of the experiment's key::

    bytes  0..8   the bucket: below the holdout, within the ramp, or not reached yet
    bytes  8..16  the place among the arms, so that a wider ramp moves nobody from one arm to another

Where the arm is drawn anew every day, the place is that of handle ‖ decision ‖ day instead. Experiments that keep apart
share a group's key: its bucket says whose visitor this is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from entrenous.decisions.form import Experiment
from entrenous.loop.contributions import HOLDOUT
from entrenous_consent.pseudonyms import BUCKETS, bucket

__all__ = ["ELSEWHERE", "NOT_YET", "SIDES", "Draw", "Drawing", "group_key_name"]

NOT_YET = "not_yet"
"""The ramp has not reached this visitor."""
ELSEWHERE = "elsewhere"
"""Another experiment of the group has this visitor."""
SIDES = (HOLDOUT, NOT_YET, ELSEWHERE)
_DAY = 86_400

Mac = Callable[[bytes], bytes]


class Draw(NamedTuple):
    """Where a visitor stands.

    Attributes:
        side: one of `SIDES`, empty for who takes part. place: 0 to 9,999, among the arms.
    """

    side: str
    place: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """One decision's experiment, with its keyed functions.

    Attributes:
        mac: of the experiment. group: of its group, None where it has none.
    """

    decision: str
    experiment: Experiment
    mac: Mac
    group: Mac | None

    def draw(self, handle: bytes, now: int) -> Draw:
        """Return where a visitor stands at `now`, Unix seconds."""
        experiment = self.experiment
        if self.group is not None:
            low, high = experiment.slice
            if not low <= bucket(self.group, handle) < high:
                return Draw(ELSEWHERE, 0)
        drawn = self.mac(handle)
        at = _scaled(drawn[:8])
        if at < experiment.holdout:
            return Draw(HOLDOUT, 0)
        if at >= experiment.holdout + experiment.taken:
            return Draw(NOT_YET, 0)
        if experiment.daily:
            drawn = self.mac(handle + self.decision.encode() + (now // _DAY).to_bytes(8, "big"))
        return Draw("", _scaled(drawn[8:16]))


def _scaled(eight: bytes) -> int:
    return int.from_bytes(eight, "big") * BUCKETS >> 64


def group_key_name(group: str) -> str:
    """Return under which name a group's key is kept: no experiment can have it."""
    return f"group {group}"
