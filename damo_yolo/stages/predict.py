"""What a detector finds in pictures, folders, videos or a camera, drawn and listed."""

import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

from pydantic import Field

from damo_yolo.config import Config
from damo_yolo.errors import ConfigError, DataError
from damo_yolo.inference.draw import PICTURE_SUFFIXES
from damo_yolo.inference.predictor import NamedDetection, Predictor
from damo_yolo.inference.sources import (
    Frame,
    Unreadable,
    folder_of,
    frame_rate,
    is_stream,
    read_frames,
)
from damo_yolo.inference.write import (
    CocoWriter,
    CsvWriter,
    OutputForm,
    PictureWriter,
    VideoWriter,
    Writer,
    YoloWriter,
)

FORMS: tuple[OutputForm, ...] = ("pictures", "video", "coco", "yolo", "csv")

OnFrame = Callable[[Frame, Sequence[NamedDetection]], None]


class PredictConfig(Config):
    """What counts, and how long to look."""

    score_threshold: float = Field(default=0.3, ge=0, le=1)
    """Objects of lower score are left out: 0 shows everything, 1 nothing."""
    iou_threshold: float | None = Field(default=None, gt=0, le=1)
    """None: what the model was published with."""
    max_frames: int | None = Field(default=None, ge=1)
    """Of a camera or a long video; None: all."""
    threads: int | None = Field(default=None, ge=1)


class PredictResult(Config):
    """What was looked at and written."""

    num_images: int
    num_objects: int
    unreadable: dict[str, str]
    """Name to problem, of files that are no pictures."""
    images_per_s: float
    """Reading, network and post-processing; drawing and writing are not counted."""
    written: tuple[str, ...]


def predict_source(
    *,
    source: str,
    model_uri: str,
    out: Path | None = None,
    save: Sequence[OutputForm] = (),
    config: PredictConfig | None = None,
    on_frame: OnFrame | None = None,
) -> PredictResult:
    """Detect the objects of every picture of a source.

    Args:
        source: an image, a folder, a glob, a video, or the number of a camera.
        model_uri: anything `open_backend` opens.
        out: a folder; or one file, whose suffix says what it is: a picture, .mp4, .json (COCO),
            .csv. None: nothing is written.
        save: what goes into the folder; empty: pictures, or a video of a video.
        config: thresholds and limits.
        on_frame: told of every picture as it is done.

    Raises:
        ConfigError: the output is of no known kind, or would be written over the source.
        DataError: nothing could be read.
        StorageError: a location cannot be read or written.
    """
    config = config or PredictConfig()
    predictor = Predictor.open(
        model_uri,
        threads=config.threads,
        score_threshold=config.score_threshold,
        iou_threshold=config.iou_threshold,
    )
    writers = _writers(source, out, save, predictor.backend.class_names) if out else []
    seen = _Tally()
    begin = time.perf_counter()
    for frame in islice(read_frames(source), config.max_frames):
        if isinstance(frame, Unreadable):
            seen.unreadable[frame.name] = frame.problem
            continue
        found = predictor(frame.pixels)
        seen.count(found, time.perf_counter() - begin)
        if on_frame is not None:
            on_frame(frame, found)
        for writer in writers:
            writer.add(frame, found)
        begin = time.perf_counter()
    written = [str(path) for writer in writers for path in writer.close()]
    if not seen.num_images:
        name, problem = next(iter(seen.unreadable.items()))
        raise DataError(
            f"no picture of {source} can be read, first {name}: {problem}",
            fix="give JPEG, PNG, WebP, BMP or TIFF files",
        )
    return PredictResult(
        num_images=seen.num_images,
        num_objects=seen.num_objects,
        unreadable=seen.unreadable,
        images_per_s=round(seen.num_images / max(seen.seconds, 1e-9), 2),
        written=tuple(written),
    )


class _Tally:
    """Counts over the pictures."""

    def __init__(self) -> None:
        self.num_images = self.num_objects = 0
        self.seconds = 0.0
        self.unreadable: dict[str, str] = {}

    def count(self, found: Sequence[NamedDetection], seconds: float) -> None:
        self.num_images += 1
        self.num_objects += len(found)
        self.seconds += seconds


def _writers(
    source: str, out: Path, save: Sequence[OutputForm], class_names: Sequence[str]
) -> list[Writer]:
    suffix = out.suffix.lower()
    makers: dict[OutputForm, Callable[[], Writer]] = {
        "pictures": lambda: PictureWriter(out, only=out if suffix else None),
        "video": lambda: VideoWriter(
            out if suffix else out / f"{Path(source).stem}.mp4", frames_per_s=frame_rate(source)
        ),
        "coco": lambda: CocoWriter(out if suffix else out / "coco.json", class_names),
        "yolo": lambda: YoloWriter(out / "labels", class_names),
        "csv": lambda: CsvWriter(out if suffix else out / "detections.csv"),
    }
    if not suffix:
        forms = save or (("video",) if is_stream(source) else ("pictures",))
        makes_same_names = "pictures" in forms or "video" in forms
        if makes_same_names and not source.isdigit() and _same(out, folder_of(source)):
            raise _written_over(source, out)
        _refuse_video_of_pictures(source, forms)
        return [makers[form]() for form in forms]
    by_suffix: dict[str, OutputForm] = dict.fromkeys(PICTURE_SUFFIXES, "pictures")
    by_suffix |= {".mp4": "video", ".json": "coco", ".csv": "csv"}
    if suffix not in by_suffix or save:
        raise ConfigError(
            f"{out} is one file, and cannot hold what was asked for",
            fix="name a folder, or a file that ends in .jpg, .png, .mp4, .json or .csv without"
            " --save",
        )
    if by_suffix[suffix] == "pictures" and (is_stream(source) or not _is_one(source)):
        raise ConfigError(
            f"{source} is more than one picture, {out} is one", fix="name a folder with --out"
        )
    if _same(out, Path(source)):
        raise _written_over(source, out)
    _refuse_video_of_pictures(source, (by_suffix[suffix],))
    return [makers[by_suffix[suffix]]()]


def _same(first: Path, second: Path) -> bool:
    return first.resolve() == second.resolve()


def _written_over(source: str, out: Path) -> ConfigError:
    return ConfigError(
        f"{out} is where {source} lies: it would be written over",
        fix="name another place with --out",
    )


def _refuse_video_of_pictures(source: str, forms: Sequence[OutputForm]) -> None:
    if "video" in forms and not is_stream(source):
        raise ConfigError(
            f"{source} is no video, so none can be made of it", fix="save pictures instead"
        )


def _is_one(source: str) -> bool:
    return not Path(source).is_dir() and not any(mark in source for mark in "*?[")
