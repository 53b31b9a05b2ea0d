from typing import Any

import pytest

from damo_yolo import storage


class _Listing:
    """An S3 client that lists the keys it was given."""

    def __init__(self, keys: list[str]) -> None:
        self.keys = keys

    def get_paginator(self, name: str) -> "_Listing":
        assert name == "list_objects_v2"
        return self

    def paginate(self, *, Bucket: str, Prefix: str) -> list[dict[str, Any]]:  # noqa: N803 - boto3's
        assert Bucket == "b"
        return [{"Contents": [{"Key": key} for key in self.keys if key.startswith(Prefix)]}]


def test_objects_that_stand_for_folders_are_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ["run/", "run/model.pt", "run/ray/", "runs/other.pt"]
    monkeypatch.setattr(storage, "_client", lambda: _Listing(keys))

    assert storage.list_uris("s3://b/run") == ["s3://b/run/model.pt"]
