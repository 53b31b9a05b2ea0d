import ray.train
from ray.train.v2._internal.callbacks import (
    AcceleratorSetupCallback,
    BackendSetupCallback,
    DatasetsCallback,
)
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback

from damo_yolo.training.ray_backend import LeanTorchTrainer, StoppableTorchConfig


def _callbacks(*, ends_alone: bool) -> set[type]:
    trainer = LeanTorchTrainer(
        lambda: None,
        ends_alone=ends_alone,
        torch_config=StoppableTorchConfig(backend="gloo"),
        scaling_config=ray.train.ScalingConfig(num_workers=2),
    )
    return {type(callback) for callback in trainer._create_default_callbacks()}


def test_no_actor_deals_out_datasets_that_are_not_there() -> None:
    for ends_alone in (True, False):
        found = _callbacks(ends_alone=ends_alone)
        assert DatasetsCallback not in found
        assert found >= {AcceleratorSetupCallback, BackendSetupCallback}, "what starts the ranks"


def test_resources_are_cleaned_up_where_the_connection_outlives_the_training() -> None:
    assert PlacementGroupCleanerCallback in _callbacks(ends_alone=False)
    assert PlacementGroupCleanerCallback not in _callbacks(ends_alone=True)
