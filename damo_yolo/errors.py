"""Errors that tell a user what is wrong and how to fix it.

Everything a user can cause ends in a `DamoYoloError`; the command line prints it as two lines and
exits with 2. A traceback on a user's screen is a defect of this project.
"""


class DamoYoloError(Exception):
    """A problem the user can solve, and the next move that solves it."""

    def __init__(self, problem: str, *, fix: str) -> None:
        """Keep both sentences.

        Args:
            problem: what is wrong, naming the dataset, class, file or option concerned.
            fix: the next move, one sentence.
        """
        super().__init__(problem, fix)
        self.problem = problem
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.problem}\n  fix: {self.fix}"

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling that Ray workers rely on.
        return _rebuild, (type(self), self.problem, self.fix)


def _rebuild(kind: type[DamoYoloError], problem: str, fix: str) -> DamoYoloError:
    return kind(problem, fix=fix)


class ConfigError(DamoYoloError):
    """A setting is unknown, mistyped or out of range."""


class DataError(DamoYoloError):
    """An annotation, image, label mapping or shard is missing or broken."""


class StorageError(DamoYoloError):
    """A location cannot be read or written."""


class MissingExtraError(DamoYoloError):
    """An optional package is needed and not installed."""

    @classmethod
    def of(cls, package: str, *, extra: str) -> "MissingExtraError":
        """Return the error for `package`, naming the extra of this project that brings it."""
        return cls(
            f"the package '{package}' is not installed",
            fix=f'install the extra: pip install "damo-yolo-pipeline[{extra}]"',
        )


class TrainingError(DamoYoloError):
    """Training cannot start or go on (non-finite loss, mismatched checkpoint, too few workers)."""


class GateError(DamoYoloError):
    """A model version did not pass the gates of a promotion."""
