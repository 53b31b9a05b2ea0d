from typing import Any

import pytest

from damo_yolo.tuning.objective import goals_of
from damo_yolo.tuning.search import SearchConfig, SearchPlan, _places
from damo_yolo.tuning.space import load_space


@pytest.mark.parametrize(
    ("objective", "scheduler", "places"),
    [
        ("pareto", "asha", 1),  # a second trial would double the latency of the first
        ("ap", "pbt", 7),  # a population is compared as a whole
    ],
)
def test_trials_share_the_machine_only_where_that_changes_no_figure(
    objective: str, scheduler: Any, places: int
) -> None:
    plan = SearchPlan(
        name="search",
        folder_uri="",
        config=SearchConfig(trials=7, scheduler=scheduler),
        points=[],
        space=load_space("loss-weights"),
        goals=goals_of(objective),
    )

    assert _places(plan) == places
