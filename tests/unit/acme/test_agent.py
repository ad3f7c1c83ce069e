"""Whom connections to CAs trust."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.internet.testing import MemoryReactorClock

from appliance.acme.agent import CaAgent
from appliance.errors import AcmeError
from tests.support.certificates import shared_authority


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        (b"", "holds no PEM certificate"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be read"),
    ],
)
def test_unusable_ca_file(tmp_path: Path, content: bytes | None, words: str) -> None:
    """Refused at once, naming the key and the file."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(AcmeError, match=f"acme.ca_file {file} {words}"):
        CaAgent(MemoryReactorClock(), file)


def test_agent_with_and_without_ca_file(tmp_path: Path) -> None:
    """Nothing is connected, and nothing left to close."""
    file = tmp_path / "ca.pem"
    file.write_bytes(b"# ours\n" + shared_authority().pem * 2)
    for agent in (CaAgent(MemoryReactorClock()), CaAgent(MemoryReactorClock(), file)):
        assert agent.close().called
