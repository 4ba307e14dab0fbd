#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""web/File: descriptors of uploads, and the uploads themselves.

The bytes of an upload go straight to the target disk, from its start, as they
come. Whatever ends an upload early leaves what came on the disk; nothing but
the File's CurrentFileSizeInBytes tells.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import hashlib
import os
import threading
import time
import uuid as uuidlib

from lxml import etree

from pvm_imagecache.simulator import atom
from pvm_imagecache.simulator import body as body_module
from pvm_imagecache.simulator import disks
from pvm_imagecache.simulator import errors
from pvm_imagecache.simulator import pacing
from pvm_imagecache.simulator import resource
from pvm_imagecache.simulator import schema
from pvm_imagecache.simulator import schema_tables
from pvm_imagecache.simulator import settings as settings_module
from pvm_imagecache.simulator import state
from pvm_imagecache.simulator import turns

_FILE = 'file'
# How often the size that came is made to survive a kill -9.
_SAVE_EVERY_BYTES = 64 << 20
_SAVE_EVERY_SECONDS = 1.0
# Buffers that the kernel takes in one call.
_IOV_MAX = 1024
_TYPES = ('BROKERED_DISK_IMAGE', 'BROKERED_MEDIA_ISO')


@dataclasses.dataclass
class File:
    """An upload's descriptor; sizes in bytes, expected None if not given."""

    uuid: str
    name: str
    media_type: str
    kind: str
    vios: str
    target: str | None
    sha256: str | None
    expected: int | None
    current: int
    number: int
    created_ms: int
    modified_ms: int


@dataclasses.dataclass(frozen=True)
class Target:
    """Where an upload goes: a file of this many bytes, which exists."""

    path: str
    capacity: int


class Files(resource.Resource):
    """All File entries of the platform."""

    layout = schema_tables.FILE
    has_links = False

    def __init__(
        self,
        store: state.Store,
        settings: settings_module.Settings,
        pace: collections.abc.Callable[[], pacing.Pace],
        target: collections.abc.Callable[[str, str], Target | None],
        check_vios: collections.abc.Callable[[str], None],
        href: collections.abc.Callable[[str], str],
        uploads: turns.Uploads,
    ) -> None:
        """Wire it up.

        :param pace: makes the rates of one upload.
        :param target: finds a device by its VIOS and UDID.
        """
        self._store = store
        self._settings = settings
        self._pace = pace
        self._target = target
        self._check_vios = check_vios
        self._href = href
        self._uploads = uploads
        self._lock = threading.RLock()
        found = [File(**record) for record in store.load(_FILE).values()]
        self._files = {
            file.uuid: file
            for file in sorted(found, key=lambda file: file.number)
        }

    def documents(self, parent: str | None) -> list[atom.Document]:
        with self._lock:
            return [self._document(file) for file in self._files.values()]

    def create(self, element: etree._Element, parent: str | None) -> str:
        file = self._read(element)
        with self._lock:
            if len(self._files) >= self._settings.file_limit:
                raise errors.bad_request(
                    'The maximum number of files, '
                    f'{self._settings.file_limit}, exists already.'
                )
            file.number = (
                max(
                    (other.number for other in self._files.values()), default=0
                )
                + 1
            )
            self._files[file.uuid] = file
            self._save(file)
        return file.uuid

    def _read(self, element: etree._Element) -> File:
        values = self.layout.read(element)

        def get(tag: str) -> str | None:
            value = values.get(tag)
            return value if isinstance(value, str) and value else None

        vios, name = get('TargetVirtualIOServerUUID'), get('Filename')
        kind = get('FileEnumType')
        if vios is None or name is None or kind not in _TYPES:
            raise errors.bad_request(
                'A File needs a Filename, a FileEnumType and a '
                'TargetVirtualIOServerUUID.'
            )
        self._check_vios(vios)
        target = get('TargetDeviceUniqueDeviceID')
        expected = _size(get('ExpectedFileSizeInBytes'))
        if target is not None:
            self._check_target(vios, target, expected)
        now = int(time.time() * 1000)
        return File(
            str(uuidlib.uuid4()),
            name,
            get('InternetMediaType') or 'application/octet-stream',
            kind,
            vios,
            target,
            get('SHA256'),
            expected,
            0,
            0,
            now,
            now,
        )

    def _check_target(
        self, vios: str, udid: str, expected: int | None
    ) -> Target:
        target = self._target(vios, udid)
        if target is None:
            raise errors.bad_request(
                f'The target device {udid} does not exist.'
            )
        if expected is not None and expected > target.capacity:
            raise errors.bad_request(
                f'The file of {expected} bytes is larger than the target '
                f'device of {target.capacity} bytes.'
            )
        return target

    def delete(
        self, uuid: str, parent: str | None, check: resource.Check
    ) -> None:
        with self._lock:
            self._get(uuid)
            check()
            del self._files[uuid.lower()]
            self._store.delete(_FILE, uuid.lower())

    def upload(self, uuid: str, body: body_module.Body) -> None:
        """Write a body to the File's target device."""
        with self._lock:
            file = self._get(uuid)
        if file.target is None:
            raise errors.bad_request(
                f'The file {file.name} has no target device.'
            )
        target = self._check_target(file.vios, file.target, None)
        with self._uploads.one():
            self._receive(file, target, body)

    def _receive(
        self, file: File, target: Target, body: body_module.Body
    ) -> None:
        upload = _Upload(file, target, self._pace(), self._progress)
        try:
            upload.run(body)
        except FileNotFoundError:
            raise errors.bad_request(
                f'The target device {file.target} does not exist.'
            ) from None
        finally:
            self._progress(file, upload.written)
        upload.check()

    def contents(self, uuid: str) -> tuple[str, int]:
        """Path and size of what was uploaded, to be downloaded."""
        with self._lock:
            file = self._get(uuid)
        target = self._target(file.vios, file.target or '')
        if target is None:
            raise errors.not_found(f'File {uuid} has no contents.')
        return target.path, file.current

    def _get(self, uuid: str) -> File:
        file = self._files.get(uuid.lower())
        if file is None:
            raise errors.not_found(f'File {uuid} does not exist.')
        return file

    def _progress(self, file: File, current: int) -> None:
        with self._lock:
            file.current = current
            file.modified_ms = int(time.time() * 1000)
            if file.uuid in self._files:
                self._save(file)

    def _save(self, file: File) -> None:
        self._store.save(_FILE, file.uuid, dataclasses.asdict(file))

    def _document(self, file: File) -> atom.Document:
        values: dict[str, schema.Value] = {
            'Filename': file.name,
            'DateModified': str(file.modified_ms),
            'InternetMediaType': file.media_type,
            'FileUUID': file.uuid,
            'AssetLink': schema.Link(
                self._href(f'/rest/api/web/File/contents/{file.uuid}')
            ),
            'CurrentFileSizeInBytes': str(file.current),
            'FileEnumType': file.kind,
            'TargetVirtualIOServerUUID': file.vios,
        }
        if file.sha256 is not None:
            values['SHA256'] = file.sha256
        if file.expected is not None:
            values['ExpectedFileSizeInBytes'] = str(file.expected)
        if file.target is not None:
            values['TargetDeviceUniqueDeviceID'] = file.target
        return atom.Document(self.layout, file.uuid, values, file.created_ms)


