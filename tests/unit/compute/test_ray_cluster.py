import os
import sys
from types import SimpleNamespace

import pytest

from damo_yolo.compute import ray_cluster
from damo_yolo.errors import TrainingError


class _Ray:
    """Stands for the ray package: notes what is called."""

    def __init__(self, *, is_up: bool = False, answers: bool = True) -> None:
        self.is_up, self.answers = is_up, answers
        self.calls: list[tuple[str, dict[str, object]]] = []

    def is_initialized(self) -> bool:
        return self.is_up

    def init(self, **settings: object) -> None:
        if not self.answers:
            raise ConnectionError("nobody there")
        self.calls.append(("init", settings))

    def shutdown(self) -> None:
        self.calls.append(("shutdown", {}))

    def kill_log_monitor(self, **settings: object) -> None:
        self.calls.append(("end log monitor", settings))


def _install(monkeypatch: pytest.MonkeyPatch, ray: _Ray, *, address: str = "") -> None:
    monkeypatch.setitem(sys.modules, "ray", ray)
    private = SimpleNamespace(worker=SimpleNamespace(_global_node=ray))
    monkeypatch.setitem(sys.modules, "ray._private", private)
    monkeypatch.setattr(os, "environ", {"RAY_ADDRESS": address} if address else {})


def test_a_local_cluster_is_started_quietly_and_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = _Ray()
    _install(monkeypatch, ray)

    with ray_cluster.connect(num_cpus=64) as is_own:
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
        assert is_own

    assert [name for name, _ in ray.calls] == ["init", "end log monitor", "shutdown"]
    assert ray.calls[0][1]["num_cpus"] == 64
    assert ray.calls[0][1]["address"] == "local", "not one that somebody else left running"
    assert ray.calls[0][1]["include_dashboard"] is False


def test_a_setting_of_the_user_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, _Ray())
    os.environ["RAY_USAGE_STATS_ENABLED"] = "1"

    with ray_cluster.connect():
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1"


def test_a_cluster_of_somebody_else_is_attached_to(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = _Ray()
    _install(monkeypatch, ray, address="head:6379")

    with ray_cluster.connect():
        assert "RAY_AUTH_MODE" not in os.environ, "its own rules hold there"

    assert ray.calls[0][1]["address"] == "head:6379"


def test_a_connection_of_the_process_is_used_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = _Ray(is_up=True)
    _install(monkeypatch, ray)

    with ray_cluster.connect() as is_own:
        assert not is_own

    assert ray.calls == []


def test_a_dashboard_keeps_what_feeds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = _Ray()
    _install(monkeypatch, ray)

    with ray_cluster.connect(include_dashboard=True):
        pass

    assert [name for name, _ in ray.calls] == ["init", "shutdown"]


def test_a_cluster_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, _Ray(answers=False), address="head:6379")

    with pytest.raises(TrainingError, match="RAY_ADDRESS=head:6379"), ray_cluster.connect():
        pass
