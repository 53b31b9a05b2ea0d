"""One Ray cluster for the tests of a module: starting it takes longer than most of them."""

from collections.abc import Iterator

import pytest

from damo_yolo.compute.ray_cluster import connect


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[None]:
    """Four logical CPUs on this machine, however many it has."""
    with connect(num_cpus=4):
        yield
