"""What a card says of a decision that recommends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from entrenous_exporters.card.speech import Section, count, figure, percent, say, spelt

__all__ = ["list_sections", "list_title"]

Facts = Mapping[str, Any]


def list_title(facts: Facts, language: str) -> str:
    """Return the card in one sentence."""
    quality = facts["recommend"]["quality"]
    return say(
        language,
        f"{facts['name']} {facts['version']} names the next item of a visit among twenty in "
        f"{percent(quality['hit_rate'], language)} of {count(quality['cases'], language)} cases of visitors it did not "
        "learn from.",
        f"{facts['name']} {facts['version']} nomme le prochain article d'une visite parmi vingt dans "
        f"{percent(quality['hit_rate'], language)} de {count(quality['cases'], language)} cas de visiteurs dont il n'a "
        "rien appris.",
    )


def list_sections(facts: Facts, language: str) -> tuple[Section, ...]:
    """Return every section of such a card."""
    return (_data(facts, language), _quality(facts, language), _nobody(facts, language), _made(facts, language))


def _data(facts: Facts, language: str) -> Section:
    data, rows = facts["data"], facts["data"]["rows"]
    said = [
        say(
            language,
            f"Learnt from {count(rows['learnt'], language)} looks in {count(data['visits'], language)} visits of "
            f"{count(data['visitors'], language)} visitors.",
            f"Appris de {count(rows['learnt'], language)} consultations en {count(data['visits'], language)} visites "
            f"de {count(data['visitors'], language)} visiteurs.",
        ),
        say(
            language,
            f"Of {count(rows['given'], language)} rows given, {count(rows['without_improve'], language)} never entered "
            f"because their visitor did not grant `improve`, and {count(rows['unknown_items'], language)} because the "
            "catalogue does not have the item.",
            f"Sur {count(rows['given'], language)} lignes données, {count(rows['without_improve'], language)} ne sont "
            "jamais entrées, leur visiteur n'ayant pas accordé `improve`, et "
            f"{count(rows['unknown_items'], language)} parce que l'article n'est pas au catalogue.",
        ),
    ]
    if data["a_visit_is_a_visitor"]:
        said.append(
            say(
                language,
                "The file names no visitors: each visit counts as one, so k counts visits and not people.",
                "Le fichier ne nomme pas de visiteurs : chaque visite compte pour un visiteur, et k compte des "
                "visites, non des personnes.",
            )
        )
    if data["public_research_data"]:
        said.append(
            say(
                language,
                "Public research data: `improve` was not asked, and the bundle may not be published.",
                "Données publiques de recherche : `improve` n'a pas été demandé, et le lot ne peut être publié.",
            )
        )
    return Section(key="data", heading=say(language, "What it learnt from", "Ce dont il a appris"), sentences=(*said,))


def _quality(facts: Facts, language: str) -> Section:
    quality = facts["recommend"]["quality"]
    low, high = (quality["hit_rate"] + sign * 1.96 * quality["error"] for sign in (-1, 1))
    row = (
        count(quality["cases"], language),
        figure(quality["hit_rate"], language),
        f"{figure(low, language)} – {figure(high, language)}",
        figure(quality["reciprocal_rank"], language),
    )
    return Section(
        key="quality",
        heading=say(language, "How well it foretells the next item", "Comment il prédit le prochain article"),
        sentences=(
            say(
                language,
                "A tenth of the visitors, asked for twenty items by what the others taught: how often the next one was "
                "among them, with its 95 % interval, and the mean of 1 over its place. It says nothing of what a list "
                "sells: a test of its arms does.",
                "Un dixième des visiteurs, à qui l'on propose vingt articles d'après ce que les autres ont appris : "
                "combien de fois le suivant en était, avec son intervalle à 95 %, et la moyenne de l'inverse de son "
                "rang. Cela ne dit rien de ce qu'une liste fait vendre : un test de ses bras le dit.",
            ),
        ),
        headings=("cases", "HR@20", "95 %", "MRR@20") if language == "en" else ("cas", "HR@20", "95 %", "MRR@20"),
        rows=(row,),
    )


def _nobody(facts: Facts, language: str) -> Section:
    found, k = facts["recommend"], facts["following"]["k"]
    return Section(
        key="k",
        heading=say(language, "Nobody inside", "Personne à l'intérieur"),
        sentences=(
            say(
                language,
                f"Behind each of {count(found['pairs'], language)} pairs of items, and of "
                f"{count(found['popular'], language)} popular items out of {count(found['items'], language)}, stand "
                f"at least {k} distinct visitors, of the region in a region's list. Attributes and ids are the "
                "catalogue's.",
                f"Derrière chacune des {count(found['pairs'], language)} paires d'articles, et des "
                f"{count(found['popular'], language)} articles populaires sur {count(found['items'], language)}, se "
                f"trouvent au moins {k} visiteurs distincts, de la région dans la liste d'une région. Attributs et "
                "identifiants sont ceux du catalogue.",
            ),
            say(
                language,
                "Whoever withdraws `improve` is left out of the next training; this bundle names nobody, and expires "
                f"{facts['lifetime_days']} days after it was made.",
                "Qui retire `improve` est écarté du prochain apprentissage ; ce lot ne nomme personne, et expire "
                f"{facts['lifetime_days']} jours après sa création.",
            ),
        ),
    )


def _made(facts: Facts, language: str) -> Section:
    policy = facts["policy"]
    return Section(
        key="made",
        heading=say(language, "How it was made", "Comment il a été fait"),
        sentences=(
            f"{say(language, 'Learning', 'Apprentissage')}: {spelt(facts['following'])}; "
            f"{spelt(facts['recommend']['mixing'])}.",
            f"{say(language, 'Bytes', 'Octets')}: {spelt(facts['recommend']['bytes'])}.",
            f"{say(language, 'Policy', 'Politique')}: {policy['tenant']} {policy['version']}.",
            f"{say(language, 'Libraries', 'Bibliothèques')}: {spelt(facts['libraries'])}.",
        ),
    )
