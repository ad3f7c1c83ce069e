"""The status page's pictures, in SVG: style attributes would need a laxer policy for the page, these need none."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from twisted.web.template import Tag

from appliance.ops.metrics.traffic import KEPT
from appliance.ops.statuspage.markup import el


def life_bar(begin: datetime, end: datetime, now: datetime, renewal: datetime) -> Tag:
    """A certificate's life: how much of it is over, now, and the moment of its renewal."""
    life = (end - begin).total_seconds() or 1.0

    def share(moment: datetime) -> float:
        return round(min(100.0, max(0.0, (moment - begin).total_seconds() / life * 100)), 1)

    over = "over" if now >= end else "past"
    return el(
        "svg",
        el("title", f"{share(now):g} % of its life is over; it is renewed at {share(renewal):g} %"),
        el("rect", x="0", y="8", width="100%", height="8", rx="4", class_="track"),
        el("rect", x="0", y="8", width=f"{share(now)}%", height="8", rx="4", class_=over),
        el("rect", x=f"{share(renewal)}%", y="2", width="3", height="20", class_="renewal"),
        el("circle", cx=f"{share(now)}%", cy="12", r="6", class_="now"),
        class_="life",
        role="img",
    )


def spark(rates: Sequence[float]) -> Tag | None:
    """Requests a second over the last minutes, a column for each look; nothing without any."""
    most = max(rates, default=0.0)
    if not most:
        return None
    width = 100 / KEPT
    first = KEPT - len(rates)
    columns = [
        el(
            "rect",
            x=f"{(first + index) * width:.2f}%",
            y=f"{100 - rate / most * 100:.1f}%",
            width=f"{width * 0.8:.2f}%",
            height=f"{rate / most * 100:.1f}%",
        )
        for index, rate in enumerate(rates)
        if rate
    ]
    return el("svg", el("title", f"requests a second, {most:g} at most"), columns, class_="spark", role="img")
