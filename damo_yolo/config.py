"""Frozen, typed configs: YAML in and out, dotted overrides, errors a user can act on."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from damo_yolo.errors import ConfigError


class Config(BaseModel):
    """Base of every config: immutable, unknown fields refused, defaults checked too."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], *, source: str = "config") -> Self:
        """Build the config from plain values.

        Args:
            values: field name to value, nested mappings for nested configs.
            source: where the values come from, for the error message.

        Raises:
            ConfigError: a field is unknown, missing, mistyped or out of range.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise _explain(error, cls, source) from None

    @classmethod
    def from_yaml(cls, text: str, *, source: str = "config") -> Self:
        """Build the config from YAML text; raises `ConfigError` as `from_mapping` does."""
        try:
            values = yaml.safe_load(text)
        except yaml.YAMLError as error:
            where = " ".join(str(error).split())
            raise ConfigError(
                f"{source} is not valid YAML: {where}", fix="correct the syntax at that line"
            ) from None
        if values is None:
            values = {}
        if not isinstance(values, dict):
            raise ConfigError(
                f"{source} holds a {type(values).__name__}, not a mapping of fields",
                fix="write 'field: value' lines",
            )
        return cls.from_mapping(values, source=source)

    def to_yaml(self) -> str:
        """Return YAML that `from_yaml` reads back to an equal config."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def with_overrides(self, overrides: Sequence[str]) -> Self:
        """Return a copy with dotted `name=value` overrides applied, values read as YAML.

        Raises:
            ConfigError: an override has no '=', names no field, or its value does not fit.
        """
        values = self.model_dump(mode="json")
        opened: set[str] = set()
        for override in overrides:
            path, value = parse_override(override)
            _assign(values, path.split("."), value, override=override, opened=opened)
        return type(self).from_mapping(values, source=f"the setting {' '.join(overrides)}")


def parse_override(text: str) -> tuple[str, Any]:
    """Split `name=value` into the dotted name and the value read as YAML.

    >>> parse_override("optimizer.lr_per_image=1e-4")
    ('optimizer.lr_per_image', 0.0001)
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ConfigError(f"override {text!r} has no name and value", fix="write it as name=value")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"the value of {text!r} is not valid YAML: {getattr(error, 'problem', error)}",
            fix="write a number, true, null, a word, or a list as [1, 2]; quote the whole setting",
        ) from None
    if isinstance(parsed, str):  # YAML 1.1 takes 1e-4 for a word
        with contextlib.suppress(ValueError):
            parsed = float(parsed)
    return name.strip(), parsed


def _assign(
    values: dict[str, Any], path: list[str], value: Any, *, override: str, opened: set[str]
) -> None:
    """Set one value; what lies below a setting that was null (`opened`) its class will check."""
    target = values
    for depth, name in enumerate(path):
        prefix = ".".join(path[:depth])
        if name not in target and prefix not in opened:
            raise ConfigError(
                f"override {override!r} names no field: {name!r} is unknown"
                + (f" in {prefix!r}" if prefix else ""),
                fix=f"use one of: {', '.join(sorted(target))}",
            )
        if depth == len(path) - 1:
            target[name] = value
            return
        if not isinstance(target.get(name), dict):
            opened.add(".".join(path[: depth + 1]))
            target[name] = {}
        target = target[name]


def _explain(error: ValidationError, kind: type[BaseModel], source: str) -> ConfigError:
    problems, fixes = [], []
    for item in error.errors():
        name = ".".join(str(part) for part in item["loc"]) or kind.__name__
        problem = item["msg"].removeprefix("Value error, ")
        fix = f"correct {name}"
        if item["type"] in _ABOUT_NAMES:
            problem = _ABOUT_NAMES[item["type"]]
            *path, _ = item["loc"]
            where = ".".join(str(part) for part in path)
            fields = ", ".join(_owner(kind, path).model_fields)
            fix = f"the fields{' of ' if where else ''}{where} are: {fields}"
        problems.append(f"{name}: {problem}")
        fixes.append(fix)
    return ConfigError(
        f"{source} does not fit {kind.__name__}: {'; '.join(problems)}",
        fix="; ".join(dict.fromkeys(fixes)),
    )


_ABOUT_NAMES = {"extra_forbidden": "there is no such field", "missing": "it is missing"}
"""Errors of pydantic that a list of the fields helps with."""


def _owner(kind: type[BaseModel], path: Sequence[int | str]) -> type[BaseModel]:
    """Return the class of the nested config at a path, through lists and optional fields."""
    for part in path:
        field = kind.model_fields.get(str(part))
        types = (field.annotation, *get_args(field.annotation)) if field else ()
        nested = [item for item in types if isinstance(item, type) and issubclass(item, BaseModel)]
        kind = nested[0] if nested else kind
    return kind
