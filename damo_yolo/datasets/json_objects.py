"""Objects of a JSON file too large to parse at once, as texts in Arrow chunks.

COCO-form files are one object that holds a few arrays of very many small objects. One pass over the
bytes finds where each small object begins and ends: brackets outside strings, counted in numpy. The
texts stay as they are, several thousand in one Arrow array, for a fast parser to take apart. What
remains of the file once they are cut out is small and goes through Python's own parser.
"""

import json
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from damo_yolo.errors import DataError

BLOCK_BYTES = 8 << 20
"""Read at once; scanning takes about eight times as much memory."""

ESCAPED = re.compile(rb"\\.", re.DOTALL)
KEY_BEFORE_ARRAY = re.compile(rb'("(?:[^"\\]|\\.)*")\s*:\s*\[$', re.DOTALL)
COMMA = re.compile(rb"\s*,")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
QUOTE, COMMA_BYTE, SPACE = ord('"'), ord(","), ord(" ")
OBJECT_OPEN, OBJECT_CLOSE, ARRAY_OPEN = ord("{"), ord("}"), ord("[")
STRUCTURAL = np.isin(np.arange(256), list(b'"{}[]'))
STEP = np.zeros(256, np.int32)
STEP[list(b"{[")] = 1
STEP[list(b"}]")] = -1
BLANK = np.isin(np.arange(256), list(b" \t\r\n,"))
ARRAY_DEPTH = 2
"""Brackets open inside an array of the outermost object."""

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ObjectTexts:
    """Consecutive objects of one array."""

    name: str
    """Key of the array."""
    texts: pa.StringArray
    offset: int
    """Byte of the file at which the first begins."""


@dataclass(frozen=True, eq=False)
class _Brackets:
    """Brackets of a block that stand outside strings."""

    at: Places
    kind: Bytes
    depth: Places
    """Brackets open after each."""

    def starts(self) -> Places:
        """Return where objects within arrays of the outermost object begin."""
        opened: Places = self.at[(self.kind == OBJECT_OPEN) & (self.depth == ARRAY_DEPTH + 1)]
        return opened

    def ends(self) -> Places:
        """Return the byte behind each such object."""
        closed: Places = self.at[(self.kind == OBJECT_CLOSE) & (self.depth == ARRAY_DEPTH)]
        return closed + 1

    def containers(self) -> Places:
        """Return which brackets open or close a value of the outermost object."""
        opens = STEP[self.kind] > 0
        return np.flatnonzero(
            (opens & (self.depth == ARRAY_DEPTH)) | (~opens & (self.depth == ARRAY_DEPTH - 1))
        )


