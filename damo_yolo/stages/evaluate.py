"""How good a trained model or an exported artifact is on the validation shards, and why."""

from collections.abc import Mapping, Sequence

from pydantic import Field

from damo_yolo import storage
from damo_yolo.compute.tasks import map_tasks
from damo_yolo.config import Config
from damo_yolo.datasets.catalog import load_catalog
from damo_yolo.errors import DataError
from damo_yolo.evaluation.coco_ap import ApResult, ApTally
from damo_yolo.evaluation.cross_check import largest_difference, pycocotools_precision
from damo_yolo.evaluation.detection_files import (
    DETECTIONS_FILE,
    DETECTIONS_TABLE,
    write_coco_results,
    write_detections,
)
from damo_yolo.evaluation.errors import ErrorConfig, analyse_errors
from damo_yolo.evaluation.frequency import (
    FrequencyConfig,
    Group,
    GroupAp,
    group_by_frequency,
    training_images,
)
from damo_yolo.evaluation.ground_truth import ValidationSet, read_validation_set
from damo_yolo.evaluation.openimages_ap import OpenImagesAp, openimages_ap50
from damo_yolo.evaluation.parts import PartJob, evaluate_part, join_parts
from damo_yolo.evaluation.source_classes import SourceClasses
from damo_yolo.evaluation.source_images import look_at_sources
from damo_yolo.evaluation.sources import SourceConfig, SourceRanking, rank_sources
from damo_yolo.inference.backend import Backend
from damo_yolo.inference.backends import open_backend
from damo_yolo.inference.detect import DetectConfig
from damo_yolo.inference.info import DetectorInfo, check_same_classes
from damo_yolo.labels.space import LabelSpace
from damo_yolo.mixing.plan import SamplePlan
from damo_yolo.samples import Detections

METRICS_FILE = "metrics.json"
ERRORS_FILE = "errors.json"
SOURCES_FILE = "sources.json"

EXACT = 1e-9
"""Largest difference to pycocotools that is none."""


class EvaluateConfig(Config):
    """How to evaluate; the defaults are the published ones."""

    score_threshold: float | None = Field(default=None, ge=0, le=1)
    """None: the artifact's. Higher is quicker and loses recall."""
    iou_threshold: float | None = Field(default=None, gt=0, le=1)
    """None: the artifact's."""
    max_detections: int | None = Field(default=None, ge=1)
    """Counted per image, among classes that are known there; None: the 100 best of each class."""
    batch_size: int = Field(default=8, ge=1)
    threads: int | None = Field(default=None, ge=1)
    """Processor threads; None: the runtime's own choice."""
    workers: int = Field(default=1, ge=1)
    """Ray workers that share the images; 1: this process. The figures do not depend on it."""
    cross_check: bool = False
    """Compute AP by pycocotools too and stop if it differs: slow, for some thousand images."""
    frequency: FrequencyConfig = FrequencyConfig()
    errors: ErrorConfig = ErrorConfig()
    sources: SourceConfig = SourceConfig()


class EvaluateResult(Config):
    """What `metrics.json` holds. The figures at the top are those of the headline dataset."""

    model: str
    precision: str
    model_uri: str
    headline: str
    """Name of the headline dataset."""
    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    recall: float
    num_images: int
    num_objects: int
    overall: ApResult
    """All validation images of all datasets together, with every class."""
    datasets: dict[str, ApResult]
    """Per source dataset, over the classes it annotates: a model of many classes mapped back."""
    frequency: dict[Group, GroupAp]
    """Classes of the headline dataset by training images; empty where the shards do not say."""
    openimages: dict[str, OpenImagesAp]
    """The challenge's AP50 of datasets that have a class tree; needs the catalog."""
    cross_check: float | None
    """Largest difference to pycocotools in any figure; None: not asked for."""
    score_threshold: float
    iou_threshold: float
    max_detections: int | None
    image_size: int
    label_space_sha256: str
    manifest_sha256: str
    """Of the validation shards."""

    def to_metrics(self) -> dict[str, float]:
        """Return the figures that a tracker lists, those of the other datasets by name."""
        others = {f"ap_{name}": found.ap for name, found in self.datasets.items()}
        others.pop(f"ap_{self.headline}")
        named = {name: float(getattr(self, name)) for name in _HEADLINE_FIGURES}
        return {name: value for name, value in (named | others).items() if value >= 0}


