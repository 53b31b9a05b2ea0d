"""Balance merged records: how often each image is drawn in an epoch."""

import json
from typing import Any

from damo_yolo import storage
from damo_yolo.datasets.catalog import Sampling
from damo_yolo.mixing.balance import BalanceConfig, ImageClasses
from damo_yolo.mixing.exposure import Exposure, expose
from damo_yolo.mixing.plan import SamplePlan

TRAIN_FILE = "train.parquet"


class BalanceResult(Exposure):
    """Content of `plan.json`."""

    plan_sha256: str


def balance(
    records_uri: str,
    plan_uri: str,
    *,
    config: BalanceConfig,
    global_batch: int,
) -> BalanceResult:
    """Write the sample plan of merged records: `plan.parquet` and, as the result, `plan.json`.

    Args:
        records_uri: folder that merge wrote.
        plan_uri: folder for the plan.
        config: smoothing power and class-aware weights; goes before the catalog's choice.
        global_batch: an epoch is a multiple of it.

    Raises:
        ConfigError: the global batch is below 1, or the config names an unknown dataset.
        DataError: the records hold no image to train on.
    """
    classes = ImageClasses.read(storage.join(records_uri, TRAIN_FILE))
    sampling = catalog_sampling(records_uri)
    expected, exposure = expose(classes, sampling, config, global_batch=global_batch)
    location = SamplePlan(classes.keys, classes.dataset_strings, expected).write(plan_uri)
    result = BalanceResult(**dict(exposure), plan_sha256=storage.sha256(location))
    storage.write_text(storage.join(plan_uri, "plan.json"), result.model_dump_json(indent=2))
    return result


def catalog_sampling(records_uri: str) -> dict[str, Sampling]:
    """Return the class-aware weights that the catalog chose for each dataset of the records."""
    values: dict[str, Any] = json.loads(
        storage.read_text(storage.join(records_uri, "datasets.json"))
    )
    return {name: facts["sampling"] for name, facts in values["datasets"].items()}
