"""Every trial an MLflow run below the run of its sweep, logged from the driver."""

import logging
from dataclasses import dataclass

from damo_yolo import storage
from damo_yolo.errors import DamoYoloError
from damo_yolo.tracking import RunInfo, track
from damo_yolo.training.progress import read_metrics
from damo_yolo.tuning.objective import Figures
from damo_yolo.tuning.space import Values
from damo_yolo.tuning.trial import TRIALS

PARENT_TAG = "mlflow.parentRunId"
"""MLflow's own; its pages nest runs by it."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrackedTrials:
    """Where trials are tracked; without a location nothing is."""

    tracking_uri: str
    parent_run_id: str
    sweep_key: str
    out_uri: str

    def log(
        self,
        trial_id: str,
        values: Values,
        *,
        figures: Figures | None = None,
        tags: dict[str, str] | None = None,
    ) -> None:
        """Log what a trial's folder holds and is not logged yet; a tracker away ends no sweep.

        Args:
            trial_id: names the folder.
            values: the point.
            figures: measured at the end.
            tags: state and problem, once they are known.
        """
        if not self.tracking_uri:
            return
        records = [
            record
            for record in read_metrics(storage.join(self.out_uri, TRIALS, trial_id))
            if record["kind"] == "epoch"
        ]
        info = RunInfo(
            key=f"{self.sweep_key}-{trial_id}",
            name=f"trial {trial_id}",
            params=values,
            tags={PARENT_TAG: self.parent_run_id},
        )
        try:
            with track(info, self.tracking_uri) as run:
                run.log_metrics(records)
                if figures and records:
                    end = {"kind": "end", "step": records[-1]["step"], "time": records[-1]["time"]}
                    run.log_metrics([{**figures, **end}])
                run.set_tags(tags or {})
                if (tags or {}).get("state") == "failed":
                    run.fail()
        except DamoYoloError as error:
            logger.warning("trial %s is not tracked: %s", trial_id, error.problem)