def evaluate_model(
    *,
    model_uri: str,
    shards_uri: str,
    out_uri: str,
    plan_uri: str = "",
    catalog_uri: str = "",
    config: EvaluateConfig | None = None,
) -> EvaluateResult:
    """Measure AP overall, per source dataset and per class, and look at the errors.

    Writes `metrics.json`, `errors.json`, the detections, and what the optional inputs allow.

    Args:
        model_uri: model folder, `.onnx`, OpenVINO `.xml`, TensorRT engine, or the JSON of an
            artifact.
        shards_uri: folder that the shard stage wrote.
        out_uri: where the files go.
        plan_uri: folder that the balance stage wrote: also rank the sources, `sources.json`.
        catalog_uri: catalog of the datasets: also the Open Images challenge's AP50, and each
            dataset's detections in its own classes, `detections.<dataset>.json`.
        config: how to evaluate.

    Raises:
        DataError: the model's classes are not those of the shards, or no image can be evaluated.
        StorageError: a location cannot be read or written.
        TrainingError: the Ray cluster does not answer.
    """
    config = config or EvaluateConfig()
    validation = read_validation_set(shards_uri)
    own_classes = _own_classes(catalog_uri, validation) if catalog_uri else {}
    if plan_uri:
        SamplePlan.read(plan_uri)  # fails now if there is none
    backend = open_backend(model_uri, threads=config.threads)
    check_same_classes(
        backend.class_names, validation.class_names, what=f"{model_uri} and {shards_uri}"
    )
    detections, tallies = _detect(model_uri, shards_uri, backend.info, config)
    result = _result(
        validation,
        detections,
        tallies,
        model_uri=model_uri,
        info=backend.info,
        config=config,
        frequency=training_images(shards_uri),
    )
    write_detections(detections, storage.join(out_uri, DETECTIONS_TABLE))
    write_coco_results(detections, storage.join(out_uri, DETECTIONS_FILE))
    errors = analyse_errors(
        detections,
        validation.of_dataset(validation.headline),
        num_classes=len(validation.class_names),
        dataset=validation.headline,
        config=config.errors,
    )
    _write(out_uri, ERRORS_FILE, errors)
    if plan_uri:
        places = {"shards_uri": shards_uri, "plan_uri": plan_uri}
        ranking = _rank(backend, validation, detections, result, config, **places)
        _write(out_uri, SOURCES_FILE, ranking)
    challenge = _in_own_classes(own_classes, validation, detections, out_uri)
    result = result.model_copy(update={"openimages": challenge})
    _write(out_uri, METRICS_FILE, result)  # last: it says that the evaluation is whole
    return result


def _write(out_uri: str, name: str, content: Config) -> None:
    storage.write_text(storage.join(out_uri, name), content.model_dump_json(indent=2))


def _detect(
    model_uri: str, shards_uri: str, info: DetectorInfo, config: EvaluateConfig
) -> tuple[list[Detections], dict[str, ApTally]]:
    jobs = [
        PartJob(
            model_uri=storage.absolute(model_uri),
            shards_uri=storage.absolute(shards_uri),
            detect=_thresholds(info, config),
            batch_size=config.batch_size,
            threads=config.threads,
            max_detections=config.max_detections,
            rank=rank,
            world_size=config.workers,
        )
        for rank in range(config.workers)
    ]
    return join_parts(map_tasks(evaluate_part, jobs, num_cpus=config.threads or 1))


def _thresholds(info: DetectorInfo, config: EvaluateConfig) -> DetectConfig:
    """Return the thresholds; 500 objects stay, as some fall out for being of unknown classes."""
    score, iou = config.score_threshold, config.iou_threshold
    return DetectConfig(
        score_threshold=info.score_threshold if score is None else score,
        iou_threshold=info.iou_threshold if iou is None else iou,
    )


