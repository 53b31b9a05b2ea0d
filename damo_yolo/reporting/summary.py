"""The figures of a run in one small JSON: the terminal table and the HTML page both read it."""

from pydantic import Field

from damo_yolo.config import Config


class DatasetRow(Config):
    """One dataset before and after balancing."""

    name: str
    train_images: int
    train_boxes: int
    num_classes: int
    share_before: float
    """Of the images, 0..1."""
    share_after: float
    """Of the draws of an epoch, 0..1."""


class ModelRow(Config):
    """One model or artifact and what was measured of it on the headline validation set."""

    name: str
    """`teacher damo-yolo-nm`, `openvino int8`."""
    ap: float | None
    ap50: float | None
    ap_by_source: dict[str, float] = Field(default_factory=dict)
    """AP on each dataset's own validation split, over the classes it annotates."""
    latency_ms: float | None = None
    """Median at batch 1 on this machine."""
    size_mb: float | None = None
    note: str = ""


class GateRow(Config):
    """One gate of the promotion."""

    name: str
    status: str
    value: float | None = None
    limit: float | None = None


class TwinRow(Config):
    """The student against the same model trained without a teacher, on the same images."""

    difference: float
    """AP of the student less AP of its twin."""
    low: float
    """Ends of the interval of the difference."""
    high: float
    confidence: float
    verdict: str
    """`better`, `worse` or `no difference shown`."""


class Summary(Config):
    """Everything the final table shows; what no stage made is empty."""

    num_classes: int
    """Classes with training objects, after merging."""
    space_size: int
    """Classes of the unified label space: the width of the head."""
    datasets: tuple[DatasetRow, ...]
    models: tuple[ModelRow, ...]
    twin: TwinRow | None = None
    registered_model: str = ""
    version: int | None = None
    alias: str = ""
    """`champion` when it was promoted, else `challenger`."""
    gates: tuple[GateRow, ...] = ()
    tracking_uri: str = ""
    report_uri: str
    headline: str = ""
    """Name of the validation set that AP refers to."""
