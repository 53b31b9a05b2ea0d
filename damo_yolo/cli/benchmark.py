"""`damo-yolo benchmark`: models timed against each other."""

from typing import Annotated

import typer

from damo_yolo.cli.console import AsJson, console, show


def benchmark(
    models: Annotated[
        list[str],
        typer.Argument(help="Model folders, exported files, or sizes: damo-yolo-nm+hard_swish."),
    ],
    form: Annotated[
        list[str] | None,
        typer.Option(help="torch, onnx, openvino-fp16, openvino-int8, ... Repeatable."),
    ] = None,
    batch: Annotated[
        list[int] | None, typer.Option(help="Images a call. Repeatable.", min=1)
    ] = None,
    threads: Annotated[list[int] | None, typer.Option(help="Threads. Repeatable.", min=1)] = None,
    images: Annotated[str | None, typer.Option(help="Pictures; default: noise.")] = None,
    no_postprocess: Annotated[
        bool, typer.Option("--no-postprocess", help="The network alone, as the paper times it.")
    ] = False,
    repeats: Annotated[int, typer.Option(help="Counted calls of each.", min=1)] = 50,
    warmup: Annotated[int, typer.Option(help="Calls before them.", min=0)] = 5,
    out: Annotated[str | None, typer.Option(help="Folder for JSON and plot.")] = None,
    as_json: AsJson = False,
) -> None:
    """Time models call by call in turn: latency and throughput."""
    from rich.table import Column, Table

    from damo_yolo.evaluation.latency import LatencyConfig
    from damo_yolo.stages.benchmark import BenchmarkConfig, benchmark_models

    plain = BenchmarkConfig()
    config = BenchmarkConfig(
        forms=tuple(form) if form else plain.forms,
        batches=tuple(batch or (1,)),
        threads=tuple(threads or (None,)),
        postprocess=not no_postprocess,
        latency=LatencyConfig(warmup=warmup, repeats=repeats, limit_s=600),
    )
    result = benchmark_models(models=models, out_uri=out, images_uri=images, config=config)
    if not as_json:
        heads = ("model", "form", "batch", "threads", "p10 ms", "p50 ms", "p90 ms", "images/s")
        table = Table(*(Column(head, overflow="fold") for head in heads))
        for row in result.rows:
            times = (row.latency.p10_ms, row.latency.p50_ms, row.latency.p90_ms)
            table.add_row(
                row.model,
                row.form,
                str(row.batch_size),
                str(row.threads or "-"),
                *(f"{value:.2f}" for value in times),
                f"{row.images_per_s:.1f}",
            )
        console.print(table)
    place = f" -> {out}" if out else ""
    show(result, f"{len(result.rows)} rows on {result.environment.cpu}{place}", as_json=as_json)
