"""One process of a meeting of two: `python meeting_rank.py RANK HANGING_RANK FOLDER`."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch.distributed as dist

from damo_yolo.training.ranks import LostRankError, Meeting
from damo_yolo.training.reporter import GO_ON, PAUSE

TIMEOUT_S = 3.0


def main(rank: int, hanging_rank: int, folder: Path) -> None:
    """Agree once; then one of the ranks stays away."""
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    meeting = Meeting(TIMEOUT_S)
    answer: dict[str, Any] = {"agreed": meeting.agree(PAUSE if rank == 1 else GO_ON)}
    if rank == hanging_rank:
        time.sleep(3 * TIMEOUT_S)
    else:
        try:
            meeting.agree(GO_ON)
        except LostRankError as error:
            answer["problem"] = error.problem
    (folder / f"{rank}.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
