"""The self-contained HTML page of a check of datasets."""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from damo_yolo import storage
from damo_yolo.datasets.checks import NOTHING_TO_DO
from damo_yolo.datasets.images import in_rgb
from damo_yolo.reporting.figures import jpeg_uri
from damo_yolo.reporting.page import Card, Page, Photo, Section, Table, render_page

PICTURE_SIDE = 240
"""Pixels."""
GAP = 8
GREY = (128, 135, 144)

Problem = Mapping[str, Any]


def render_check_page(result: Mapping[str, Any], num_pictured: int) -> str:
    """Return the page: no script, no external address.

    Args:
        result: content of `check.json`.
        num_pictured: how many pairs of images are shown of each kind.
    """
    warnings = result["warnings"]
    handled = [item for item in warnings if item["fix"].startswith(NOTHING_TO_DO)]
    look_at = [item for item in warnings if item not in handled]
    sections = [
        *_problems("Errors", "A run is impossible until these are solved.", result["errors"]),
        *_problems(
            "To look at", "The data can be used; only you can tell if they are right.", look_at
        ),
        *_pairs(result["matches"], num_pictured),
        _datasets(result),
        *_problems("Taken care of", "Dirt that is mended or left out on the way.", handled),
    ]
    return render_page(
        Page(
            title=f"Check of {result['catalog']}",
            subtitle=f"{result['num_images']:,} images, {result['num_boxes']:,} usable boxes",
            cards=list(_cards(result, look_at)),
            sections=sections,
        )
    )


def _cards(result: Mapping[str, Any], look_at: Sequence[Problem]) -> Iterator[Card]:
    errors = result["errors"]
    question = "Can the datasets be used?"
    if errors:
        more = f" and {len(errors) - 1} more" if len(errors) > 1 else ""
        yield Card(question, "No", "bad", f"{errors[0]['problem']}{more}.")
    else:
        yield Card(question, "Yes", "good", "Every annotation and every image was looked at.")
    leaks = {pair["first"] for pair in result["matches"] if pair["kind"].endswith("leaks")}
    yield Card(
        "Are validation pictures trained on?",
        f"It seems so: {len(leaks)}" if leaks else "None was found",
        "bad" if leaks else "good",
        "They make a model look better than it is." if leaks else "",
    )
    yield Card(
        "What should I look at?",
        f"Warnings: {len(look_at)}" if look_at else "Nothing",
        "open" if look_at else "good",
        ", ".join(dict.fromkeys(item["kind"] for item in look_at)),
    )


def _datasets(result: Mapping[str, Any]) -> Section:
    rows = [
        (name, split, *(f"{facts[key]:,}" for key in ("images", "background", "boxes")))
        for name, splits in result["datasets"].items()
        for split, facts in splits.items()
    ]
    head = ("dataset", "split", "images", "without objects", "usable boxes")
    return Section("Datasets", tables=[Table(head, rows, text_columns=frozenset({0, 1}))])


def _problems(title: str, lead: str, problems: Sequence[Problem]) -> Iterator[Section]:
    if problems:
        rows = [(item["problem"], item["fix"]) for item in problems]
        table = Table(("what", "fix"), rows, text_columns=frozenset({0, 1}))
        yield Section(title, lead, tables=[table])


def _pairs(matches: Iterable[Mapping[str, str]], num_pictured: int) -> Iterator[Section]:
    kinds: dict[str, list[Mapping[str, str]]] = {}
    for match in matches:
        kinds.setdefault(match["kind"], []).append(match)
    for kind, found in kinds.items():
        shown = found[:num_pictured]
        more = f"; {len(shown)} of {len(found)} are shown" if len(shown) < len(found) else ""
        yield Section(
            kind.capitalize(),
            f"Left the first of the two, right the second{more}.",
            photos=[Photo(_side_by_side(match), _caption(match)) for match in shown],
        )


def _caption(match: Mapping[str, str]) -> str:
    return f"{match['first']} | {match['second']}"


def _side_by_side(match: Mapping[str, str]) -> str:
    pictures = [_small(match[f"{side}_uri"]) for side in ("first", "second")]
    height = max(picture.height for picture in pictures)
    sheet = Image.new("RGB", (2 * PICTURE_SIDE + GAP, height), GREY)
    for column, picture in enumerate(pictures):
        left = column * (PICTURE_SIDE + GAP) + (PICTURE_SIDE - picture.width) // 2
        sheet.paste(picture, (left, (height - picture.height) // 2))
    return jpeg_uri(np.array(sheet, np.uint8))


def _small(uri: str) -> Image.Image:
    """Return a small picture, a grey one where it does not decode."""
    try:
        with Image.open(io.BytesIO(storage.read_bytes(uri))) as image:
            image.draft("RGB", (PICTURE_SIDE, PICTURE_SIDE))
            small = in_rgb(image)
    except (OSError, SyntaxError, ValueError):
        return Image.new("RGB", (PICTURE_SIDE, PICTURE_SIDE), GREY)
    small.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    return small
