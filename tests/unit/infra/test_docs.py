import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")


def test_every_file_that_the_page_names_exists() -> None:
    named = set(re.findall(r"(?:infra|pipelines|damo_yolo)/[\w./-]*\w", PAGE))

    assert len(named) > 10
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def test_the_page_names_every_object_of_the_base_and_the_secret() -> None:
    files = [*(ROOT / "infra" / "k8s" / "base").glob("*.yaml")]
    files.append(ROOT / "infra" / "k8s" / "secret.example.yaml")
    objects = [item for path in files for item in yaml.safe_load_all(path.read_text("utf-8"))]
    names = {item["metadata"]["name"] for item in objects if "metadata" in item}

    assert len(names) == 6  # namespace, account, role (and binding), claim, policy, secret
    assert {name for name in names if f"`{name}`" not in PAGE} == set()


def test_the_page_explains_every_key_of_the_secret() -> None:
    text = (ROOT / "infra" / "k8s" / "secret.example.yaml").read_text("utf-8")

    assert [key for key in yaml.safe_load(text)["stringData"] if f"`{key}`" not in PAGE] == []
