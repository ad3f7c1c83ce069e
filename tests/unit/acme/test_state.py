"""What is remembered of a site's renewals."""

import errno
import json
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from appliance.acme.ari import Inquiry, Suggestion
from appliance.acme.fallback import AuthorityRecord
from appliance.acme.losses import Loss
from appliance.acme.request import Unfinished
from appliance.acme.state import RESTART_PATIENCE, Attempt, RenewalState, StateFolder
from appliance.errors import Problem, StoreError
from tests.support.certificates import make_certificate

NOW = datetime(2027, 1, 1, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
FAILED = RenewalState().begin(["a.example"], NOW, NOW + MINUTE).fail("no", NOW + DAY)
ORDER = Unfinished("ca", ("a.example",), "key", NOW, url="https://ca.example/order/1")
LOSS = Loss("a.example", 2, Problem("dns", "no"), NOW + DAY)
times = st.none() | st.datetimes(timezones=st.just(UTC))
states = st.builds(
    RenewalState,
    names=st.lists(st.text()).map(tuple),
    last_attempt=times,
    last_success=times,
    failures=st.integers(0, 10**9),
    problem=st.text(),
    next_attempt=times,
    retry_after=st.booleans(),
    running=st.booleans(),
    losses=st.sampled_from([(), (LOSS,)]),
    unfinished=st.sampled_from([None, ORDER, evolve(ORDER, url=None)]),
    authorities=st.sampled_from([{}, {"ca": AuthorityRecord(3, NOW)}]),
    inquiry=st.sampled_from([None, Inquiry("ab", NOW, Suggestion(NOW, NOW, NOW, NOW))]),
    document=st.sampled_from([None, Problem("dns", "no", 0, 1.5, "a.example", (Problem("x", "y"),))]),
    history=st.sampled_from([(), (Attempt(NOW, ("a.example",), "ca", "no"),)]),
)


@given(states)
def test_round_trip(state: RenewalState) -> None:
    """JSON and back is the same."""
    assert RenewalState.from_json(state.to_json()) == state


def test_waits_are_forgotten() -> None:
    """Those that failures are waited for, all or by name; never what the CA named a time for."""
    named = evolve(LOSS, name="b.example", problem=Problem("dns", "no", retry_after=60.0))
    wild = evolve(LOSS, name="*.c.example")
    state = evolve(FAILED, losses=(LOSS, named, wild))
    every = state.forget_waits(NOW)
    assert (every.next_attempt, [loss.next_attempt for loss in every.losses]) == (None, [NOW, NOW + DAY, NOW])
    some = state.forget_waits(NOW, ("b.example", "c.example"))
    assert [loss.next_attempt for loss in some.losses] == [NOW + DAY, NOW + DAY, NOW]
    held = evolve(state, retry_after=True)
    assert held.forget_waits(NOW).next_attempt == NOW + DAY


def test_course_of_an_attempt() -> None:
    """An attempt counts as failed from its beginning; a success forgets all."""
    begun = RenewalState().begin(["a.example"], NOW, NOW + MINUTE)
    assert (begun.failures, begun.running, begun.next_attempt) == (1, True, NOW + MINUTE)
    failed = begun.fail("the CA said no", NOW + DAY, retry_after=True)
    assert (failed.failures, failed.running, failed.next_attempt) == (1, False, NOW + DAY)
    again = failed.begin(["a.example"], NOW + DAY, NOW + 2 * DAY)
    assert (again.failures, again.retry_after) == (2, False)
    assert again.succeed(NOW + DAY) == RenewalState(("a.example",), NOW + DAY, NOW + DAY)
    assert again.interrupt().failures == 1
    assert not again.interrupt().running


def test_restart_cuts_long_waits() -> None:
    """A restart may follow a repair: after a failure it waits a quarter of an hour at most."""
    assert FAILED.restart().next_attempt == NOW + RESTART_PATIENCE
    soon = FAILED.fail("no", NOW + MINUTE)
    assert soon.restart() == soon


def test_restart_keeps_what_matters() -> None:
    """Neither a time that the CA named nor that after a crash is cut; a fresh record stays as it is."""
    for state in (
        FAILED.fail("slow down", NOW + DAY, retry_after=True),
        FAILED.begin(["a.example"], NOW, NOW + DAY),
        RenewalState(),
        RenewalState(last_attempt=NOW),
    ):
        assert state.restart() == state


def test_restart_with_an_order() -> None:
    """An order that was under way is gone on with at once; one that the CA may have is not repeated soon."""
    begun = RenewalState().begin(["a.example"], NOW, NOW + MINUTE)
    assert evolve(begun, unfinished=ORDER).restart().next_attempt is None
    unknown = evolve(begun, unfinished=evolve(ORDER, url=None))
    assert unknown.restart().next_attempt == NOW + 10 * MINUTE
    seconds = evolve(unknown, next_attempt=NOW + MINUTE / 60)
    assert seconds.restart().next_attempt == NOW + MINUTE / 6, "certificates that live for seconds"
    late = evolve(unknown, next_attempt=NOW + DAY)
    assert late.restart().next_attempt == NOW + DAY


def test_orderly_stop_with_an_order() -> None:
    """As after a crash: at once, but not soon when the CA's answer was still to come."""
    begun = RenewalState().begin(["a.example"], NOW, NOW + MINUTE)
    assert begun.interrupt().next_attempt is None
    assert evolve(begun, unfinished=ORDER).interrupt().next_attempt is None
    assert evolve(begun, unfinished=evolve(ORDER, url=None)).interrupt().next_attempt == NOW + 10 * MINUTE


def test_restart_tries_lost_names_soon() -> None:
    """As for sites; but not before the time that the CA named."""
    limited = evolve(LOSS, name="b.example", problem=Problem("rateLimited", "no", retry_after=9.0))
    restarted = evolve(FAILED, losses=(LOSS, limited)).restart()
    assert restarted.losses == (evolve(LOSS, next_attempt=NOW + RESTART_PATIENCE), limited)
    assert RenewalState(losses=(LOSS,)).restart().losses == (LOSS,)


def test_held() -> None:
    """What a budget or an operator said outlives restarts, and is no failure."""
    held = RenewalState(last_attempt=NOW).hold(NOW + DAY, "enough;", NOW)
    assert held.restart() == held
    assert held.failures == 0
    assert held.begin(["a.example"], NOW, NOW).waiting == ""


@pytest.mark.parametrize("last", [NOW - DAY, NOW, NOW + DAY, None])
def test_held_by_a_clock_that_was_set_back(last: datetime | None) -> None:
    """What is said now is not from the time before."""
    held = RenewalState(last_attempt=last).hold(NOW + DAY, "enough;", NOW)
    assert held.last_attempt == (min(last, NOW) if last is not None else None)


def test_success_with_losses() -> None:
    """What was said about the names that are missing stays."""
    done = FAILED.succeed(NOW, "ca", (LOSS,))
    assert (done.losses, done.problem, done.authority, done.failures) == ((LOSS,), "no", "ca", 0)
    assert FAILED.succeed(NOW).problem == ""


def test_which_ca_it_is_from() -> None:
    """The host of its directory tells; its name, which is a host by default, in older records."""
    state = FAILED.succeed(NOW, "ca", host="acme.test")
    assert state.is_from("another name", "acme.test")
    assert not state.is_from("ca", "other.test")
    assert state.is_from("ca", "")
    older = evolve(state, host="")
    assert older.is_from("ca", "other.test")
    assert evolve(older, authority="acme.test").is_from("ca", "acme.test")
    assert not older.is_from("another name", "acme.test")


def test_inquiries_are_about_one_certificate() -> None:
    """What was said about another one does not count."""
    certificate = make_certificate(["a.example"])
    inquiry = Inquiry(f"{certificate.serial:x}", NOW)
    assert RenewalState(inquiry=inquiry).inquiry_of(certificate) is inquiry
    assert RenewalState(inquiry=evolve(inquiry, serial="1")).inquiry_of(certificate) is None
    assert RenewalState(inquiry=inquiry).inquiry_of(None) is None


def test_history() -> None:
    """The newest ones; the same failure again and again is told once."""
    state = RenewalState()
    for number in range(30):
        state = state.remember(Attempt(NOW, ("a.example",), "ca", f"{number}"))
    assert [attempt.outcome for attempt in state.history] == [str(number) for number in range(10, 30)]
    again = state.remember(Attempt(NOW + DAY, ("a.example",), "ca", "29"))
    assert again.history == (*state.history[:-1], Attempt(NOW + DAY, ("a.example",), "ca", "29"))
    good = Attempt(NOW, ("a.example",), "ca", "")
    assert len(RenewalState().remember(good).remember(good).history) == 2


VALID = json.loads(FAILED.to_json())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\0",
        b"[]",
        b"{}",
        b"null",
        b"[" * 100_000,
        b"\xff",
        FAILED.to_json()[:-10],
        *(
            json.dumps({**VALID, key: value}).encode()
            for key, value in {
                "version": 2,
                "names": "a",
                "failures": "1",
                "problem": 1,
                "next_attempt": "2027-01-01",
                "last_attempt": "soon",
                "last_success": 1,
                "running": 1,
                "retry_after": None,
            }.items()
        ),
    ],
)
def test_nonsense_is_refused(content: bytes) -> None:
    """Anything that is no record is a ``StoreError``, and nothing else."""
    with pytest.raises(StoreError, match="not a renewal record"):
        RenewalState.from_json(content)


