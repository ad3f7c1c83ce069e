"""The service's log as JSON."""

import io
import json

from twisted.logger import Logger

from appliance.ops.log.jsonlines import json_log_observer


def test_lines() -> None:
    """An object a line, with what the event is about; the words come first in importance and cannot be overridden."""
    out = io.StringIO()
    observer = json_log_observer(out)
    log = Logger("appliance.demo", observer=observer)
    log.warn("{site}: bad\nthings, {count}", site="example.com", count=3, thing=object(), message="no")
    Logger("twisted.web", observer=observer).info("chatter")
    try:
        raise ValueError("no such luck")
    except ValueError:
        log.failure("failed")
    first, second = (json.loads(line) for line in out.getvalue().splitlines())
    assert first.pop("time").endswith("Z")
    assert first == {
        "level": "warn",
        "logger": "appliance.demo",
        "message": "example.com: bad\nthings, 3",
        "site": "example.com",
        "count": 3,
    }
    assert second["level"] == "critical"
    assert "no such luck" in second["message"]
    assert "Traceback" in second["message"]
