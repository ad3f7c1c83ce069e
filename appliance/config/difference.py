"""What a new configuration changes in the running service, and what it must not. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import asdict, fields, frozen

from appliance.config import Configuration, Site
from appliance.config.ops import Metrics
from appliance.errors import Mistake

CHANGEABLE = frozenset(
    {
        "sites",
        "listen",
        "acme",
        "limits",
        "timeouts",
        "trusted_proxies",
        "alarm",
        "access_log",
        "metrics",
        "error_pages",
        "drain_timeout",
        "upgrade_timeout",
    }
)
"""What a reload applies. A field of `Configuration` that is not named here takes a restart."""

RESTART = "while the appliance runs: put it back and reload, or restart it"


@frozen
class Difference:
    """Between two configurations."""

    added: tuple[str, ...] = ()
    """Sites, by name."""
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    passed_on: tuple[str, ...] = ()
    """Those of the changed ones whose certificates are passed on to others than before."""
    settings: tuple[str, ...] = ()
    """The other tables and keys of the file that are not what they were."""
    refused: tuple[Mistake, ...] = ()
    """What takes a restart; if there is anything, nothing is to be changed."""

    def __str__(self) -> str:
        """In words."""
        parts = (("added", self.added), ("removed", self.removed), ("changed", self.changed), ("set", self.settings))
        words = [f"{what} {', '.join(names)}" for what, names in parts if names]
        return "; ".join(words) or "nothing has changed"


def compare(before: Configuration, after: Configuration) -> Difference:
    """What is to be done to get from the one to the other."""
    old = {site.name: site for site in before.sites}
    new = {site.name: site for site in after.sites}
    staying = [name for name in new if name in old]
    keys = [key for key in (field.name for field in fields(Configuration)) if key != "sites"]
    return Difference(
        added=tuple(name for name in new if name not in old),
        removed=tuple(name for name in old if name not in new),
        changed=tuple(name for name in staying if _everything(old[name]) != _everything(new[name])),
        passed_on=tuple(name for name in staying if _receivers(old[name]) != _receivers(new[name])),
        settings=tuple(key for key in keys if getattr(before, key) != getattr(after, key)),
        refused=tuple(_refused(before, after)),
    )


def _refused(before: Configuration, after: Configuration) -> Iterator[Mistake]:
    for key in (field.name for field in fields(Configuration)):
        if key not in CHANGEABLE and getattr(before, key) != getattr(after, key):
            yield Mistake(key, f"cannot be changed {RESTART} (it is {_shown(getattr(before, key))})")
    if before.sites and not after.sites:
        yield Mistake("site", f"there is none left, and all of them are not removed {RESTART}")
    if bool(before.listen.proxy_protocol_from) != bool(after.listen.proxy_protocol_from):
        what = "on" if after.listen.proxy_protocol_from else "off"
        yield Mistake("listen.proxy_protocol_from", f"cannot be turned {what} {RESTART}")
    if before.metrics is None or after.metrics is None:
        if before.metrics is not after.metrics:
            what = "on" if before.metrics is None else "off"
            yield Mistake("metrics", f"cannot be turned {what} {RESTART}")
        return
    for key in (field.name for field in fields(Metrics)):
        if key not in ("listen", "max_sites") and getattr(before.metrics, key) != getattr(after.metrics, key):
            yield Mistake(f"metrics.{key}", f"cannot be changed {RESTART}")


def _shown(value: object) -> str:
    """A value as the operator knows it."""
    return str(value) if not hasattr(value, "__attrs_attrs__") else str(asdict(value))  # type: ignore[arg-type]


def _receivers(site: Site) -> object:
    return site.export, site.deploy_hook


def _everything(site: Site) -> object:
    """The site with its weights, by which addresses do not compare."""
    return site, [[address.weight for address in route.upstreams] for route in site.routes]
