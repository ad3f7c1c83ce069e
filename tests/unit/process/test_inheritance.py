"""What one process leaves to another: sockets by endpoint, in the environment."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator

import pytest

from appliance.process.inheritance import VARIABLE, Inheritance, InheritanceError, from_environment


@pytest.fixture
def descriptor() -> Iterator[int]:
    with socket.socket() as made:
        yield made.fileno()


def test_nothing_is_left() -> None:
    """Most processes are nobody's successors."""
    assert from_environment({"LISTEN_FDS": "1"}) is None


def test_there_and_back(descriptor: int) -> None:
    """What is said is found; and taken from the environment, lest programs that we start take it for theirs."""
    os.set_inheritable(descriptor, True)
    with socket.socket() as link, socket.socket() as errors:
        left = Inheritance({"tcp:80": descriptor}, link.fileno(), errors.fileno())
        environ = {**left.environment(), "HOME": "/"}
        found = from_environment(environ)
    assert environ == {"HOME": "/"}
    assert found == left
    assert found is not None
    assert found.descriptors == (descriptor, left.link, left.errors)
    assert not os.get_inheritable(descriptor)


def test_without_a_link(descriptor: int) -> None:
    """Workers that share sockets have nobody to talk to."""
    found = from_environment(Inheritance({"tcp:80": descriptor}).environment())
    assert found is not None
    assert found.descriptors == (descriptor,)
    assert found.link is None


def test_taken_once() -> None:
    """A socket belongs to whoever took it; what nobody took is closed."""
    with socket.socket() as one:
        other = socket.socket().detach()
        found = Inheritance({"tcp:80": one.fileno(), "tcp:81": other})
        assert found.take("tcp:80") == one.fileno()
        assert found.take("tcp:80") is None
        found.close()
        assert found.sockets == {}
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(other)
        os.fstat(one.fileno())


@pytest.mark.parametrize(
    "told",
    [
        "",
        "[]",
        "{}",
        '{"sockets": []}',
        '{"sockets": {"tcp:80": "3"}}',
        '{"sockets": {"tcp:80": 2}}',
        '{"sockets": {"tcp:80": true}}',
        '{"sockets": {"tcp:80": 3, "tcp:81": 3}}',
        '{"sockets": {"tcp:80": 1000000}}',
        '{"sockets": {}, "link": "x"}',
    ],
)
def test_nonsense(told: str) -> None:
    """Somebody else's variable, or a truth that is none: said, not followed."""
    with pytest.raises(InheritanceError, match=f"{VARIABLE}=.*unset it"):
        from_environment({VARIABLE: told})


def test_document() -> None:
    """What stands in the environment: the next version must be able to read it."""
    assert json.loads(Inheritance({"tcp:80": 5}, 6, 7).environment()[VARIABLE]) == {
        "sockets": {"tcp:80": 5},
        "link": 6,
        "errors": 7,
    }
