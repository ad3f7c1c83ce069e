"""Status pages of made-up sites."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from appliance.acme.losses import Loss
from appliance.acme.state import Attempt, RenewalState
from appliance.errors import Problem
from appliance.ops.metrics.traffic import Traffic
from appliance.ops.status.document import Document, Extra, document
from appliance.ops.statuspage.markup import page
from appliance.ops.statuspage.page import Offer, Wish, render
from tests.support.certificates import make_certificate
from tests.support.reports import NOW, MadeReport

HOSTILE = '"><script>alert(1)</script>\x1b[2J\u202e'
CERTIFICATE = make_certificate(["one.test"], not_before=NOW - timedelta(days=30), not_after=NOW + timedelta(days=60))
CAA = Problem("urn:ietf:params:acme:error:caa", f"CAA forbids it {HOSTILE}")
FAILED = RenewalState(
    names=("one.test", "www.one.test"),
    failures=2,
    problem=f"no certificate {HOSTILE}",
    document=CAA,
    losses=(Loss("www.one.test", 1, CAA, NOW + timedelta(hours=1)),),
    history=(Attempt(NOW, ("one.test",), "ca.test", f"no {HOSTILE}"), Attempt(NOW, ("one.test",), "ca.test", "")),
    running=True,
)
GOOD = MadeReport(names=("one.test",), serving=CERTIFICATE)


def told(*reports: MadeReport, extra: Extra | None = None, busy: Traffic | None = None) -> Document:
    """The document as JSON gives it back."""
    extras = {report.site: extra for report in reports} if extra else None
    plain = document(
        reports,
        NOW,
        running=True,
        extras=extras,
        pid=7,
        started=(NOW - timedelta(hours=3)).isoformat(),
        state_dir="/s",
        traffic=busy.total() if busy else None,
    )
    decoded: Document = json.loads(json.dumps(plain))
    return decoded


def shown(status: Document, offer: Offer | None = None, **wish: Any) -> str:
    """The page."""
    return page(render(status, offer or Offer(), Wish(**wish))).decode()
