"""Custody: consent, pseudonyms, vault and store together, under what the policy and the visitor say."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import msgpack
import pytest

from entrenous_consent import sqlite
from entrenous_consent.audit import commitment, log_name
from entrenous_consent.custody import Custody
from entrenous_consent.drawers import Drawer
from entrenous_consent.errors import Forbidden, Unauthentic, Unavailable
from entrenous_consent.freshness import Counters
from entrenous_consent.keys import Keyring, MemoryKeyProvider
from entrenous_consent.policy import PrivacyPolicy, parse_policy
from entrenous_consent.pseudonyms import keyed
from entrenous_consent.sqlite import SQLiteStore
from entrenous_consent.store import Delete, Put
from entrenous_consent.upkeep import sweep

TEXT = (files("entrenous") / "demo" / "policy.toml").read_text("utf-8")
POLICY = parse_policy(TEXT.encode())
DAY, EPOCH = 86_400, POLICY.epoch
NOW = 51 * EPOCH - 10 * DAY
"""Ten days before an epoch ends, so that consent outlives it."""

LATER = NOW + 11 * DAY
ADA, BOB = b"a" * 32, b"b" * 32
BOTH = frozenset({"personalize", "history"})


@dataclass
class Host:
    """One host: a store, a keyring and counters on disk, and as many custodies on them as processes would have."""

    home: Path

    def __post_init__(self) -> None:
        self.provider = MemoryKeyProvider()
        self.opened: list[SQLiteStore | Counters] = []

    def custody(self, policy: PrivacyPolicy = POLICY) -> Custody:
        store, counters = SQLiteStore(self.home / "visitors.db"), Counters(self.home / "counters")
        self.opened += [store, counters]
        keyring = Keyring(self.home / "keyring", self.provider)
        return Custody(store, keyring, counters, tenant=policy.tenant, epoch=policy.epoch)

    def rows(self) -> dict[bytes, tuple[int, int]]:
        """Return name to version and expiry of every row, read as another program would."""
        with sqlite3.connect(self.home / "visitors.db") as other:
            found = other.execute("select name, version, expires from records").fetchall()
        other.close()
        return {name.to_bytes(8, "big", signed=True): (version, expires) for name, version, expires in found}

    def bytes_on_disk(self) -> bytes:
        return b"".join(file.read_bytes() for file in self.home.iterdir())


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    for part in host.opened:
        part.close()


@pytest.fixture
def custody(host: Host) -> Custody:
    return host.custody()


def choose(
    custody: Custody, *purposes: str, handle: bytes = ADA, now: int = NOW, policy: PrivacyPolicy = POLICY
) -> str:
    return custody.choose(handle, policy, frozenset(purposes), source="app", now=now)


def drawer_of(custody: Custody, purpose: str, *, handle: bytes = ADA, now: int = NOW, cold: bool = True) -> Drawer:
    standing = custody.standing(handle, POLICY, now)
    assert standing is not None
    [drawer] = custody.drawers(handle, standing, [purpose], now, cold=cold)
    return drawer


def keep(custody: Custody, purpose: str, hot: bytes, cold: bytes | None = None, *, now: int = NOW) -> None:
    """Put something into Ada's drawer of a granted purpose."""
    standing = custody.standing(ADA, POLICY, now)
    assert standing is not None
    [drawer] = custody.drawers(ADA, standing, [purpose], now, cold=True)
    drawer.hot, drawer.cold = hot, cold
    assert custody.save(ADA, standing, [(drawer, standing.record.expires)], now) == "done"


def entries(custody: Custody, now: int = NOW) -> list[list[object]]:
    return [msgpack.unpackb(data) for data in custody.store.log(log_name(now))]


