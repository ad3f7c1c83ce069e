"""What an application's answers say about how it is set up behind a proxy, and which flags or settings are missing.

From outside much cannot be seen. What can is concluded from differences: the same request, once as if the client had
come by https and once by http.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from ipaddress import ip_address

from attrs import field, frozen

from appliance.config import UpstreamAddress
from appliance.ops.diagnosis.findings import BAD, GOOD, UNKNOWN, WARNING, Finding

UVICORN, GUNICORN, HYPERCORN, GRANIAN, DJANGO = "Uvicorn", "Gunicorn", "Hypercorn", "Granian", "Django"
SERVERS = (UVICORN, GUNICORN, HYPERCORN, GRANIAN)

CLIENT = "192.0.2.45"
"""The client we pretend to ask for; nobody has this address (RFC 5737)."""

_DEVELOPMENT = {"wsgiserver": "Django's runserver or wsgiref", "werkzeug": "Flask's and Werkzeug's"}

_MARGIN = 0.3
"""Seconds that the application must keep connections longer than the proxy does."""

_KEEP_ALIVE = {
    UVICORN: "uvicorn … --timeout-keep-alive 5",
    GUNICORN: "gunicorn … --keep-alive 5",
    HYPERCORN: "hypercorn … --keep-alive 5",
    GRANIAN: "granian … --http1-keep-alive",
}

_ROOT_PATH = {
    UVICORN: "uvicorn … --root-path {prefix}",
    GUNICORN: "SCRIPT_NAME={prefix} gunicorn …   (with Uvicorn's worker instead: FastAPI(root_path={prefix!r}))",
    HYPERCORN: "hypercorn … --root-path {prefix}",
    GRANIAN: "FastAPI(root_path={prefix!r})",
    DJANGO: "FORCE_SCRIPT_NAME = {prefix!r}",
}


@frozen
class Answer:
    """What came back."""

    path: str
    status: int
    fields: tuple[tuple[str, str], ...] = ()
    """Names in lower case."""
    body: bytes = field(repr=False, default=b"")

    def get(self, name: str) -> str:
        """The values of a header; empty if there is none."""
        return ", ".join(value for key, value in self.fields if key == name)


@frozen
class Question:
    """Whom to ask, and as whose proxy."""

    address: UpstreamAddress
    path: str
    host: str
    """The site's name."""
    prefix: str = ""
    """What the route takes off the path; empty if nothing."""
    timeout: float = 5.0
    """Seconds for each answer."""
    patience: float = 6.0
    """Seconds to look at an idle connection."""


@frozen
class Observed:
    """All that the application showed."""

    question: Question
    from_address: str
    """Our own address as the application sees it; empty over a UNIX socket."""
    pairs: tuple[tuple[Answer, Answer], ...]
    """Each path asked as if the client had come by https, and by http. The first is the path in question."""
    as_localhost: Answer
    """The same path with ``Host: localhost``."""
    openapi: Answer
    """What is at /openapi.json, where FastAPI tells about itself."""
    kept: float
    """Seconds after which it closed an idle connection: 0 for at once, infinite for later than we waited."""

    @property
    def secure(self) -> Answer:
        """The path in question, by https."""
        return self.pairs[0][0]


def examine(observed: Observed, upstream_idle: float) -> list[Finding]:
    """One finding for each thing looked at. ``upstream_idle``: seconds that the proxy keeps idle connections."""
    server, framework = _server(observed.secure), _framework(observed)
    programs = [*([server] if server else SERVERS), *([framework] if framework else [])]
    if not server and not framework:
        programs.append(DJANGO)
    found = [
        _answers(observed),
        _identity(observed.secure, server, framework),
        _scheme(observed, programs),
        _client(observed, programs),
        _host(observed, framework),
        _keep_alive(observed, [each for each in programs if each != DJANGO], upstream_idle),
    ]
    if observed.question.prefix:
        found.append(_prefix(observed, programs))
    return found


# --- what it is


def _server(answer: Answer) -> str:
    said = answer.get("server").lower()
    return next((name for name in SERVERS if said.startswith(name.lower())), "")


def _framework(observed: Observed) -> str:
    """Django, if its cookies or the headers that its security middleware sends by default are there."""
    for answer in (observed.secure, *(pair[0] for pair in observed.pairs[1:])):
        cookies = answer.get("set-cookie")
        policy = answer.get("referrer-policy"), answer.get("cross-origin-opener-policy")
        if "csrftoken=" in cookies or (
            policy == ("same-origin", "same-origin") and answer.get("x-content-type-options")
        ):
            return DJANGO
    return ""


