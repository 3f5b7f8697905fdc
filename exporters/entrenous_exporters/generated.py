"""The generated shop behind `Client.demo`: seeded visitors, their events, and the small bundle learnt from them.

Nothing here is about anybody: figures that rest on it are called *generated*. Run as a module it writes the bundle into
the package; the same seed and the same library versions give the same bytes, and a test holds that.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import entrenous.demo
from entrenous_consent.policy import PrivacyPolicy, parse_policy
from entrenous_exporters.rows import labelled_rows
from entrenous_exporters.spec import TrainingSpec, parse_spec
from entrenous_exporters.tables import open_backend
from entrenous_exporters.train import Trained, train

__all__ = ["CREATED", "demo_inputs", "generate_events", "train_demo"]

CREATED = 1_767_225_600
"""2026-01-01: the date in the packaged bundle, replaced by the day it is opened."""

_DAY = 86_400
_DAYS = 120
_VISITORS = 2_000
_SHELVES = {"boots": 9900, "slippers": 4900, "sneakers": 7900, "sandals": 3900, "bags": 5900}


def generate_events(seed: int = 20260101) -> tuple[pa.Table, pa.Table]:
    """Return the generated shop's events and its moments (one for each visit).

    A visitor has a taste, an appetite and a rhythm; a visit is a few views, sometimes a cart, sometimes a purchase,
    which is likelier for who looks at much, bought within a month and comes in the evening.
    """
    random = np.random.default_rng(seed)
    shelves, prices = list(_SHELVES), list(_SHELVES.values())
    start = CREATED - _DAYS * _DAY
    events: list[tuple[str, int, str, int, str]] = []
    moments: list[tuple[str, int]] = []
    for number in range(_VISITORS):
        visitor, taste, appetite = f"generated-{number}", int(random.integers(len(shelves))), random.gamma(2.0, 0.5)
        last, day = -float(_DAYS), random.exponential(8)
        while day < _DAYS:
            hour = float(np.clip(random.normal(16, 4), 0, 23.9))
            time = start + int(day) * _DAY + int(hour * 3600)
            views = 1 + int(random.poisson(appetite))
            for view in range(views):
                shelf = taste if random.random() < 0.7 else int(random.integers(len(shelves)))
                events.append((visitor, time + 60 * view, "view_item", prices[shelf], shelves[shelf]))
            end = time + 60 * (views - 1)
            score = -3.6 + 0.45 * views + 1.2 * (day - last < 30) + 0.8 * (hour >= 17)
            if random.random() < 1 / (1 + np.exp(-(score + 1))):
                events.append((visitor, end, "add_to_cart", prices[taste], shelves[taste]))
                score += 1
            moments.append((visitor, end))
            if random.random() < 1 / (1 + np.exp(-score)):
                events.append((visitor, end + 30, "purchase", prices[taste], shelves[taste]))
                last = day
            day += 0.5 + random.exponential(8 / (0.5 + appetite))
    log = list(zip(*events, strict=True))
    when = list(zip(*moments, strict=True))
    table = pa.table(
        {
            "visitor": pa.array(log[0]),
            "time": pa.array(log[1], pa.int64()),
            "name": pa.array(log[2]),
            "price": pa.array(log[3], pa.int64()),
            "value": pa.array(log[3], pa.int64()),
            "category": pa.array(log[4]),
        }
    )
    rows = pa.array(range(len(moments)), pa.int64())
    return table, pa.table({"row": rows, "visitor": pa.array(when[0]), "time": pa.array(when[1], pa.int64())})


def demo_inputs() -> tuple[TrainingSpec, PrivacyPolicy]:
    """Return the packaged demonstration's training specification and policy."""
    spec = files("entrenous_exporters").joinpath("demo/generated.toml").read_bytes()
    policy = files(entrenous.demo.__name__).joinpath("policy.toml").read_bytes()
    return parse_spec(spec, place="generated.toml"), parse_policy(policy, place="policy.toml")


def train_demo() -> Trained:
    """Return the packaged bundle, trained anew."""
    spec, policy = demo_inputs()
    backend: Any = open_backend()
    events, moments = (
        backend.create_table(name, data, temp=True) for name, data in zip("em", generate_events(), strict=True)
    )
    return train(spec, policy, labelled_rows(backend, spec, events, moments), created=CREATED, progress=print)


if __name__ == "__main__":
    trained = train_demo()
    Path(str(files(entrenous.demo.__name__).joinpath("bundle.msgpack"))).write_bytes(trained.data)
    print(trained.card.decode())
