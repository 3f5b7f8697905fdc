"""Personalisation that stays between a shop and its visitor.

`Client` opens on what a publisher signed, `Visitor` is the person at the device, `Decision` is what the page gets.
"""

from __future__ import annotations

from entrenous.client import Client, Config, Visitor
from entrenous.decision import Decision, Outcome, Receipt
from entrenous.updates.deployment import Deployment, Limits

__all__ = ["Client", "Config", "Decision", "Deployment", "Limits", "Outcome", "Receipt", "Visitor"]
