"""The log as an operator reads it."""

import io

from twisted.logger import Logger, LogLevel

from appliance.ops.log.text import text_log_observer


def test_who_is_heard() -> None:
    """The appliance always; Twisted, which tells of each connection, only from warnings on; prints by anyone."""
    out = io.StringIO()
    observer = text_log_observer(out)
    Logger("appliance.demo", observer=observer).debug("from us")
    Logger("twisted.internet.protocol.Factory", observer=observer).info("Starting factory")
    Logger("log_legacy", observer=observer).info("Site starting on 80")
    Logger("twisted.web", observer=observer).emit(LogLevel.critical, "trouble")
    Logger("stdout", observer=observer).info("printed")
    assert [line.partition("] ")[2] for line in out.getvalue().splitlines()] == ["from us", "trouble", "printed"]
