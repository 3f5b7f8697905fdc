"""Signals: how a choice arrives, turned into the purposes it grants. Whatever is not understood is refused."""

from __future__ import annotations

from entrenous_consent.signals._bits import Ids
from entrenous_consent.signals.choices import from_choices
from entrenous_consent.signals.gpp import GppConsent, parse_gpp
from entrenous_consent.signals.read import REASONS, Choice, gpc_objects, read_signal
from entrenous_consent.signals.tcf import Publisher, Restriction, TcfConsent, parse_tcf

__all__ = [
    "REASONS",
    "Choice",
    "GppConsent",
    "Ids",
    "Publisher",
    "Restriction",
    "TcfConsent",
    "from_choices",
    "gpc_objects",
    "parse_gpp",
    "parse_tcf",
    "read_signal",
]
