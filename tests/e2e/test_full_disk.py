"""A real full disk: a small file system, filled until it refuses, then given room again."""

from __future__ import annotations


def test_a_full_disk_refuses_plainly_and_loses_nothing(shop, small_disk, ask):
    state, ballast = small_disk / "state", small_disk / "ballast"
    ballast.write_bytes(bytes(1 << 20))
    client = shop.open(state=state)
    agreed, refused = [], None
    for number in range(5_000):
        visitor = client.visitor(f"customer-{number}")
        refused = visitor.consent(client.example_choices)
        if not refused.accepted:
            break
        agreed.append(visitor)
    assert refused is not None
    assert refused.cause == "unavailable"
    assert "the disk is full" in refused.message
    assert len(agreed) > 20
    assert {ask(visitor).reason for visitor in agreed} <= {"TARGETING_MATCH", "SPLIT"}
    client.close()
    ballast.unlink()
    again = shop.open(state=state)
    kept = [again.visitor(f"customer-{number}").export().data for number in range(len(agreed))]
    assert all(data["consent"]["granted"] for data in kept)
