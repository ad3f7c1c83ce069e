"""What can be said of a service that does not run: read from its folder, without changing anything there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from attrs import frozen

from appliance import atomicfile
from appliance.acme.decision import Situation, Stock, choose, decide
from appliance.acme.sitereport import SiteReport
from appliance.acme.state import RenewalState
from appliance.config import Site
from appliance.errors import ApplianceError, StoreError
from appliance.tls.certificate import Certificate

_SUFFIX = ".pem"


@frozen
class Stored:
    """What the folder holds; what was of no use is in ``complaints``."""

    certificates: dict[str, Certificate]
    states: dict[str, RenewalState]
    complaints: tuple[str, ...]


def read(state_dir: Path) -> Stored:
    """Look into the folder. Raises StoreError when it cannot be listed at all."""
    complaints: list[str] = []
    certificates: dict[str, Certificate] = {}
    for name, path in _files(state_dir / "certificates", _SUFFIX):
        try:
            certificates[name] = Certificate.from_pem(atomicfile.read(path) or b"")
        except ApplianceError as error:
            complaints.append(f"{path}: {error}")
    states: dict[str, RenewalState] = {}
    for name, path in _files(state_dir / "renewal", ".json"):
        try:
            states[name] = RenewalState.from_json(atomicfile.read(path) or b"")
        except StoreError as error:
            complaints.append(f"{path}: {error}")
    return Stored(certificates, states, tuple(complaints))


def reports(stored: Stored, sites: Sequence[Site], now: datetime) -> list[SiteReport]:
    """Every site, as the next start would find it."""
    stock = Stock(stored.certificates.values())
    return [_report(stored, stock, site.name, site.names, now) for site in sites]


def sites_by_folder(stored: Stored) -> tuple[Site, ...]:
    """Sites as far as the folder tells, where there is no configuration to say which there are."""
    names = sorted(stored.certificates.keys() | stored.states.keys())
    return tuple(Site(_names(stored, name), ()) for name in names)


def _names(stored: Stored, name: str) -> tuple[str, ...]:
    known = stored.states[name].names if name in stored.states else ()
    if not known and name in stored.certificates:
        known = tuple(sorted(stored.certificates[name].names))
    return (name, *(other for other in known if other != name))


def _report(stored: Stored, stock: Stock, site: str, names: tuple[str, ...], now: datetime) -> SiteReport:
    certificate = choose(names, stock, now)
    state = stored.states.get(site, RenewalState()).restart()
    situation = Situation(names, state, serving=certificate, stored=certificate)
    return SiteReport(site, names, certificate, True, state, decide(situation, now))


def _files(folder: Path, suffix: str) -> list[tuple[str, Path]]:
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(
            f"cannot read {folder}: {error.strerror}; run this as root or as the service's user"
        ) from error
    return [(name.removesuffix(suffix), folder / name) for name in names if name.endswith(suffix) and name[0] != "."]