def test_unknown_keys_are_ignored() -> None:
    """A newer version may have written more."""
    assert RenewalState.from_json(json.dumps({**VALID, "ari": {}}).encode()) == FAILED


def test_files(tmp_path: Path) -> None:
    """One private file per site; those of other sites are left alone."""
    folder = StateFolder(tmp_path / "renewal")
    assert folder.load(["a.example"], NOW).states == {"a.example": RenewalState()}
    folder.save("a.example", FAILED)
    path = tmp_path / "renewal" / "a.example.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    loaded = folder.load(["a.example", "b.example"], NOW)
    assert loaded.states == {"a.example": FAILED.restart(), "b.example": RenewalState()}
    assert loaded.complaints == []


def test_corrupt_record(tmp_path: Path) -> None:
    """It is set aside and complained about; the other sites' records are read; temporary files go."""
    folder = StateFolder(tmp_path)
    folder.save("a.example", FAILED)
    (tmp_path / "b.example.json").write_bytes(b"{")
    (tmp_path / ".0123.tmp").write_bytes(b"{")
    loaded = folder.load(["b.example", "a.example"], NOW)
    assert loaded.states == {"a.example": FAILED.restart(), "b.example": RenewalState()}
    assert "b.example.json: not a renewal record" in str(loaded.complaints[0])
    assert {file.name for file in tmp_path.iterdir()} == {
        "a.example.json",
        "b.example.json.corrupt-20270101T000000Z",
    }


def test_nothing_can_be_read_or_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even so there is a fresh record for every site, and a complaint for everything."""
    (tmp_path / "a.example.json").write_bytes(b"{")

    def refuse(*args: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os, "listdir", refuse)
    loaded = StateFolder(tmp_path).load(["a.example"], NOW)
    assert loaded.states == {"a.example": RenewalState()}
    assert len(loaded.complaints) == 3


def test_no_name_for_a_file(tmp_path: Path) -> None:
    """Nothing is written outside the folder."""
    with pytest.raises(StoreError, match="not a host name"):
        StateFolder(tmp_path / "renewal").save("../x", FAILED)
    assert list(tmp_path.iterdir()) == []
