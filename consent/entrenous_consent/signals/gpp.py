"""GPP strings: the IAB Tech Lab's envelope for consent strings of many places, read strictly.

A header says which sections follow, in ascending order, each after a `~`. Two kinds are read: the European one, which
is a TCF string, and those of the United States, which can only object. Others are stepped over and grant nothing.

Sources: "Global Privacy Platform String" 1.0 of September 2022, and for sections 7 to 27 the layouts of the IAB Tech
Lab's own library (`@iabgpp/cmpapi` 3.2.0), with which the vectors in `tests/vectors/gpp.json` were made.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from entrenous_consent.errors import Malformed
from entrenous_consent.signals._bits import Bits
from entrenous_consent.signals.tcf import LONGEST, TcfConsent, parse_tcf

__all__ = ["GppConsent", "parse_gpp"]

_TYPE, _VERSION = 3, 1
_TCF_EU, _US_PRIVACY = 2, 6
_MOST_SECTIONS = 64
_TEXT = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)
_US_PRIVACY_TEXT = re.compile(r"1[YN-][YN-][YN-]", re.ASCII)
_OPTED_OUT, _MOST_ANSWER = 1, 2
_GPC_TYPE = 1

_NOTICES = "sharing_notice sale_notice advertising_notice"
_STATE = f"{_NOTICES} SALE ADVERTISING"
_MSPA = "covered option_mode provider_mode"
_SINCE_2026 = f"covered mode {_STATE}"


def _layout(fields: str, **repeated: int) -> tuple[int, tuple[int, ...]]:
    """Return how many answers of 2 bits `fields` are, and which of them (in capitals) opt out."""
    names = [one for name in fields.split() for one in [name] * repeated.get(name, 1)]
    return len(names), tuple(place for place, name in enumerate(names) if name.isupper())


def _state(
    sensitive: int, children: int, *, more: str = "additional", first: str = _STATE
) -> tuple[int, tuple[int, ...]]:
    return _layout(f"{first} sensitive children {more} {_MSPA}", sensitive=sensitive, children=children)


_NATIONAL = (
    "sharing_notice sale_notice sharing_opt_out_notice advertising_notice sensitive_notice limit_notice "
    f"SALE SHARING ADVERTISING sensitive children personal {_MSPA}"
)
_CALIFORNIA = f"sale_notice sharing_notice limit_notice SALE SHARING sensitive children personal {_MSPA}"
_WITH_SENSITIVE_NOTICE = f"{_NOTICES} sensitive_notice SALE ADVERTISING"

_LAYOUTS = {
    (7, 1): _layout(_NATIONAL, sensitive=12, children=2),
    (7, 2): _layout(_NATIONAL, sensitive=16, children=3),
    (8, 1): _layout(_CALIFORNIA, sensitive=9, children=2),
    (9, 1): _state(8, 1, more=""),
    (10, 1): _state(7, 1, more=""),
    (11, 1): _state(8, 1, more="", first=_WITH_SENSITIVE_NOTICE),
    (12, 1): _state(8, 3, more=""),
    (13, 1): _state(8, 3),
    (14, 1): _state(8, 3),
    (15, 1): _state(11, 3),
    (16, 1): _state(8, 1),
    (17, 1): _state(9, 5),
    (18, 1): _state(8, 1, more="", first=_WITH_SENSITIVE_NOTICE),
    (19, 1): _state(8, 1),
    (20, 1): _state(8, 3),
    (21, 1): _state(10, 5),
    (22, 1): _state(8, 1),
    (23, 1): _state(8, 1),
    (24, 1): _layout(f"{_SINCE_2026} additional"),
    (25, 1): _layout(f"{_SINCE_2026} children additional"),
    (26, 1): _layout(f"{_SINCE_2026} children additional"),
    (27, 1): _layout(f"{_SINCE_2026} children additional"),
}
"""By section and version: how many answers of 2 bits follow the version, and which of them opt out."""

_STATES = frozenset(section for section, _ in _LAYOUTS)
_WITHOUT_GPC = frozenset({9, 11, 13, 25, 26, 27})
_WITH_SENSITIVE_SEGMENT = frozenset({25, 26, 27})
_SENSITIVE_ANSWERS = 8


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class GppConsent:
    """What a GPP string holds that is read here.

    Attributes:
        sections: the ids in its header. tcf: its European section, None where there is none.
        objections: sections of the United States in which the person opted out, or that carry a GPC signal.
    """

    sections: tuple[int, ...]
    tcf: TcfConsent | None
    objections: tuple[int, ...]


def parse_gpp(text: object) -> GppConsent:
    """Return what a GPP string holds.

    Args:
        text: the string as the consent platform wrote it: a header, then its sections, each after a `~`.

    Raises:
        Malformed: the header and the sections do not agree, or a section that is read here is broken: then none of the
            string is taken. The message never repeats it.
    """
    if not isinstance(text, str):
        raise _refused("expected text")
    if len(text) > LONGEST:
        raise _refused(f"is longer than {LONGEST} characters")
    header, *bodies = text.split("~")
    sections = _header(header)
    if len(sections) != len(bodies):
        raise _refused("holds another number of sections than its header says")
    tcf: TcfConsent | None = None
    objections = []
    for section, body in zip(sections, bodies, strict=True):
        if section == _TCF_EU:
            tcf = parse_tcf(body)
        elif section in _STATES:
            if _opts_out(section, body):
                objections.append(section)
        elif section == _US_PRIVACY:
            if not _US_PRIVACY_TEXT.fullmatch(body):
                raise _refused("holds a US Privacy section that is none")
            if body[2] == "Y":
                objections.append(section)
        elif not _TEXT.fullmatch(body):
            raise _refused("holds a section that is empty, or of other characters")
    return GppConsent(sections=sections, tcf=tcf, objections=tuple(objections))


def _header(text: str) -> tuple[int, ...]:
    bits = Bits(text, "gpp.header")
    if bits.take(6) != _TYPE or bits.take(6) != _VERSION:
        raise bits.refuse("is none of version 1")
    found: list[int] = []
    last = 0
    for _ in range(bits.take(12)):
        several = bits.take(1)
        first = last + bits.fibonacci()
        last = first + (bits.fibonacci() if several else 0)
        if last - first + len(found) >= _MOST_SECTIONS:
            raise bits.refuse("names more sections than there are")
        found += range(first, last + 1)
    if not found:
        raise bits.refuse("names no section")
    bits.close()
    return tuple(found)


def _opts_out(section: int, text: str) -> bool:
    """Say whether a section of the United States holds an opt-out or a GPC signal."""
    core, *others = text.split(".")
    bits = Bits(core, "gpp.section")
    layout = _LAYOUTS.get((section, bits.take(6)))
    if layout is None:
        raise bits.refuse("is of a version that is not known")
    many, opt_outs = layout
    answers = _answers(bits, many)
    objects = any(answers[place] == _OPTED_OUT for place in opt_outs)
    if len(others) > 1 or (others and section in _WITHOUT_GPC - _WITH_SENSITIVE_SEGMENT):
        raise bits.refuse("has a segment too many")
    for other in others:
        segment = Bits(other, "gpp.section")
        if section in _WITH_SENSITIVE_SEGMENT:
            _answers(segment, _SENSITIVE_ANSWERS)
            continue
        if segment.take(2) != _GPC_TYPE:
            raise segment.refuse("has a segment of a type that is not known")
        objects = bool(segment.take(1)) or objects
        segment.close()
    return objects


def _answers(bits: Bits, many: int) -> list[int]:
    """Return the answers that end a segment: 0 not applicable, 1 yes, 2 no."""
    answers = [bits.take(2) for _ in range(many)]
    if max(answers) > _MOST_ANSWER:
        raise bits.refuse("answers what is neither yes, no, nor not applicable")
    bits.close()
    return answers


def _refused(what: str) -> Malformed:
    return Malformed(what, place="gpp", remedy="pass the string as the consent platform wrote it")