def name_of(custody: Custody, purpose: str, now: int = NOW, handle: bytes = ADA) -> bytes:
    return keyed(custody.keyring.epoch_key(purpose, now // EPOCH))(handle)[:8]


@pytest.fixture
def before_commit(monkeypatch: pytest.MonkeyPatch) -> Callable[[Custody, Callable[[], object]], None]:
    """Let something happen once, after a custody has read and before its next transaction begins."""

    def arrange(custody: Custody, happen: Callable[[], object]) -> None:
        real = custody.store.transact

        def late(*args: object, **more: object) -> object:
            monkeypatch.setattr(custody.store, "transact", real)
            happen()
            return real(*args, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(custody.store, "transact", late)

    return arrange


# Choosing


def test_a_grant_makes_one_empty_drawer_for_each_purpose(custody, host):
    assert choose(custody, *BOTH) == "done"
    assert set(host.rows()) == {name_of(custody, purpose) for purpose in ("consent", *BOTH)}
    standing = custody.standing(ADA, POLICY, NOW)
    assert standing.granted == BOTH
    drawers = custody.drawers(ADA, standing, sorted(BOTH), NOW, cold=True)
    assert [(one.purpose, one.hot, one.cold, one.version) for one in drawers] == [
        ("history", None, None, 1),
        ("personalize", None, None, 1),
    ]


def test_a_refusal_leaves_one_row_and_no_audit_entry(custody, host):
    assert choose(custody) == "done"
    assert set(host.rows()) == {name_of(custody, "consent")}
    assert entries(custody) == []
    assert custody.standing(ADA, POLICY, NOW).granted == frozenset()


def test_an_unknown_visitor_is_none_and_leaves_nothing(custody, host):
    custody.prepare(POLICY, NOW)
    before = host.rows(), (host.home / "keyring").read_bytes()
    assert custody.standing(ADA, POLICY, NOW) is None
    assert (host.rows(), (host.home / "keyring").read_bytes()) == before


def test_a_withheld_purpose_gets_no_drawer(custody):
    choose(custody, "personalize")
    standing = custody.standing(ADA, POLICY, NOW)
    assert custody.drawers(ADA, standing, ["history"], NOW) == []


def test_a_drawer_of_a_purpose_that_does_not_stand_cannot_be_saved(custody):
    choose(custody, *BOTH)
    drawer = drawer_of(custody, "history")
    choose(custody, "personalize")
    with pytest.raises(Forbidden, match="purpose history: is not granted"):
        custody.save(ADA, custody.standing(ADA, POLICY, NOW), [(drawer, NOW + 10)], NOW)


def test_a_purpose_that_the_policy_does_not_have_cannot_be_granted(custody, host):
    with pytest.raises(Forbidden):
        choose(custody, "profit")
    assert host.rows() == {}


def test_granting_again_keeps_what_is_there_and_prolongs_consent(custody):
    choose(custody, "personalize")
    keep(custody, "personalize", b"seen")
    choose(custody, "personalize", now=NOW + DAY)
    assert drawer_of(custody, "personalize").hot == b"seen"
    assert custody.standing(ADA, POLICY, NOW).record.expires == NOW + DAY + 180 * DAY


def test_what_is_kept_comes_back_in_every_process(custody, host):
    choose(custody, "personalize")
    keep(custody, "personalize", b"hot", b"cold")
    drawer = drawer_of(host.custody(), "personalize")
    assert (drawer.hot, drawer.cold) == (b"hot", b"cold")


def test_cold_is_read_only_when_asked_for(custody):
    choose(custody, "personalize")
    keep(custody, "personalize", b"hot", b"cold")
    assert drawer_of(custody, "personalize", cold=False).cold is None


def test_two_visitors_share_nothing(custody, host):
    choose(custody, "personalize")
    keep(custody, "personalize", b"ada")
    choose(custody, "personalize", handle=BOB)
    assert drawer_of(custody, "personalize", handle=BOB).hot is None
    assert len(host.rows()) == 4


def test_a_raised_consent_version_closes_the_drawer_until_the_visitor_agrees_again(custody):
    choose(custody, "personalize")
    keep(custody, "personalize", b"seen")
    widened = parse_policy(TEXT.replace("consent_version = 1", "consent_version = 2").encode())
    assert custody.standing(ADA, widened, NOW).granted == frozenset()
    choose(custody, "personalize", policy=widened)
    assert custody.standing(ADA, widened, NOW).granted == {"personalize"}


def test_a_choice_overtaken_by_another_is_made_on_top_of_it(custody, host, before_commit):
    choose(custody, "personalize")
    other = host.custody()
    before_commit(custody, lambda: choose(other, *BOTH))
    choose(custody, "personalize")
    assert name_of(custody, "history") not in host.rows()
    assert [kind for _, _, kind, *_ in entries(custody)] == ["consent.granted", "consent.changed", "consent.withdrawn"]


def test_a_choice_that_is_always_overtaken_gives_up(custody, monkeypatch):
    monkeypatch.setattr(custody.store, "transact", lambda *_, **__: "conflict")
    with pytest.raises(Unavailable, match="keeps changing"):
        choose(custody, "personalize")


# Withdrawing


def test_withdrawal_deletes_the_rows_and_raises_the_counter(custody, host):
    choose(custody, *BOTH)
    keep(custody, "history", b"bought", b"receipts")
    before = custody.counters.words[0]
    assert choose(custody, "personalize") == "done"
    assert set(host.rows()) == {name_of(custody, "consent"), name_of(custody, "personalize")}
    assert custody.counters.words[0] == before + 1


def test_after_withdrawal_the_wrapped_key_is_in_no_file(custody, host):
    choose(custody, "history")
    wrapped = custody.store.read(name_of(custody, "history"), NOW).wrapped
    assert wrapped in host.bytes_on_disk()
    choose(custody)
    assert wrapped not in host.bytes_on_disk()


def test_a_reader_in_the_way_makes_withdrawal_pending(custody, host, monkeypatch):
    monkeypatch.setattr(sqlite, "_SCRUB_WAIT", 0.0)
    choose(custody, "history")
    reader = sqlite3.connect(host.home / "visitors.db", isolation_level=None)
    reader.execute("begin")
    reader.execute("select * from slots").fetchall()
    assert choose(custody) == "pending"
    assert custody.standing(ADA, POLICY, NOW).granted == frozenset()
    reader.close()
    assert custody.store.scrub() == "done"


def test_a_purpose_that_the_policy_dropped_goes_with_the_next_choice(custody, host):
    choose(custody, *BOTH)
    narrowed = parse_policy(TEXT.replace("[purposes.history", "[purposes.past").replace('"history"', '"past"').encode())
    choose(custody, "personalize", policy=narrowed)
    assert set(host.rows()) == {name_of(custody, "consent"), name_of(custody, "personalize")}


def test_granted_again_after_withdrawal_starts_empty(custody):
    choose(custody, "history")
    keep(custody, "history", b"bought", b"receipts")
    choose(custody)
    choose(custody, "history")
    drawer = drawer_of(custody, "history")
    assert (drawer.hot, drawer.cold) == (None, None)


@pytest.mark.parametrize("again", [False, True], ids=["withdrawn", "withdrawn and granted again"])
def test_a_write_made_under_an_older_consent_is_dropped(custody, again):
    choose(custody, "history")
    standing = custody.standing(ADA, POLICY, NOW)
    [drawer] = custody.drawers(ADA, standing, ["history"], NOW, cold=True)
    drawer.hot, drawer.cold = b"late", b"late"
    choose(custody)
    if again:
        choose(custody, "history")
    assert custody.save(ADA, standing, [(drawer, NOW + 100)], NOW) == "dropped"
    choose(custody, "history")
    assert drawer_of(custody, "history").hot is None


def test_of_two_writers_the_second_conflicts_and_nothing_of_its_is_kept(custody, host):
    choose(custody, *BOTH)
    standing = custody.standing(ADA, POLICY, NOW)
    mine = custody.drawers(ADA, standing, sorted(BOTH), NOW)
    other = host.custody()
    keep(other, "personalize", b"first")
    for drawer in mine:
        drawer.hot = b"second"
    assert custody.save(ADA, standing, [(drawer, NOW + 100) for drawer in mine], NOW) == "conflict"
    assert drawer_of(custody, "history").hot is None
    assert drawer_of(custody, "personalize").hot == b"first"


@pytest.mark.parametrize("change", [lambda c: keep(c, "personalize", b"x"), lambda c: choose(c, *BOTH)])
def test_a_write_or_a_wider_choice_raises_the_visitors_shard(custody, change):
    choose(custody, "personalize")
    shard = Counters.shard_of(ADA)
    before = custody.counters.words[shard]
    change(custody)
    assert custody.counters.words[shard] == before + 1


# Retention


def test_a_drawer_that_expired_is_empty_and_begins_under_a_new_key(custody):
    choose(custody, "personalize")
    standing = custody.standing(ADA, POLICY, NOW)
    [drawer] = custody.drawers(ADA, standing, ["personalize"], NOW)
    drawer.hot = b"seen"
    custody.save(ADA, standing, [(drawer, NOW + 10)], NOW)
    fresh = drawer_of(custody, "personalize", now=NOW + 10)
    assert (fresh.hot, fresh.version) == (None, 0)
    assert fresh.wrapped


@pytest.mark.parametrize("again", [False, True], ids=["saved", "chosen anew"])
def test_a_cold_row_that_outlives_its_key_is_not_in_the_way_of_a_new_drawer(custody, again):
    """As when a newer policy shortens retention between two writes: the hot row ends before the cold one."""
    choose(custody, "personalize")
    keep(custody, "personalize", b"hot", b"cold")
    standing = custody.standing(ADA, POLICY, NOW)
    [drawer] = custody.drawers(ADA, standing, ["personalize"], NOW)
    custody.save(ADA, standing, [(drawer, NOW + 10)], NOW)
    late, policy = NOW + 10, POLICY
    if again:
        policy = parse_policy(TEXT.replace("consent_version = 1", "consent_version = 2").encode())
        choose(custody, "personalize", now=late, policy=policy)
    standing = custody.standing(ADA, policy, late)
    [fresh] = custody.drawers(ADA, standing, ["personalize"], late)
    fresh.hot = b"new"
    assert custody.save(ADA, standing, [(fresh, NOW + DAY)], late) == "done"
    [found] = custody.drawers(ADA, standing, ["personalize"], late, cold=True)
    assert (found.hot, found.cold) == (b"new", None)


def test_consent_itself_expires_and_a_sweep_takes_it(custody, host):
    choose(custody, *BOTH)
    end = custody.standing(ADA, POLICY, NOW).record.expires
    assert custody.standing(ADA, POLICY, end - 1).granted == BOTH
    assert custody.standing(ADA, POLICY, end) is None
    assert sweep(custody, end) == 3
    assert host.rows() == {}


# Erasing


def test_erasure_removes_everything_and_raises_the_counter(custody, host):
    choose(custody, *BOTH)
    keep(custody, "history", b"hot", b"cold")
    before = custody.counters.words[0]
    assert custody.erase(ADA, POLICY, NOW) == "done"
    assert host.rows() == {}
    assert custody.counters.words[0] == before + 1
    assert custody.standing(ADA, POLICY, NOW) is None


def test_erasure_leaves_other_visitors_alone(custody, host):
    choose(custody, *BOTH)
    choose(custody, "personalize", handle=BOB)
    custody.erase(ADA, POLICY, NOW)
    assert set(host.rows()) == {name_of(custody, purpose, handle=BOB) for purpose in ("consent", "personalize")}


def test_erasing_whom_nobody_knows_is_done_and_not_noted(custody, host):
    assert custody.erase(ADA, POLICY, NOW) == "done"
    assert (host.rows(), entries(custody)) == ({}, [])


@pytest.mark.parametrize("purpose", ["consent", "history"])
def test_erasure_removes_what_does_not_open_any_more(custody, host, purpose):
    choose(custody, *BOTH)
    row = custody.store.read(name_of(custody, purpose), NOW)
    damaged = Put(name=name_of(custody, purpose), value=b"x" * 60, expires=row.expires, expect=row.version)
    assert custody.store.transact([damaged], now=NOW, durable=True) == "done"
    if purpose == "consent":
        with pytest.raises(Unauthentic):
            custody.standing(ADA, POLICY, NOW)
    assert custody.erase(ADA, POLICY, NOW) == "done"
    assert host.rows() == {}


def test_erasure_reaches_a_dropped_purpose_even_when_consent_does_not_open(custody, host):
    choose(custody, *BOTH)
    row = custody.store.read(name_of(custody, "consent"), NOW)
    damaged = Put(name=name_of(custody, "consent"), value=b"x" * 60, expires=row.expires, expect=row.version)
    custody.store.transact([damaged], now=NOW, durable=True)
    narrowed = parse_policy(TEXT.replace("[purposes.history", "[purposes.past").replace('"history"', '"past"').encode())
    custody.erase(ADA, narrowed, NOW)
    assert host.rows() == {}


@pytest.mark.parametrize("passed", [1, 3], ids=["the last epoch", "an epoch long over, whose keys nobody swept"])
def test_erasure_reaches_past_epochs(host, passed):
    short = parse_policy(TEXT.replace("epoch_days = 400", "epoch_days = 30").encode())
    custody = host.custody(short)
    choose(custody, *BOTH, policy=short)
    late = NOW + passed * 30 * DAY
    custody.prepare(short, late)
    custody.erase(ADA, short, late)
    assert host.rows() == {}


def test_erasure_reaches_drawers_of_purposes_that_another_process_names_at_that_moment(custody, host, before_commit):
    other = host.custody()
    before_commit(custody, lambda: choose(other, *BOTH))
    custody.erase(ADA, POLICY, NOW)
    assert host.rows() == {}


# A new epoch


def test_a_visitor_moves_to_the_new_epoch_with_consent_and_profile(custody, host):
    choose(custody, *BOTH)
    keep(custody, "history", b"hot", b"cold")
    old = set(host.rows())
    before = custody.standing(ADA, POLICY, NOW)
    after = custody.standing(ADA, POLICY, LATER)
    assert (after.record, after.granted, after.epoch) == (before.record, BOTH, before.epoch + 1)
    drawer = drawer_of(custody, "history", now=LATER)
    assert (drawer.hot, drawer.cold) == (b"hot", b"cold")
    assert set(host.rows()).isdisjoint(old)
    assert {expires for _, expires in host.rows().values()} == {before.record.expires}


def test_a_move_happens_once(custody, host):
    choose(custody, *BOTH)
    custody.standing(ADA, POLICY, LATER)
    moved = host.rows()
    for process in (custody, host.custody()):
        process.standing(ADA, POLICY, LATER)
    assert host.rows() == moved


def test_reading_without_moving_changes_nothing_and_finds_everything(custody, host):
    choose(custody, "history")
    keep(custody, "history", b"hot")
    custody.prepare(POLICY, LATER)
    before = host.rows(), (host.home / "keyring").read_bytes()
    standing = custody.standing(ADA, POLICY, LATER, move=False)
    [drawer] = custody.drawers(ADA, standing, ["history"], LATER)
    assert (standing.granted, drawer.hot) == ({"history"}, b"hot")
    assert (host.rows(), (host.home / "keyring").read_bytes()) == before


def test_a_purpose_not_granted_when_the_epoch_ends_is_not_opened_and_is_left_behind(custody, host, monkeypatch):
    choose(custody, *BOTH)
    keep(custody, "history", b"bought")
    head, purpose, tail = TEXT.partition("[purposes.history]")
    raised = tail.replace("consent_version = 1", "consent_version = 2", 1)
    widened = parse_policy((head + purpose + raised).encode())
    opened: list[str] = []
    real = custody.vault.unlock
    monkeypatch.setattr(custody.vault, "unlock", lambda w, purpose, p: opened.append(purpose) or real(w, purpose, p))
    assert custody.standing(ADA, widened, LATER).granted == {"personalize"}
    assert set(opened) == {"consent", "personalize"}
    assert set(host.rows()) == {name_of(custody, purpose, LATER) for purpose in ("consent", "personalize")}


def test_an_event_that_comes_in_while_a_visitor_moves_is_moved_too(custody, host, before_commit):
    choose(custody, "history")
    other = host.custody()
    before_commit(custody, lambda: keep(other, "history", b"just in time"))
    assert custody.standing(ADA, POLICY, LATER).granted == {"history"}
    assert drawer_of(custody, "history", now=LATER).hot == b"just in time"


def test_a_drawer_that_comes_in_while_a_visitor_moves_is_moved_too(custody, host, before_commit):
    choose(custody, "history")
    custody.store.transact([Delete(name_of(custody, "history"))], now=NOW, durable=False)
    other = host.custody()
    before_commit(custody, lambda: keep(other, "history", b"just in time", b"cold"))
    custody.standing(ADA, POLICY, LATER)
    drawer = drawer_of(custody, "history", now=LATER)
    assert (drawer.hot, drawer.cold) == (b"just in time", b"cold")


def test_a_visitor_whom_another_process_moves_at_that_moment_is_not_taken_for_unknown(custody, host, monkeypatch):
    choose(custody, "history")
    other, real = host.custody(), custody._standing

    def slow(*args: object) -> object:
        found = real(*args)
        monkeypatch.setattr(custody, "_standing", real)
        other.standing(ADA, POLICY, LATER)
        return found

    monkeypatch.setattr(custody, "_standing", slow)
    assert custody.standing(ADA, POLICY, LATER).granted == {"history"}


def test_a_visitor_whom_two_processes_move_at_once_is_moved_once(custody, host, before_commit):
    choose(custody, *BOTH)
    other = host.custody()
    before_commit(custody, lambda: other.standing(ADA, POLICY, LATER))
    assert custody.standing(ADA, POLICY, LATER).granted == BOTH
    assert set(host.rows()) == {name_of(custody, purpose, LATER) for purpose in ("consent", *BOTH)}


def test_a_withdrawal_while_a_visitor_moves_is_not_undone(custody, host, before_commit):
    choose(custody, *BOTH)
    other = host.custody()
    before_commit(custody, lambda: choose(other, "personalize"))
    assert custody.standing(ADA, POLICY, LATER).granted == {"personalize"}
    assert set(host.rows()) == {name_of(custody, purpose, LATER) for purpose in ("consent", "personalize")}


@pytest.mark.parametrize("purposes", [(), ("history",)], ids=["who refused", "who agreed"])
def test_an_erasure_while_a_visitor_moves_is_not_undone(custody, host, before_commit, purposes):
    choose(custody, *purposes)
    other = host.custody()
    before_commit(custody, lambda: other.erase(ADA, POLICY, LATER))
    assert custody.standing(ADA, POLICY, LATER) is None
    assert host.rows() == {}


def test_a_write_under_the_last_epochs_standing_is_dropped_after_the_move(custody):
    choose(custody, "history")
    standing = custody.standing(ADA, POLICY, LATER, move=False)
    [drawer] = custody.drawers(ADA, standing, ["history"], LATER)
    custody.standing(ADA, POLICY, LATER)
    assert custody.save(ADA, standing, [(drawer, LATER + 100)], LATER) == "dropped"


def test_a_withdrawal_in_the_new_epoch_erases_what_the_last_one_kept(custody, host):
    choose(custody, *BOTH)
    keep(custody, "history", b"bought")
    choose(host.custody(), "personalize", now=LATER)
    assert set(host.rows()) == {name_of(custody, purpose, LATER) for purpose in ("consent", "personalize")}


def test_whoever_did_not_come_for_an_epoch_is_unknown_and_their_keys_are_destroyed(custody):
    choose(custody, *BOTH)
    key = custody.keyring.epoch_key("history", NOW // EPOCH)
    after = NOW + 2 * EPOCH
    assert custody.standing(ADA, POLICY, after) is None
    sweep(custody, after)
    assert NOW // EPOCH not in custody.keyring.epochs()
    assert custody.keyring.epoch_key("history", NOW // EPOCH) != key


def test_an_epoch_ends_to_the_second(custody):
    ends = [custody.epoch_end(moment) for moment in (NOW, 51 * EPOCH - 1, 51 * EPOCH)]
    assert ends == [51 * EPOCH, 51 * EPOCH, 52 * EPOCH]


# What is noted


def test_the_log_says_what_happened_and_to_whom_only_while_the_salt_lives(custody):
    choose(custody, *BOTH)
    standing = custody.standing(ADA, POLICY, NOW)
    choose(custody, "personalize", now=NOW + 1)
    custody.exported(ADA, custody.standing(ADA, POLICY, NOW + 1), NOW + 2)
    custody.erase(ADA, POLICY, NOW + 3)
    said = {"policy": 1, "source": "app"}
    subject = commitment(standing.record.salt, ADA)
    assert entries(custody) == [
        [1, NOW, "consent.granted", subject, {"granted": ["history", "personalize"], "withdrawn": [], **said}],
        [1, NOW + 1, "consent.withdrawn", subject, {"granted": ["personalize"], "withdrawn": ["history"], **said}],
        [1, NOW + 2, "export", subject, {"purposes": ["personalize"]}],
        [1, NOW + 3, "erasure", subject, {"policy": 1}],
    ]


def test_a_visitor_who_was_erased_and_comes_back_has_another_commitment(custody):
    choose(custody, *BOTH)
    custody.erase(ADA, POLICY, NOW)
    choose(custody, *BOTH)
    subjects = [subject for _, _, _, subject, _ in entries(custody)]
    assert subjects[0] == subjects[1] != subjects[2]


def test_no_file_holds_a_handle_a_pseudonym_or_what_was_kept(custody, host):
    choose(custody, *BOTH)
    keep(custody, "history", b"bought slippers", b"receipts of slippers")
    custody.exported(ADA, custody.standing(ADA, POLICY, NOW), NOW)
    choose(custody, "personalize")
    pseudonyms = [keyed(custody.keyring.epoch_key(purpose, NOW // EPOCH))(ADA) for purpose in ("consent", *BOTH)]
    on_disk = host.bytes_on_disk()
    for secret in (ADA, *pseudonyms, b"slippers"):
        assert secret not in on_disk
    logged = b"".join(custody.store.log(log_name(NOW)))
    for pseudonym in pseudonyms:
        assert pseudonym[:8] not in logged


def test_no_name_is_shared_by_purposes_or_epochs(custody, host):
    choose(custody, *BOTH)
    first = set(host.rows())
    custody.standing(ADA, POLICY, LATER)
    second = set(host.rows())
    choose(custody, "measure", now=LATER)
    third = set(host.rows())
    assert len(first) == len(second) == 3
    assert all(not one & other for one, other in pairwise([first, second]))
    assert len(third - second) == 1


# Objections


def object_to(custody: Custody, *purposes: str, now: int = NOW) -> str:
    return custody.objection(ADA, POLICY, frozenset(purposes), source="objection", now=now)


def test_an_objection_ends_what_it_names_and_leaves_the_rest_as_it_was(custody):
    choose(custody, "personalize", "history", "measure")
    keep(custody, "history", b"hot", b"cold")
    before = custody.standing(ADA, POLICY, NOW).record
    assert object_to(custody, "history", now=NOW + DAY) == "done"
    after = custody.standing(ADA, POLICY, NOW + DAY)
    assert after.granted == {"personalize", "measure"}
    assert all(after.record.grants[purpose] == before.grants[purpose] for purpose in after.granted)
    assert after.record.refused == ("history", "improve")
    assert (after.record.time, after.record.source) == (NOW + DAY, "objection")
    assert entries(custody)[-1][2:5:2] == [
        "objection",
        {"policy": POLICY.version, "purposes": ["history"], "source": "objection"},
    ]
    choose(custody, "personalize", "history", "measure", now=NOW + 2 * DAY)
    assert drawer_of(custody, "history", now=NOW + 2 * DAY).hot is None


def test_an_objection_holds_in_every_process_at_once(host, custody):
    other = host.custody()
    choose(custody, "history")
    raised = other.counters.words[0]
    object_to(custody, "history")
    assert other.counters.words[0] > raised
    assert other.standing(ADA, POLICY, NOW).granted == frozenset()


def test_who_is_unknown_may_object_and_is_not_asked_again(custody):
    assert object_to(custody, *POLICY.purposes) == "done"
    standing = custody.standing(ADA, POLICY, NOW)
    assert standing.granted == standing.record.unanswered(POLICY, NOW) == frozenset()
    assert entries(custody)[-1][2] == "objection"


def test_who_objects_to_one_purpose_may_still_be_asked_for_the_others(custody):
    object_to(custody, "history")
    standing = custody.standing(ADA, POLICY, NOW)
    assert standing.record.unanswered(POLICY, NOW) == set(POLICY.purposes) - {"history"}


def test_an_objection_opens_no_purpose_that_was_held_under_an_older_version(custody):
    choose(custody, "history", "measure")
    purposes = {
        key: replace(one, consent_version=2) if key == "measure" else one for key, one in POLICY.purposes.items()
    }
    widened = replace(POLICY, purposes=purposes)
    custody.objection(ADA, widened, frozenset({"history"}), source="objection", now=NOW)
    assert custody.standing(ADA, widened, NOW).granted == frozenset()


def test_a_visitor_who_keeps_changing_while_they_move_is_told_of(custody, monkeypatch):
    choose(custody, "history")
    monkeypatch.setattr(custody, "_move", lambda *_: None)
    with pytest.raises(Unavailable, match="keeps changing while it moves"):
        custody.standing(ADA, POLICY, LATER)


# What is pending, corrected and joined


def owe(custody: Custody, value: bytes = b"owed", *, due: int = NOW) -> None:
    """Let Ada owe something to a report."""
    standing = custody.standing(ADA, POLICY, NOW)
    pending = custody.pending(ADA, standing, "history", NOW)
    pending.value, pending.due = value, due
    assert custody.save(ADA, standing, [], NOW, pending=[pending]) == "done"


def test_what_is_owed_is_found_without_a_handle_and_moves_with_its_visitor(custody):
    choose(custody, "history")
    assert custody.owed(NOW, "history") == []
    owe(custody)
    [found] = custody.owed(NOW, "history")
    assert (found.purpose, found.value, found.due) == ("history", b"owed", NOW)
    moved = custody.pending(ADA, custody.standing(ADA, POLICY, LATER), "history", LATER)
    assert (moved.value, moved.due) == (b"owed", NOW)


def test_nothing_is_pending_where_a_purpose_is_not_granted_or_its_row_is_gone(custody):
    choose(custody, "history")
    standing = custody.standing(ADA, POLICY, NOW)
    assert custody.pending(ADA, standing, "measure", NOW) is None
    custody.store.transact([Delete(name_of(custody, "history"))], now=NOW, durable=True)
    assert custody.pending(ADA, standing, "history", NOW) is None


def test_what_is_owed_for_another_purpose_is_not_opened(custody, monkeypatch):
    choose(custody, "history")
    owe(custody)
    monkeypatch.setattr(custody.vault, "unlock", lambda *_: pytest.fail("it was opened"))
    assert custody.owed(NOW, "measure") == []


def test_nothing_pending_is_written_for_a_purpose_that_is_not_granted(custody):
    choose(custody, "history")
    pending = custody.pending(ADA, custody.standing(ADA, POLICY, NOW), "history", NOW)
    choose(custody, "measure")
    with pytest.raises(Forbidden, match="is not granted"):
        custody.save(ADA, custody.standing(ADA, POLICY, NOW), [], NOW, pending=[pending])


@pytest.mark.parametrize("value", [b"garbage", msgpack.packb(["history", b"x" * 32]), msgpack.packb({}), None])
def test_a_pending_row_that_is_none_is_passed_over(custody, value):
    choose(custody, "history")
    owe(custody)
    pseudonym = keyed(custody.keyring.epoch_key("history", NOW // EPOCH))(ADA)
    name = pseudonym[16:24]
    row = custody.store.read(name, NOW)
    if value is None:  # its purpose's key is gone
        custody.store.transact([Delete(pseudonym[:8])], now=NOW, durable=True)
    else:
        damaged = Put(name=name, value=value, expires=row.expires, expect=row.version, due=NOW)
        custody.store.transact([damaged], now=NOW, durable=True)
    assert custody.owed(NOW, "history") == []


def test_a_correction_that_consent_has_overtaken_writes_nothing(host, custody):
    other = host.custody()
    choose(custody, "history")
    keep(custody, "history", b"wrong")
    standing = custody.standing(ADA, POLICY, NOW)
    [drawer] = custody.drawers(ADA, standing, ["history"], NOW)
    drawer.hot = b"right"
    detail = {"purposes": ["history"], "features": [], "policy": POLICY.version}
    choose(other)
    before = len(entries(custody))
    assert custody.correct(ADA, standing, [(drawer, NOW + DAY)], detail, NOW) == "dropped"
    assert custody.join({ADA: (standing, [(drawer, NOW + DAY)])}, NOW) == "dropped"
    assert len(entries(custody)) == before


def test_two_visitors_are_written_both_or_neither(host, custody):
    for handle in (ADA, BOB):
        choose(custody, "history", handle=handle)

    def parts() -> dict[bytes, tuple[object, list[tuple[Drawer, int]]]]:
        found = {}
        for handle in (ADA, BOB):
            standing = custody.standing(handle, POLICY, NOW)
            [drawer] = custody.drawers(handle, standing, ["history"], NOW)
            drawer.hot = b"joined"
            found[handle] = standing, [(drawer, NOW + DAY)]
        return found

    stale = parts()
    choose(host.custody(), handle=BOB)
    assert custody.join(stale, NOW) == "dropped"
    assert drawer_of(custody, "history").hot is None
    choose(custody, "history", handle=BOB)
    assert custody.join(parts(), NOW) == "done"
    assert [drawer_of(custody, "history", handle=one).hot for one in (ADA, BOB)] == [b"joined"] * 2
