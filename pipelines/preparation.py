"""The first five steps of every pipeline: catalog -> check -> merge -> balance -> shard."""

from dataclasses import dataclass
from typing import Any

from components import balance as balance_step
from components import catalog as catalog_step
from components import check as check_step
from components import merge as merge_step
from components import shard as shard_step
from pipelines.resources import LARGE, SMALL, sized


@dataclass(frozen=True, slots=True)
class Prepared:
    """What later steps take, as KFP parameters or outputs."""

    run: dict[str, Any]
    """Workspace and code version: what every step is keyed on."""
    tracked: dict[str, Any]
    """Where MLflow is."""
    catalog_uri: Any
    records: Any
    plan: Any
    shards: Any


def prepare_data(
    *,
    catalog: Any,
    workspace: Any,
    seed: Any,
    tracking_uri: Any,
    size_power: Any,
    global_batch: Any,
) -> Prepared:
    """Add the steps from a catalog to shards to the pipeline that is being built.

    Args:
        catalog: location of a catalog file, or 'sample' for the embedded datasets.
        workspace: folder or s3:// prefix of everything the pipeline writes.
        seed: of the embedded datasets.
        tracking_uri: MLflow; empty keeps an SQLite file in the workspace.
        size_power: a dataset weighs size ** size_power.
        global_batch: images of one optimisation step over all workers.
    """
    opened = catalog_step.open_catalog(
        catalog=catalog, workspace=workspace, seed=seed, tracking_uri=tracking_uri
    )
    opened.set_caching_options(enable_caching=False)  # it finds out what the others are keyed on
    run = {"workspace": workspace, "code_version": opened.outputs["code_version"]}
    data = {
        "catalog_uri": opened.outputs["catalog_uri"],
        "catalog_digest": opened.outputs["catalog_digest"],
    }
    checked = sized(check_step.check_catalog(**data, **run), SMALL)
    merged = sized(
        merge_step.merge_datasets(check_uri=checked.outputs["Output"], **data, **run), SMALL
    )
    records = merged.outputs["Output"]
    planned = balance_step.balance(
        records_uri=records, size_power=size_power, global_batch=global_batch, **run
    )
    plan = sized(planned, SMALL).outputs["Output"]
    sharded = sized(shard_step.write_shards(records_uri=records, plan_uri=plan, **run), LARGE)
    return Prepared(
        run=run,
        tracked={"tracking_uri": opened.outputs["tracking_uri"]},
        catalog_uri=opened.outputs["catalog_uri"],
        records=records,
        plan=plan,
        shards=sharded.outputs["Output"],
    )
