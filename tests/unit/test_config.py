"""What a user reads who mistypes a setting."""

import pytest
from pydantic import Field

from damo_yolo.config import Config
from damo_yolo.errors import ConfigError


class Wheel(Config):
    spokes: int = Field(default=8, ge=1)
    material: str = "wood"


class Cart(Config):
    name: str
    spare: Wheel | None = None
    wheels: tuple[Wheel, ...] = ()


CART = Cart(name="hay")


@pytest.mark.parametrize(
    ("override", "problem", "fix"),
    [
        ("colour=red", "names no field: 'colour' is unknown", "use one of: name, spare, wheels"),
        ("spare.spokes=0", "spare.spokes: Input should be greater", "correct spare.spokes"),
        ("spare.rim=1", "spare.rim: there is no such field", "of spare are: spokes, material"),
        ("wheels=[{rim: 1}]", "wheels.0.rim: there is no", "of wheels.0 are: spokes, material"),
        ("name=[1", "is not valid YAML: expected ',' or ']'", "quote the whole setting"),
        ("name", "has no name and value", "write it as name=value"),
    ],
)
def test_a_wrong_override_says_what_is_wrong_and_what_to_write(
    override: str, problem: str, fix: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        CART.with_overrides([override])

    assert problem in caught.value.problem
    assert override.partition("=")[0] in caught.value.problem
    assert fix in caught.value.fix


def test_all_mistakes_of_a_file_are_told_at_once() -> None:
    text = "spare: {spokes: many}\nowner: me\n"

    with pytest.raises(ConfigError) as caught:
        Cart.from_yaml(text, source="cart.yaml")

    assert caught.value.problem.startswith("cart.yaml does not fit Cart: ")
    for part in ("name: it is missing", "spare.spokes: ", "owner: there is no such field"):
        assert part in caught.value.problem
    assert caught.value.fix == ("the fields are: name, spare, wheels; correct spare.spokes")


def test_overrides_reach_into_what_was_null_and_read_exponents() -> None:
    cart = CART.with_overrides(["spare.spokes=1e1", "name=old"])

    assert cart == Cart(name="old", spare=Wheel(spokes=10))
