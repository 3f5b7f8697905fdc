"""What tests share: a shop on the packaged demonstration, with a clock that they set."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from entrenous import Client, Decision, Visitor
from tests.messages import POLICY_TEXT, Receiver, receiving
from tests.shop import Clock, Shop

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # for tests that load the runtime before we do


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shop(tmp_path: Path, clock: Clock) -> Iterator[Shop]:
    shop = Shop(tmp_path, clock)
    yield shop
    for client in shop.clients:
        client.close()


@pytest.fixture
def client(shop: Shop) -> Client:
    return shop.open()


@pytest.fixture
def agreed(client: Client) -> Visitor:
    """A visitor who agreed to everything."""
    visitor = client.visitor("customer-42")
    assert visitor.consent(client.example_choices).accepted
    return visitor


@pytest.fixture
def ask() -> Callable[[Visitor], Decision]:
    return lambda visitor: visitor.decide("promotion", default="none")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def mailing(shop: Shop, receiver: Receiver) -> Shop:
    """A shop whose policy names a message to a recipient."""
    shop.policy.write_text(POLICY_TEXT)
    return shop
