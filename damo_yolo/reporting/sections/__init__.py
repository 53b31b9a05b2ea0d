"""The sections of a run's report: each shows what its stages left, or is left out."""

from collections.abc import Callable

from damo_yolo.reporting.gather import RunFiles
from damo_yolo.reporting.page import Section
from damo_yolo.reporting.sections.data import data_section
from damo_yolo.reporting.sections.delivery import delivery_section, lineage_section
from damo_yolo.reporting.sections.errors import error_section
from damo_yolo.reporting.sections.evaluation import evaluation_section
from damo_yolo.reporting.sections.sources import source_section
from damo_yolo.reporting.sections.training import distillation_section, training_section
from damo_yolo.reporting.sections.tuning import tuning_section

SECTIONS: tuple[Callable[[RunFiles], Section | None], ...] = (
    data_section,
    tuning_section,
    training_section,
    distillation_section,
    evaluation_section,
    error_section,
    source_section,
    delivery_section,
    lineage_section,
)
"""In the order of the page. A new section is one function here: None where it has nothing."""


def sections_of(files: RunFiles) -> list[Section]:
    """Return the sections that have something to show."""
    return [section for make in SECTIONS if (section := make(files)) is not None]