def _identity(answer: Answer, server: str, framework: str) -> Finding:
    said = answer.get("server")
    for beginning, what in _DEVELOPMENT.items():
        if said.lower().startswith(beginning):
            advice = "use Gunicorn, Uvicorn, Hypercorn or Granian"
            return Finding("", "server", BAD, f"{said}: {what} server for development", advice)
    what = " with ".join(name for name in (server, framework) if name)
    if server:
        return Finding("", "server", GOOD, what)
    seen = f"Server: {said}" if said else "it does not say what server it is"
    return Finding("", "server", UNKNOWN, f"{seen}{f'; probably {framework}' if framework else ''}")


def _answers(observed: Observed) -> Finding:
    answer = observed.secure
    seen = f"GET {answer.path} for {observed.question.host}: {answer.status}"
    if answer.status >= 500:
        return Finding("", "answers", WARNING, seen, "see the application's own log")
    return Finding("", "answers", GOOD, seen)


# --- whether it believes the proxy


def _scheme(observed: Observed, programs: list[str]) -> Finding:
    for judge in (_by_redirects, _by_security_header, _by_links):
        verdict, seen = judge(observed)
        if verdict == GOOD:
            return Finding("", "https seen", GOOD, seen)
        if verdict:
            return Finding("", "https seen", verdict, seen, _lines(programs, _trust(observed)))
    seen = "no redirect or link tells whether it takes requests for https, which is what X-Forwarded-Proto says"
    default = _trusted_by_default(observed, programs)
    if default:
        return Finding("", "https seen", UNKNOWN, f"{seen}; but {default}")
    return Finding("", "https seen", WARNING, seen, _lines(programs, _trust(observed)))


def _by_redirects(observed: Observed) -> tuple[str, str]:
    secure, plain = f"https://{observed.question.host}", f"http://{observed.question.host}"
    good = ""
    for by_https, by_http in observed.pairs:
        there = by_https.get("location")
        if _begins(there, secure) and there.removeprefix(secure) == by_https.path:
            return BAD, f"GET {by_https.path} is redirected to {there}, where it was already: browsers give up"
        if _begins(there, plain):
            return BAD, f"GET {by_https.path} by https is redirected to {there}: it takes the request for http"
        elsewhere = by_http.get("location")
        if _begins(elsewhere, secure) and not there:
            good = f"GET {by_http.path} is redirected to https when it comes by http, and only then"
        elif _begins(there, secure) and _begins(elsewhere, plain):
            good = f"GET {by_https.path} is redirected to {there}"
    return (GOOD, good) if good else ("", "")


def _by_security_header(observed: Observed) -> tuple[str, str]:
    for by_https, by_http in observed.pairs:
        if by_https.get("strict-transport-security") and not by_http.get("strict-transport-security"):
            return GOOD, "Strict-Transport-Security is sent over https only"
    return "", ""


def _by_links(observed: Observed) -> tuple[str, str]:
    secure, plain = (f"{scheme}://{observed.question.host}".encode() for scheme in ("https", "http"))
    for by_https, by_http in observed.pairs:
        if by_https.status < 400 and secure in by_https.body and plain in by_http.body:
            return GOOD, f"its links at {by_https.path} begin with https:// when it is asked so"
        if by_https.status < 400 and plain in by_https.body and secure not in by_https.body:
            return BAD, f"it is asked for {by_https.path} by https, and what it answers has links to {plain.decode()}"
    return "", ""


def _begins(location: str, origin: str) -> bool:
    """Whether it is on this origin; a port may follow, but not more of a name."""
    rest = location.removeprefix(origin)
    return location != rest and rest[:1] in ("", "/", "?", "#", ":")


def _client(observed: Observed, programs: list[str]) -> Finding:
    body = observed.secure.body
    if CLIENT.encode() in body and b"forwarded" not in body.lower():  # else it may only repeat the headers
        return Finding("", "client seen", GOOD, "its answer shows the client's address")
    seen = "whether it knows the client's address cannot be seen from outside"
    if [each for each in programs if each in SERVERS] == [GUNICORN]:
        seen += "; Gunicorn's REMOTE_ADDR is always the proxy's, the client's is in HTTP_X_FORWARDED_FOR"
    return Finding("", "client seen", UNKNOWN, seen)


def _trusted_by_default(observed: Observed, programs: list[str]) -> str:
    """Why the proxy's headers will be believed without any flag; empty if they may not be."""
    servers = [each for each in programs if each in SERVERS]
    if servers == [GUNICORN] and (_from_loopback(observed) or not observed.from_address):
        return "Gunicorn believes whoever connects from this machine unless told otherwise"
    if servers == [UVICORN] and _from_loopback(observed):
        return "Uvicorn believes whoever connects from 127.0.0.1 unless told otherwise"
    return ""


