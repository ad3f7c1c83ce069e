"""Keys about files that are served, as operators write them."""

from __future__ import annotations

from appliance import values
from appliance.http.errorpages import FILE_NAME
from appliance.schema import Place, Refused

MOST_TEMPLATE_BYTES = 64 * 1024


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
