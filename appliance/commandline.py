"""What the options of ``twist appliance`` ask for, as overrides of the keys that a configuration file has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import frozen

from appliance.config import Configuration
from appliance.config.file import COMMAND_LINE, DEFAULT_FILE, Override, load, may_be_there
from appliance.config.reading.schema import KeyPath
from appliance.errors import ConfigurationError, Mistake


@frozen
class CommandLine:
    """The options as they were given; None or empty where they were not."""

    config: str | None = None
    site: Sequence[str] = ()
    http: Sequence[str] = ()
    https: Sequence[str] = ()
    state_dir: str | None = None
    directory: str | None = None
    email: str | None = None
    ca_file: str | None = None
    agree_tos: bool = False

    @property
    def file(self) -> Path | None:
        """The file to read: with ``--site`` none, unless one is named."""
        return None if self.site and self.config is None else Path(self.config or DEFAULT_FILE)

    def configuration(self) -> Configuration:
        """Read the file, if there is one, under these options. Raises ConfigurationError with every mistake."""
        mistakes = list(self._mistakes())
        try:
            configuration = load(self.file, dict(self._overrides()))
        except ConfigurationError as error:
            mistakes += error.mistakes
            if self.config is None and not may_be_there(DEFAULT_FILE) and not self.site:
                mistakes.append(
                    Mistake("", "give --config FILE, or --site NAME=UPSTREAM --email ADDRESS, or try --demo")
                )
        if mistakes:
            raise ConfigurationError(tuple(mistakes), str(self.file or COMMAND_LINE))
        return configuration

    def _mistakes(self) -> Iterator[Mistake]:
        """What is wrong with the options themselves, before their values are looked at."""
        if self.site and self.config is not None:
            yield Mistake("--site", "is for running without a file: put the site into the file, or leave out --config")
        for site in self.site:
            if "=" not in site:
                yield Mistake(f"--site {site}", "must be NAME[,NAME...]=UPSTREAM")
        if self.file is None and self.email is None and not self.agree_tos:
            yield Mistake(
                "--email", "is missing: your address for the CA; giving it agrees to the CA's terms of service"
            )

    def _overrides(self) -> Iterator[tuple[KeyPath, Override]]:
        """Each option as the key it stands for. File names are relative to here, not to the configuration's folder."""
        if self.file is None:
            for position, site in enumerate(site for site in self.site if "=" in site):
                names, _, upstream = site.partition("=")
                table = {"names": names.split(","), "upstream": upstream}
                yield ("site", position), Override(f"--site {site}", table)
        if self.http:
            yield ("listen", "http"), Override("--http", list(self.http))
        if self.https:
            yield ("listen", "https"), Override("--https", list(self.https))
        if self.state_dir is not None:
            yield ("state_dir",), Override("--state-dir", _absolute(self.state_dir))
        if self.directory is not None:
            yield ("acme", "directory"), Override("--directory", self.directory)
        if self.email is not None:
            yield ("acme", "email"), Override("--email", self.email)
        if self.ca_file is not None:
            yield ("acme", "ca_file"), Override("--ca-file", _absolute(self.ca_file))
        if self.agree_tos or self.file is None:  # where there is no file, --email agrees
            yield ("acme", "agree_tos"), Override("--agree-tos", True)


def _absolute(name: str) -> str:
    """The file's whole name; what is empty stays so, and is refused as such."""
    return str(Path(name).absolute()) if name else name
