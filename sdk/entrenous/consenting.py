"""A signal brought to the store: read by the policy in force, set beside the choice that stands, kept.

Works on the parts of an `Engine`, and raises as it does.
"""

from __future__ import annotations

from dataclasses import replace

from entrenous.engine import Engine
from entrenous_consent.records import ConsentRecord, choose
from entrenous_consent.signal_settings import APP, OVER_GPC
from entrenous_consent.signals import read_signal
from entrenous_consent.store import Erasure

__all__ = ["chose_over_gpc", "take_signal"]


_BY_THE_APP = (APP, OVER_GPC)
"""Sources of a choice that the app hands over as it is made."""


def take_signal(engine: Engine, handle: bytes, signal: object, *, gpc: bool = False) -> Erasure:
    """Store what a signal comes to. One that is refused changes nothing, and one that grants what is in force already
    writes nothing: sent with every page, it must prolong nothing.

    Args:
        signal: see `entrenous_consent.signals.read_signal`. gpc: whether `Sec-GPC: 1` came with it.

    A signal without a date, sent with every page, may be older than the choice in force: it widens only one that came
    from the same platform, and never answers for a purpose whose consent version was raised. A dated signal is kept as
    of its date. Where it narrows a choice that is younger, what stays ends when it would
    have. One that is no newer than the choice in force does not answer for a purpose whose consent version was raised
    since: that is still to be asked for.

    Raises:
        Malformed, Forbidden: the signal is not taken.
    """
    policy, now = engine.active.policy, engine.clock()
    choice = read_signal(policy, signal, now, gpc=gpc)
    if choice.objects:
        return engine.object(handle, frozenset(policy.purposes), choice.source)

    def chosen(before: ConsentRecord | None, salt: bytes) -> ConsentRecord | None:
        if before is None or choice.source in _BY_THE_APP:
            return choose(policy, choice.granted, source=choice.source, now=choice.made or now, salt=salt)
        held, outdated = before.granted(policy, now), before.outdated(policy)
        if choice.made is None:
            same = before.source == choice.source
            told_of = choice.granted - outdated if same else choice.granted & held
            if told_of == held:
                return None
            if not same:
                refusal = choose(policy, frozenset(), source=before.source, now=now, salt=salt)
                return refusal.instead_of(before, held - told_of)
            made = choose(policy, told_of, source=choice.source, now=now, salt=salt)
            return replace(made, refused=tuple(one for one in made.refused if one not in outdated))
        if choice.made > before.time:
            outdated = frozenset()
        told = choice.beside(held, before.source, before.time)
        if held == told.granted - outdated:
            return None
        if told is choice:
            made = choose(policy, choice.granted - outdated, source=choice.source, now=choice.made, salt=salt)
            return replace(made, refused=tuple(one for one in made.refused if one not in outdated))
        refusal = choose(policy, frozenset(), source=told.source, now=now, salt=salt)
        return refusal.instead_of(before, held - told.granted)

    return engine.take(handle, chosen)


def chose_over_gpc(engine: Engine, handle: bytes) -> bool:
    """Say whether the choice in force was made while GPC objected, under a policy that lets it outweigh the
    objection."""
    policy = engine.active.policy
    if not policy.signals.gpc_yields_to_later_choice:
        return False
    standing = engine.custody.standing(handle, policy, engine.clock(), move=False)
    return standing is not None and standing.record.source == OVER_GPC
