"""Sources against a model: a planted bad one is ranked worst, whether it was believed or not."""

import numpy as np
import pytest
from numpy.typing import NDArray

from damo_yolo.evaluation.ground_truth import ImageTruth
from damo_yolo.evaluation.sources import SourceConfig, SourceImages, SourceRanking, rank_sources
from damo_yolo.samples import Detections
from tests.evaluation_builders import BOX, make_found, make_truth

SHIFT = np.array([40.0, 0.0, 40.0, 0.0], np.float32)
"""BOX is 100 wide: shifted it has IoU 60 / 140 with itself."""
SHIFTED_IOU = 60 / 140


def images(name: str, label: int, *, shifted: bool = False, count: int = 10) -> list[ImageTruth]:
    box = np.array(BOX, np.float32) + SHIFT * shifted
    return [make_truth(f"{name}/{i}", boxes=[box.tolist()], labels=(label,)) for i in range(count)]


def sees(truths: list[ImageTruth], label: int, *, shifted: bool = False) -> list[Detections]:
    box = np.array(BOX, np.float32) + SHIFT * shifted
    return [make_found([box.tolist()], [0.9], [label], key=truth.key) for truth in truths]


def draws(*per_class: float) -> NDArray[np.float64]:
    return np.array([*per_class, sum(per_class)])


def rank(
    sources: dict[str, SourceImages], headline: list[ImageTruth], found: list[Detections]
) -> SourceRanking:
    return rank_sources(
        sources, headline, found, num_classes=3, headline_name="full", config=SourceConfig()
    )


def test_a_shifted_source_that_the_model_did_not_believe_is_worst() -> None:
    """All three teach class 0; the model finds the true place everywhere."""
    sources = {
        name: SourceImages(images(name, 0, shifted=name == "bad"), draws(100, 0, 0))
        for name in ("coco", "bad", "voc")
    }
    headline = images("full", 0)
    every = [*headline, *(t for source in sources.values() for t in source.truths)]

    ranking = rank(sources, headline, sees(every, 0))

    worst, *others = ranking.sources
    assert worst.name == "bad"
    assert worst.own_agreement == pytest.approx(SHIFTED_IOU)
    assert worst.score == pytest.approx(np.sqrt(SHIFTED_IOU))
    assert worst.offset_x == pytest.approx(-0.4)
    assert worst.offset_y == 0
    assert [item.score for item in others] == pytest.approx([1.0, 1.0])
    assert ranking.classes[0].source == "bad"
    assert ranking.classes[0].effect < min(item.effect for item in ranking.classes[1:])


def test_a_shifted_source_that_the_model_believed_is_worst_too() -> None:
    """Only `bad` teaches class 1: the model agrees with it and fails on the trusted images."""
    sources = {
        "bad": SourceImages(images("bad", 1, shifted=True), draws(0, 100, 0)),
        "coco": SourceImages(images("coco", 0), draws(100, 0, 0)),
    }
    headline = [*images("full", 0), *images("full/b", 1)]
    found = [
        *sees(list(sources["bad"].truths), 1, shifted=True),
        *sees(list(sources["coco"].truths), 0),
        *sees(headline[:10], 0),
        *sees(headline[10:], 1, shifted=True),
    ]

    worst, best = rank(sources, headline, found).sources

    assert (worst.name, best.name) == ("bad", "coco")
    assert (worst.own_agreement, worst.taught) == pytest.approx((1.0, SHIFTED_IOU))
    assert best.score == pytest.approx(1.0)


def test_wrong_names_count_as_disagreement() -> None:
    sources = {
        "bad": SourceImages(images("bad", 2), draws(0, 0, 50)),  # calls class 0 class 2
        "coco": SourceImages(images("coco", 0), draws(50, 0, 0)),
    }
    headline = images("full", 0)
    every = [*headline, *sources["bad"].truths, *sources["coco"].truths]

    worst = rank(sources, headline, sees(every, 0)).sources[0]

    assert (worst.name, worst.own_agreement, worst.score) == ("bad", 0.0, 0.0)


def test_shares_are_of_the_draws_and_of_each_class() -> None:
    sources = {
        "coco": SourceImages(images("coco", 0), draws(30, 10, 0), val_ap=0.5),
        "voc": SourceImages(images("voc", 0), draws(90, 0, 0)),
    }
    headline = images("full", 0)
    every = [*headline, *sources["coco"].truths, *sources["voc"].truths]

    ranking = rank(sources, headline, sees(every, 0))

    share = {item.name: item.draws_share for item in ranking.sources}
    assert share == pytest.approx({"coco": 40 / 130, "voc": 90 / 130})
    assert {i.source: i.draws_share for i in ranking.classes} == {"coco": 0.25, "voc": 0.75}
    assert {item.name: item.val_ap for item in ranking.sources} == {"coco": 0.5, "voc": None}


def test_unsure_detections_are_no_opinion_and_crowds_no_object() -> None:
    truth = make_truth("coco/1", boxes=[BOX, BOX], labels=(0, 0), crowd=[False, True])
    unsure = make_found([BOX], [0.05], [0], key="coco/1")

    (source,) = rank({"coco": SourceImages([truth], draws(1, 0, 0))}, [], [unsure]).sources

    assert (source.num_objects, source.own_agreement) == (1, 0.0)


def test_classes_with_few_objects_are_not_listed() -> None:
    sources = {"coco": SourceImages(images("coco", 0, count=4), draws(4, 0, 0))}

    assert rank(sources, [], []).classes == ()
