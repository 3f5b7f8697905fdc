"""What a policy says of signals: whose TCF choices are read, which consent platforms are believed, what GPC means."""

from __future__ import annotations

from dataclasses import dataclass

from entrenous_consent.parsing import Table

__all__ = ["Signals", "parse_signals"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """How choices may arrive, beside the app's own call.

    Attributes:
        tcf_vendor_id: on the IAB Europe Global Vendor List, whose choices are read from a TCF string; 0 for none.
        tcf_publisher_purposes: whether the publisher segment of a TCF string is read.
        cmps: consent platforms whose consent mode maps are believed.
        gpc_yields_to_later_choice: whether a choice made after an objection by GPC outweighs it.
    """

    tcf_vendor_id: int
    tcf_publisher_purposes: bool
    cmps: tuple[str, ...]
    gpc_yields_to_later_choice: bool


def parse_signals(table: Table) -> Signals:
    """Return the settings that `[signals]` writes down.

    Raises:
        Malformed: an unknown key, or a value of another type or out of bounds.
    """
    signals = Signals(
        tcf_vendor_id=table.integer("tcf_vendor_id", 0, least=1, most=65_535),
        tcf_publisher_purposes=table.flag("tcf_publisher_purposes", False),
        cmps=table.texts("cmps", ()),
        gpc_yields_to_later_choice=table.flag("gpc_yields_to_later_choice", False),
    )
    table.close()
    return signals
