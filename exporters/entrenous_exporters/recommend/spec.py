"""The training specification of a decision that recommends: a TOML file with `[recommend]` in place of a learner.

Parsed once, every unknown key refused; `docs/formats.md` describes it. Paths are relative to the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from entrenous.features import Feature, parse_schema
from entrenous.markers import parse_selection
from entrenous.messages.triggers import Limit, Trigger
from entrenous.recommending.catalogue import MOST_ATTRIBUTES
from entrenous.recommending.item_table import MOST_SUCCESSORS
from entrenous.segments import MOST_SEGMENTS, Segment
from entrenous.targeting import MOST_SUPPLIED, Supplied, parse_supplied, variables_of
from entrenous_consent.parsing import Table
from entrenous_exporters.deciding import DecisionSpec, Known, parse_deciding
from entrenous_exporters.segmenting import Segments

__all__ = ["Following", "RecommendSpec", "VisitSource", "parse_recommend"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitSource:
    """Where visits and items come from.

    Attributes:
        looks: the file of what was looked at, a row for each look. catalogue: the file of items, a row for each.
        item, time: columns of the looks; `item` names the catalogue's column too. integers: ids are whole numbers.
        visitor: column of the looks; empty where nobody is known: then each session counts as a visitor.
        session: column; empty where half an hour without a look ends a visit.
        region: column with a coarse region; empty for none.
        improve: column, or a file with `visitor` and `improve`; not read of public research data.
        attributes: columns of the catalogue. margin: its column of per cent; empty for none.
        most_unknown: the greatest share of looks at items that the catalogue does not have, which are left out.
    """

    looks: str
    catalogue: str
    item: str
    time: str
    integers: bool
    visitor: str
    session: str
    region: str
    improve: str
    public_research_data: bool
    attributes: tuple[str, ...]
    margin: str
    most_unknown: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """What is learnt: `k` distinct visitors behind every pair and every popular item.

    Attributes:
        strongest: successors that an item keeps. reach: the greatest distance of a pair within a visit.
    """

    k: int
    strongest: int
    reach: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecommendSpec:
    """The parsed specification; see `entrenous_exporters.spec.TrainingSpec` for what both have."""

    name: str
    version: int
    lifetime_days: int
    source: VisitSource
    following: Following
    features: tuple[Feature, ...]
    without: Mapping[str, str]
    context: tuple[Supplied, ...]
    segments: tuple[Segment, ...]
    decision: DecisionSpec
    triggers: tuple[Trigger, ...] = ()
    trigger_limit: Limit | None = None


def parse_recommend(top: Table) -> RecommendSpec:
    """Return the specification in a document that holds `[recommend]`.

    Raises:
        Malformed: an unknown or missing key, a value out of bounds, another kind of decision.
    """
    top.integer("format", least=1, most=1)
    taken = parse_selection(top.table("markers")) if top.has("markers") else None
    ready = [Table(one, f"markers.{one['name']}") for one in taken.tables] if taken else []
    features = parse_schema([*top.tables("features", ()), *ready])
    context = parse_supplied(top.tables("context", (), longest=MOST_SUPPLIED), features)
    segments = Segments(top.tables("segments", (), longest=MOST_SEGMENTS), features)
    known = Known(
        purposes=frozenset(feature.purpose for feature in features),
        variables=variables_of(features, context),
        segments=segments,
        tranches=(),
    )
    spec = RecommendSpec(
        name=top.name("name"),
        version=top.integer("version", least=1, most=1 << 53),
        lifetime_days=top.integer("lifetime_days", least=1, most=3650),
        source=_source(top.table("data")),
        following=_following(top.table("recommend")),
        features=features,
        without=taken.without if taken else {},
        context=context,
        segments=segments.all(),
        decision=parse_deciding(top.table("decision"), known),
    )
    top.close()
    recommending = spec.decision.recommending
    if recommending is None:
        raise top.refuse("decision.kind", "does not recommend", 'write kind = "recommend"')
    named = {recommending.spread, *recommending.tastes.values()} | {one.attribute for one in recommending.merchandising}
    if strange := sorted(named - {"", *spec.source.attributes}):
        what = f"lacks an attribute that the decision names: {', '.join(strange)}"
        raise top.refuse("data.attributes", what, "add the catalogue's column")
    return spec


def _source(table: Table) -> VisitSource:
    source = VisitSource(
        looks=table.text("looks"),
        catalogue=table.text("catalogue"),
        item=table.text("item", "item"),
        time=table.text("time", "time"),
        integers=table.flag("integers", False),
        visitor=table.text("visitor", ""),
        session=table.text("session", ""),
        region=table.text("region", ""),
        improve=table.text("improve", "improve"),
        public_research_data=table.flag("public_research_data", False),
        attributes=table.names("attributes", (), longest=MOST_ATTRIBUTES),
        margin=table.text("margin", ""),
        most_unknown=table.number("most_unknown", 0.05, least=0, most=1),
    )
    table.close()
    if not source.visitor and not source.session:
        raise table.refuse("visitor", "is missing, and so is session", "name the column that tells visits apart")
    if not source.visitor and not source.public_research_data:
        raise table.refuse("visitor", "is missing: nobody can be asked for `improve`", "name the column of the visitor")
    return source


def _following(table: Table) -> Following:
    following = Following(
        k=table.integer("k", 5, least=1, most=1_000_000),
        strongest=table.integer("strongest", 20, least=1, most=MOST_SUCCESSORS),
        reach=table.integer("reach", 20, least=1, most=50),
    )
    table.close()
    return following
