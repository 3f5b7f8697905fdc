"""`entrenous markers`: the catalogue, for people: by group, by words, and as what a policy and a specification say."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, TypeAlias

from entrenous.markers.catalogue import Marker, catalogue, groups
from entrenous_consent.dpo.output import put, with_output
from entrenous_consent.dpo.rendering import Document, Listing, Paragraph, Section, Table
from entrenous_consent.dpo.words import Words, load_words
from entrenous_consent.errors import Missing

__all__ = ["found", "markers", "markers_document"]

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def markers(commands: Commands) -> None:
    """Register `entrenous markers`."""
    words = "list the ready-made features, with what each says and what it needs"
    parser = commands.add_parser("markers", help=words, description=words)
    parser.add_argument("words", nargs="*", metavar="WORD", help="only those that hold every word, in either language")
    parser.add_argument("--group", choices=tuple(groups()), help="only those of one group")
    parser.add_argument("--families", action="store_true", help="one line for each family")
    parser.set_defaults(run=_markers)
    with_output(parser)


def _markers(arguments: argparse.Namespace) -> int:
    chosen = found(arguments.words, arguments.group)
    put(markers_document(chosen, arguments.language, families=arguments.families), arguments)
    return 0


def found(words: Sequence[str], group: str | None = None) -> tuple[Marker, ...]:
    """Return the markers of a group that hold every one of `words`, in their names or in either language.

    Raises:
        Missing: there are none.
    """
    wanted = [word.casefold() for word in words]
    chosen = tuple(
        marker
        for marker in catalogue()
        if group in (None, marker.group) and all(word in _said(marker) for word in wanted)
    )
    if not chosen:
        remedy = "use fewer words, or see them all: entrenous markers"
        raise Missing("there is none with all of these words", place="markers", remedy=remedy)
    return chosen


def _said(marker: Marker) -> str:
    return " ".join((marker.name, marker.family, *marker.words.values())).casefold()


def markers_document(chosen: Sequence[Marker], language: str, *, families: bool = False) -> Document:
    """Return a document of these markers, by group."""
    words = load_words(language, "markers")
    table = _families if families else _each
    sections = [
        Section(key=group, heading=f"{said[language]} · {len(mine)}", blocks=(table(mine, words),))
        for group, said in groups().items()
        if (mine := [marker for marker in chosen if marker.group == group])
    ]
    example = '[markers]\ntake = ["rhythm", "purchases_*"]\npurpose = "personalize"\nretention_days = 400'
    use = (
        Paragraph(text=words("spec")),
        Listing(text=example),
        Paragraph(text=words("policy")),
        Table(caption="", headings=(words("pattern"), words("category")), rows=_lines(chosen)),
    )
    counted = words("counted", markers=len(chosen), families=len({marker.family for marker in chosen}))
    return Document(
        kind="markers",
        title=words("title"),
        language=language,
        lead=(Paragraph(text=counted),),
        sections=(*sections, Section(key="use", heading=words("use"), blocks=use)),
        data={"markers": [_plain(marker) for marker in chosen]},
    )


def _lines(chosen: Sequence[Marker]) -> tuple[tuple[str, str], ...]:
    """Return what a policy says of them: a pattern for each that is about one thing, names where categories differ."""
    categories: dict[str, set[str]] = {}
    for marker in chosen:
        categories.setdefault(marker.name.partition("_")[0], set()).add(marker.category)
    lines = {
        (f"{about}_*" if len(categories[about]) == 1 else marker.name, marker.category)
        for marker in chosen
        for about in [marker.name.partition("_")[0]]
    }
    return tuple(sorted(lines))


def _plain(marker: Marker) -> dict[str, Any]:
    return {
        "name": marker.name,
        "family": marker.family,
        "group": marker.group,
        "words": dict(marker.words),
        "category": marker.category,
        "needs": marker.needs,
        "declaration": dict(marker.declaration),
    }


def _each(mine: Sequence[Marker], words: Words) -> Table:
    rows = tuple((marker.name, _sentence(marker, words)) for marker in mine)
    return Table(caption="", headings=(words("name"), words("says")), rows=rows)


def _sentence(marker: Marker, words: Words) -> str:
    says = marker.words[words.language]
    return f"{says} ({words(f'need.{marker.needs}')})" if marker.needs else says


def _families(mine: Sequence[Marker], words: Words) -> Table:
    members: dict[str, list[Marker]] = {}
    for marker in mine:
        members.setdefault(marker.family, []).append(marker)
    rows = tuple(
        (family, some[0].words[words.language], str(len(some)), ", ".join(marker.name for marker in some[:3]))
        for family, some in members.items()
    )
    headings = (words("family"), words("says"), words("members"), words("name"))
    return Table(caption="", headings=headings, rows=rows, numeric=(2,))
