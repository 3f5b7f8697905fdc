"""The preference page, for tests: a shop whose bundle is all in words, and a browser that keeps its cookies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlencode

from entrenous.bundle import encode_bundle, read_bundle
from entrenous.features import Feature
from entrenous.markers import catalogue
from tests.segments import group, read_segments
from tests.shop import Shop
from tests.worker import Answer, Running

FORM = "application/x-www-form-urlencoded"
PURPOSES = ("personalize", "history", "measure", "improve")


def furnish(shop: Shop) -> None:
    """Put features that the page has words for into the shop's bundle, and a group that visitors can be in.

    `personalize`: told `size`, asked for `fewer_promotions`, the favourite category. `history`: told `rhythm`.
    """
    read = read_bundle(shop.bundle.read_bytes())
    old = {one.name: one for one in read.manifest.features}
    favourite = {one.name: one for one in catalogue()}["views_top_category_60d"].declaration

    def said(name: str, like: str, **more: object) -> Feature:
        rules = {key: getattr(old[like], key) for key in ("purpose", "category", "source", "retention_days")}
        return Feature(name=name, **rules | more)  # type: ignore[arg-type]

    asked = {"kind": "asked", "field": "fewer_promotions", "window": 30, "value": "yes", "among": ("yes",)}
    rhythm = {"kind": "told", "field": "rhythm", "window": 90, "values": ("never", "monthly", "weekly")}
    size = {"kind": "told", "field": "size", "window": 30, "values": ("s", "m", "l")}
    taste = {**favourite, "values": old["visit_taste_30d"].values, "retention_days": 60}
    changed = {
        "visit_value_7d": said("visit_size", "visit_views_7d", **size),
        "visit_carts_7d": said("visit_fewer", "visit_views_7d", **asked),
        "visit_taste_30d": said("visit_taste_30d", "visit_taste_30d", **taste),
        "bought_spent_90d": said("bought_rhythm", "bought_orders_90d", **rhythm),
    }
    shop.policy.write_text(shop.policy.read_text().replace("retention_days = 30\n", "retention_days = 60\n"))
    features = tuple(changed.get(one.name, one) for one in read.manifest.features)
    shop.bundle.write_bytes(encode_bundle(replace(read.manifest, features=features, proofs={}), read.models))
    (browsing,) = read_segments(shop, browsing=("personalize", "visit_views_7d >= 2.0"))
    group(shop, [replace(browsing, en="Looking around", fr="En train de regarder")])


@dataclass
class Browser:
    """A browser on a worker's page: it keeps cookies, and says where a form comes from."""

    worker: Running
    jar: dict[str, str] = field(default_factory=dict)
    more: dict[str, str] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.worker.port}"

    @property
    def identity(self) -> dict[str, str]:
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in self.jar.items())} if self.jar else {}

    def get(self, path: str = "/preferences", **headers: str) -> Answer:
        return self.ask("GET", path, None, headers)

    def post(self, action: str, form: object = (), *, origin: str | None = "", language: str = "en") -> Answer:
        """Send a form; from the page's own origin unless another is named, from nowhere for None."""
        headers = {"Content-Type": FORM}
        if origin is not None:
            headers["Origin"] = origin or self.origin
        data = urlencode(form, doseq=True).encode()  # type: ignore[arg-type]
        return self.ask("POST", f"/preferences/{action}?lang={language}", data, headers)

    def choose(self, do: str, *purposes: str) -> Answer:
        return self.post("choice", {"do": do, "policy": "1", "purpose": purposes})

    def held(self) -> Mapping[str, object]:
        """What is kept, as the worker's own route tells it."""
        return self.worker.ask("GET", "/v1/visitor", headers=self.identity).json  # type: ignore[no-any-return]

    def ask(self, method: str, path: str, data: bytes | None, headers: Mapping[str, str]) -> Answer:
        given = self.worker.ask(method, path, raw=data, headers={**self.identity, **self.more, **headers}, opened=False)
        for name, value in given.cookies.items():
            if value:
                self.jar[name] = value
            else:
                self.jar.pop(name, None)
        self.seen += [path, given.headers.get("location", "")]
        return given
