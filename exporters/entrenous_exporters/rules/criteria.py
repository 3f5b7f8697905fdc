"""What rules are usually about: each criterion with a name, words in two languages, what it reads and a template.

A criterion is no mechanism of its own: its template is CEL like any other, and what it reads is declared like any other
variable. It rests on one of three things:

- **context** that the app supplies with the decision, because only the page, the screen or the shop's systems know it;
- a **feature** of the bundle, kept from events: `rests_on` says the kind and the event to declare it with;
- the decision's **clock**, which is nothing about the visitor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import Formatter

from entrenous.targeting import Variable
from entrenous_consent.errors import Forbidden, Missing

__all__ = ["CRITERIA", "REFUSED", "Criterion", "criterion"]

Value = str | float | bool | Sequence[str]

REFUSED: Mapping[str, str] = {
    "ip_address": "a raw address singles out a household or a device: supply a country, a region or a flag instead",
    "javascript": "a script is code that nobody signed as such: supply what it would find out as a declared key",
}
"""Criteria that other systems have and this one refuses, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One thing that a rule may be about.

    Attributes:
        name: a short key. en, fr: what it says, in a few words.
        template: CEL, with the names of values in braces.
        reads: the variables and their types; empty for the clock alone.
        rests_on: the kind and event of the feature behind it; empty for context.
    """

    name: str
    en: str
    fr: str
    template: str
    reads: Mapping[str, str]
    rests_on: str

    @property
    def source(self) -> str:
        """What it rests on: `clock`, `context` or `feature`."""
        return "feature" if self.rests_on else "context" if self.reads else "clock"

    @property
    def values(self) -> tuple[str, ...]:
        """The names of the values that the template takes, in order."""
        return tuple(field for _, field, _, _ in Formatter().parse(self.template) if field)

    def variables(self, purpose: str) -> dict[str, Variable]:
        """Return what has to be declared for it, all under one purpose."""
        return {name: Variable(type=type_, purpose=purpose) for name, type_ in self.reads.items()}

    def rule(self, **values: Value) -> str:
        """Return the template with these values written into it, as CEL.

        Raises:
            KeyError: a value that the template takes is not given.
        """
        return self.template.format_map({name: _literal(value) for name, value in values.items()})


def criterion(name: str) -> Criterion:
    """Return the criterion of this name.

    Raises:
        Forbidden: one of `REFUSED`. Missing: there is none.
    """
    if name in REFUSED:
        raise Forbidden("is refused, whoever asks", place=f"criterion {name}", remedy=REFUSED[name])
    for one in CRITERIA:
        if one.name == name:
            return one
    known = ", ".join(one.name for one in CRITERIA)
    raise Missing("is no criterion", place="criterion", remedy=f"known: {known}")


def _literal(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"
    if isinstance(value, (int, float)):
        return repr(value)
    return "[" + ", ".join(map(_literal, value)) + "]"


def _on(name: str, en: str, fr: str, template: str, reads: str = "", rests_on: str = "") -> Criterion:
    """Return a criterion; `reads` is written `name:type name:type`."""
    variables = dict(one.split(":") for one in reads.split())
    return Criterion(name=name, en=en, fr=fr, template=template, reads=variables, rests_on=rests_on)


def _device() -> Iterator[Criterion]:
    yield _on("device_type", "Type of device", "Type d'appareil", "device_type in {types}", "device_type:text")
    yield _on("browser", "Browser", "Navigateur", "browser in {browsers}", "browser:text")
    yield _on(
        "browser_version",
        "Browser and version",
        "Navigateur et version",
        "browser == {browser} && browser_version >= {version}",
        "browser:text browser_version:number",
    )
    yield _on("operating_system", "Operating system", "Système d'exploitation", "os in {systems}", "os:text")
    yield _on("language", "Language", "Langue", "language.startsWith({language})", "language:text")
    yield _on(
        "screen_size", "Width of the screen", "Largeur de l'écran", "screen_width >= {pixels}", "screen_width:number"
    )
    yield _on("ad_blocker", "Ad blocker", "Bloqueur de publicité", "ad_blocker == {present}", "ad_blocker:boolean")
    yield _on("cookie_value", "Value of a cookie", "Valeur d'un cookie", "cookie_value == {value}", "cookie_value:text")
    yield _on(
        "app_version",
        "Version of the app",
        "Version de l'application",
        "app_version.startsWith({version})",
        "app_version:text",
    )
    yield _on(
        "sdk_version", "Version of the SDK", "Version du SDK", "sdk_version.startsWith({version})", "sdk_version:text"
    )


def _visits() -> Iterator[Criterion]:
    days, sessions = "kind `days`, event `page_view`", "kind `sessions`, event `any`"
    yield _on("new_visitor", "New visitor", "Nouveau visiteur", "visit_days <= 1", "visit_days:number", days)
    yield _on(
        "returning_visitor", "Returning visitor", "Visiteur qui revient", "visit_days > 1", "visit_days:number", days
    )
    yield _on(
        "first_visit",
        "Days since the first visit",
        "Jours depuis la première visite",
        "days_since_first_visit <= {days}",
        "days_since_first_visit:number",
    )
    yield _on(
        "last_visit",
        "Days since the last visit",
        "Jours depuis la dernière visite",
        "last_visit <= {days}",
        "last_visit:number",
        "kind `recency`, event `page_view`",
    )
    yield _on("visits", "Number of visits", "Nombre de visites", "visits >= {count}", "visits:number", sessions)
    yield _on(
        "same_day_visits",
        "Visits on the same day",
        "Visites le même jour",
        "visits_today >= {count}",
        "visits_today:number",
        f"{sessions}, window 1",
    )
    yield _on(
        "time_since_previous_visit",
        "Hours since the previous visit",
        "Heures depuis la visite précédente",
        "hours_since_previous_visit >= {hours}",
        "hours_since_previous_visit:number",
    )
    yield _on(
        "session_active",
        "Session active",
        "Session en cours",
        "session_events > 0",
        "session_events:number",
        "kind `session_length`, event `any`",
    )


def _pages() -> Iterator[Criterion]:
    yield _on(
        "pages_viewed",
        "Pages viewed",
        "Pages vues",
        "pages_viewed >= {count}",
        "pages_viewed:number",
        "kind `count`, event `page_view`",
    )
    yield _on("page_visited", "A page visited", "Page visitée", "{page} in pages_visited", "pages_visited:texts")
    yield _on(
        "pages_visited",
        "Different pages visited",
        "Pages différentes visitées",
        "size(pages_visited) >= {count}",
        "pages_visited:texts",
    )
    yield _on(
        "time_on_page",
        "Seconds on the page",
        "Secondes sur la page",
        "seconds_on_page >= {seconds}",
        "seconds_on_page:number",
    )
    yield _on(
        "mean_page_duration",
        "Mean seconds on a page",
        "Durée moyenne par page",
        "mean_page_seconds >= {seconds}",
        "mean_page_seconds:number",
    )
    yield _on(
        "time_since_page_load",
        "Seconds since the page loaded",
        "Secondes depuis le chargement",
        "seconds_since_load >= {seconds}",
        "seconds_since_load:number",
    )
    yield _on("key_page", "A key page seen", "Page clé vue", "{page} in key_pages_seen", "key_pages_seen:texts")
    yield _on("landing_page", "Landing page", "Page d'arrivée", "landing_page.startsWith({path})", "landing_page:text")
    yield _on(
        "previous_page", "Previous page", "Page précédente", "previous_page.startsWith({path})", "previous_page:text"
    )
    yield _on("page_title", "Title of the page", "Titre de la page", "page_title.contains({words})", "page_title:text")
    yield _on("page_url", "Address of the page", "Adresse de la page", "page_url.matches({pattern})", "page_url:text")
    yield _on("tabs_open", "Tabs open", "Onglets ouverts", "tabs_open >= {count}", "tabs_open:number")
    yield _on("exit_intent", "Exit intent", "Intention de sortie", "exit_intent", "exit_intent:boolean")
    yield _on(
        "element_seen",
        "Element of the page seen",
        "Élément de la page vu",
        "{element} in elements_seen",
        "elements_seen:texts",
    )
    yield _on("page_price", "Price on the page", "Prix affiché", "page_price >= {minor_units}", "page_price:number")


def _origin() -> Iterator[Criterion]:
    yield _on("referrer", "Referring page", "Page référente", "referrer.contains({text})", "referrer:text")
    yield _on("origin", "Origin of the visit", "Origine de la visite", "origin in {origins}", "origin:text")
    yield _on("origin_type", "Type of origin", "Type d'origine", "origin_type in {types}", "origin_type:text")
    yield _on("campaign", "Campaign", "Campagne", "campaign == {campaign}", "campaign:text")
    yield _on(
        "search_keywords",
        "Words searched for on the site",
        "Mots cherchés sur le site",
        "search_keywords.contains({words})",
        "search_keywords:text",
    )


def _custom() -> Iterator[Criterion]:
    yield _on(
        "custom_data", "Data of the shop's own", "Donnée propre au site", "custom_data == {value}", "custom_data:text"
    )
    yield _on(
        "custom_event",
        "Event of the shop's own",
        "Événement propre au site",
        "{event} in custom_events",
        "custom_events:texts",
    )


def _conversions() -> Iterator[Criterion]:
    yield _on(
        "conversion",
        "A conversion of one kind",
        "Conversion d'un certain type",
        "sign_ups >= 1",
        "sign_ups:number",
        "kind `count`, event `sign_up`, or whichever counts",
    )
    yield _on(
        "conversion_count",
        "Number of purchases",
        "Nombre d'achats",
        "orders >= {count}",
        "orders:number",
        "kind `count`, event `purchase`",
    )
    yield _on(
        "conversion_value",
        "Value of purchases",
        "Valeur des achats",
        "spent >= {minor_units}",
        "spent:number",
        "kind `sum`, event `purchase`, field `value`",
    )
    yield _on(
        "conversion_recency",
        "Days since the last purchase",
        "Jours depuis le dernier achat",
        "last_order <= {days}",
        "last_order:number",
        "kind `recency`, event `purchase`",
    )
    yield _on("cart_value", "Value of the cart", "Valeur du panier", "cart_value >= {minor_units}", "cart_value:number")
    yield _on("cart_items", "Items in the cart", "Articles du panier", "cart_items >= {count}", "cart_items:number")
    yield _on(
        "cart_age",
        "Hours since the cart was filled",
        "Heures depuis l'ajout au panier",
        "last_cart >= {hours}",
        "last_cart:number",
        "kind `recency`, event `add_to_cart`, unit `hour`",
    )
    yield _on(
        "cart_abandoned",
        "Cart abandoned",
        "Panier abandonné",
        "last_cart >= {hours} && orders == 0",
        "last_cart:number orders:number",
        "kind `recency`, event `add_to_cart`, unit `hour`; kind `count`, event `purchase`",
    )
    yield _on(
        "search_abandoned",
        "Search abandoned",
        "Recherche abandonnée",
        "last_search >= {hours} && views == 0",
        "last_search:number views:number",
        "kind `recency`, event `search`, unit `hour`; kind `count`, event `view_item`",
    )
    yield _on(
        "browse_abandoned",
        "Browsing abandoned",
        "Navigation abandonnée",
        "last_view >= {hours} && carts == 0",
        "last_view:number carts:number",
        "kind `recency`, event `view_item`, unit `hour`; kind `count`, event `add_to_cart`",
    )


def _visitor() -> Iterator[Criterion]:
    yield _on(
        "interest",
        "Main interest",
        "Centre d'intérêt principal",
        "interest in {categories}",
        "interest:text",
        "kind `top`, event `view_item`, field `category`",
    )
    yield _on(
        "affinity",
        "Liked brand",
        "Marque préférée",
        "liked_brand in {brands}",
        "liked_brand:text",
        "kind `affinity`, event `view_item`, field `brand`",
    )
    yield _on(
        "conversion_score",
        "Probability of conversion",
        "Probabilité de conversion",
        "conversion_score >= {least}",
        "conversion_score:number",
    )
    yield _on(
        "conversion_decile",
        "Decile of the score",
        "Décile du score",
        "conversion_decile >= {least}",
        "conversion_decile:number",
    )
    yield _on(
        "tranche",
        "Tranche of an earlier decision",
        "Tranche d'une décision précédente",
        "tranche in {tranches}",
        "tranche:text",
    )
    yield _on("segment", "Segment", "Segment", "{segment} in segments", "segments:texts")
    yield _on(
        "imported_segment",
        "Imported segment (CRM, DMP, CDP)",
        "Segment importé (CRM, DMP, CDP)",
        "{segment} in imported_segments",
        "imported_segments:texts",
    )
    yield _on(
        "imported_attribute",
        "Imported attribute (CRM, DMP, CDP)",
        "Attribut importé (CRM, DMP, CDP)",
        "imported_attribute == {value}",
        "imported_attribute:text",
    )


def _place_and_time() -> Iterator[Criterion]:
    yield _on("country", "Country", "Pays", "country in {countries}", "country:text")
    yield _on("region", "Region", "Région", "region in {regions}", "region:text")
    yield _on("area", "Coarse location", "Localisation approximative", "area in {areas}", "area:text")
    yield _on("weather_sky", "Sky", "Ciel", "sky in {skies}", "sky:text")
    yield _on("weather_temperature", "Temperature", "Température", "temperature < {celsius}", "temperature:number")
    yield _on("weather_forecast", "Forecast", "Prévision", "forecast in {skies}", "forecast:text")
    yield _on("night", "Night", "Nuit", "now.getHours({offset}) < {sunrise} || now.getHours({offset}) >= {sunset}")
    yield _on("day", "Day", "Jour", "now.getHours({offset}) >= {sunrise} && now.getHours({offset}) < {sunset}")
    yield _on("weekday", "Weekday", "Jour de la semaine", "now.getDayOfWeek({offset}) == {day}")
    yield _on(
        "hour_range",
        "Range of hours",
        "Plage horaire",
        "now.getHours({offset}) >= {start} && now.getHours({offset}) < {end}",
    )
    yield _on("date_range", "Range of dates", "Plage de dates", "now >= timestamp({start}) && now < timestamp({end})")


def _experiments() -> Iterator[Criterion]:
    yield _on(
        "experiment", "In an experiment", "Dans une expérience", "{experiment} in experiments", "experiments:texts"
    )
    yield _on(
        "exclusive_experiment",
        "In no experiment",
        "Dans aucune expérience",
        "size(experiments) == 0",
        "experiments:texts",
    )
    yield _on(
        "personalisation_seen", "Personalisation seen", "Personnalisation vue", "{decision} in seen", "seen:texts"
    )
    yield _on("feature_flag", "Feature flag", "Drapeau de fonctionnalité", "{flag} in flags", "flags:texts")


CRITERIA: tuple[Criterion, ...] = (
    *_device(),
    *_visits(),
    *_pages(),
    *_origin(),
    *_custom(),
    *_conversions(),
    *_visitor(),
    *_place_and_time(),
    *_experiments(),
)
"""All of them, by subject."""
