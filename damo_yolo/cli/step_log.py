"""What KFP's local runner prints, told step by step: all of it in a file, the essence on screen."""

import io
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console

ANSI = re.compile(r"\x1b\[[0-9;]*m")
LOG_FORMAT = "%(asctime)s - %(levelname)s - %(message)s"
"""Of KFP's local runner; lines logged between two steps are given it too."""
RUNNER_LINE = re.compile(r"^\d\d:\d\d:\d\d(\.\d{3})? - (?P<level>[A-Z]+) - (?P<text>.*)$")
STARTED = re.compile(r"^Executing task '(?P<name>[^']+)'")
ENDED = re.compile(r"^Task '(?P<name>[^']+)' finished with status (?P<status>\w+)")
REUSED = re.compile(r"^Task '?(?P<name>[^' ]+)'? cache hit")
ERROR = re.compile(r"^\s*damo_yolo\.errors\.\w+: (?P<problem>.*)$")
FIX = re.compile(r"^\s*fix: (?P<fix>.*)$")
EXECUTOR = re.compile(r"^\[KFP Executor [^]]*\]: (?P<text>.*)$")
"""KFP's prefix of everything a step logs."""
EXECUTOR_NOISE = ("Looking for component", "Loading KFP", "Got executor_input", "Wrote executor")
RAY_ACTOR = re.compile(r"^\(\w+ pid=\d+")
"""Prefix of what Ray's own processes say; what concerns a user comes back as an error."""
NOISE = re.compile(
    r"^\s*$|Warning: |warn(ings)?\.warn|^\s+\w+\($|"
    r"^\d{4}[-/]\d\d[-/]\d\d .*(INFO|WARNING|WARN)\b"
)
"""What libraries say that no user asked for; it stays in the file."""
LAST_LINE = re.compile(r"^[A-Za-z_][\w.]*(Error|Exception|Interrupt)\b.*$")
INDENT = "    "


@dataclass(frozen=True, slots=True)
class StepFailed:
    """Why a step failed, in the words of the error it raised."""

    problem: str
    fix: str


class StepLog(io.TextIOBase):
    """A text stream that stands in for stdout while KFP runs a pipeline here.

    Every line goes to the file; a line per step, and what the steps themselves say, to the screen.
    """

    def __init__(
        self, path: Path, screen: Console, *, names: Mapping[str, str] | None = None
    ) -> None:
        """Open the file for appending.

        Args:
            path: log file that keeps every line of every run.
            screen: where a person looks; bound to the real stdout, which this object replaces.
            names: what a person calls a step, by the name KFP prints.
        """
        self.path = path
        self._screen = screen
        self._names = names or {}
        self._file = path.open("a", encoding="utf-8")
        self._pending = ""
        self._step = ""
        self._started = 0.0
        self._quiet_until = ""
        self._in_traceback = False
        self._problem = ""
        self._fix = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._file.close()

    def writable(self) -> bool:
        """Take text."""
        return True

    def write(self, text: str) -> int:
        """Take text; act on every finished line."""
        self._file.write(text)
        self._file.flush()
        *lines, self._pending = (self._pending + text).split("\n")
        for line in lines:
            self._tell(ANSI.sub("", line))
        return len(text)

    def failure(self) -> StepFailed | None:
        """Return the error of the step that failed, if it told one."""
        if not self._step:
            return None
        if self._problem:
            fix = self._fix or f"read {self.path}"
            return StepFailed(f"step {self._step}: {self._problem}", fix)
        return StepFailed(f"step {self._step} failed", f"read the end of {self.path}")

    def _tell(self, line: str) -> None:
        runner = RUNNER_LINE.match(line)
        if runner:
            self._tell_runner(runner["text"])
        elif line.startswith(INDENT):
            self._tell_step(line[len(INDENT) :])

    def _tell_runner(self, text: str) -> None:
        if match := STARTED.match(text):
            self._step, self._started = self._name(match), time.monotonic()
            self._problem, self._fix, self._in_traceback = "", "", False
            self._quiet_until = ""
            self._screen.print(f"[bold]{self._step}[/]")
        elif match := REUSED.match(text):
            self._screen.print(f"[bold]{self._name(match)}[/] [dim]reused[/]")
        elif match := ENDED.match(text):
            seconds = time.monotonic() - self._started
            colour = "green" if match["status"] == "SUCCESS" else "red"
            word = "done" if match["status"] == "SUCCESS" else "failed"
            self._screen.print(f"  [{colour}]{word}[/] [dim]{seconds:.1f} s[/]")
            self._quiet_until = "the next step"  # KFP lists the outputs now

    def _name(self, match: re.Match[str]) -> str:
        return self._names.get(match["name"], match["name"])

    def _tell_step(self, line: str) -> None:
        if RAY_ACTOR.match(line):
            return
        if self._quiet_until:
            self._quiet_until = "" if line.rstrip() == self._quiet_until else self._quiet_until
        elif match := EXECUTOR.match(line):
            self._in_traceback = False  # the step went on
            self._tell_logged(match["text"])
        elif self._in_traceback or "Traceback (most recent call last)" in line:
            self._in_traceback = True
            self._keep_reason(line)
        elif not NOISE.search(line):
            self._screen.print(f"  {line.rstrip()}", markup=False)

    def _keep_reason(self, line: str) -> None:
        """Keep a user's error and its fix, or else the last line of the traceback."""
        if match := ERROR.match(line):
            self._problem, self._fix = match["problem"], ""
        elif self._problem and (match := FIX.match(line)):
            self._fix = match["fix"]
        elif not self._fix and LAST_LINE.match(line):
            self._problem = line.rstrip()

    def _tell_logged(self, text: str) -> None:
        if text.startswith("Got executor_input"):
            self._quiet_until = "}"
        elif not text.startswith(EXECUTOR_NOISE) and not NOISE.search(text):
            self._screen.print(f"  {text}", markup=False)
