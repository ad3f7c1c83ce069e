"""Keys about files that are served, as operators write them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from appliance.config.files import Root
from appliance.config.reading import values
from appliance.config.reading.schema import Either, Place, Reader, Refused, Table, shown
from appliance.errors import RequestError
from appliance.files.names import names_of
from appliance.http.errorpages import FILE_NAME

MOST_TEMPLATE_BYTES = 64 * 1024

_FIELD_VALUE = re.compile(r"[!-~](?:[ -~]{0,998}[!-~])?")


def _folder(value: object, place: Place) -> Path:
    """Read the name of a folder that is there. What the service can read is for its own user to find out."""
    name = values.path(value, place)
    found = values.is_folder(name)
    if not found:
        raise Refused(f"must be a folder: {name} is {'not there' if found is None else 'a file'}")
    return name


def _cache_control(value: object, place: Place) -> str:
    text = values.text(value, place)
    if not _FIELD_VALUE.fullmatch(text):
        raise Refused(f'must be the value of a Cache-Control field, such as "max-age=3600", not {shown(text)}')
    return text


def _fallback(value: object, place: Place) -> str:
    text = values.text(value, place)
    try:
        names, folder = names_of(b"/" + os.fsencode(text).replace(b"%", b"%25"))
    except (RequestError, UnicodeEncodeError):
        names, folder = (), True
    if folder or not names:
        raise Refused(f'must be the path of a file in the folder, such as "index.html", not {shown(text)}')
    return text


def _short(value: object, place: Place) -> Root:
    return Root(_folder(value, place))


ROOT: Reader[Root] = Either(
    _short,
    Table(
        {"folder": _folder, "cache_control": _cache_control, "fallback": _fallback},
        Root,
        required={"folder": 'where the files are, as in folder = "/srv/static"'},
    ),
)


def error_pages(value: object, place: Place) -> dict[str, str]:
    """Read a folder of templates, and the templates themselves, by their names. Other files in it are left alone."""
    folder = values.path(value, place)
    try:
        files = sorted(file for file in folder.iterdir() if FILE_NAME.fullmatch(file.name))
    except OSError as error:
        raise Refused(f"must be a folder of pages: {folder} cannot be read: {error.strerror}") from error
    templates: dict[str, str] = {}
    for file in files:
        try:
            with file.open("rb") as opened:
                content = opened.read(MOST_TEMPLATE_BYTES + 1)
            if len(content) > MOST_TEMPLATE_BYTES:
                raise Refused(f"must be a folder of short pages: {file} is larger than {MOST_TEMPLATE_BYTES} bytes")
            templates[file.name] = content.decode("utf-8")
        except OSError as error:
            raise Refused(f"must be a folder of pages: {file} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise Refused(f"must be a folder of pages in UTF-8: {file} is not") from error
    if not templates:
        raise Refused(f"must be a folder of pages such as 502.html, 5xx.html or error.json: {folder} has none")
    return templates
