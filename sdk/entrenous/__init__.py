"""Personalisation that stays between a shop and its visitor.

`Client` opens on a policy and a bundle, `Visitor` is the person at the device, `Decision` is what the page gets.
"""

from __future__ import annotations

from entrenous.client import Client, Config, Visitor
from entrenous.decision import Decision, Outcome, Receipt

__all__ = ["Client", "Config", "Decision", "Outcome", "Receipt", "Visitor"]
