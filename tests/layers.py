"""The order in which modules may import each other, from the ground up. ``tests/unit/test_layering.py`` holds it.

``python -m tests.layers`` prints the files of the modules that know nothing of Twisted, for the coverage report.
"""

from __future__ import annotations

GROUND = ["appliance", "appliance.config", "appliance.dnsconfig", "appliance.errors", "appliance.opsconfig"]
"""What everybody may know."""

PURE = [
    "appliance.acme",
    "appliance.acme.ari",
    "appliance.acme.budget",
    "appliance.acme.decision",
    "appliance.acme.dns",
    "appliance.acme.dns.record",
    "appliance.acme.failure",
    "appliance.acme.fallback",
    "appliance.acme.jose",
    "appliance.acme.keys",
    "appliance.acme.losses",
    "appliance.acme.messages",
    "appliance.acme.order",
    "appliance.acme.plan",
    "appliance.acme.record",
    "appliance.acme.request",
    "appliance.acme.schedule",
    "appliance.acme.state",
    "appliance.atomicfile",
    "appliance.ca",
    "appliance.ca.accounts",
    "appliance.ca.authority",
    "appliance.ca.authorizations",
    "appliance.ca.certificates",
    "appliance.ca.core",
    "appliance.ca.jws",
    "appliance.ca.limits",
    "appliance.ca.model",
    "appliance.ca.orders",
    "appliance.ca.policy",
    "appliance.ca.problems",
    "appliance.descriptors",
    "appliance.http",
    "appliance.http.body",
    "appliance.http.flow",
    "appliance.http.headers",
    "appliance.http.http1",
    "appliance.http.http2bounds",
    "appliance.http.http2engine",
    "appliance.http.http2flow",
    "appliance.http.http2frames",
    "appliance.http.http2headers",
    "appliance.http.http2hpack",
    "appliance.http.http2server",
    "appliance.http.message",
    "appliance.http.pages",
    "appliance.http.serving",
    "appliance.http.record",
    "appliance.ops",
    "appliance.ops.accesslogline",
    "appliance.ops.accesslogredact",
    "appliance.ops.findings",
    "appliance.ops.imports",
    "appliance.ops.imports.acmesh",
    "appliance.ops.imports.caddy",
    "appliance.ops.imports.certbot",
    "appliance.ops.imports.found",
    "appliance.ops.logfile",
    "appliance.ops.observer",
    "appliance.ops.controlclient",
    "appliance.ops.controlsocket",
    "appliance.ops.offline",
    "appliance.ops.status",
    "appliance.ops.table",
    "appliance.proxy",
    "appliance.proxy.health",
    "appliance.proxy.routing",
    "appliance.proxy.selection",
    "appliance.proxyprotocol",
    "appliance.schema",
    "appliance.tls",
    "appliance.tls.certificate",
    "appliance.tls.clienthello",
    "appliance.tls.context",
    "appliance.tls.records",
    "appliance.tomllines",
]
"""Logic without Twisted: bytes and values in, bytes and values out."""

ADAPTERS = [
    "appliance.announced",
    "appliance.acme.account",
    "appliance.acme.challenges",
    "appliance.acme.client",
    "appliance.acme.environment",
    "appliance.acme.dns.exec_hook",
    "appliance.acme.dns.lexicon",
    "appliance.acme.dns.lexicon_program",
    "appliance.acme.dns.lookup",
    "appliance.acme.dns.process",
    "appliance.acme.dns.propagation",
    "appliance.acme.dns.providers",
    "appliance.acme.dns.responder",
    "appliance.acme.dns.rfc2136",
    "appliance.acme.dns.third_party",
    "appliance.acme.issuance",
    "appliance.acme.issuer",
    "appliance.acme.lookup",
    "appliance.acme.pointing",
    "appliance.acme.responders",
    "appliance.acme.spending",
    "appliance.acme.turns",
    "appliance.acme.tlsalpn",
    "appliance.admission",
    "appliance.ca.memory",
    "appliance.ca.resource",
    "appliance.ca.server",
    "appliance.ca.validation",
    "appliance.clock",
    "appliance.commandline",
    "appliance.configfile",
    "appliance.deadlines",
    "appliance.dnsconfigfile",
    "appliance.dispatch",
    "appliance.immediate",
    "appliance.lingering",
    "appliance.ops.doctor",
    "appliance.ops.handshake",
    "appliance.ops.probe",
    "appliance.ops.takeover",
    "appliance.ops.terminal",
    "appliance.ops.accesslog",
    "appliance.ops.journal",
    "appliance.ops.jsonlog",
    "appliance.ops.logfields",
    "appliance.ops.textlog",
    "appliance.opsconfigfile",
    "appliance.proxy.connection",
    "appliance.proxy.exchange",
    "appliance.proxy.hostnames",
    "appliance.store",
    "appliance.tls.endpoint",
    "appliance.tls.snimap",
    "appliance.tls.transport",
    "appliance.turn",
    "appliance.values",
]
"""Sockets, files, threads, TLS and the CA, each behind one module."""

PROXY = [
    "appliance.http.http2",
    "appliance.http.http2stream",
    "appliance.http.server",
    "appliance.proxy.dial",
    "appliance.proxy.handler",
    "appliance.proxy.healthcheck",
    "appliance.proxy.member",
    "appliance.proxy.pool",
    "appliance.proxy.upstream",
]
"""Many connections at once."""

SERVICES = [
    "appliance.acme.ordering",
    "appliance.acme.renewal",
    "appliance.acme.sitecertificates",
    "appliance.acme.siterenewal",
    "appliance.ca.listening",
    "appliance.listener",
    "appliance.ops.afterswap",
    "appliance.ops.watching",
    "appliance.ops.cli",
    "appliance.ops.control",
    "appliance.ops.examining",
    "appliance.ops.importing",
    "appliance.ops.operating",
    "appliance.ops.operations",
    "appliance.ops.running",
]
"""What runs from start to stop, and the commands."""

COMPOSITION = ["appliance.app"]
"""Where the parts meet."""

COMMANDS = ["appliance.demo", "appliance.tap", "appliance.__main__"]
"""Where the outside comes in."""

LAYERS = (GROUND, PURE, ADAPTERS, PROXY, SERVICES, COMPOSITION, COMMANDS)
"""From the bottom to the top. A module imports from its own layer and from those before it."""

if __name__ == "__main__":
    files = [f"{module.replace('.', '/')}{end}" for module in [*GROUND, *PURE] for end in (".py", "/__init__.py")]
    print(",".join(files))
