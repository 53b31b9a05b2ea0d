import re
import tomllib
from pathlib import Path

import pytest

from damo_yolo.compute.rayjob_manifest import RAY_VERSION, USER_ID

ROOT = Path(__file__).resolve().parents[3]
IMAGES = sorted((ROOT / "infra" / "images").glob("Containerfile.*"))


def _instructions(path: Path) -> list[tuple[str, str]]:
    """Return instruction and arguments, continued lines joined."""
    text = re.sub(r"\\\n", "", path.read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines]


def _name(path: Path) -> str:
    return path.name


def test_there_is_an_image_for_cpu_and_one_for_gpu() -> None:
    assert [path.name for path in IMAGES] == ["Containerfile.cpu", "Containerfile.gpu"]


@pytest.mark.parametrize("path", IMAGES, ids=_name)
def test_everything_copied_exists_and_is_let_into_the_build(path: Path) -> None:
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    sources = [
        source
        for instruction, arguments in _instructions(path)
        if instruction == "COPY"
        for source in arguments.split()[:-1]
    ]

    assert {"pyproject.toml", "constraints.txt", "damo_yolo", "infra/bin"} <= set(sources)
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert [source for source in sources if source not in let_in] == []


@pytest.mark.parametrize("path", IMAGES, ids=_name)
def test_it_runs_as_the_user_that_pods_ask_for(path: Path) -> None:
    instructions = _instructions(path)
    users = [arguments for instruction, arguments in instructions if instruction == "USER"]

    assert users == [f"{USER_ID}:{USER_ID}"]
    assert any(f"--uid {USER_ID} " in arguments for _, arguments in instructions)


@pytest.mark.parametrize("path", IMAGES, ids=_name)
def test_it_installs_the_known_versions_and_puts_the_kfp_command_first(path: Path) -> None:
    instructions = _instructions(path)
    installs = [
        arguments for name, arguments in instructions if name == "RUN" and "pip" in arguments
    ]

    assert "--constraint constraints.txt" in installs[0]
    assert "--no-deps" in installs[1]
    assert any(
        name == "ENV" and "PATH=/app/infra/bin:" in arguments for name, arguments in instructions
    )


@pytest.mark.parametrize(("image", "extra"), [("cpu", "sample"), ("gpu", "tensorrt")])
def test_the_extras_it_installs_exist(image: str, extra: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (ROOT / "infra" / "images" / f"Containerfile.{image}").read_text(encoding="utf-8")

    assert extra in project["optional-dependencies"]
    assert f"['{extra}']" in text


def test_jobs_name_the_ray_version_of_the_image() -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()

    assert f"ray=={RAY_VERSION}" in pins
