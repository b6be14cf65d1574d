"""Byte streams under the formats: input in large chunks with absolute offsets, output through one buffer.

Memory stays flat: at any time a source holds one chunk, or the one record that is larger. ``-`` is standard input or output.
Operating-system errors become CaptureErrors here; a closed pipe stays BrokenPipeError, for that is the reader's choice and no fault.
"""

from __future__ import annotations

import os
import sys
from typing import BinaryIO

from bpfcrypto.errors import CaptureError

CHUNK = 1 << 20


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
        # A buffered reader's read() waits until a pipe has given the whole chunk; read1() takes what is there.
        self._read = getattr(stream, "read1", stream.read)
        self._owned = owned
        self._buffer = b""
        self._at = 0

    def peek(self, size: int) -> bytes:
        """The next ``size`` bytes without taking them; fewer at the end of the stream."""
        while len(self._buffer) - self._at < size:
            try:
                chunk = self._read(CHUNK)
            except OSError as error:
                raise CaptureError(
                    f"cannot read: {error.strerror or error}", source=self.name, offset=self.offset
                ) from error
            if not chunk:
                break
            self._buffer = self._buffer[self._at :] + chunk
            self._at = 0
        return self._buffer[self._at : self._at + size]

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
        self._at += size
        self.offset += size
        return data

    def damage(self, message: str, *, offset: int | None = None, hint: str | None = None) -> CaptureError:
        """The error to raise for damage at ``offset``, or at the next byte."""
        return CaptureError(message, source=self.name, offset=self.offset if offset is None else offset, hint=hint)

    def close(self) -> None:
        if self._owned:
            self._stream.close()


class ByteSink:
    """Writes a stream, buffered.

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

    def write(self, data: bytes) -> None:
        try:
            self._stream.write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self._failure(error) from error
        self.offset += len(data)

    def patch(self, offset: int, data: bytes) -> None:
        """Overwrite earlier bytes. Pipes and standard output cannot go back: there the bytes stay as they were written."""
        if not self._owned or not self._stream.seekable():
            return
        try:
            self._stream.seek(offset)
            self._stream.write(data)
            self._stream.seek(0, os.SEEK_END)
        except OSError as error:
            raise self._failure(error) from error

    def close(self) -> None:
        try:
            if self._owned:
                self._stream.close()
            else:
                self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self._failure(error) from error

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
        return ByteSink(open(path, "wb", buffering=CHUNK), path)
    except OSError as error:
        raise CaptureError(f"cannot create: {error.strerror or error}", source=path) from error
