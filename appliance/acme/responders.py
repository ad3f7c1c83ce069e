"""Which responders may prove a name, and in which order: what was configured, then what experience has shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from txacme.interfaces import IResponder  # type: ignore[import-untyped]


class Responders:
    """The responders for every name, in order of preference.

    Of the challenges that the CA offers for a name, one is tried, the first here: when it fails, the authorization is
    spoiled, and with it the order. So the next order for the name, which is due after the usual wait, tries the next
    kind. What has worked stays first. This is remembered until the process ends, and no longer: a restart begins with
    what is configured, at the cost of one failed validation.
    """

    def __init__(
        self,
        default: Sequence[IResponder],
        by_name: Mapping[str, Sequence[IResponder]] = MappingProxyType({}),
    ) -> None:
        """``default`` is for names that ``by_name`` does not have. Of two with one challenge type, the first counts."""
        self._default = _by_type(default)
        tables: dict[tuple[int, ...], dict[str, IResponder]] = {}  # thousands of names have the same ones
        self._by_name = {
            name: tables.setdefault(tuple(map(id, responders)), _by_type(responders))
            for name, responders in by_name.items()
        }
        self._failed: dict[str, list[str]] = {}

    def for_name(self, name: str) -> Mapping[str, IResponder]:
        """By challenge type, what is to be tried first in front. ``name`` as in the order: ``*.`` for wildcards."""
        preferred = self._by_name.get(name, self._default)
        failed = self._failed.get(name, [])
        order = [kind for kind in preferred if kind not in failed] + [kind for kind in failed if kind in preferred]
        return {kind: preferred[kind] for kind in order}

    def replace(self, others: Responders) -> None:
        """Have the same responders as ``others`` from now on; what experience has shown stays."""
        self._default = others._default
        self._by_name = others._by_name

    def failed(self, name: str, kind: str) -> None:
        """The CA was not convinced: let every other kind have its turn before this one."""
        failed = self._failed.setdefault(name, [])
        if kind in failed:
            failed.remove(kind)
        failed.append(kind)

    def proved(self, name: str, kind: str) -> None:
        """The CA was convinced."""
        if kind in self._failed.get(name, ()):
            self._failed[name].remove(kind)


def _by_type(responders: Sequence[IResponder]) -> dict[str, IResponder]:
    table: dict[str, IResponder] = {}
    for responder in responders:
        table.setdefault(responder.challenge_type, responder)
    return table