def _result(
    validation: ValidationSet,
    detections: Sequence[Detections],
    tallies: Mapping[str, ApTally],
    *,
    model_uri: str,
    info: DetectorInfo,
    config: EvaluateConfig,
    frequency: Mapping[int, int],
) -> EvaluateResult:
    names = validation.class_names
    datasets = {name: tally.result(names) for name, tally in tallies.items()}
    headline = datasets[validation.headline]
    overall = headline
    if len(datasets) > 1:
        first, *others = tallies.values()
        overall = sum(others, start=first).result(names)
    thresholds = _thresholds(info, config)
    groups = group_by_frequency(headline.per_class, frequency, config.frequency)
    return EvaluateResult(
        model=info.model,
        precision=info.precision,
        model_uri=model_uri,
        headline=validation.headline,
        **{name: getattr(headline, name) for name in _HEADLINE_FIGURES},
        overall=overall,
        datasets=datasets,
        frequency=groups if frequency else {},
        openimages={},
        cross_check=_cross_check(validation, detections, overall, config),
        score_threshold=thresholds.score_threshold,
        iou_threshold=thresholds.iou_threshold,
        max_detections=config.max_detections,
        image_size=info.image_size,
        label_space_sha256=validation.label_space_sha256,
        manifest_sha256=validation.manifest_sha256,
    )


_HEADLINE_FIGURES = (
    "ap",
    "ap50",
    "ap75",
    "ap_small",
    "ap_medium",
    "ap_large",
    "recall",
    "num_images",
    "num_objects",
)


def _cross_check(
    validation: ValidationSet,
    detections: Sequence[Detections],
    overall: ApResult,
    config: EvaluateConfig,
) -> float | None:
    if not config.cross_check:
        return None
    theirs = pycocotools_precision(
        detections,
        validation.truths,
        class_names=validation.class_names,
        max_detections=config.max_detections,
    )
    difference = largest_difference(overall, theirs)
    if difference > EXACT:
        raise DataError(
            f"hotcoco and pycocotools differ by {difference:.2g} in a figure",
            fix="report the versions of both; trust pycocotools",
        )
    return difference


def _rank(
    backend: Backend,
    validation: ValidationSet,
    detections: Sequence[Detections],
    result: EvaluateResult,
    config: EvaluateConfig,
    **places: str,
) -> SourceRanking:
    sources, found = look_at_sources(
        backend, detect_config=_thresholds(backend.info, config), config=config.sources, **places
    )
    for name, source in sources.items():
        own = result.datasets.get(name)
        source.val_ap = None if own is None else own.ap
    return rank_sources(
        sources,
        validation.of_dataset(validation.headline),
        [*detections, *found],
        num_classes=len(validation.class_names),
        headline_name=validation.headline,
        config=config.sources,
    )


def _own_classes(catalog_uri: str, validation: ValidationSet) -> dict[str, SourceClasses]:
    catalog = load_catalog(catalog_uri)
    space = LabelSpace.load(catalog.label_space)
    return {name: SourceClasses.of(catalog.dataset(name), space) for name in validation.datasets}


def _in_own_classes(
    own_classes: Mapping[str, SourceClasses],
    validation: ValidationSet,
    detections: Sequence[Detections],
    out_uri: str,
) -> dict[str, OpenImagesAp]:
    """Write each dataset's detections in its own classes; return the challenge's AP50."""
    challenge = {}
    for name, classes in own_classes.items():
        truths = validation.of_dataset(name)
        own = {truth.key for truth in truths}
        found = [item for item in detections if item.key in own]
        uri = storage.join(out_uri, f"detections.{name}.json")
        write_coco_results(found, uri, class_ids=classes.class_ids)
        if classes.ancestors:
            challenge[name] = openimages_ap50(
                found, truths, class_ids=classes.class_ids, ancestors=classes.ancestors
            )
    return challenge
