"""Local and s3:// locations behind one set of functions. The only module that imports boto3.

A location is a string: an absolute or relative path, or `s3://bucket/key`. Writing is atomic: a
reader sees the old object or the new one, never half of it. Remote calls retry by botocore's
`standard` mode, and wait for a store that goes away for minutes; credentials and endpoint come from
the usual AWS variables (AWS_ENDPOINT_URL for a server of one's own).
"""

import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

from damo_yolo.errors import StorageError

P = ParamSpec("P")
T = TypeVar("T")

CHUNK_BYTES = 1 << 20
MAX_CONNECTIONS = 32
"""Kept open to an object store by one process: as many requests can be under way at once."""
PATIENCE_S = 180.0
"""How long a store that answered before may be away, beyond the retries of one request."""
PAUSE_S = 2.0
MAX_ATTEMPTS = 8
"""Of one request, by botocore."""
SERVER_ERROR = 500

_answered: set[int] = set()
"""This process, once an object store has answered it; a forked one starts anew."""

logger = logging.getLogger(__name__)


def is_remote(uri: str) -> bool:
    """Tell whether the location is an object store's."""
    return uri.startswith("s3://")


def join(uri: str, *parts: str) -> str:
    """Append path parts to a location; an absolute or remote part replaces what came before."""
    for part in parts:
        is_absolute = is_remote(part) or part.startswith("/")
        uri = part if is_absolute else f"{uri.rstrip('/')}/{part}"
    return uri


def absolute(uri: str) -> str:
    """Return the location as other processes find it, whatever folder they run in; "" stays."""
    return str(Path(uri).absolute()) if uri and not is_remote(uri) else uri


def exists(uri: str) -> bool:
    """Tell whether a file or object is at the location."""
    if not is_remote(uri):
        return Path(uri).exists()
    try:
        _call(uri, _client().head_object, **_address(uri))
    except FileNotFoundError:
        return False
    return True


def read_bytes(uri: str) -> bytes:
    """Return the whole content.

    Raises:
        StorageError: nothing is there, or it cannot be read.
    """
    with _explained(uri, "read"):
        if is_remote(uri):
            return _call(uri, _get, **_address(uri))
        return Path(uri).read_bytes()


def read_text(uri: str) -> str:
    """Return the whole content as UTF-8 text; raises `StorageError` as `read_bytes` does."""
    try:
        return read_bytes(uri).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StorageError(f"{uri} is not UTF-8 text: {error}", fix="save it as UTF-8") from None


def read_range(uri: str, *, offset: int, size: int) -> bytes:
    """Return `size` bytes from `offset`; raises `StorageError` when they are not all there."""
    with _explained(uri, "read"):
        if is_remote(uri):
            span = f"bytes={offset}-{offset + size - 1}"
            data = _call(uri, _get, **_address(uri), Range=span)
        else:
            with Path(uri).open("rb") as file:
                file.seek(offset)
                data = file.read(size)
    if len(data) != size:
        raise StorageError(
            f"{uri} ends before byte {offset + size}", fix="write the file again: it is truncated"
        )
    return data


def write_bytes(uri: str, data: bytes) -> None:
    """Put the content at the location, atomically, making folders as needed."""
    with _explained(uri, "write"):
        if is_remote(uri):
            _call(uri, _client().put_object, **_address(uri), Body=data)
            return
        with atomic_path(Path(uri)) as path:
            path.write_bytes(data)


def write_text(uri: str, text: str) -> None:
    """Put UTF-8 text at the location, atomically."""
    write_bytes(uri, text.encode("utf-8"))


def append_text(uri: str, text: str) -> None:
    """Add UTF-8 text to the end of a local file, made when absent; not atomic."""
    assert not is_remote(uri), "an object store cannot append"
    with _explained(uri, "write"), Path(uri).open("a", encoding="utf-8") as file:
        file.write(text)


def remove(uri: str) -> None:
    """Take a file or object away; nothing happens where there is none."""
    with _explained(uri, "remove"):
        if is_remote(uri):
            _call(uri, _client().delete_object, **_address(uri))
        else:
            Path(uri).unlink(missing_ok=True)


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a path beside `target` that takes its place when the block ends without an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(handle)
    draft = Path(name)
    try:
        yield draft
        draft.chmod(0o644)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def list_uris(prefix: str, *, suffix: str = "") -> list[str]:
    """Return the sorted locations of all files below a folder or prefix, ending in `suffix`.

    The empty objects that stand for folders, as Ray and consoles make them, are no files.
    """
    with _explained(prefix, "list"):
        if not is_remote(prefix):
            paths = Path(prefix).rglob(f"*{suffix}")
            return sorted(str(path) for path in paths if path.is_file())
        where = _address(prefix.rstrip("/") + "/")
        pages = _client().get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=where["Bucket"], Prefix=where["Key"])
        keys = (item["Key"] for page in found for item in page.get("Contents", []))
        files = (key for key in keys if key.endswith(suffix) and not key.endswith("/"))
        return sorted(f"s3://{where['Bucket']}/{key}" for key in files)


