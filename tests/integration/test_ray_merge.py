"""Check and merge over two Ray nodes: the same bytes as here, errors as here.

pytest -m slow tests/integration/test_ray_merge.py
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from damo_yolo.errors import DataError
from damo_yolo.stages.check import check_catalog
from damo_yolo.stages.merge import merge_datasets
from tests.unit.datasets.tiny import annotation, coco_spec, write_catalog, write_coco

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def _two_nodes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="ray-") as root:
        patch.setenv("RAY_TMPDIR", root)  # other clusters of this machine stay known as they are
        import ray
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False)
        nodes = ray.nodes()  # type: ignore[no-untyped-call]  # Ray has no types here
        assert len(nodes) == 2
        yield
        ray.shutdown()
        cluster.shutdown()  # type: ignore[no-untyped-call]  # Ray has no types here


@pytest.fixture
def catalog(tmp_path: Path) -> str:
    """Four datasets, more than there are CPUs, of three images each."""
    specs = []
    for name in ("a", "b", "c", "d"):
        (tmp_path / name).mkdir()
        objects = [annotation(place, 7, [0, 0, 9 + place, 9]) for place in range(3)]
        write_coco(tmp_path / name, objects, names=("1.jpg", "2.jpg", "3.jpg"))
        where = {"annotations": f"{name}/train.json", "images": f"{name}/train"}
        specs.append(coco_spec(name=name, train=where, val=where))
    return str(write_catalog(tmp_path, *specs))


@pytest.mark.usefixtures("_two_nodes")
def test_merging_over_two_nodes_gives_the_same_bytes(catalog: str, tmp_path: Path) -> None:
    merge_datasets(catalog, str(tmp_path / "here"))
    merge_datasets(catalog, str(tmp_path / "ray"), spread=True)
    files = sorted((tmp_path / "here").iterdir())

    assert len(files) == 5
    for file in files:
        assert file.read_bytes() == (tmp_path / "ray" / file.name).read_bytes(), file.name


@pytest.mark.usefixtures("_two_nodes")
def test_checking_over_two_nodes_finds_the_same(catalog: str, tmp_path: Path) -> None:
    here = check_catalog(catalog, str(tmp_path / "report"), similar=True)
    there = check_catalog(catalog, str(tmp_path / "report"), similar=True, spread=True)

    assert here.leaks
    assert here == there


@pytest.mark.usefixtures("_two_nodes")
def test_an_error_of_a_task_is_the_error_of_the_merge(catalog: str, tmp_path: Path) -> None:
    data = json.loads((tmp_path / "c/train.json").read_text())
    data["annotations"][0]["category_id"] = 99
    (tmp_path / "c/train.json").write_text(json.dumps(data))

    with pytest.raises(DataError, match="has category 99") as caught:
        merge_datasets(catalog, str(tmp_path / "ray"), spread=True)
    assert caught.value.fix == "add the category to the file, or correct the annotation"
    assert not (tmp_path / "ray/train.parquet").exists()
