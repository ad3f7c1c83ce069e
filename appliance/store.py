"""Certificates on disk: one PEM file per name, for this service to find again and for other programs to read."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import pem
from attrs import field, frozen
from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger
from txacme.interfaces import ICertificateStore  # type: ignore[import-untyped]
from zope.interface import implementer

from appliance import atomicfile
from appliance.clock import utc_now
from appliance.errors import ApplianceError, StoreError
from appliance.tls.certificate import Certificate

PemObjects = list[pem.AbstractPEMObject]

_SUFFIX = ".pem"
_PREVIOUS = ".previous"
_END = re.compile(rb"-----END [A-Z0-9 ]+-----\s*\Z")

_Result = TypeVar("_Result")


class Defer(Protocol):
    """Runs a function in another thread: ``twisted.internet.threads.deferToThread`` or anything shaped like it."""

    def __call__(self, function: Callable[[], _Result], /) -> Deferred[_Result]:
        """Fire with what ``function`` returns or raises."""


@frozen
class _Found(Generic[_Result]):
    """What a look into the folder found; complaints are logged where it is safe to, in the reactor's thread."""

    entries: dict[str, _Result] = field(factory=dict)
    complaints: list[StoreError] = field(factory=list)


@implementer(ICertificateStore)
class CertificateStore:
    """
    ``DIRECTORY/NAME.pem``: the private key, its certificate, the intermediates; beside it ``NAME.pem.previous``.

    All disk work is done through ``defer``, off the reactor's thread, one operation at a time. A file that cannot be
    used is set aside as ``NAME.pem.corrupt-TIME`` and logged, and the previous generation takes its place; it never
    keeps the others from being read. For the promises about writing see ``atomicfile``.
    """

    _log = Logger()

    def __init__(
        self,
        directory: Path,
        defer: Defer,
        *,
        now: Callable[[], datetime] = utc_now,
        validate: Callable[[bytes], object] = Certificate.from_pem,
    ) -> None:
        """``validate`` gets a whole file's content and raises an ``ApplianceError`` if that is of no use."""
        self._directory = directory
        self._defer = defer
        self._now = now
        self._validate = validate
        self._lock = DeferredLock()
        self._cleaned = False

    def get(self, server_name: str) -> Deferred[PemObjects]:
        """
        Fire with the key, the certificate and the intermediates stored under ``server_name``.

        Fails with ``KeyError`` if nothing usable is stored, with ``StoreError`` if it cannot be read.
        """
        return Deferred.fromCoroutine(self._get(server_name))

    async def _get(self, server_name: str) -> PemObjects:
        if not atomicfile.is_name(server_name):
            raise KeyError(server_name)
        found = await self._look(lambda: [server_name], self._parse)
        if server_name in found.entries:
            return found.entries[server_name]
        if found.complaints:
            raise found.complaints[0]
        raise KeyError(server_name)

    def store(self, server_name: str, pem_objects: PemObjects) -> Deferred[None]:
        """
        Write exactly one private key, its certificate and any intermediates; fire once they would survive power loss.

        Fails with ``StoreError`` (nothing half-written remains) or with what ``validate`` raises.
        """
        return self._in_thread(lambda: self._write(server_name, pem_objects))

    def as_dict(self) -> Deferred[dict[str, PemObjects]]:
        """
        Fire with everything usable, by name.

        Fails with ``StoreError`` only if the folder itself cannot be read; no folder is an empty store.
        """
        return Deferred.fromCoroutine(self._as_dict())

    def certificates(self) -> Deferred[dict[str, Certificate]]:
        """
        The same as ``as_dict``, read once instead of twice: thousands of files are read at a start.

        Fails as that.
        """
        return Deferred.fromCoroutine(self._certificates())

    def previous(self, server_name: str) -> Deferred[PemObjects]:
        """
        Fire with what was stored under ``server_name`` before, for a rollback.

        Fails with ``KeyError`` if there is nothing usable, with ``StoreError`` if it cannot be read.
        """
        return self._in_thread(lambda: self._read_previous(server_name))

    async def _as_dict(self) -> dict[str, PemObjects]:
        return (await self._look(self._names, self._parse)).entries

    async def _certificates(self) -> dict[str, Certificate]:
        return (await self._look(self._names, self._parse_certificate)).entries

    async def _look(self, names: Callable[[], list[str]], parse: Callable[[bytes], _Result]) -> _Found[_Result]:
        found = await self._in_thread(lambda: self._read(names, parse))
        for complaint in found.complaints:
            self._log.error("{complaint}", complaint=complaint)
        return found

    def _in_thread(self, work: Callable[[], _Result]) -> Deferred[_Result]:
        return self._lock.run(self._defer, work)

    # From here on: in the other thread.

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}{_SUFFIX}"

    def _previous(self, name: str) -> Path:
        return self._directory / f"{name}{_SUFFIX}{_PREVIOUS}"

    def _names(self) -> list[str]:
        try:
            files = os.listdir(self._directory)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"cannot list the certificates in {self._directory}: {error.strerror}") from error
        names = (file.removesuffix(_SUFFIX) for file in files if file.endswith(_SUFFIX))
        return sorted(name for name in names if atomicfile.is_name(name))

    def _read(self, names: Callable[[], list[str]], parse: Callable[[bytes], _Result]) -> _Found[_Result]:
        found: _Found[_Result] = _Found()
        self._clean(found)
        for name in names():
            try:
                content = atomicfile.read(self._path(name))
                if content is None:
                    continue
                try:
                    found.entries[name] = parse(content)
                except ApplianceError as error:
                    found.complaints.append(StoreError(f"{self._path(name)} is of no use: {error}"))
                    self._fall_back(name, parse, found)
            except StoreError as error:
                found.complaints.append(error)
        return found

    def _read_previous(self, name: str) -> PemObjects:
        atomicfile.check_name(name)
        content = atomicfile.read(self._previous(name))
        try:
            return self._parse(content or b"")
        except ApplianceError as error:
            raise KeyError(name) from error

    def _clean(self, found: _Found[_Result]) -> None:
        if self._cleaned:
            return
        self._cleaned = True
        try:
            atomicfile.remove_temporaries(self._directory)
            atomicfile.make_private_folder(self._directory)
        except StoreError as error:
            found.complaints.append(error)  # certificates can be read all the same

    def _parse(self, content: bytes) -> PemObjects:
        """Raise an ``ApplianceError`` unless all of it is whole."""
        objects = pem.parse(content)
        if content.count(b"-----BEGIN ") != len(objects) or not _END.search(content):
            raise StoreError("it is cut off in the middle of a PEM block")
        self._validate(content)
        return objects

    def _parse_certificate(self, content: bytes) -> Certificate:
        """The same, made of it."""
        if content.count(b"-----BEGIN ") != content.count(b"-----END ") or not _END.search(content):
            raise StoreError("it is cut off in the middle of a PEM block")
        return Certificate.from_pem(content)

    def _fall_back(self, name: str, parse: Callable[[bytes], _Result], found: _Found[_Result]) -> None:
        """Let the previous generation, if that is any better, take the place of a file that is of no use."""
        better = atomicfile.read(self._previous(name))
        try:
            if better is not None:
                found.entries[name] = parse(better)
        except ApplianceError as error:
            found.complaints.append(StoreError(f"{self._previous(name)} is of no use either: {error}"))
            better = None
        aside = atomicfile.set_aside(self._path(name), self._now(), better)
        instead = "the previous certificate takes its place" if better else "a new certificate will be needed"
        found.complaints.append(StoreError(f"it was renamed to {aside.name}; {instead}"))

    def _write(self, name: str, pem_objects: PemObjects) -> None:
        atomicfile.check_name(name)
        content = b"".join(item.as_bytes().rstrip() + b"\n" for item in pem_objects)
        self._validate(content)
        atomicfile.make_private_folder(self._directory)
        atomicfile.replace(self._path(name), content, self._previous(name))
