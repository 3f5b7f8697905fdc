"""A worker whose state was lost takes nothing under the floors of its configuration, whoever hands it out."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.shop import Clock, Shop
from tests.worker import configure

from entrenous import Client, demo
from entrenous_consent.errors import Malformed, Unauthentic
from entrenous_edge.config import EdgeConfig, read_config


def configured(home: Path, **floors: int) -> EdgeConfig:
    return read_config(configure(Shop(home, Clock()), floors={f'"{name}"': least for name, least in floors.items()}))


@pytest.mark.parametrize("place", [f"policies/{demo.TENANT}", "targets", "privacy"])
def test_without_a_policy_on_its_floor_nothing_opens(tmp_path: Path, place: str):
    config = configured(tmp_path, **{place: 99})
    with pytest.raises(Unauthentic, match="under the floor 99"):
        Client.open(config.client())


@pytest.mark.parametrize("place", [f"bundles/{demo.BUNDLE}", "models"])
def test_a_bundle_under_its_floor_does_not_serve(tmp_path: Path, place: str):
    config = configured(tmp_path, **{place: 99})
    with Client.open(config.client()) as client:
        assert client.bundle is None
        assert client.visitor("customer-42").decide("promotion", "none").cause == "no_bundle"


def test_what_lies_on_its_floor_is_taken(tmp_path: Path):
    config = configured(tmp_path, **{f"bundles/{demo.BUNDLE}": 1, "root": 1})
    with Client.open(config.client()) as client:
        assert client.bundle is not None


@pytest.mark.parametrize(("place", "least"), [("bundle", 1), ("bundles/", 1), ("targets", 0), ("mirrors", 1)])
def test_what_is_no_floor_is_refused(tmp_path: Path, place: str, least: int):
    with pytest.raises(Malformed, match=r"edge\.toml: floors"):
        configured(tmp_path, **{place: least})