class _Upload:
    """One upload on its way to the disk."""

    def __init__(
        self,
        file: File,
        target: Target,
        pace: pacing.Pace,
        progress: collections.abc.Callable[[File, int], None],
    ) -> None:
        self._file = file
        self._target = target
        self._pace = pace
        self._progress = progress
        self._hash = hashlib.sha256() if file.sha256 else None
        self._saved = 0
        self._saved_at = time.monotonic()
        self.written = 0

    def run(self, body: body_module.Body) -> None:
        # A disk that is removed meanwhile keeps taking bytes, unseen.
        fd = os.open(self._target.path, os.O_WRONLY)
        try:
            while pieces := body.fill():
                self._write(fd, pieces)
                self._maybe_save()
        finally:
            os.close(fd)

    def _write(self, fd: int, pieces: list[memoryview]) -> None:
        size = sum(map(len, pieces))
        room = self._target.capacity - self.written
        if size > room:
            raise errors.bad_request(
                f'The upload does not fit on the target device of '
                f'{self._target.capacity} bytes.'
            )
        disks.check_room(fd, size)
        for at in range(0, len(pieces), _IOV_MAX):
            _write_all(fd, pieces[at : at + _IOV_MAX], self.written)
            self.written += sum(map(len, pieces[at : at + _IOV_MAX]))
        if self._hash is not None:
            for piece in pieces:
                self._hash.update(piece)
        self._pace.spent(size)

    def _maybe_save(self) -> None:
        now = time.monotonic()
        if (
            self.written - self._saved >= _SAVE_EVERY_BYTES
            or now - self._saved_at >= _SAVE_EVERY_SECONDS
        ):
            self._saved, self._saved_at = self.written, now
            self._progress(self._file, self.written)

    def check(self) -> None:
        """Compare what came with what the descriptor announced."""
        expected = self._file.expected
        if expected is not None and expected != self.written:
            raise errors.bad_request(
                f'The file {self._file.name} should have {expected} bytes, '
                f'but {self.written} bytes were uploaded.'
            )
        if self._hash is None or self._file.sha256 is None:
            return
        if self._hash.hexdigest() != self._file.sha256.lower():
            raise errors.bad_request(
                f'The SHA256 checksum of the file {self._file.name} does not '
                'match the uploaded bytes.'
            )


def _write_all(fd: int, pieces: list[memoryview], offset: int) -> None:
    wanted = sum(map(len, pieces))
    done = os.pwritev(fd, pieces, offset)
    if done == wanted:
        return
    rest = memoryview(b''.join(pieces))
    while done < wanted:
        done += os.pwrite(fd, rest[done:], offset + done)


def _size(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        size = int(text)
    except ValueError:
        size = -1
    if size < 0:
        raise errors.bad_request(f'{text!r} is not a size in bytes.')
    return size
