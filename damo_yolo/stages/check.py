"""Check the datasets of a catalog before anything is built on them."""

import pyarrow as pa

from damo_yolo import storage
from damo_yolo.compute.streams import stream_tasks
from damo_yolo.config import Config
from damo_yolo.datasets.catalog import SPLITS, Catalog, load_catalog
from damo_yolo.datasets.checks import (
    NOTHING_TO_DO,
    CheckTask,
    Problem,
    SplitCheck,
    checked_chunks,
)
from damo_yolo.datasets.digest import catalog_digest
from damo_yolo.datasets.duplicates import PRINT_SCHEMA, Match, find_matches
from damo_yolo.datasets.readers import DEFAULT_MEMORY_MB
from damo_yolo.errors import DataError
from damo_yolo.labels.space import LabelSpace

MATCHES_LISTED = 1000
"""How many pairs the report names of each kind; all are counted."""
PICTURED = 20
"""How many pairs the page shows of each kind."""

LEAK_FIX = "in the 'exclude' of either split; check.json names them under 'matches'"
MATCH_FIXES = {
    "leaks": f"list them {LEAK_FIX}",
    "near leaks": f"look at them; list what is one picture {LEAK_FIX}",
    "duplicates across datasets": f"{NOTHING_TO_DO}; or list them in the 'exclude' of one dataset,"
    " if the picture should not count twice",
    "near duplicates across datasets": "look at them; list in 'exclude' what should not count",
    "duplicates within a dataset": f"{NOTHING_TO_DO}, unless there are many: then list them in"
    " 'exclude'",
    "near duplicates within a dataset": f"{NOTHING_TO_DO}, unless there are many: then"
    " look at them",
}


class SplitFacts(Config):
    """What one split of one dataset holds."""

    images: int
    background: int
    """Images without any object."""
    boxes: int
    """Usable boxes, crowds among them."""


class PicturePair(Config):
    """Two images of one picture."""

    kind: str
    """As the warning that counts them."""
    first: str
    """Key; of a leak, that of the validation image."""
    second: str
    first_uri: str
    second_uri: str


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
    """Dirt that is taken care of, leaks and duplicates."""
    matches: tuple[PicturePair, ...]
    """Images that come twice, the first thousand of each kind."""
    report_uri: str
    page_uri: str
    """The same for people; empty where none was asked for."""

    @property
    def leaks(self) -> tuple[tuple[str, str], ...]:
        """Keys of val image and train image that are one picture."""
        return tuple((m.first, m.second) for m in self.matches if m.kind.endswith("leaks"))

    def raise_on_errors(self) -> None:
        """Raise `DataError` with the first error's sentence, and how many more there are."""
        if self.errors:
            first, *more = self.errors
            tail = f" (and {len(more)} more problems, see {self.report_uri})" if more else ""
            raise DataError(first.problem + tail, fix=first.fix)


def check_catalog(
    catalog_uri: str,
    report_uri: str,
    *,
    decode: bool = False,
    similar: bool = False,
    page: bool = False,
    spread: bool = False,
    memory_mb: int = DEFAULT_MEMORY_MB,
) -> CheckResult:
    """Look at every dataset, every annotation and every image; write `check.json`.

    Args:
        catalog_uri: catalog file.
        report_uri: folder for the report.
        decode: decode the pixels of every image, not only where a JPEG lacks its end.
        similar: look for leaks and duplicates by perceptual hash too; decodes every image.
        page: write `check.html`, too.
        spread: look at the datasets on the Ray cluster of RAY_ADDRESS, or on a local one.
        memory_mb: what joins and sorts of annotations may hold at once.

    Returns:
        What was found; `raise_on_errors` turns errors into an exception.

    Raises:
        DataError: there is no catalog, or its label space is broken.
        ConfigError: the catalog does not fit.
    """
    catalog = load_catalog(catalog_uri)
    space = LabelSpace.load(catalog.label_space)
    tasks = [
        CheckTask(spec, split, space, decode, similar, memory_mb)
        for spec in catalog.datasets
        for split in SPLITS
        if spec.split(split) is not None
    ]
    checks, prints = _checked(tasks, spread=spread)
    matches = find_matches(prints)
    result = CheckResult(
        catalog=catalog.name,
        catalog_digest=catalog_digest(catalog),
        num_images=sum(check.images for check in checks),
        num_boxes=sum(check.boxes for check in checks),
        datasets=_facts(checks, catalog),
        errors=tuple(problem for check in checks for problem in check.all_errors()),
        warnings=(*(item for check in checks for item in check.warnings()), *_warnings(matches)),
        matches=_listed(matches),
        report_uri=storage.join(report_uri, "check.json"),
        page_uri=storage.join(report_uri, "check.html") if page else "",
    )
    storage.write_text(result.report_uri, result.model_dump_json(indent=2))
    if page:
        from damo_yolo.reporting.check_page import render_check_page

        storage.write_text(result.page_uri, render_check_page(result.model_dump(), PICTURED))
    return result


def _checked(tasks: list[CheckTask], *, spread: bool) -> tuple[list[SplitCheck], pa.Table]:
    checks = {(t.spec.name, t.split): SplitCheck(t.spec.name, t.split) for t in tasks}
    prints = [PRINT_SCHEMA.empty_table()]
    for chunk in stream_tasks(checked_chunks, tasks, spread=spread):
        checks[chunk.check.dataset, chunk.check.split].update(chunk.check)
        prints.append(chunk.prints)
    return list(checks.values()), pa.concat_tables(prints)


def _facts(checks: list[SplitCheck], catalog: Catalog) -> dict[str, dict[str, SplitFacts]]:
    facts: dict[str, dict[str, SplitFacts]] = {spec.name: {} for spec in catalog.datasets}
    for check in checks:
        facts[check.dataset][check.split] = SplitFacts(
            images=check.images, background=check.background, boxes=check.boxes
        )
    return facts


def _kind(match: Match) -> str:
    place = "across datasets" if match.is_across_datasets else "within a dataset"
    kind = "leaks" if match.is_leak else f"duplicates {place}"
    return kind if match.kind == "exact" else f"near {kind}"


def _listed(matches: list[Match]) -> tuple[PicturePair, ...]:
    pairs = [
        PicturePair(
            kind=_kind(match),
            first=match.first.key,
            second=match.second.key,
            first_uri=match.first.uri,
            second_uri=match.second.uri,
        )
        for match in matches
    ]
    return tuple(
        pair
        for kind in MATCH_FIXES
        for pair in [pair for pair in pairs if pair.kind == kind][:MATCHES_LISTED]
    )


def _warnings(matches: list[Match]) -> list[Problem]:
    problems = []
    for kind, fix in MATCH_FIXES.items():
        found = [match for match in matches if _kind(match) == kind]
        if found:
            first = found[0].first
            problems.append(
                Problem(
                    dataset=first.part[0],
                    split=first.split,
                    kind=kind,
                    problem=_sentence(kind, found),
                    fix=fix,
                )
            )
    return problems


def _sentence(kind: str, found: list[Match]) -> str:
    count = len({match.first.key for match in found})
    first, second = found[0].first.key, found[0].second.key
    what = {
        "leaks": "validation images that are in the training data too",
        "near leaks": "validation images that look like training images",
    }.get(kind, f"images with {kind}")
    return f"{what}: {count}, first: {first} as {second}"
