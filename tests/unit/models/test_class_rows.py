import pytest
import torch
from torch import Tensor

from damo_yolo.errors import DamoYoloError
from damo_yolo.models.class_rows import is_class_row, match_rows, num_class_rows


def rows_of(*values: float) -> dict[str, Tensor]:
    column = torch.tensor(values)
    return {
        "head.gfl_cls.0.weight": column.view(-1, 1, 1, 1).repeat(1, 2, 1, 1),
        "head.gfl_cls.0.bias": column,
        "head.gfl_reg.0.bias": torch.zeros(8),
    }


def test_only_the_class_branch_counts_classes() -> None:
    assert is_class_row("head.gfl_cls.2.bias")
    assert not is_class_row("head.gfl_reg.2.bias")
    assert not is_class_row("teacher.head.gfl_cls.2.bias")
    assert num_class_rows(rows_of(1, 2, 3)) == 3
    assert num_class_rows({"neck.x": torch.zeros(7)}) == 0


def test_rows_follow_their_names() -> None:
    matched = match_rows(
        rows_of(1, 2, 3),
        old_names=["cat", "dog", "car"],
        new_names=["car", "bat", "cat"],
        class_prior=0.5,
    )

    assert matched.state["head.gfl_cls.0.bias"].tolist() == [3, 0, 1]  # prior one half: logit 0
    weight = matched.state["head.gfl_cls.0.weight"]
    assert weight[:, 0, 0, 0][[0, 2]].tolist() == [3, 1]
    assert weight[1].abs().max() < 0.1
    assert weight[1].any()
    assert (matched.kept, matched.new, matched.dropped) == (("car", "cat"), ("bat",), ("dog",))
    assert matched.state["head.gfl_reg.0.bias"].shape == (8,)


def test_new_rows_are_drawn_from_the_generator_given() -> None:
    weights = [
        match_rows(
            rows_of(1),
            old_names=["a"],
            new_names=["b", "c"],
            class_prior=0.01,
            generator=torch.Generator().manual_seed(5),
        ).state["head.gfl_cls.0.weight"]
        for _ in range(2)
    ]

    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0][0], weights[0][1])


@pytest.mark.parametrize(
    ("old", "new", "whose"),
    [(["a", "a"], ["a"], "the weights"), (["a", "b"], ["c", "c"], "the detector")],
)
def test_a_name_that_occurs_twice_is_an_error(old: list[str], new: list[str], whose: str) -> None:
    with pytest.raises(DamoYoloError, match=f"{whose} occur more than once: [ac]"):
        match_rows(rows_of(1, 2), old_names=old, new_names=new, class_prior=0.01)


def test_names_must_be_as_many_as_rows() -> None:
    with pytest.raises(DamoYoloError, match="3 class names were given for weights of 2"):
        match_rows(rows_of(1, 2), old_names=["a", "b", "c"], new_names=["a"], class_prior=0.01)
