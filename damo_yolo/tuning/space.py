"""Which settings vary, between which bounds, and where a sweep starts: readable YAML."""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Self

from pydantic import Field, model_validator

from damo_yolo import storage
from damo_yolo.config import Config
from damo_yolo.errors import ConfigError
from damo_yolo.mixing.balance import BalanceConfig
from damo_yolo.training.config import TrainConfig

Scalar = bool | int | float | str | None
Values = dict[str, Any]
"""Dotted names to plain values: one point of a space."""

POINT = "point"
"""Name of the values of a point where there is no space."""
SHIPPED = ("loss-weights", "sampling", "distillation", "optimizer", "deployment")
BALANCE = "balance."
"""Names that start so are settings of the sample plan; all others are a training's."""


class Parameter(Config):
    """One setting and its bounds: exactly one of `uniform`, `log`, `integer` and `choice`."""

    uniform: tuple[float, float] | None = None
    """Bounds of a number."""
    log: tuple[float, float] | None = None
    """Bounds of a positive number that matters by its ratio."""
    integer: tuple[int, int] | None = None
    """Bounds of a whole number, both included."""
    choice: tuple[Scalar, ...] | None = None
    """All values."""
    default: Scalar = None
    """Where the sweep starts, usually the published value; left out: the recipe's."""

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        given = [kind for kind in ("uniform", "log", "integer", "choice") if getattr(self, kind)]
        if len(given) != 1:
            raise ValueError("give exactly one of uniform, log, integer and choice")
        if self.bounds and not self.bounds[0] < self.bounds[1]:
            raise ValueError(f"the lower bound {self.bounds[0]} is not below {self.bounds[1]}")
        if self.log and self.log[0] <= 0:
            raise ValueError("bounds of log are positive")
        return self

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Return the lowest and the highest value; None of a choice."""
        return self.uniform or self.log or self.integer

    @property
    def has_default(self) -> bool:
        """Tell whether the file says where to start."""
        return "default" in self.model_fields_set

    def holds(self, value: Any) -> bool:
        """Tell whether a value is one of this parameter's."""
        if self.bounds is None:
            return value in (self.choice or ())
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and self.bounds[0] <= value <= self.bounds[1]

    def describe(self) -> str:
        """Return the kind and the bounds for people."""
        if self.bounds is None:
            return "one of " + ", ".join(map(str, self.choice or ()))
        scale = "log scale" if self.log else "whole numbers" if self.integer else "uniform"
        return f"{self.bounds[0]:g} to {self.bounds[1]:g}, {scale}"


class Space(Config):
    """A set of settings that vary together."""

    about: str = ""
    parameters: dict[str, Parameter] = Field(min_length=1)
    """Dotted names of `TrainConfig`, or `balance.` and a name of `BalanceConfig`."""

    @property
    def samples_differently(self) -> bool:
        """Tell whether trials need sample plans of their own."""
        return any(is_balance(name) for name in self.parameters)

    def default_point(self, config: TrainConfig) -> Values:
        """Return where the sweep starts: the file's defaults, else the recipe's values.

        Raises:
            ConfigError: a name is no setting, or a default lies outside its bounds.
        """
        point = {
            name: parameter.default if parameter.has_default else recipe_value(name, config)
            for name, parameter in self.parameters.items()
        }
        self._check(point, source="its default")
        return point

    def recipe_point(self, config: TrainConfig) -> Values | None:
        """Return the recipe's own values where they differ from the defaults and fit the bounds."""
        point = {name: recipe_value(name, config) for name in self.parameters}
        fits = all(self.parameters[name].holds(value) for name, value in point.items())
        return point if fits and point != self.default_point(config) else None

    def check_corners(self, config: TrainConfig) -> None:
        """Build the configurations at both ends of every parameter.

        Raises:
            ConfigError: a name is no setting, or a bound lies outside what the setting allows.
        """
        start = self.default_point(config)
        for name, parameter in self.parameters.items():
            for value in parameter.bounds or parameter.choice or ():
                apply(config, {**start, name: value})

    def _check(self, point: Values, *, source: str) -> None:
        for name, value in point.items():
            if not self.parameters[name].holds(value):
                raise ConfigError(
                    f"{name} = {value}, {source}, is not {self.parameters[name].describe()}",
                    fix="widen the bounds in the space's YAML, or name another default there",
                )


def is_balance(name: str) -> bool:
    """Tell whether a dotted name is a setting of the sample plan."""
    return name.startswith(BALANCE)


def load_space(name_or_uri: str) -> Space:
    """Return a shipped space by its name, or one of a YAML file.

    Raises:
        ConfigError: there is neither, or the YAML describes no space.
    """
    if name_or_uri in SHIPPED:
        text = files("damo_yolo.tuning").joinpath(f"spaces/{name_or_uri}.yaml").read_text("utf-8")
        return Space.from_yaml(text, source=name_or_uri)
    if not storage.exists(name_or_uri):
        raise ConfigError(
            f"{name_or_uri!r} is neither a space nor a file",
            fix=f"give a YAML file, or one of: {', '.join(SHIPPED)}",
        )
    return Space.from_yaml(storage.read_text(name_or_uri), source=name_or_uri)


def apply(config: TrainConfig, values: Mapping[str, Any]) -> tuple[TrainConfig, BalanceConfig]:
    """Return the training and the sampling of a point.

    Raises:
        ConfigError: a name is no setting, or a value does not fit it.
    """
    balance = [name for name in values if is_balance(name)]
    train = [name for name in values if not is_balance(name)]
    plan = [f"{name.removeprefix(BALANCE)}={json.dumps(values[name])}" for name in balance]
    return config.with_overrides(overrides(values, train)), BalanceConfig().with_overrides(plan)


def overrides(values: Mapping[str, Any], names: list[str] | None = None) -> list[str]:
    """Return values as the dotted `name=value` that every command takes."""
    chosen = values if names is None else {name: values[name] for name in names}
    return [f"{name}={json.dumps(value)}" for name, value in chosen.items()]


def recipe_value(name: str, config: TrainConfig) -> Any:
    """Return what the recipe says of a dotted name; None below a part that it leaves out.

    Raises:
        ConfigError: it is no setting.
    """
    source: Any = BalanceConfig() if is_balance(name) else config
    for part in name.removeprefix(BALANCE).split("."):
        if source is None:
            return None
        known = type(source).model_fields if isinstance(source, Config) else {}
        if part not in known:
            raise ConfigError(
                f"the space varies {name!r}, which is no setting",
                fix=f"use one of: {', '.join(known)}" if known else "remove it from the YAML",
            )
        source = getattr(source, part)
    return source
