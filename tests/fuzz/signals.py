"""Mutated signals: none crashes, none grants what a second reading of it does not, none broken grants anything new.

`make fuzz` reads a million and writes what came of them to `docs/evidence/fuzz.txt`; a short run is an ordinary test.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz import oracle
from tests.signals import BANNER, GPP, NOW, TCF, VENDOR, policy

from entrenous_consent.errors import Forbidden, Malformed
from entrenous_consent.signals import read_signal
from entrenous_edge.answers import Problem
from entrenous_edge.calls import parse_json

POLICY = policy()
PURPOSES = {
    key: ({*purpose.tcf_purposes, *([1] if purpose.terminal == "consent" else [])}, purpose.lifetime)
    for key, purpose in POLICY.purposes.items()
}
REFUSED, NOTHING, GRANTED, OBJECTED = "refused", "nothing granted", "granted", "objection"
LETTERS = oracle.ALPHABET
NOISE = [
    chr(code) for code in (0, 9, 10, 13, 32, 37, 43, 46, 47, 61, 95, 126, 127, 173, 233, 0x0410, 0x0663, 0xFEFF, 0xD800)
]

BROKEN = frozenset({"cut", "extended"})
"""Mutations that break the structure: refused, or, where only padding went, no more than the original."""
ALWAYS_REFUSED = frozenset({"segment twice", "another version", "character of no base64url"})


@dataclass
class Tally:
    """What came of a run."""

    seed: int
    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    compared: int = 0

    @property
    def inputs(self) -> int:
        return sum(self.counts.values())


# Mutations of text: each takes the original and says what it made of it.


def _cut(text: str, random: Random) -> str:
    return text[: random.randrange(len(text))]


def _extended(text: str, random: Random) -> str:
    return text + "".join(random.choices(LETTERS, k=random.randint(1, 12)))


def _bit_flips(text: str, random: Random) -> str:
    letters = list(text)
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        at = random.randrange(len(letters))
        if letters[at] in LETTERS:
            letters[at] = LETTERS[LETTERS.index(letters[at]) ^ (1 << random.randrange(6))]
    return "".join(letters)


def _early_bit_flips(text: str, random: Random) -> str:
    return _bit_flips(text[:44], random) + text[44:]


def _letters_in(text: str, random: Random) -> str:
    at = random.randrange(len(text) + 1)
    return text[:at] + "".join(random.choices(LETTERS, k=random.randint(1, 6))) + text[at:]


def _letters_out(text: str, random: Random) -> str:
    at = random.randrange(len(text))
    return text[:at] + text[at + random.randint(1, 6) :]


def _letters_swapped(text: str, random: Random) -> str:
    one, other = sorted(random.randrange(len(text)) for _ in range(2))
    return text[:one] + text[other:] + text[one:other]


def _foreign(text: str, random: Random) -> str:
    at = random.randrange(len(text))
    noise = random.choice([one for one in NOISE if one not in "._~"])
    return text[:at] + noise + text[at + random.randint(0, 1) :]


def _bytes(text: str, random: Random) -> str:
    data = bytearray(text.encode())
    for _ in range(random.randint(1, 5)):
        data[random.randrange(len(data))] = random.randrange(256)
    return data.decode("latin-1") if random.random() < 0.5 else data.decode("utf-8", "surrogateescape")


def _noise(text: str, random: Random) -> str:
    return "".join(random.choices([*LETTERS, ".", "~"], k=random.choice((0, 1, 5, 40, 300))))


def _head_and_noise(text: str, random: Random) -> str:
    return text[: random.choice((1, 7, 20, 36, 44))] + _noise(text, random)


def _padding(text: str, random: Random) -> str:
    at = random.choice([place for place in range(len(text) + 1) if place == len(text) or text[place] in ".~"])
    return text[:at].rstrip("A") + "A" * random.randrange(6) + text[at:]


def _segment_twice(text: str, random: Random) -> str:
    pieces = text.split(".")
    return ".".join([*pieces, random.choice(pieces)])


def _segments_mixed(text: str, random: Random) -> str:
    pieces = text.split(".")
    random.shuffle(pieces)
    return ".".join(pieces)


def _segment_out(text: str, random: Random) -> str:
    pieces = text.split(".")
    pieces.pop(random.randrange(len(pieces)))
    return ".".join(pieces)


def _other_version(text: str, random: Random) -> str:
    return random.choice(LETTERS.replace(text[0], "")) + text[1:]


def _sections_mixed(text: str, random: Random) -> str:
    header, *pieces = text.split("~")
    others = random.choice(GPP["golden"])["text"].split("~")[1:]
    pieces = random.sample(pieces + others, k=random.randint(1, len(pieces + others)))
    return "~".join([header, *pieces])


def _spliced(originals: list[str]) -> Callable[[str, Random], str]:
    def spliced(text: str, random: Random) -> str:
        at, other = random.randrange(len(text)), random.choice(originals)
        return text[:at] + other[min(at, len(other)) :]

    return spliced


def _segments_of_others(text: str, random: Random) -> str:
    core, *pieces = text.split(".")
    other = random.choice(TCF["golden"])["text"].split(".")[1:]
    return ".".join([core, *random.sample(pieces + other, k=random.randint(0, len(pieces + other)))])


ANY: dict[str, Callable[[str, Random], str]] = {
    "as it is": lambda text, _: text,
    "cut": _cut,
    "extended": _extended,
    "bit flips": _bit_flips,
    "bit flips in the fixed fields": _early_bit_flips,
    "letters put in": _letters_in,
    "letters taken out": _letters_out,
    "letters swapped": _letters_swapped,
    "character of no base64url": _foreign,
    "byte noise": _bytes,
    "base64 noise": _noise,
    "its head, then noise": _head_and_noise,
    "another padding": _padding,
    "segment twice": _segment_twice,
    "another version": _other_version,
}
OF_TCF = [one["text"] for one in TCF["golden"]]
OF_GPP = [one["text"] for one in GPP["golden"] for _ in range(30 if one["european"] else 1)]
"""One in two is with a European section: no other can grant."""
TCF_MUTATIONS = {
    **ANY,
    "segments in another order": _segments_mixed,
    "a segment taken out": _segment_out,
    "segments of another string": _segments_of_others,
    "two strings spliced": _spliced(OF_TCF),
}
GPP_MUTATIONS = {
    **{name: mutation for name, mutation in ANY.items() if name != "segment twice"},
    "sections of another string": _sections_mixed,
    "two strings spliced": _spliced(OF_GPP),
}

# Mutations of maps: JSON as it comes through the worker's door.

FULL_CHOICES = dict.fromkeys(PURPOSES, True)
MODES = dict.fromkeys(
    ("ad_storage", "analytics_storage", "functionality_storage", "personalization_storage", "security_storage",
     "ad_user_data", "ad_personalization"), "granted",
)  # fmt: skip
ODD: list[Any] = [
    None,
    0,
    1,
    -1,
    1.0,
    1e308,
    "",
    "true",
    "True",
    "granted ",
    "GRANTED",
    [],
    [True],
    {},
    {"granted": True},
]


def _a_map(random: Random) -> dict[str, Any]:
    if random.random() < 0.5:
        return {"choices": {key: random.random() < 0.6 for key in random.sample([*PURPOSES], k=random.randint(0, 4))}}
    modes = random.sample([*MODES], k=random.randint(0, 7))
    given = {one: "granted" if random.random() < 0.7 else "denied" for one in modes}
    return {"cmp": BANNER, "consent_mode": given}


def _odd_value(described: dict[str, Any], random: Random) -> Any:
    inner = described[random.choice([key for key in described if key != "cmp"])]
    target = inner if isinstance(inner, dict) and inner and random.random() < 0.8 else described
    key = random.choice([*target])
    target[key] = random.choice(ODD)
    return described


def _odd_key(described: dict[str, Any], random: Random) -> Any:
    inner = described[random.choice([key for key in described if key != "cmp"])]
    key = random.choice(["", "consent", "personalise", "PERSONALIZE", "ad", "__class__", "cmp", "tcf", "\u0000", "é"])
    (inner if random.random() < 0.7 else described)[key] = random.choice([True, "granted"])
    return described


def _deep(described: dict[str, Any], random: Random) -> str:
    depth, key = random.choice((3, 50, 2000, 100_000)), random.choice([*described])
    opening, closing = random.choice((("[", "]"), ('{"choices":', "}")))
    described[key] = "here"
    return json.dumps(described).replace('"here"', opening * depth + "1" + closing * depth)


def _key_twice(described: dict[str, Any], random: Random) -> str:
    text = json.dumps(described)
    at = random.choice([place for place, letter in enumerate(text) if letter == "{"])
    name = random.choice([*PURPOSES, *MODES, "choices", "cmp"])
    twice = f'"{name}": true, "{name}": false'
    return text[: at + 1] + twice + (", " if text[at + 1] != "}" else "") + text[at + 1 :]


def _map_text(text: Callable[[str, Random], str]) -> Callable[[dict[str, Any], Random], str]:
    return lambda described, random: text(json.dumps(described), random)


MAP_MUTATIONS: dict[str, Callable[[dict[str, Any], Random], Any]] = {
    "as it is": lambda described, _: described,
    "an odd value": _odd_value,
    "an odd key": _odd_key,
    "a deep nest": _deep,
    "a key twice": _key_twice,
    "cut": _map_text(_cut),
    "byte noise": _map_text(_bytes),
    "letters put in": _map_text(_letters_in),
    "letters taken out": _map_text(_letters_out),
}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError
    return dict(pairs)


def _map_grants(data: bytes) -> set[str] | None:
    """Return what a map grants, read a second way; None where it is not to be taken."""
    try:
        found = json.loads(data.decode(), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    if list(found) == ["choices"]:
        choices = found["choices"]
        if not isinstance(choices, dict) or any(key not in PURPOSES for key in choices):
            return None
        if any(type(value) is not bool for value in choices.values()):
            return None
        return {key for key, value in choices.items() if value}
    modes = found.get("consent_mode")
    if sorted(found) != ["cmp", "consent_mode"] or not isinstance(modes, dict):
        return None
    if found["cmp"] not in ("banner of the shop", "another banner"):
        return None
    if any(key not in MODES or value not in ("granted", "denied") for key, value in modes.items()):
        return None
    needs = {
        "personalize": {"personalization_storage", "ad_personalization"},
        "history": {"functionality_storage"},
        "measure": {"analytics_storage"},
        "improve": {"ad_user_data"},
    }
    return {key for key, some in needs.items() if all(modes.get(one) == "granted" for one in some)}


def _gpp_grants(text: str) -> set[str] | None:
    """Return what a GPP string grants, read a second way; None where it is not to be taken."""
    try:
        european, objects = oracle.gpp(text)
    except oracle.Wrong:
        return None
    if objects:
        return set()
    return None if european is None else oracle.tcf_grants(european, PURPOSES, VENDOR, NOW)


def _tcf_grants(text: str) -> set[str] | None:
    return oracle.tcf_grants(text, PURPOSES, VENDOR, NOW)


def _read(signal: object) -> tuple[str, frozenset[str]]:
    try:
        choice = read_signal(POLICY, signal, NOW)
    except (Malformed, Forbidden):
        return REFUSED, frozenset()
    if choice.objects:
        assert not choice.granted, "an objection grants"
        return OBJECTED, frozenset()
    return (GRANTED if choice.granted else NOTHING), choice.granted


def _read_bytes(data: bytes) -> tuple[str, frozenset[str]]:
    try:
        return _read(parse_json(data))
    except Problem:
        return REFUSED, frozenset()


def _text_round(
    kind: str, originals: list[str], mutations: dict[str, Any], second: Callable[[str], set[str] | None]
) -> Callable[[Random, Tally], None]:
    granted_by = {text: _read({kind: text})[1] for text in originals}
    names = [*mutations]

    def one(random: Random, tally: Tally) -> None:
        original, name = random.choice(originals), random.choice(names)
        text = mutations[name](original, random)
        outcome, granted = _read({kind: text})
        tally.counts[kind, name, outcome] += 1
        if outcome != REFUSED or random.random() < 0.01:
            tally.compared += 1
            expected = second(text)
            assert (expected is None) == (outcome == REFUSED), f"{kind}, {name}: the two readings disagree"
            assert granted == (expected or set()), f"{kind}, {name}: the two readings grant other purposes"
        if name in BROKEN:
            assert granted <= granted_by[original], f"{kind}, {name}: grants what the original did not"
        if name in ALWAYS_REFUSED and text != original:
            assert outcome == REFUSED, f"{kind}, {name}: is taken"

    return one


def _map_round(random: Random, tally: Tally) -> None:
    name = random.choice([*MAP_MUTATIONS])
    made = MAP_MUTATIONS[name](_a_map(random), random)
    data = made.encode("utf-8", "surrogateescape") if isinstance(made, str) else json.dumps(made).encode()
    outcome, granted = _read_bytes(data)
    tally.counts["map", name, outcome] += 1
    if name != "a deep nest":
        tally.compared += 1
        expected = _map_grants(data)
        assert (expected is None) == (outcome == REFUSED), f"map, {name}: the two readings disagree"
        assert granted == (expected or set()), f"map, {name}: the two readings grant other purposes"


def run(inputs: int, seed: int, told: Callable[[int], None] = lambda _: None) -> Tally:
    """Read `inputs` mutated signals; fails on the first that crashes, or grants what it should not.

    Args:
        inputs: how many. seed: of the mutations. told: called with how many are done, now and then.
    """
    random, tally = Random(seed), Tally(seed)
    tcf = _text_round("tcf", OF_TCF, TCF_MUTATIONS, _tcf_grants)
    gpp = _text_round("gpp", OF_GPP, GPP_MUTATIONS, _gpp_grants)
    rounds = [tcf] * 6 + [gpp] * 3 + [_map_round]
    for done in range(inputs):
        random.choice(rounds)(random, tally)
        if done % 20_000 == 0:
            told(done)
    return tally


def written(tally: Tally, seconds: float, now: datetime) -> str:
    """Return the evidence: what was run, where, and what came of it."""
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    lines = [
        "Mutated TCF strings, GPP strings and consent maps, read by the policy of tests/signals.py.",
        f"{now:%d %B %Y}, {machine}, {seconds:.0f} s. To see it again: make fuzz",
        "",
        f"{tally.inputs:,} inputs, seed {tally.seed}: no exception but the two refusals. {tally.compared:,} were read",
        "a second time, by a decoder that shares no line with the first: every input that was taken, one refused in a",
        "hundred, and every map but the deep ones. Both took the same and granted the same. No string that was cut or",
        "extended granted what its original did not; none with a segment twice or of another version was taken.",
        "",
        f"{'kind':5}{'mutation':34}" + "".join(f"{name:>17}" for name in (REFUSED, NOTHING, GRANTED, OBJECTED)),
    ]
    for kind, name in sorted({key[:2] for key in tally.counts}):
        counts = (tally.counts[kind, name, outcome] for outcome in (REFUSED, NOTHING, GRANTED, OBJECTED))
        lines.append(f"{kind:5}{name:34}" + "".join(f"{count:17,}" for count in counts))
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=20_261_128)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    begun = time.monotonic()
    tally = run(
        asked.inputs,
        asked.seed,
        lambda done: print(f"\r{done:,} of {asked.inputs:,} inputs", end="", file=sys.stderr, flush=True),
    )
    print("\r", end="", file=sys.stderr)
    evidence = written(tally, time.monotonic() - begun, datetime.now(UTC))
    print(evidence, end="")
    if asked.out:
        asked.out.write_text(evidence, "utf-8")


if __name__ == "__main__":
    main()
