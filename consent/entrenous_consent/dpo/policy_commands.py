"""Verbs of `entrenous privacy`."""

from __future__ import annotations

from entrenous_consent.dpo.commands import Commands

__all__ = ["register"]


def register(verbs: Commands) -> None:
    """Register them."""
