"""Decide how often each image is drawn."""

from kfp import dsl

from components.images import step


@step
def balance(
    records_uri: str,
    size_power: float,
    global_batch: int,
    workspace: str,
    code_version: str,
    plan: dsl.Output[dsl.Dataset],
) -> str:
    """Smooth dataset sizes and class frequencies into a sample plan."""
    from damo_yolo.artifacts import output_uri
    from damo_yolo.mixing.balance import BalanceConfig
    from damo_yolo.stages.balance import balance

    plan.uri = output_uri(
        workspace,
        "plan",
        records=records_uri,
        power=size_power,
        batch=global_batch,
        code=code_version,
    )
    config = BalanceConfig(size_power=size_power)
    result = balance(records_uri, plan.uri, config=config, global_batch=global_batch)
    plan.metadata["draws_per_epoch"] = result.draws_per_epoch
    return str(plan.uri)
