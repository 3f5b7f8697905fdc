"""Signals: how a choice arrives, turned into the purposes it grants. Whatever is not understood is refused."""

from __future__ import annotations

from entrenous_consent.signals.choices import from_choices

__all__ = ["from_choices"]
