"""Structures in and out: block mappings of the published search, and our structure files."""

import ast
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from damo_yolo import storage
from damo_yolo.errors import ConfigError
from damo_yolo.models.backbones.mae_mob import expansion_width
from damo_yolo.models.config import BackboneConfig, StructureRow
from damo_yolo.search.network import Array, Kind, Network, Row, Stem

KIND_OF_FAMILY: dict[str, Kind] = {"res": "k1kx", "csp": "kxkx", "mob": "k1dwk1"}
FAMILY_OF_KIND: dict[Kind, str] = {kind: family for family, kind in KIND_OF_FAMILY.items()}

_CLASS = re.compile(r"^SuperRes(?:Conv)?(K\w+)$")
FOCUS_CELLS = 12


def parse_structure(
    structure: Sequence[Mapping[str, Any]] | Mapping[str, Any] | str | Path,
    *,
    image_size: int = 640,
) -> Network:
    """Return a population of one.

    Args:
        structure: see `score_structure`.
        image_size: side of the image, pixels; sizes and latencies depend on it, scores do not.

    Raises:
        ConfigError: the structure cannot be read.
        StorageError: nothing is at the location.
    """
    source = "the structure"
    if isinstance(structure, str | Path):
        source = str(structure)
        structure = _read_text(storage.read_text(source), source)
    if isinstance(structure, Mapping):
        structure = structure.get("backbone", structure)  # of a detector file
    if isinstance(structure, Mapping):
        if "family" in structure and "rows" in structure:
            config = BackboneConfig.from_mapping(structure, source=source)
            return network_of(config, image_size=image_size)
        structure = _unwrap(structure, source)
    return _from_blocks(structure, source, image_size=image_size)


def network_of(config: BackboneConfig, *, image_size: int) -> Network:
    """Return a backbone of the detector as a population of one."""
    focus = config.stem == "focus"
    cin = _number(config.stem_channels)
    rows = []
    for position, row in enumerate(config.rows):
        out = _number(row.out_channels)
        rows.append(
            Row(
                cin=cin,
                out=out,
                bottleneck=_number(expansion_width(row, position)),
                num_blocks=_number(row.num_blocks),
                kernel=_number(_row_kernel(config, row)),
                stride=row.stride,
            )
        )
        cin = out
    return Network(
        kind=KIND_OF_FAMILY[config.family],
        stem=Stem(
            cin=FOCUS_CELLS if focus else 3,
            out=_number(config.stem_channels),
            kernel=3,
            stride=1 if focus else 2,
        ),
        rows=tuple(rows),
        image_size=image_size // 2 if focus else image_size,
    )


def backbone_config(network: Network, index: int = 0) -> BackboneConfig:
    """Return one network of a population as the detector's configuration.

    Raises:
        ConfigError: the detector has no such blocks.
    """
    if network.kind not in FAMILY_OF_KIND:
        raise ConfigError(
            f"the detector has no blocks of kind {network.kind!r}",
            fix=f"use one of: {', '.join(FAMILY_OF_KIND)}",
        )
    family = FAMILY_OF_KIND[network.kind]
    kernels = [_at(row.kernel, index) for row in network.rows]
    rows = [
        {
            "out_channels": _at(row.out, index),
            "bottleneck": _at(row.bottleneck, index),
            "num_blocks": _at(row.num_blocks, index),
            "stride": row.stride,
        }
        | ({"kernel_size": kernel} if family == "mob" and kernel != kernels[0] else {})
        for row, kernel in zip(network.rows, kernels, strict=True)
    ]
    values = {
        "family": family,
        "stem": "focus" if network.stem.stride == 1 else "conv",
        "stem_channels": _at(network.stem.out, index),
        "kernel_size": kernels[0],
        "rows": rows,
    }
    return BackboneConfig.from_mapping(values, source="the searched structure")


def _row_kernel(config: BackboneConfig, row: StructureRow) -> int:
    if config.family == "res":
        return 3
    return row.kernel_size or config.kernel_size


def _read_text(text: str, source: str) -> Any:
    joined = "".join(line.strip() for line in text.splitlines())
    for read in (json.loads, ast.literal_eval):
        try:
            return read(joined)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    raise ConfigError(
        f"{source} holds neither JSON nor a list of block mappings",
        fix="give a structure file that `damo-yolo search` or the published search wrote",
    )


def _unwrap(values: Mapping[str, Any], source: str) -> Any:
    """Return the blocks inside what the published search writes around them."""
    if values.get("best_structures"):
        return values["best_structures"][0]
    if "structure" in values:
        return values["structure"]
    raise ConfigError(
        f"{source} describes no structure",
        fix="give a list of block mappings, or an object with 'family' and 'rows'",
    )


def _from_blocks(blocks: Any, source: str, *, image_size: int) -> Network:
    if not isinstance(blocks, Sequence) or not blocks[1:]:
        raise ConfigError(
            f"{source} is no list of a stem and blocks",
            fix="give block mappings with the fields class, in, out, k, s, L, btn",
        )
    try:
        stem, *rest = (dict(block) for block in blocks)
        kinds = {_kind(str(block["class"])) for block in rest}
        if len(kinds) != 1:
            raise ConfigError(
                f"{source} mixes blocks of several kinds", fix="use one class after the stem"
            )
        first = Stem(int(stem["in"]), _number(stem["out"]), int(stem["k"]), int(stem["s"]))
        rows = tuple(_row(block) for block in rest)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{source} has a block without a readable field: {error}",
            fix="give every block class, in, out, k, s, and after the stem L and btn",
        ) from None
    _check_blocks(first, rows, source)
    side = image_size // 2 if first.cin == FOCUS_CELLS else image_size
    return Network(kinds.pop(), first, rows, side)


def _row(block: Mapping[str, Any]) -> Row:
    return Row(
        cin=_number(block["in"]),
        out=_number(block["out"]),
        bottleneck=_number(block["btn"]),
        num_blocks=_number(block["L"]),
        kernel=_number(block["k"]),
        stride=int(block["s"]),
    )


def _check_blocks(stem: Stem, rows: Sequence[Row], source: str) -> None:
    before = stem.out
    for index, row in enumerate(rows):
        smallest = min(float(value[0]) for value in row[:5])
        if smallest < 1 or row.stride not in (1, 2):
            raise ConfigError(
                f"{source}: block {index + 1} has a width, depth, kernel or stride out of range",
                fix="widths, L and k are at least 1, and s is 1 or 2",
            )
        if row.cin[0] != before[0]:
            raise ConfigError(
                f"{source}: block {index + 1} takes {int(row.cin[0])} channels, and the one before "
                f"it gives {int(before[0])}",
                fix="make 'in' of every block the 'out' of the one before",
            )
        before = row.out


def _kind(name: str) -> Kind:
    found = _CLASS.match(name)
    kind = found.group(1).lower() if found else ""
    for known in get_args(Kind):
        if kind == known:
            return known  # type: ignore[no-any-return]  # get_args forgets the literal
    raise ConfigError(
        f"no block class is called {name!r}",
        fix="use SuperResK1KX, SuperResKXKX, SuperResK1KXK1, SuperResK1DWK1 or SuperResK1DWSEK1",
    )


def _number(value: float) -> Array:
    return np.asarray([float(int(value))])


def _at(values: Array, index: int) -> int:
    return int(values[index if len(values) > 1 else 0])
