"""Check the datasets of a catalog before anything is built on them."""

from damo_yolo import storage
from damo_yolo.config import Config
from damo_yolo.datasets.catalog import SPLITS, Catalog, load_catalog
from damo_yolo.datasets.checks import Problem, SplitCheck, check_split
from damo_yolo.datasets.digest import catalog_digest
from damo_yolo.datasets.leaks import LeakFinder
from damo_yolo.errors import DamoYoloError, DataError
from damo_yolo.labels.mapping import LabelMapping
from damo_yolo.labels.space import LabelSpace

LEAKS_LISTED = 1000
"""How many leaks the report names; all are counted."""


class SplitFacts(Config):
    """What one split of one dataset holds."""

    images: int
    background: int
    """Images without any object."""
    boxes: int
    """Usable boxes, crowds among them."""


class CheckResult(Config):
    """Content of `check.json`."""

    catalog: str
    catalog_digest: str
    num_images: int
    """Images looked at, broken ones among them."""
    num_boxes: int
    datasets: dict[str, dict[str, SplitFacts]]
    """By dataset and split."""
    errors: tuple[Problem, ...]
    """A run is impossible until these are solved."""
    warnings: tuple[Problem, ...]
    """Dirt that is taken care of, and leaks."""
    leaks: tuple[tuple[str, str], ...]
    """Keys of val image and train image with the same content, the first thousand."""
    report_uri: str

    def raise_on_errors(self) -> None:
        """Raise `DataError` with the first error's sentence, and how many more there are."""
        if self.errors:
            first, *more = self.errors
            tail = f" (and {len(more)} more problems, see {self.report_uri})" if more else ""
            raise DataError(first.problem + tail, fix=first.fix)


def check_catalog(
    catalog_uri: str, report_uri: str, *, decode: bool = False, similar: bool = False
) -> CheckResult:
    """Look at every dataset, every annotation and every image; write `check.json`.

    Args:
        catalog_uri: catalog file.
        report_uri: folder for the report.
        decode: decode the pixels of every image, not only where a JPEG lacks its end.
        similar: look for leaks by perceptual hash too; decodes every image.

    Returns:
        What was found; `raise_on_errors` turns errors into an exception.

    Raises:
        DataError: there is no catalog, or its label space is broken.
        ConfigError: the catalog does not fit.
    """
    catalog = load_catalog(catalog_uri)
    leaks = LeakFinder(similar=similar)
    checks = _check_splits(catalog, leaks, decode=decode or similar)
    pairs = leaks.pairs()
    report = storage.join(report_uri, "check.json")
    result = CheckResult(
        catalog=catalog.name,
        catalog_digest=catalog_digest(catalog),
        num_images=sum(check.images for check in checks),
        num_boxes=sum(check.boxes for check in checks),
        datasets=_facts(checks),
        errors=tuple(problem for check in checks for problem in check.all_errors()),
        warnings=(*(item for check in checks for item in check.warnings()), *_leaked(pairs)),
        leaks=tuple(pairs[:LEAKS_LISTED]),
        report_uri=report,
    )
    storage.write_text(report, result.model_dump_json(indent=2))
    return result


def _check_splits(catalog: Catalog, leaks: LeakFinder, *, decode: bool) -> list[SplitCheck]:
    space = LabelSpace.load(catalog.label_space)
    checks = []
    for split in reversed(SPLITS):  # val first: of train, only what may match it is kept
        for spec in catalog.datasets:
            if spec.split(split) is None:
                continue
            check = SplitCheck(spec.name, split)
            checks.append(check)
            try:
                mapping = LabelMapping.load(spec.mapping, space)
            except DamoYoloError as error:
                check.fail(error, kind="broken label mapping")
                continue
            for item in check_split(spec, split, mapping, check, decode=decode):
                uri = item.image.image_uri
                leaks.add(split, item.key, uri, num_bytes=item.header.num_bytes)
    names = [spec.name for spec in catalog.datasets]
    return sorted(checks, key=lambda check: (names.index(check.dataset), check.split != "train"))


def _facts(checks: list[SplitCheck]) -> dict[str, dict[str, SplitFacts]]:
    facts: dict[str, dict[str, SplitFacts]] = {}
    for check in checks:
        facts.setdefault(check.dataset, {})[check.split] = SplitFacts(
            images=check.images, background=check.background, boxes=check.boxes
        )
    return facts


def _leaked(pairs: list[tuple[str, str]]) -> list[Problem]:
    if not pairs:
        return []
    val_key, train_key = pairs[0]
    return [
        Problem(
            dataset=val_key.partition("/")[0],
            split="val",
            kind="leaks",
            problem=f"{len({key for key, _ in pairs})} validation images are in the training data"
            f" too, first: {val_key} as {train_key}",
            fix="list them in the 'exclude' of either split; check.json names them under 'leaks'",
        )
    ]
