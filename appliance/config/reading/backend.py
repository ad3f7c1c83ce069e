"""The applications behind routes, as operators write them: addresses, and how they are used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import evolve

from appliance.config import Backend, HealthCheck, PassiveCheck, UpstreamAddress
from appliance.config.reading import values
from appliance.config.reading.schema import Many, Place, Reader, Table, unique

WEIGHTED = Table(
    {"url": values.upstream, "weight": values.whole(1, 1000)},
    lambda url, weight=1: evolve(url, weight=weight),
    required={"url": 'where the application listens, as in {url = "http://127.0.0.1:8000", weight = 2}'},
)


def _upstream(value: object, place: Place) -> UpstreamAddress:
    return WEIGHTED(value, place) if isinstance(value, Mapping) else values.upstream(value, place)


UPSTREAMS = Many(unique(_upstream, depth=-1), or_one=True)
HEALTH_CHECK = Table(
    {
        "path": values.request_target,
        "interval": values.seconds,
        "timeout": values.seconds,
        "status": Many(unique(values.whole(200, 599), depth=-1), or_one=True),
    },
    HealthCheck,
    required={"path": 'what to ask for, as in path = "/health"'},
)

PASSIVE_CHECK = Table(
    {"failures": values.whole(0, 1000), "window": values.seconds, "cool_down": values.seconds},
    PassiveCheck,
)

BACKEND: dict[str, Reader[Any]] = {
    "balance": values.one_of("round_robin", "least_connections", "random_two", "client_hash"),
    "try_for": values.patience,
    "max_waiting": values.whole(0, 100_000),
    "max_connections": values.whole(1, 100_000),
    "upstream_ca_file": values.certificates_file,
    "send_proxy": values.one_of("v1", "v2"),
    "http2": values.boolean,
    "health_check": HEALTH_CHECK,
    "passive_check": PASSIVE_CHECK,
}


def backend(upstream_ca_file: Path | None = None, **others: Any) -> Backend:
    """From the keys of `BACKEND`."""
    return Backend(ca_file=upstream_ca_file, **others)
