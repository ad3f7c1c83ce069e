"""Figures of the status page, each with its place in the ``status`` document.

The place is in ``data-from``, as in ``sites/example.com/certificate/not_after``; what stands there, in ``value`` or
``datetime``.
"""

from __future__ import annotations

from twisted.web.template import Tag

from appliance.ops.statuspage.markup import el


def number(value: float | None, shown: str, *place: str) -> Tag:
    """A figure."""
    return el("data", shown or "-", value="" if value is None else value, data_from="/".join(place))


def moment(value: str | None, shown: str, *place: str) -> Tag:
    """A point in time."""
    return el("time", shown, datetime=value, data_from="/".join(place)) if value else el("span", shown)


def rate(value: float) -> str:
    """As many a second as matter."""
    return f"{value:.0f}" if value >= 100 or value == 0 else f"{value:.2g}"
