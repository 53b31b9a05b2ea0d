"""A space as Optuna and Ray Tune know it, and what keeps a moving population inside it."""

from functools import partial
from typing import Any

from damo_yolo.tuning.space import Parameter, Space, Values


def optuna_distributions(space: Space) -> dict[str, Any]:
    """Return what Optuna draws from."""
    return {name: _distribution(parameter) for name, parameter in space.parameters.items()}


def ray_domains(space: Space) -> dict[str, Any]:
    """Return what Ray Tune draws from."""
    return {name: _domain(parameter) for name, parameter in space.parameters.items()}


def ray_mutations(space: Space) -> dict[str, Any]:
    """Return what PBT moves: numbers by a factor, a choice to one of its neighbours."""
    return {
        name: list(parameter.choice) if parameter.choice else _domain(parameter)
        for name, parameter in space.parameters.items()
    }


def keep_within(space: Space) -> Any:
    """Return a function that moves the values of a point to the nearest ones of the space.

    PBT multiplies numbers by 0.8 or 1.2, whatever their bounds.
    """
    return partial(_clamped, {name: p.bounds for name, p in space.parameters.items() if p.bounds})


def _clamped(bounds: dict[str, tuple[float, float]], values: Values) -> Values:
    return {
        name: min(max(value, bounds[name][0]), bounds[name][1]) if name in bounds else value
        for name, value in values.items()
    }


def _distribution(parameter: Parameter) -> Any:
    from optuna import distributions  # noqa: PLC0415 - slow to import

    if parameter.uniform:
        return distributions.FloatDistribution(*parameter.uniform)
    if parameter.log:
        return distributions.FloatDistribution(*parameter.log, log=True)
    if parameter.integer:
        return distributions.IntDistribution(*parameter.integer)
    return distributions.CategoricalDistribution(parameter.choice or ())


def _domain(parameter: Parameter) -> Any:
    from ray import tune  # noqa: PLC0415 - at the edge

    if parameter.uniform:
        return tune.uniform(*parameter.uniform)
    if parameter.log:
        return tune.loguniform(*parameter.log)
    if parameter.integer:
        return tune.randint(parameter.integer[0], parameter.integer[1] + 1)
    return tune.choice(list(parameter.choice or ()))
