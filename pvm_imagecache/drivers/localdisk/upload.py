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

"""Upload a stream of bytes into a virtual disk through ``web/File``.

PowerVM has a File entry for each upload, and room for a hundred. Nothing
distinguishes a complete upload from one that was interrupted. So the entry is
deleted at the end of an upload, successful or not, and it always has the size,
so that PowerVM refuses an upload that is too short. (A request that pypowervm
repeats after HTTP 401 has an empty body.)
"""

from collections.abc import Callable
from collections.abc import Iterator
import http
import re
from typing import Any
from typing import Final

from pypowervm.wrappers import vios_file as pvm_file

from pvm_imagecache import exceptions
from pvm_imagecache.drivers import base
from pvm_imagecache.drivers import powervm

#: File entries that PowerVM can have.
_MOST_ENTRIES: Final = 100
#: What it says if it has as many.
_LIST_FULL: Final = re.compile(r'(maximum|too many).* files\b', re.I)
#: What the VIOS says if it fails for no reason.
_NOTHING_WRITTEN: Final = re.compile(r'\b(0|no) bytes (were )?written', re.I)


def upload(
    adapters: powervm.AdapterSource,
    vios_uuid: str,
    disk: base.Disk,
    pieces: Iterator[bytes],
    size: int,
    sha256: str | None = None,
    on_stale_entry: Callable[[], None] = lambda: None,
) -> None:
    """Write bytes to the beginning of a disk.

    :param adapters: the session with PowerVM.
    :param vios_uuid: of the Virtual I/O Server that owns the disk.
    :param disk: the disk.
    :param pieces: the bytes; an error that it raises ends the upload.
    :param size: number of bytes.
    :param sha256: of the bytes, in hexadecimal digits; PowerVM compares it
        if it is given.
    :param on_stale_entry: called if a File entry may exist that could not be
        deleted.
    :raises PowerVMSessionExpired: if the session expired; the upload can be
        repeated with new ``pieces``.
    :raises UploadFailed: if the VIOS wrote nothing, as it sometimes does.
    :raises FileListFull: if PowerVM has no room for another upload.
    :raises PowerVMError: if PowerVM did not accept all bytes.
    """
    adapter = adapters()
    wanted = pvm_file.File.bld(
        adapter,
        disk.name,
        pvm_file.FileType.DISK_IMAGE,
        vios_uuid,
        sha_chksum=sha256,
        f_size=size,
        tdev_udid=disk.udid,
    )
    try:
        entry = powervm.retry(
            lambda: _create(adapters, disk, wanted, on_stale_entry)
        )
    except exceptions.PowerVMRequestFailed as error:
        _raise_if_list_is_full(adapters, error, disk)
        raise
    try:
        with adapters.translated(f'take the data of {disk.name}'):
            adapter.upload_file(entry.element, pieces, helpers=[_once])
    except exceptions.PowerVMLogonFailed as error:
        raise exceptions.PowerVMSessionExpired(
            action=f'take the data of {disk.name}'
        ) from error
    except exceptions.PowerVMRequestFailed as error:
        if error.transient or not _NOTHING_WRITTEN.search(error.reason):
            raise
        raise exceptions.UploadFailed(
            action=f'take the data of {disk.name}', reason=error.reason
        ) from error
    finally:
        if not powervm.log_and_continue(
            f'delete the File entry {entry.uuid} of {disk.name}',
            lambda: _delete(adapters, entry, disk),
        ):
            on_stale_entry()


def _once(request: Callable[..., Any]) -> Callable[..., Any]:
    """Prevent pypowervm from repeating a request whose body is a stream.

    After HTTP 401 it would log on again and repeat the request with an empty
    body. This helper also replaces the one that repeats requests when the
    VIOS is busy.
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        return request(*args, **kwargs | {'relogin': False})

    return call


def delete_entries(adapters: powervm.AdapterSource, disk: base.Disk) -> None:
    """Delete the File entries of interrupted uploads to a disk.

    :param adapters: the session with PowerVM.
    :param disk: no upload to it may be in progress.
    :raises PowerVMError: if the entries cannot be listed or deleted.
    """
    for entry in _entries(adapters):
        if entry.tdev_udid == disk.udid:
            _delete(adapters, entry, disk)


def targets(adapters: powervm.AdapterSource) -> list[str]:
    """Return the UDIDs of the disks that File entries belong to.

    :param adapters: the session with PowerVM.
    :returns: one UDID for each entry of a disk.
    :raises PowerVMError: if the entries cannot be listed.
    """
    return [entry.tdev_udid for entry in _entries(adapters) if entry.tdev_udid]


def _entries(adapters: powervm.AdapterSource) -> Any:
    def get() -> Any:
        with adapters.translated('list the File entries'):
            return pvm_file.File.get(adapters(), service='web')

    return powervm.retry_read(get)


def _create(
    adapters: powervm.AdapterSource,
    disk: base.Disk,
    wanted: Any,
    on_stale_entry: Callable[[], None],
) -> Any:
    try:
        with adapters.translated(f'prepare the upload to {disk.name}'):
            return wanted.create()
    except exceptions.PowerVMError as error:
        if not powervm.may_be_done(error):
            raise
        if not powervm.log_and_continue(
            f'delete the File entries of {disk.name}',
            lambda: delete_entries(adapters, disk),
        ):
            on_stale_entry()
        raise


def _raise_if_list_is_full(
    adapters: powervm.AdapterSource,
    error: exceptions.PowerVMRequestFailed,
    disk: base.Disk,
) -> None:
    """Raise FileListFull if that is why an entry was refused."""
    if isinstance(error, exceptions.PowerVMBusy):
        return
    try:
        count = len(_entries(adapters))
    except exceptions.PowerVMError:
        # The refusal is what matters.
        return
    if count >= _MOST_ENTRIES or _LIST_FULL.search(error.reason):
        raise exceptions.FileListFull(
            action=f'prepare the upload to {disk.name}',
            reason=error.reason.rstrip('.'),
            count=count,
        ) from error


def _delete(
    adapters: powervm.AdapterSource, entry: Any, disk: base.Disk
) -> None:
    def delete() -> None:
        try:
            with adapters.translated(
                f'delete the File entry {entry.uuid} of {disk.name}'
            ):
                adapters().delete(
                    entry.schema_type, root_id=entry.uuid, service='web'
                )
        except exceptions.PowerVMError as error:
            if powervm.status_of(error) != http.HTTPStatus.NOT_FOUND:
                raise

    # Retry after every error, because there is room for a hundred only.
    powervm.retry(delete, exceptions.PowerVMError)
