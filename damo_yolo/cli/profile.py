"""`damo-yolo profile`: a latency model of a target."""

from typing import Annotated

import typer

from damo_yolo.cli.console import AsJson, show


def profile(
    target: Annotated[str, typer.Option(help="openvino-cpu, onnx or tensorrt.")],
    out: Annotated[str, typer.Option(help="File to write, .yaml.")],
    family: Annotated[str, typer.Option(help="Blocks: res, csp or mob.")] = "mob",
    like: Annotated[
        str, typer.Option(help="Size or detector file whose neck, head and input are kept.")
    ] = "damo-yolo-ns",
    image_size: Annotated[int, typer.Option(help="Side of the input, pixels; 0 keeps it.")] = 0,
    activation: Annotated[
        list[str] | None, typer.Option(help="To measure: relu, silu, hard_swish; repeat it.")
    ] = None,
    networks: Annotated[int, typer.Option(help="Random networks to fit to.")] = 40,
    held_out: Annotated[int, typer.Option(help="Further networks that measure the error.")] = 20,
    threads: Annotated[int, typer.Option(help="Processor threads of a network.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the random networks.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Measure operators inside real networks on a target, and fit a latency model to them."""
    from damo_yolo.stages.profile import ProfileConfig, ProfileJob, profile_target

    job = ProfileJob.from_mapping(
        {
            "target": target,
            "family": family,
            "like": like,
            "image_size": image_size or None,
            "activations": activation or (),
        },
        source="the command line",
    )
    config = ProfileConfig.from_mapping(
        {"networks": networks, "held_out": held_out, "threads": threads, "seed": seed},
        source="the command line",
    )
    model = profile_target(job, out_uri=out, config=config)
    error = model.error
    sentence = (
        f"{target}: on {error.num_networks} networks held out, rank correlation "
        f"{error.rank_correlation:.3f}, median error {error.median:.1%}, worst {error.worst:.1%}"
        f" -> {out}"
    )
    show(model, sentence, as_json=as_json)
