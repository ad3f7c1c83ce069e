"""The contexts of the certificates that clients ask for: made at the first handshake, a bounded number of them kept."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from OpenSSL import SSL

from appliance.tls.certificate import Certificate
from appliance.tls.context import site_context


class Served(Protocol):
    """What a context is for: `snimap.ServedCertificate`. Two of them are never equal."""

    certificate: Certificate


class ContextCache:
    """Keeps those that were used last. Session tickets are good for as long as their context is kept."""

    def __init__(self, protocols: tuple[bytes, ...], most: int) -> None:
        """``protocols`` as for `site_context`; ``most`` contexts are kept."""
        self._protocols = protocols
        self._most = most
        self._kept: OrderedDict[Served, SSL.Context] = OrderedDict()

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._kept)

    def get(self, served: Served) -> SSL.Context:
        """The context for a new connection. Raises `CertificateError` if OpenSSL refuses the certificate."""
        kept = self._kept
        context = kept.get(served)
        if context is not None:
            kept.move_to_end(served)
            return context
        context = kept[served] = site_context(served.certificate, self._protocols)
        if len(kept) > self._most:
            kept.popitem(last=False)
        return context

    def forget(self, served: Served) -> None:
        """It is no longer served."""
        self._kept.pop(served, None)

    def forget_all(self) -> None:
        """Have the next connections make new contexts, with new ticket keys: old tickets end in full handshakes."""
        self._kept.clear()
