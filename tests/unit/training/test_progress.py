from pathlib import Path
from typing import Any

from damo_yolo.training.progress import MetricsLog, describe, following, read_metrics


def _record(step: int, kind: str = "step") -> dict[str, Any]:
    return {"kind": kind, "step": step, "epoch": 1, "total": 2.0, "images_per_s": 10.0}


def test_lines_after_the_checkpoint_are_taken_back(tmp_path: Path) -> None:
    log = MetricsLog(str(tmp_path), start_step=0)
    for step in (10, 20, 30):
        log.add(_record(step))

    resumed = MetricsLog(str(tmp_path), start_step=20)
    resumed.add(_record(25))

    assert [record["step"] for record in read_metrics(str(tmp_path))] == [10, 20, 25]


def test_a_folder_without_metrics_has_no_lines(tmp_path: Path) -> None:
    assert read_metrics(str(tmp_path)) == []


def test_followers_see_every_line_once_even_when_it_is_written_again(tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []

    def take(records: Any) -> None:
        seen.extend((record["kind"], record["step"]) for record in records)

    log = MetricsLog(str(tmp_path), start_step=0)
    log.add(_record(10))
    with following(str(tmp_path), [take], period_s=0.01):
        log.add(_record(20))
        again = MetricsLog(str(tmp_path), start_step=10)
        again.add(_record(20))
        again.add(_record(20, kind="epoch"))

    assert seen == [("step", 10), ("step", 20), ("epoch", 20)]


def test_a_line_for_people_names_the_teacher_only_when_there_is_one() -> None:
    assert describe(_record(20)) == "step 20: loss 2.000, 10.0 images/s"
    taught = _record(40, kind="epoch") | {"distill": 0.5}
    assert describe(taught) == "epoch 1 done, step 40: loss 2.000, distill 0.500, 10.0 images/s"


def test_a_line_of_an_epoch_says_what_a_person_wants_to_know() -> None:
    record = _record(40, kind="epoch") | {
        "qfl": 0.5, "giou": 1.0, "dfl": 0.25, "lr": 0.004, "memory_mib": 537.4,
        "left_s": 3725.0, "ap": 0.312, "ap50": 0.5,
        "broken": 2, "broken_images": ["toy/3", "toy/7"],
    }  # fmt: skip

    assert describe(record) == (
        "epoch 1 done, step 40: loss 2.000, qfl 0.500, giou 1.000, dfl 0.250, lr 4.00e-03, "
        "AP 0.312, AP50 0.500, 10.0 images/s, 537 MiB, 2 broken images (toy/3, toy/7), "
        "1:02:05 left"
    )


def test_a_line_names_the_first_broken_images() -> None:
    names = [f"toy/{n}" for n in range(7)]
    record = _record(40, kind="epoch") | {"broken": 7, "broken_images": names}

    assert "7 broken images (toy/0, toy/1, toy/2, toy/3, toy/4, …)" in describe(record)


def test_the_log_for_people_has_one_line_an_epoch_also_after_a_restart(tmp_path: Path) -> None:
    log = MetricsLog(str(tmp_path), start_step=0)
    for step in (10, 20):
        log.add(_record(step) | {"time": 0})
        log.add(_record(step, kind="epoch") | {"time": 0})
    again = MetricsLog(str(tmp_path), start_step=10)
    again.add(_record(20, kind="epoch") | {"time": 60})

    assert (tmp_path / "train.log").read_text().splitlines() == [
        "1970-01-01 00:00:00 epoch 1 done, step 10: loss 2.000, 10.0 images/s",
        "1970-01-01 00:01:00 epoch 1 done, step 20: loss 2.000, 10.0 images/s",
    ]


def test_a_line_in_the_writing_is_left_for_the_next_look(tmp_path: Path) -> None:
    log = MetricsLog(str(tmp_path), start_step=0)
    log.add(_record(10))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "st')

    assert [record["step"] for record in read_metrics(str(tmp_path))] == [10]
