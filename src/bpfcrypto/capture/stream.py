"""Byte streams under the formats: input in large chunks with absolute offsets, output in whole records.

Memory stays flat: a source reads into one buffer, which it uses again and again, and which grows only for a record that is larger. ``-`` is
standard input or output. Operating-system errors become CaptureErrors here; a closed pipe stays BrokenPipeError, for that is the reader's
choice and no fault.

A sink writes nothing but whole records: what a process that is killed leaves behind is a readable file, up to the record that the last
call of the operating system cut.
"""

from __future__ import annotations

import os
import sys
from typing import BinaryIO

from bpfcrypto.errors import CaptureError

CHUNK = 4 << 20
"""Bytes of a source's buffer."""

_GATHERED = 1 << 16  # small records are written together


class ByteSource:
    """Reads a stream front to back.

    Args:
        stream: where from.
        name: the file's name, for messages.
        owned: whether closing closes the stream; standard input stays open.

    Attributes:
        name: the file's name, for messages.
        offset: absolute offset of the next byte.
    """

    def __init__(self, stream: BinaryIO, name: str, *, owned: bool = True) -> None:
        self.name = name
        self.offset = 0
        self._stream = stream
        # A buffered reader's readinto() waits until a pipe has filled the buffer; readinto1() takes what is there.
        self._read = getattr(stream, "readinto1", None) or stream.readinto  # type: ignore[attr-defined]
        self._owned = owned
        self._view = memoryview(bytearray(CHUNK))
        self._at = 0
        self._end = 0

    @property
    def window(self) -> memoryview:
        """What has been read and not been taken, live."""
        return self._view[self._at : self._end]

    def fill(self, size: int = 0) -> bool:
        """Read more behind the window, for which the buffer has room for ``size`` bytes; False at the end of the stream."""
        kept = self._end - self._at
        if self._at:
            self._view[:kept] = self._view[self._at : self._end]
            self._at, self._end = 0, kept
        if max(size, kept + 1) > len(self._view):
            view = memoryview(bytearray(max(size, 2 * kept)))
            view[:kept] = self._view[:kept]
            self._view = view
        try:
            count = self._read(self._view[kept:])
        except OSError as error:
            raise CaptureError(
                f"cannot read: {error.strerror or error}", source=self.name, offset=self.offset
            ) from error
        self._end += count or 0
        return bool(count)

    def skip(self, size: int) -> None:
        """Take bytes of the window."""
        self._at += size
        self.offset += size

    def peek(self, size: int) -> bytes:
        """The next ``size`` bytes without taking them; fewer at the end of the stream."""
        while self._end - self._at < size and self.fill(size):
            pass
        return bytes(self._view[self._at : min(self._at + size, self._end)])

    def take(self, size: int, what: str, *, record: int | None = None) -> bytes:
        """The next ``size`` bytes.

        Args:
            size: how many.
            what: what they are, for the message.
            record: offset of the record that they belong to, where damage is reported; None is the next byte.

        Raises:
            CaptureError: the stream ends before.
        """
        data = self.peek(size)
        if len(data) < size:
            message = f"the file is cut: {what} needs {size} bytes, {len(data)} are left"
            raise self.damage(message, offset=record)
        self.skip(size)
        return data

    def damage(self, message: str, *, offset: int | None = None, hint: str | None = None) -> CaptureError:
        """The error to raise for damage at ``offset``, or at the next byte."""
        return CaptureError(message, source=self.name, offset=self.offset if offset is None else offset, hint=hint)

    def close(self) -> None:
        if self._owned:
            self._stream.close()


class ByteSink:
    """Writes a stream, whole records at a time.

    Args:
        stream: where to.
        name: the file's name, for messages.
        owned: whether closing closes the stream; standard output is only flushed.

    Attributes:
        name: the file's name, for messages.
        offset: bytes written so far.
    """

    def __init__(self, stream: BinaryIO, name: str, *, owned: bool = True) -> None:
        self.name = name
        self.offset = 0
        self._stream = stream
        self._owned = owned
        self._gathered = bytearray()

    def write(self, data: bytes) -> None:
        """Append whole records; they may wait for more."""
        self._gathered += data
        self.offset += len(data)
        if len(self._gathered) >= _GATHERED:
            self.flush()

    def write_now(self, data: memoryview) -> None:
        """Append whole records, and hand everything over to the operating system."""
        self.flush()
        self._write(data)
        self.offset += len(data)

    def flush(self) -> None:
        """Hand over what waits."""
        if self._gathered:
            data, self._gathered = self._gathered, bytearray()
            self._write(memoryview(data))

    def _write(self, data: memoryview) -> None:
        try:
            while data:
                data = data[self._stream.write(data) :]
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self._failure(error) from error

    def patch(self, offset: int, data: bytes) -> None:
        """Overwrite earlier bytes. Pipes and standard output cannot go back: there the bytes stay as they were written."""
        if not self._owned or not self._stream.seekable():
            return
        self.flush()
        try:
            self._stream.seek(offset)
            self._stream.write(data)
            self._stream.seek(0, os.SEEK_END)
        except OSError as error:
            raise self._failure(error) from error

    def close(self) -> None:
        try:
            self.flush()
        finally:
            if self._owned:
                self._stream.close()

    def _failure(self, error: OSError) -> CaptureError:
        return CaptureError(f"cannot write: {error.strerror or error}", source=self.name, offset=self.offset)


def open_source(path: str) -> ByteSource:
    """Open a file for reading, or standard input for ``-``.

    Raises:
        CaptureError: it cannot be opened.
    """
    if path == "-":
        return ByteSource(sys.stdin.buffer, "<stdin>", owned=False)
    try:
        return ByteSource(open(path, "rb", buffering=0), path)
    except OSError as error:
        raise CaptureError(f"cannot open: {error.strerror or error}", source=path) from error


def create_sink(path: str) -> ByteSink:
    """Create or overwrite a file, or take standard output for ``-``.

    Raises:
        CaptureError: it cannot be created.
    """
    if path == "-":
        return ByteSink(sys.stdout.buffer, "<stdout>", owned=False)
    try:
        return ByteSink(open(path, "wb", buffering=0), path)
    except OSError as error:
        raise CaptureError(f"cannot create: {error.strerror or error}", source=path) from error