def sha256(uri: str) -> str:
    """Return the hex SHA-256 of a file's or object's content, read in chunks."""
    digest = hashlib.sha256()
    with _explained(uri, "read"):
        if is_remote(uri):
            body = _call(uri, _client().get_object, **_address(uri))["Body"]
            for chunk in body.iter_chunks(CHUNK_BYTES):
                digest.update(chunk)
        else:
            with Path(uri).open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    digest.update(chunk)
    return digest.hexdigest()


def fetch(uri: str, folder: Path) -> Path:
    """Return a local path with the content: the path itself, or a download into `folder`.

    A remote prefix is fetched whole, keeping the names below it.
    """
    if not is_remote(uri):
        return Path(uri)
    names = [uri] if exists(uri) else list_uris(uri)
    if not names:
        raise StorageError(f"nothing is at {uri}", fix="check the location")
    root = uri.rstrip("/")
    target = folder / root.rpartition("/")[2]
    for name in names:
        path = target / name.removeprefix(root).lstrip("/") if name != root else target
        with _explained(name, "read"), atomic_path(path) as draft:
            where = _address(name)
            _call(name, _client().download_file, where["Bucket"], where["Key"], str(draft))
    return target


def publish(path: Path, uri: str) -> None:
    """Copy a local file or folder to a location, multi-part where it is large and remote."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        target = join(uri, file.relative_to(path).as_posix()) if path.is_dir() else uri
        with _explained(target, "write"):
            if is_remote(target):
                where = _address(target)
                _call(target, _client().upload_file, str(file), where["Bucket"], where["Key"])
            elif file.resolve() != Path(target).resolve():
                with atomic_path(Path(target)) as draft:
                    shutil.copyfile(file, draft)


def _address(uri: str) -> dict[str, str]:
    parts = urlsplit(uri)
    return {"Bucket": parts.netloc, "Key": parts.path.lstrip("/")}


@cache
def _client_of(process_id: int) -> Any:  # noqa: ARG001 - a client must not cross a fork
    import boto3
    from botocore.config import Config as BotoConfig
    from botocore.session import get_session

    session = get_session()
    # Nobody here asks for a date; reading those of an answer takes a quarter of a request's time.
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=str)
    retries = {"mode": "standard", "max_attempts": MAX_ATTEMPTS}
    config = BotoConfig(retries=retries, max_pool_connections=MAX_CONNECTIONS)
    return boto3.Session(botocore_session=session).client("s3", config=config)


def _client() -> Any:
    return _client_of(os.getpid())


def _get(**address: str) -> bytes:
    content: bytes = _client().get_object(**address)["Body"].read()
    return content


def _call(uri: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call the object store; once it has answered, an outage is waited out for `PATIENCE_S`.

    A store that has never answered in this process is more likely misspelt than down.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    give_up_at: float | None = None
    while True:
        try:
            result = function(*args, **kwargs)
        except ClientError as error:
            _raise_unless_down(uri, error)
            problem: Exception = error
        except BotoCoreError as error:
            problem = error
        else:
            _answered.add(os.getpid())
            return result
        now = time.monotonic()
        give_up_at = give_up_at or now + (PATIENCE_S if os.getpid() in _answered else 0.0)
        if now >= give_up_at:
            raise StorageError(
                f"the object store did not answer for {uri}: {problem}",
                fix="check AWS_ENDPOINT_URL and the network",
            ) from None
        logger.warning("the object store does not answer for %s, trying again: %s", uri, problem)
        time.sleep(PAUSE_S)


def _raise_unless_down(uri: str, error: Any) -> None:
    """Raise what is wrong with a request; return where the store itself is in trouble."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in {"404", "NoSuchKey", "NoSuchBucket", "NotFound"}:
        raise FileNotFoundError(uri) from None
    if status < SERVER_ERROR and code != "SlowDown":
        raise StorageError(
            f"the object store refused {uri}: {error}", fix="check the credentials and the bucket"
        ) from None


@contextmanager
def _explained(uri: str, verb: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise StorageError(f"nothing is at {uri}", fix="check the location") from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(
            f"cannot {verb} {uri}: {reason}", fix="check the permissions and the free space"
        ) from None
