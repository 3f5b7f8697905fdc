"""The card as headings, sentences and tables: what a terminal and a page both show, in English or French."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from entrenous_exporters.card.kinds import situation_sections, situation_title, uplift_sections, uplift_title
from entrenous_exporters.card.lists import list_sections, list_title
from entrenous_exporters.card.speech import LANGUAGES, Section, count, figure, percent, purposes, say, spelt

__all__ = ["LANGUAGES", "Section", "percent", "purposes", "sections", "title"]

Facts = Mapping[str, Any]


def title(facts: Facts, language: str) -> str:
    """Return the card in one sentence."""
    if "recommend" in facts:
        return list_title(facts, language)
    if "uplift" in facts:
        return uplift_title(facts, language)
    if "situations" in facts:
        return situation_title(facts, language)
    fullest = min(facts["patterns"], key=lambda one: one["price"] if one["price"] is not None else 1.0)
    others = [one for one in facts["patterns"] if one is not fullest]
    first = say(
        language,
        f"With {purposes(fullest)} granted, {facts['name']} {facts['version']} has an AUC of "
        f"{figure(fullest['quality']['auc'], language)} on visitors it did not learn from",
        f"Avec {purposes(fullest)} accordés, {facts['name']} {facts['version']} atteint une AUC de "
        f"{figure(fullest['quality']['auc'], language)} sur des visiteurs dont il n'a rien appris",
    )
    rest = [
        say(
            language,
            f"with {purposes(one)} alone, {figure(one['quality']['auc'], language)}",
            f"avec {purposes(one)} seulement, {figure(one['quality']['auc'], language)}",
        )
        for one in others
    ]
    return (" ; " if language == "fr" else "; ").join([first, *rest]) + "."


def sections(facts: Facts, language: str) -> tuple[Section, ...]:
    """Return every section of the card.

    Args:
        facts: from `entrenous_exporters.card.read_card`. language: one of `LANGUAGES`.
    """
    if "recommend" in facts:
        return list_sections(facts, language)
    after = (_nobody, _exact, _features, _groups, _left_out, _withdrawal, _made)
    kind = [
        *(uplift_sections(facts, language) if "uplift" in facts else ()),
        *(situation_sections(facts, language) if "situations" in facts else ()),
        *((_price(facts, language), _tranches(facts, language)) if "tranches" in facts else ()),
    ]
    rest = (section for section in (one(facts, language) for one in after) if section is not None)
    return (_data(facts, language), *kind, *rest)


def _data(facts: Facts, language: str) -> Section:
    data, rows, visitors = facts["data"], facts["data"]["rows"], facts["data"]["visitors"]
    said = [
        say(
            language,
            f"Learnt from {count(rows['learnt'], language)} rows of {count(visitors['learnt'], language)} visitors, "
            f"of which {percent(data['positive'], language)} have the label; judged on "
            f"{count(rows['judged'], language)} rows of {count(visitors['judged'], language)} visitors "
            "whose judge had not learnt from them.",
            f"Appris de {count(rows['learnt'], language)} lignes de {count(visitors['learnt'], language)} visiteurs, "
            f"dont {percent(data['positive'], language)} ont l'étiquette ; jugé sur "
            f"{count(rows['judged'], language)} lignes de {count(visitors['judged'], language)} visiteurs "
            "dont le modèle qui les juge n'a rien appris.",
        ),
        say(
            language,
            f"Of {count(rows['given'], language)} rows given, {count(rows['without_improve'], language)} never "
            "entered because their visitor did not grant `improve`, and "
            f"{count(rows['unlabelled'], language)} because their answer is not known yet.",
            f"Sur {count(rows['given'], language)} lignes données, {count(rows['without_improve'], language)} ne "
            "sont jamais entrées, leur visiteur n'ayant pas accordé `improve`, et "
            f"{count(rows['unlabelled'], language)} parce que leur réponse n'est pas encore connue.",
        ),
    ]
    if data["from"]:
        said.append(
            say(
                language, f"Dates: {data['from']} to {data['until']}.", f"Dates : du {data['from']} au {data['until']}."
            )
        )
    if data["public_research_data"]:
        said.append(
            say(
                language,
                "Public research data: these people are nobody's visitors, `improve` was not asked, and the bundle may "
                "not be published.",
                "Données publiques de recherche : ces personnes ne sont les visiteurs de personne, `improve` n'a pas "
                "été demandé, et le lot ne peut être publié.",
            )
        )
    if data["a_row_is_a_visitor"]:
        said.append(
            say(
                language,
                "The table names no visitors: each row counts as one, so k counts sessions and not people.",
                "La table ne nomme pas de visiteurs : chaque ligne compte pour un visiteur, et k compte des sessions, "
                "non des personnes.",
            )
        )
    return Section(key="data", heading=say(language, "What it learnt from", "Ce dont il a appris"), sentences=(*said,))


def _price(facts: Facts, language: str) -> Section:
    rows = [
        (
            purposes(one),
            count(one["quality"]["rows"], language),
            figure(one["quality"]["auc"], language),
            "–" if not one["price"] else "−" + figure(one["price"], language),
            figure(one["quality"]["ece"], language),
            percent(one["quality"]["base_rate"], language),
        )
        for one in facts["patterns"]
    ]
    said = say(
        language,
        "Each consent has a model of its own, which never saw what was withheld. AUC: how often a visitor with the "
        "label is placed above one without. Calibration error: how far, on average, a predicted share lies from the "
        "observed one.",
        "Chaque consentement a son propre modèle, qui n'a jamais vu ce qui lui est refusé. AUC : combien de fois un "
        "visiteur portant l'étiquette est placé au-dessus d'un autre. Erreur de calibration : l'écart moyen entre la "
        "part prédite et la part observée.",
    )
    return Section(
        key="price",
        heading=say(language, "The price of a refusal", "Le prix d'un refus"),
        sentences=(said,),
        headings=_row(
            language,
            ("granted", "rows", "AUC", "difference", "calibration error", "label"),
            ("accordé", "lignes", "AUC", "écart", "erreur de calibration", "étiquette"),
        ),
        rows=tuple(rows),
    )


def _row(language: str, english: Iterable[str], french: Iterable[str]) -> tuple[str, ...]:
    return tuple(french if language == "fr" else english)


def _tranches(facts: Facts, language: str) -> Section:
    tranches = facts["tranches"]
    rows = [(say(language, "wanted", "voulu"), *(percent(share, language) for share in tranches["target"]))]
    rows += [
        (purposes(one), *(percent(share, language) for share in one["quality"]["shares"])) for one in facts["patterns"]
    ]
    return Section(
        key="tranches",
        heading="Tranches",
        sentences=(
            say(
                language,
                "The share of visitors in each tranche, by the cuts of their own consent.",
                "La part des visiteurs dans chaque tranche, selon les seuils de leur propre consentement.",
            ),
        ),
        headings=(say(language, "granted", "accordé"), *tranches["names"]),
        rows=tuple(rows),
    )


def _nobody(facts: Facts, language: str) -> Section:
    k = facts["k"]
    rows = [
        (f"{one['k']}" + (" *" if one["k"] == k["k"] else ""), *(figure(auc, language) for auc in one["patterns"]))
        for one in k["auc"]
    ]
    least = k["least_support"]
    found = "" if least is None else say(language, f"; the least found is {least}", f" ; le minimum trouvé est {least}")
    return Section(
        key="k",
        heading=say(language, "Nobody inside", "Personne à l'intérieur"),
        sentences=(
            say(
                language,
                f"Nothing that ships rests on fewer than {k['k']} distinct visitors (*){found}. "
                "What other values of k would have cost, as AUC:",
                f"Rien de ce qui est livré ne repose sur moins de {k['k']} visiteurs distincts (*){found}. "
                "Ce que d'autres valeurs de k auraient coûté, en AUC :",
            ),
        ),
        headings=("k", *(purposes(one) for one in facts["patterns"])),
        rows=tuple(rows),
    )


def _exact(facts: Facts, language: str) -> Section:
    parity, tolerance = facts["parity"], facts["tolerance"]
    size = say(
        language,
        f"The model has {count(facts['model_bytes'], language)} bytes.",
        f"Le modèle a {count(facts['model_bytes'], language)} octets.",
    )
    if tolerance:
        said = say(
            language,
            f"A dense graph: scored one row at a time, its margins lie within {tolerance:.2g} of the trained model's, "
            f"relative to the larger of 1 and the margin, on {count(parity['rows'], language)} hostile rows "
            f"(distance found: {parity['distance']:.1e}).",
            f"Un graphe dense : évalué ligne par ligne, ses marges sont à moins de {tolerance:.2g} de celles du modèle "
            f"appris, relativement au plus grand de 1 et de la marge, sur {count(parity['rows'], language)} lignes "
            f"hostiles (écart trouvé : {parity['distance']:.1e}).",
        )
    else:
        said = say(
            language,
            f"{count(parity['rows'], language)} hostile rows gave the same bits in every way of scoring them; "
            f"{count(parity['library_rows'], language)} were compared with the library's own answer before anything "
            f"was changed on purpose (largest distance {parity['library_distance']:.1e}). "
            f"{count(parity['trees'], language)} trees, {count(parity['nodes'], language)} nodes.",
            f"{count(parity['rows'], language)} lignes hostiles ont donné les mêmes bits de toutes les façons ; "
            f"{count(parity['library_rows'], language)} ont été comparées à la réponse de la bibliothèque avant toute "
            f"modification voulue (écart maximal {parity['library_distance']:.1e}). "
            f"{count(parity['trees'], language)} arbres, {count(parity['nodes'], language)} nœuds.",
        )
    return Section(
        key="exact",
        heading=say(language, "The same everywhere", "Le même partout"),
        sentences=(said, size),
    )


def _features(facts: Facts, language: str) -> Section:
    rows = [
        (one["name"], one["purpose"], percent(one["missing"], language), figure(one["alone"], language, 3))
        for one in facts["features"]
    ]
    return Section(
        key="features",
        heading=say(language, "What it looks at", "Ce qu'il regarde"),
        sentences=(),
        headings=_row(
            language,
            ("feature", "purpose", "absent", "AUC alone"),
            ("variable", "finalité", "absente", "AUC seule"),
        ),
        rows=tuple(rows),
    )


def _apart(facts: Facts) -> list[tuple[str, float]]:
    """Return, by group, the widest distance between treated shares of two of its values under one consent."""
    widest: dict[str, float] = {}
    for name in dict.fromkeys(one["name"] for one in facts["groups"]):
        told = [one["patterns"] for one in facts["groups"] if one["name"] == name]
        for under in zip(*told, strict=True):
            shares = [found["treated"] for found in under if found is not None]
            if len(shares) > 1:
                widest[name] = max(widest.get(name, 0.0), max(shares) - min(shares))
    return list(widest.items())


def _groups(facts: Facts, language: str) -> Section | None:
    if not facts["groups"]:
        return None
    hidden = say(language, "too few to tell", "trop peu pour le dire")
    rows = [
        (
            one["name"],
            one["value"] or "–",
            purposes(pattern),
            *(
                (hidden, *[""] * 5)
                if found is None
                else (
                    count(found["rows"], language),
                    figure(found["auc"], language),
                    figure(found["ece"], language),
                    percent(found["base_rate"], language),
                    percent(found["treated"], language),
                    " / ".join(percent(share, language) for share in found["shares"]),
                )
            ),
        )
        for one in facts["groups"]
        for pattern, found in zip(facts["patterns"], one["patterns"], strict=True)
    ]
    return Section(
        key="groups",
        heading=say(language, "Groups", "Groupes"),
        sentences=(
            say(
                language,
                "Groups were declared for this comparison and never entered a model.",
                "Les groupes ont été déclarés pour cette comparaison et ne sont entrés dans aucun modèle.",
            ),
            say(
                language,
                "Treated: the share whose tranche is shown another arm than the default, holdout and caps aside.",
                "Traités : la part dont la tranche reçoit une autre variante que celle par défaut, hors témoins et "
                "plafonds.",
            ),
            *(
                say(
                    language,
                    f"By {name}, treated shares lie up to {percent(apart, language)} apart.",
                    f"Selon {name}, les parts traitées s'écartent jusqu'à {percent(apart, language)}.",
                )
                for name, apart in _apart(facts)
            ),
        ),
        headings=_row(
            language,
            ("group", "value", "granted", "rows", "AUC", "calibration error", "label", "treated", "tranches"),
            (
                "groupe",
                "valeur",
                "accordé",
                "lignes",
                "AUC",
                "erreur de calibration",
                "étiquette",
                "traités",
                "tranches",
            ),
        ),
        rows=tuple(rows),
    )


def _left_out(facts: Facts, language: str) -> Section:
    said = [
        say(
            language,
            f"With {purposes(one)}: {', '.join(one['withheld']) or 'nothing'}.",
            f"Avec {purposes(one)} : {', '.join(one['withheld']) or 'rien'}.",
        )
        for one in facts["patterns"]
    ]
    columns = facts["left_out"]["columns"]
    if columns:
        said.append(
            say(
                language,
                f"Columns of the table that nothing asked for: {', '.join(columns)}.",
                f"Colonnes de la table que rien n'a demandées : {', '.join(columns)}.",
            )
        )
    return Section(
        key="left_out", heading=say(language, "What was left out", "Ce qui a été écarté"), sentences=(*said,)
    )


def _withdrawal(facts: Facts, language: str) -> Section:
    days, k = facts["lifetime_days"], facts["k"]["k"]
    said = say(
        language,
        "Whoever withdraws `improve` is left out of the next training. This bundle, once signed, keeps what it learnt: "
        f"every leaf, category and bound rests on at least {k} visitors together, none on one alone, and it names "
        f"nobody; a linear model's coefficients rest on all of them. It expires {days} days after it was made; a "
        "policy that no longer permits it switches it off before that.",
        "Qui retire `improve` est écarté du prochain apprentissage. Ce lot, une fois signé, garde ce qu'il a appris : "
        f"chaque feuille, catégorie et borne repose sur au moins {k} visiteurs ensemble, aucune sur un seul, et il ne "
        "nomme personne ; les coefficients d'un modèle linéaire reposent sur tous. Il expire "
        f"{days} jours après sa création ; une politique qui ne le permet plus l'éteint avant.",
    )
    return Section(
        key="withdrawal",
        heading=say(language, "What a withdrawal means for it", "Ce qu'un retrait signifie pour lui"),
        sentences=(said,),
    )


def _shape(facts: Facts, language: str) -> list[str]:
    """Return what a search for the smallest bundle put in the learner's place, if there was one."""
    if "shape" not in facts:
        return []
    shape, said = facts["shape"], say(language, "In its smallest shape", "Sous sa plus petite forme")
    each = zip(facts["patterns"], shape["patterns"], strict=True)
    lines = [f"{said}, {purposes(pattern)}: {spelt(own)}." for pattern, own in each]
    if shape["step"]:
        lines.append(f"{say(language, 'Step of the leaves', 'Pas des feuilles')}: {shape['step']}.")
    return lines


def _made(facts: Facts, language: str) -> Section:
    policy = facts["policy"]
    return Section(
        key="made",
        heading=say(language, "How it was made", "Comment il a été fait"),
        sentences=(
            f"{say(language, 'Learner', 'Apprentissage')}: {spelt(facts['learner'])}.",
            *_shape(facts, language),
            f"{say(language, 'Split', 'Partage')}: {spelt(facts['split'])}.",
            f"{say(language, 'Policy', 'Politique')}: {policy['tenant']} {policy['version']}.",
            f"{say(language, 'Libraries', 'Bibliothèques')}: {spelt(facts['libraries'])}.",
        ),
    )
