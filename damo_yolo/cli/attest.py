"""`damo-yolo attest`: the record an engine is missing, made on the machine with the GPU."""

from typing import Annotated

import typer

from damo_yolo.cli.console import AsJson, show


def attest(
    engine: Annotated[str, typer.Argument(help="Engine in the folder it was exported to.")],
    model: Annotated[str, typer.Option(help="Model folder that it was made from.")],
    shards: Annotated[str, typer.Option(help="Shards: images to compare on.")],
    record: Annotated[str | None, typer.Option(help="Keep its outputs in this .npz.")] = None,
    recording: Annotated[
        str | None, typer.Option(help="Play such a file: no GPU, and nothing is attested.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a TensorRT engine on this GPU and add latency, parity and AP to its artifact."""
    from damo_yolo.stages.attest import attest_engine

    result = attest_engine(
        engine_uri=engine,
        model_uri=model,
        shards_uri=shards,
        record_uri=record,
        recording_uri=recording,
    )
    found = result.attestation
    how = (
        f"played from a recording of {result.device}, not attested"
        if result.played
        else (f"attested on {result.device}, {found.latency.p50_ms:.2f} ms")
    )
    sentence = f"AP {found.ap.ap:.4f}, drop {found.ap_drop:+.4f}: {how}"
    show(result, sentence, as_json=as_json)
