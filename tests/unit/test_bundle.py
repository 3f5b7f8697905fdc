"""The bundle: read strictly, or refused with the place."""

from __future__ import annotations

from importlib.resources import files

import pytest

from entrenous import demo
from entrenous.bundle import BUNDLE_LIMIT, encode_bundle, read_bundle
from entrenous_consent.errors import Malformed, Unauthentic
from entrenous_consent.packing import pack, unpack

SHIPPED = files(demo.__name__).joinpath("bundle.msgpack").read_bytes()


def _changed(change) -> bytes:
    """Return the shipped bundle after `change(outer, manifest)`, packed again."""
    outer = unpack(SHIPPED, place="bundle", longest=BUNDLE_LIMIT)
    manifest = unpack(outer["manifest"], place="manifest", longest=BUNDLE_LIMIT)
    change(outer, manifest)
    return pack(outer | ({"manifest": pack(manifest)} if "manifest" in outer else {}))


def test_encoding_and_reading_are_inverse():
    bundle = read_bundle(SHIPPED)
    assert encode_bundle(bundle.manifest, bundle.models) == SHIPPED


def test_the_manifest_asks_for_its_features_decisions_and_experiments():
    request = read_bundle(SHIPPED).manifest.request()
    assert len(request.features) == 9
    assert [(one.name, one.purpose) for one in request.decisions] == [
        ("promotion", "personalize"),
        ("promotion.experiment", "measure"),
    ]


@pytest.mark.parametrize("at", [0, 100, 5_000, -1])
def test_one_changed_bit_of_a_model_is_refused(at):
    def flip(outer, manifest):
        model = bytearray(outer["models"]["promotion"])
        model[at] ^= 1
        outer["models"]["promotion"] = bytes(model)

    with pytest.raises(
        Unauthentic, match=r"models.promotion: is not the model that the manifest vouches for"
    ) as refused:
        read_bundle(_changed(flip))
    assert refused.value.remedy


def _set(path, value):
    def change(outer, manifest):
        place = manifest
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return change


RULE = ("decisions", "promotion")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda outer, _: outer.update(extra=1), "extra"),
        (lambda outer, _: outer.update(format=2), "format"),
        (lambda outer, _: outer.pop("manifest"), "manifest"),
        (lambda outer, _: outer["models"].update(spare=b"x"), "models.spare"),
        (lambda outer, _: outer["models"].pop("promotion"), "models.promotion"),
        (_set(("owner",), "me"), "manifest.owner"),
        (_set(("version",), 0), "manifest.version"),
        (_set(("version",), True), "manifest.version"),
        (_set(("expires",), -1), "manifest.expires"),
        (_set(("expires",), 5), "manifest.expires"),
        (_set(("card",), b"short"), "manifest.card"),
        (_set(("features",), []), "features"),
        (_set(("features", 0, "window"), 10_000), "manifest.features[0].window"),
        (_set(("features", 1, "name"), "visit_views_7d"), "manifest.features[1].name"),
        (_set(("decisions",), {}), "manifest.decisions"),
        (_set((*RULE, "kind"), "magic"), "manifest.decisions.promotion.kind"),
        (_set((*RULE, "model"), "other"), "manifest.decisions.promotion.model"),
        (_set((*RULE, "default_arm"), "gone"), "manifest.decisions.promotion.default_arm"),
        (_set((*RULE, "choice", "cold"), "gone"), "manifest.decisions.promotion.choice.cold"),
        (_set((*RULE, "tranches"), []), "manifest.decisions.promotion.tranches"),
        (_set((*RULE, "patterns"), []), "manifest.decisions.promotion.patterns"),
        (_set((*RULE, "patterns", 0, "column"), 1), "manifest.decisions.promotion.patterns[0].column"),
        (_set((*RULE, "patterns", 0, "purposes"), ["spying"]), "manifest.decisions.promotion.patterns[0].purposes"),
        (_set((*RULE, "patterns", 0, "cuts"), [1.0, 1.0]), "manifest.decisions.promotion.patterns[0].cuts"),
        (_set((*RULE, "patterns", 0, "cuts"), [0.1, 1.0]), "manifest.decisions.promotion.patterns[0].cuts"),
        (_set((*RULE, "patterns", 0, "cuts"), [0.0, float("nan")]), "manifest.decisions.promotion.patterns[0].cuts[1]"),
        (_set((*RULE, "arms", "none", "payload"), "[1]"), "manifest.decisions.promotion.arms.none.payload"),
        (_set((*RULE, "arms", "none", "payload"), '{"a": NaN}'), "manifest.decisions.promotion.arms.none.payload"),
        (_set((*RULE, "arms", "none", "payload"), "[" * 5_000), "manifest.decisions.promotion.arms.none.payload"),
        (_set((*RULE, "experiment", "holdout"), 10_001), "manifest.decisions.promotion.experiment.holdout"),
        (_set((*RULE, "cap", "decisions"), 0), "manifest.decisions.promotion.cap.decisions"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(change, place):
    with pytest.raises(Malformed) as refused:
        read_bundle(_changed(change), place="b.msgpack")
    assert refused.value.place == f"b.msgpack: {place}"


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", SHIPPED[:-1], SHIPPED + b"\0", b"\x80", b"\x91" * 5_000, bytes(BUNDLE_LIMIT + 1)]
)
def test_what_is_no_bundle_at_all_is_refused(data):
    with pytest.raises(Malformed):
        read_bundle(data)


def test_a_pattern_too_many_for_the_graph_is_refused():
    def add(outer, manifest):
        patterns = manifest["decisions"]["promotion"]["patterns"]
        patterns.append({"purposes": ["history"], "column": 2, "cuts": [0.0, 1.0]})

    with pytest.raises(Malformed, match=r"models.promotion"):
        read_bundle(_changed(add))


def test_new_dates_change_nothing_else():
    bundle = read_bundle(SHIPPED)
    dated = read_bundle(bundle.lasting(created=5, expires=6))
    assert (dated.manifest.created, dated.manifest.expires) == (5, 6)
    assert dated.models == bundle.models
    assert dated.manifest.decisions == bundle.manifest.decisions