@dataclass(eq=False)
class JsonObjects:
    """One pass over a file; `rest` holds what is not an object of an array, afterwards."""

    path: Path
    where: str
    """What the file is, for messages."""
    block_bytes: int = BLOCK_BYTES
    _rest: bytearray = field(default_factory=bytearray)
    _pieces: list[tuple[int, int]] = field(default_factory=list)
    """Where each piece of `_rest` begins, in it and in the file."""
    _depth: int = 0
    _array: str | None = None
    """Key of the array in which the next byte is."""
    _follows: bool = False
    """An object of the array came before."""

    def chunks(self) -> Iterator[ObjectTexts]:
        """Yield the objects of all arrays of the outermost object, in the order of the file.

        Raises:
            DataError: the file is not JSON where objects meet; see `rest` for the others.
        """
        with self.path.open("rb") as file:
            base, data = 0, file.read(self.block_bytes)
            if data.startswith(BYTE_ORDER_MARK):
                base, data = len(BYTE_ORDER_MARK), data[len(BYTE_ORDER_MARK) :]
            while True:
                used = yield from self._scan(data, base)
                block = file.read(max(self.block_bytes, len(data) - used))
                if not block:
                    break
                base, data = base + used, data[used:] + block
        if self._follows:  # a comma that leads to an object cut short
            comma = COMMA.match(data, used)
            used = comma.end() if comma else used
        self._keep(data[used:], base + used)

    def rest(self) -> dict[str, Any]:
        """Return the file's outermost object, its arrays without the objects they held.

        Raises:
            DataError: the file is not JSON, with the position, or not an object.
        """
        if not self._rest.strip():
            raise DataError(f"{self.where} is empty", fix="fetch the file again")
        try:
            data = json.loads(bytes(self._rest))
        except json.JSONDecodeError as error:
            # The text decoded is as long as its bytes wherever the error matters: at ASCII.
            prefix = len(bytes(self._rest).decode()[: error.pos].encode())
            raise self.broken(error.msg, self._position(prefix)) from None
        except UnicodeDecodeError as error:
            raise self.broken("not UTF-8", self._position(error.start)) from None
        if not isinstance(data, dict):
            raise DataError(
                f"{self.where} holds a {type(data).__name__}, not an object",
                fix="check that the catalog names the right file",
            )
        return data

    def broken(self, what: str, position: int) -> DataError:
        """Return the error for a byte of the file at which it is not JSON."""
        line, last_newline, seen = 1, -1, 0
        with self.path.open("rb") as file:
            while seen < position and (block := file.read(min(1 << 20, position - seen))):
                line += block.count(b"\n")
                newline = block.rfind(b"\n")
                last_newline = seen + newline if newline >= 0 else last_newline
                seen += len(block)
        return DataError(
            f"{self.where} is not valid JSON: {what} at line {line}, column"
            f" {position - last_newline} (byte {position} of {self.path.stat().st_size})",
            fix="fetch the file again, or correct it there",
        )

    def broken_text(self, chunk: ObjectTexts) -> DataError:
        """Return the error for the first text of a chunk that is not JSON."""
        position = chunk.offset
        for text in chunk.texts:
            raw = text.as_buffer().to_pybytes()
            try:
                json.loads(raw)
            except json.JSONDecodeError as error:
                return self.broken(error.msg, position + error.pos)
            except UnicodeDecodeError as error:
                return self.broken("not UTF-8", position + error.start)
            position += len(raw)
        return self.broken("an object cannot be read", chunk.offset)

    def _scan(self, data: bytes, base: int) -> Generator[ObjectTexts, None, int]:
        """Yield the complete objects of a block; return how many bytes are done with."""
        brackets = _brackets(data, self._depth)
        starts, ends = brackets.starts(), brackets.ends()
        cursor = 0
        for event in brackets.containers().tolist():
            place = int(brackets.at[event])
            if STEP[brackets.kind[event]] < 0:
                cursor = yield from self._cut(data, base, (cursor, place), (starts, ends))
            self._keep(data[cursor : place + 1], base + cursor)
            cursor = place + 1
            self._depth = int(brackets.depth[event])
            self._follows = False
            self._array = self._key() if brackets.kind[event] == ARRAY_OPEN else None
        return (yield from self._cut(data, base, (cursor, len(data)), (starts, ends)))

    def _cut(
        self, data: bytes, base: int, span: tuple[int, int], objects: tuple[Places, Places]
    ) -> Generator[ObjectTexts, None, int]:
        """Yield the objects within a span; return the byte behind the last."""
        low, high = span
        if self._array is None:
            return low
        starts, ends = objects
        ends = ends[np.searchsorted(ends, low, "right") : np.searchsorted(ends, high, "right")]
        starts = starts[np.searchsorted(starts, low) :][: len(ends)]
        if not len(ends):
            return low
        buffer = np.frombuffer(data, np.uint8)[low : ends[-1]].copy()
        self._blank_gaps(buffer, starts - low, ends - low, base + low)
        begins = starts - low
        offsets = np.append(begins, len(buffer)).astype(np.int32)
        texts = pa.StringArray.from_buffers(
            len(starts), pa.py_buffer(offsets), pa.py_buffer(buffer)
        )
        yield ObjectTexts(self._array, texts, base + int(starts[0]))
        self._follows = True
        return int(ends[-1])

    def _blank_gaps(self, buffer: Bytes, starts: Places, ends: Places, base: int) -> None:
        """Replace what separates objects by blanks, once sure that it is one comma."""
        gap_starts = np.concatenate(([0], ends[:-1]))
        lengths = starts - gap_starts
        firsts = np.cumsum(lengths) - lengths
        places = np.arange(lengths.sum()) + np.repeat(gap_starts - firsts, lengths)
        gaps = buffer[places]
        owners = np.repeat(np.arange(len(starts)), lengths)
        commas = np.bincount(owners[gaps == COMMA_BYTE], minlength=len(starts))
        wanted = np.ones(len(starts), np.int64)
        wanted[0] = self._follows
        wrong = commas != wanted
        wrong[owners[~BLANK[gaps]]] = True
        if wrong.any():
            what = "Expecting one ',' between objects"
            raise self.broken(what, base + int(gap_starts[np.flatnonzero(wrong)[0]]))
        buffer[places] = SPACE

    def _keep(self, piece: bytes, position: int) -> None:
        self._pieces.append((len(self._rest), position))
        self._rest += piece

    def _key(self) -> str | None:
        found = KEY_BEFORE_ARRAY.search(self._rest, max(0, len(self._rest) - 1024))
        return str(json.loads(found.group(1))) if found else None

    def _position(self, place: int) -> int:
        """Return the byte of the file that is at a place of the rest."""
        start, position = max(piece for piece in self._pieces if piece[0] <= place)
        return position + place - start


def _brackets(data: bytes, depth: int) -> _Brackets:
    if b"\\" in data:
        data = ESCAPED.sub(b"__", data)
    block = np.frombuffer(data, np.uint8)
    at = np.flatnonzero(STRUCTURAL[block])
    kind = block[at]
    is_quote = kind == QUOTE
    outside = ~is_quote & (np.cumsum(is_quote) % 2 == 0)
    at, kind = at[outside], kind[outside]
    return _Brackets(at, kind, depth + np.cumsum(STEP[kind], dtype=np.int64))
