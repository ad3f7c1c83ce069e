"""What a client would rather have (RFC 9110 section 12.5): which coding of a response, JSON or a page."""

from __future__ import annotations

import re
from collections.abc import Sequence

from appliance.http.message import Fields

_QUALITY = re.compile(rb"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")

Weighted = list[tuple[bytes, float]]
"""What was listed, in lower case and without parameters, each with its quality: 0 is refused, 1 the best."""


def weighted(fields: Fields, name: bytes) -> Weighted:
    """The elements of all fields called ``name``, which is in lower case. Those with a broken quality are left out."""
    result: Weighted = []
    for field_name, value in fields:
        if len(field_name) == len(name) and field_name.lower() == name:
            for element in value.split(b","):
                what, *parameters = [part.strip(b" \t") for part in element.lower().split(b";")]
                quality = _quality(parameters)
                if what and quality is not None:
                    result.append((what, quality))
    return result


def _quality(parameters: list[bytes]) -> float | None:
    for parameter in parameters:
        if parameter.startswith(b"q="):
            return float(parameter[2:]) if _QUALITY.fullmatch(parameter[2:]) else None
    return 1.0


def choose_coding(accepted: Weighted, offered: Sequence[bytes]) -> bytes:
    """The best of the offered codings, the first one where the client has no preference; empty for none.

    ``accepted`` is what ``Accept-Encoding`` lists. Where the client would rather have it plain, so it is.
    """
    qualities = {b"gzip" if what == b"x-gzip" else what: quality for what, quality in accepted}
    others = qualities.get(b"*", 0.0)
    best = max(offered, key=lambda coding: qualities.get(coding, others), default=b"")
    quality = qualities.get(best, others)
    return best if quality > 0 and quality >= qualities.get(b"identity", 0.0) else b""


def prefers_json(fields: Fields) -> bool:
    """Whether ``Accept`` puts JSON before HTML: by quality, or by naming it where HTML is only among all else."""
    accepted = weighted(fields, b"accept")
    json = max(_rank(accepted, kind) for kind in (b"application/json", b"application/problem+json"))
    return json > _rank(accepted, b"text/html")


def _rank(accepted: Weighted, kind: bytes) -> tuple[float, int]:
    """The quality of a media type, by the range that names it most precisely, and how precisely that is."""
    ranges = (b"*/*", kind.partition(b"/")[0] + b"/*", kind)
    found = [(ranges.index(what), quality) for what, quality in accepted if what in ranges]
    if not found:
        return 0.0, 0
    precision, quality = max(found)
    return (quality, precision) if quality else (0.0, 0)
