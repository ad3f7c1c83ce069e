"""A Django site with static files of its own, as its documentation has it: ManifestStaticFilesStorage, collectstatic.

``python -m tests.support.django_site`` collects them; Gunicorn serves the pages. ``DJANGO_FOLDER`` is where all is.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.urls import path

_PAGE = (
    '{% load static %}<link rel="stylesheet" href="{% static "css/site.css" %}"><script src="{% static "site.js" %}">'
)


def page(request: HttpRequest) -> HttpResponse:
    """A page that refers to a style sheet and a script."""
    return HttpResponse(engines["django"].from_string(_PAGE).render({}, request))


urlpatterns = [path("", page)]


def configure() -> None:
    """Settings, as a project's ``settings.py``."""
    folder = Path(os.environ["DJANGO_FOLDER"])
    settings.configure(
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["*"],
        SECRET_KEY="for tests",
        INSTALLED_APPS=["django.contrib.staticfiles"],
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
        STATIC_URL="/static/",
        STATIC_ROOT=folder / "collected",
        STATICFILES_DIRS=[folder / "assets"],
        STORAGES={"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"}},
    )


def app(environ: dict[str, Any], start_response: Any) -> Any:
    """The application, set up at the first request."""
    if not settings.configured:
        configure()
        app.handler = get_wsgi_application()  # type: ignore[attr-defined]
    return app.handler(environ, start_response)  # type: ignore[attr-defined]


if __name__ == "__main__":
    configure()
    django.setup()
    call_command("collectstatic", interactive=False, verbosity=0)
