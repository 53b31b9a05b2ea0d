from typing import Any

from damo_yolo.tuning.domains import keep_within, optuna_distributions, ray_domains, ray_mutations
from damo_yolo.tuning.space import Space

SPACE = Space.from_mapping(
    {
        "parameters": {
            "loss.giou": {"log": [0.5, 8.0]},
            "balance.empty_share": {"uniform": [0.0, 1.0]},
            "image_size": {"integer": [96, 128]},
            "model": {"choice": ["damo-yolo-ns", "damo-yolo-nm"]},
        }
    }
)


def test_a_population_stays_within_the_bounds() -> None:
    moved = {
        "loss.giou": 9.6,
        "balance.empty_share": 1.2,
        "image_size": 77,
        "model": "damo-yolo-nm",
    }

    assert keep_within(SPACE)(moved) == {
        "loss.giou": 8.0,
        "balance.empty_share": 1.0,
        "image_size": 96,
        "model": "damo-yolo-nm",
    }


def test_a_choice_moves_among_its_values_and_a_number_by_a_factor() -> None:
    mutations = ray_mutations(SPACE)

    assert mutations["model"] == ["damo-yolo-ns", "damo-yolo-nm"]
    assert not isinstance(mutations["loss.giou"], list)


def test_optuna_and_ray_draw_what_the_space_holds() -> None:
    distributions, domains = optuna_distributions(SPACE), ray_domains(SPACE)

    for name, parameter in SPACE.parameters.items():
        drawn: Any = domains[name].sample()
        assert parameter.holds(drawn)
        for value in parameter.bounds or parameter.choice or ():
            internal = distributions[name].to_internal_repr(value)
            assert distributions[name].to_external_repr(internal) == value
