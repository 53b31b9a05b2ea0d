"""The self-contained HTML page of a check of datasets."""

import base64
import io
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from PIL import Image

from damo_yolo import storage

THUMBNAIL_SIDE = 200
"""Pixels."""


def render_check_page(result: Mapping[str, Any], num_pictured: int) -> str:
    """Return the page: no script, no external address.

    Args:
        result: content of `check.json`.
        num_pictured: how many pairs of images are shown of each kind.
    """
    environment = Environment(
        loader=PackageLoader("damo_yolo.reporting"),
        autoescape=select_autoescape(["html", "j2"]),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pairs: dict[str, list[dict[str, str]]] = defaultdict(list)
    for match in result["matches"]:
        if len(pairs[match["kind"]]) < num_pictured:
            pictures = {side: thumbnail(match[f"{side}_uri"]) for side in ("first", "second")}
            shown = {f"{side}_picture": address for side, address in pictures.items()}
            pairs[match["kind"]].append({**match, **shown})
    return environment.get_template("check.html.j2").render(result=result, pairs=pairs)


def thumbnail(uri: str) -> str:
    """Return a small JPEG of an image as a `data:` address, nothing where it does not decode."""
    try:
        with Image.open(io.BytesIO(storage.read_bytes(uri))) as image:
            image.draft("RGB", (THUMBNAIL_SIDE, THUMBNAIL_SIDE))
            small = image.convert("RGB")
    except (OSError, SyntaxError, ValueError):
        return ""
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    data = io.BytesIO()
    small.save(data, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