def _from_loopback(observed: Observed) -> bool:
    return bool(observed.from_address) and ip_address(observed.from_address.partition("%")[0]).is_loopback


def _trust(observed: Observed) -> Callable[[str], str]:
    """For each program, how it is made to believe the proxy."""
    trusted = observed.from_address or "*"
    advice = {
        UVICORN: f"uvicorn … --proxy-headers --forwarded-allow-ips '{trusted}'",
        GUNICORN: f"gunicorn … --forwarded-allow-ips '{trusted}'",
        HYPERCORN: "from hypercorn.middleware import ProxyFixMiddleware; app = ProxyFixMiddleware(app, trusted_hops=1)",
        GRANIAN: "from granian.utils.proxies import wrap_asgi_with_proxy_headers (or wrap_wsgi_…);"
        f" app = wrap_asgi_with_proxy_headers(app, trusted_hosts={trusted!r})",
        DJANGO: 'SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")',
    }
    return advice.__getitem__


# --- the rest


def _host(observed: Observed, framework: str) -> Finding:
    host = observed.question.host
    refused = observed.secure.status == 400
    words = b"Invalid host header" in observed.secure.body or b"DisallowedHost" in observed.secure.body
    if refused and (words or framework == DJANGO or observed.as_localhost.status != 400):
        advice = f"Django: ALLOWED_HOSTS = [{host!r}]\nStarlette: TrustedHostMiddleware, allowed_hosts=[{host!r}]"
        return Finding("", "host", BAD, f"it refuses Host: {host}, which is passed on as the client sends it", advice)
    if refused:
        return Finding("", "host", UNKNOWN, "it answers 400 whatever the host: try another path")
    return Finding("", "host", GOOD, f"it serves Host: {host}")


def _keep_alive(observed: Observed, servers: list[str], upstream_idle: float) -> Finding:
    kept = observed.kept
    if math.isinf(kept):
        seen = f"an idle connection stays open for more than {observed.question.patience:g} s"
        return Finding("", "keep-alive", GOOD, seen)
    if kept == 0:
        advice = "gunicorn … --worker-class gthread --threads 4" if GUNICORN in servers else ""
        seen = "it closes the connection after each answer: correct, but every request costs a new one"
        return Finding("", "keep-alive", WARNING, seen, advice)
    seen = f"an idle connection is closed after {kept:.1f} s"
    if kept < upstream_idle + _MARGIN:
        own = f"or upstream_idle = {max(0.1, kept - 0.5):.1f} in the appliance's [timeouts]"
        return Finding(
            "",
            "keep-alive",
            BAD,
            f"{seen}, the proxy keeps them for {upstream_idle:g} s: requests will meet closing connections",
            f"{_lines(servers, _KEEP_ALIVE.__getitem__)}\n{own}",
        )
    return Finding("", "keep-alive", GOOD, f"{seen}; the proxy keeps them for {upstream_idle:g} s")


def _prefix(observed: Observed, programs: list[str]) -> Finding:
    prefix = observed.question.prefix
    urls = _openapi_servers(observed.openapi)
    if urls is None:
        seen = f"whether it knows that it is below {prefix} cannot be seen from outside, as it has no /openapi.json"
        return Finding("", "prefix", UNKNOWN, seen, _lines(programs, _root_path(prefix)))
    if any(url.rstrip("/").endswith(prefix) for url in urls):
        return Finding("", "prefix", GOOD, f"its /openapi.json says that it is below {prefix}")
    seen = f"its /openapi.json does not say that it is below {prefix}: /docs and links will miss it"
    return Finding("", "prefix", BAD, seen, _lines([each for each in programs if each != DJANGO], _root_path(prefix)))


def _root_path(prefix: str) -> Callable[[str], str]:
    return lambda program: _ROOT_PATH[program].format(prefix=prefix)


def _openapi_servers(answer: Answer) -> list[str] | None:
    """The URLs under which an OpenAPI document says that its application is; None if it is no such document."""
    try:
        document = json.loads(answer.body) if answer.status == 200 else None
    except ValueError:
        return None
    if not isinstance(document, dict) or "openapi" not in document:
        return None
    servers = document.get("servers")
    entries = servers if isinstance(servers, list) else []
    return [str(each["url"]) for each in entries if isinstance(each, dict) and "url" in each]


def _lines(programs: list[str], advice: Callable[[str], str]) -> str:
    return "\n".join(f"{program}: {advice(program)}" for program in programs)
