"""Draw the pictures of a report from what the stages of a run wrote."""

from collections.abc import Iterator

from damo_yolo import storage
from damo_yolo.inference.draw import draw_detections
from damo_yolo.inference.images import read_image
from damo_yolo.inference.predictor import Predictor
from damo_yolo.loading.preview import draw_training_batch
from damo_yolo.reporting import figures
from damo_yolo.reporting.gather import ROLES, RunFiles
from damo_yolo.reporting.page import Pictures
from damo_yolo.shards.manifest import Manifest
from damo_yolo.shards.read import ShardReader
from damo_yolo.training.config import TrainConfig
from damo_yolo.training.launch import CONFIG_FILE

NUM_DETECTION_IMAGES = 12
SHOWN_SCORE = 0.3


def draw_pictures(files: RunFiles) -> Pictures:
    """Return every picture of the page."""
    shares = {
        name: (share["share_before"], share["share_after"])
        for name, share in files.plan["datasets"].items()
    }
    exposure = {
        files.space.names[item["class_id"]]: (item["before"], item["after"])
        for item in files.plan["classes"]
    }
    return Pictures(
        balance=figures.before_after(shares),
        class_exposure=figures.class_exposure(exposure),
        training_samples=_training_samples(files),
        losses=figures.curves(_losses(files), label="detection loss"),
        ap_by_source=figures.grouped_bars(_ap_by_source(files), label="AP"),
        ap_by_class=figures.ranked_bars(_ap50_by_class(files), label="AP50"),
        detections=list(_detections(files)),
    )


def _losses(files: RunFiles) -> dict[str, list[figures.Point]]:
    return {
        role: [
            (line["step"], line["qfl"] + line["giou"] + line["dfl"])
            for line in lines
            if line["kind"] == "step"
        ]
        for role, lines in files.progress.items()
    }


def _ap_by_source(files: RunFiles) -> dict[str, dict[str, float]]:
    names = files.evaluations["student"]["datasets"]
    return {
        name: {role: files.evaluations[role]["datasets"][name]["ap"] for role in ROLES}
        for name in names
    }


def _ap50_by_class(files: RunFiles) -> dict[str, float]:
    metrics = files.evaluations["student"]
    per_class = metrics["datasets"][metrics["headline"]]["per_class"]
    return {item["name"]: item["ap50"] for item in per_class}


def _training_samples(files: RunFiles) -> str:
    config_uri = storage.join(files.locations.student_uri, CONFIG_FILE)
    config = TrainConfig.from_yaml(storage.read_text(config_uri), source=config_uri)
    picture = draw_training_batch(
        files.locations.shards_uri,
        files.locations.plan_uri,
        image_size=config.image_size,
        augment=config.augment,
        seed=config.seed,
        phase="mosaic" if config.schedule.mosaic else "plain",
    )
    return figures.jpeg_uri(picture)


def _detections(files: RunFiles) -> Iterator[str]:
    """Yield the first validation images of the headline dataset with what the student finds."""
    predictor = Predictor.open(files.locations.student_uri, score_threshold=SHOWN_SCORE)
    headline = files.evaluations["student"]["headline"]
    manifest = Manifest.load(storage.join(files.locations.shards_uri, "val"))
    rows = [row for row, name in enumerate(manifest.datasets.to_pylist()) if name == headline]
    with ShardReader(manifest) as reader:
        samples = reader.read(rows[:NUM_DETECTION_IMAGES])
    for raw in samples:
        image = read_image(raw.image)
        picture = draw_detections(image, predictor(image), min_side=320)
        yield figures.jpeg_uri(picture, max_width=480)
