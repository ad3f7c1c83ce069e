"""Who is told when a certificate is in danger, and who gets copies: ``[alarm]``, ``[site.export]``, ``deploy_hook``."""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen


@frozen
class Alarm:
    """How somebody is told; all ways that are set are used."""

    webhook: str | None = field(default=None, repr=False)
    """A URL that a JSON object is POSTed to."""
    command: tuple[str, ...] = ()
    """A program and its arguments; it gets the same object on its standard input."""
    email: str | None = None
    """Whom to write to, through ``sendmail``."""
    sendmail: Path = Path("/usr/sbin/sendmail")
    """A program that takes a message on its standard input, as every mail server and msmtp have one."""

    @property
    def ways(self) -> bool:
        """Whether there is any."""
        return bool(self.webhook or self.command or self.email)


@frozen
class Export:
    """Copies of a site's certificate and key for other programs, kept up to date."""

    to: Path
    """The folder that they are written to."""
    group: str | None = None
    """Who may read them beside the owner."""
