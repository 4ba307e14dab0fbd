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

"""Writing a stream of bytes into a virtual disk through web/File.

PowerVM keeps a File entry for each upload, a hundred at most, and nothing
tells a complete upload from one that broke off: the entry goes when the
upload has ended, however it did, and the size is always given, so that the
platform refuses what is too short (a repeated request after HTTP 401 has an
empty body).
"""

from collections.abc import Callable
from collections.abc import Iterator
import http
from typing import Any

from pypowervm.wrappers import vios_file as pvm_file

from pvm_imagecache import exceptions
from pvm_imagecache.drivers import base
from pvm_imagecache.drivers import powervm


def upload(
    adapters: powervm.AdapterSource,
    vios_uuid: str,
    disk: base.Disk,
    pieces: Iterator[bytes],
    size: int,
    sha256: str | None = None,
    left: Callable[[], None] = lambda: None,
) -> None:
    """Write ``size`` bytes to the beginning of a disk.

    :param sha256: hexadecimal; the platform compares it where it is given.
    :param left: called if a File entry may be there that could not be
        deleted.
    :raises PowerVMError: if PowerVM did not take all of it, or ``pieces``
        raised.
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
    entry = powervm.retry(lambda: _create(adapters, disk, wanted, left))
    try:
        with adapters.translated(f'take the data of {disk.name}'):
            adapter.upload_file(entry.element, pieces, helpers=[_once])
    except exceptions.PowerVMLogonFailed as error:
        raise exceptions.PowerVMSessionExpired(
            action=f'take the data of {disk.name}'
        ) from error
    finally:
        if not powervm.log_and_continue(
            f'delete the File entry {entry.uuid} of {disk.name}',
            lambda: _delete(adapters, entry, disk),
        ):
            left()


def _once(request: Callable[..., Any]) -> Callable[..., Any]:
    """Have pypowervm make a request only once: its body comes only once.

    After HTTP 401 it would log on anew and send the request again, empty.
    That, and not the helpers that repeat what met a busy VIOS, is what this
    stands in for.
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        return request(*args, **kwargs | {'relogin': False})

    return call


def forget(adapters: powervm.AdapterSource, disk: base.Disk) -> None:
    """Delete the File entries of uploads to a disk that have died."""
    for entry in _entries(adapters):
        if entry.tdev_udid == disk.udid:
            _delete(adapters, entry, disk)


def targets(adapters: powervm.AdapterSource) -> list[str]:
    """The UDIDs of the disks that File entries belong to."""
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
    left: Callable[[], None],
) -> Any:
    try:
        with adapters.translated(f'prepare the upload to {disk.name}'):
            return wanted.create()
    except exceptions.PowerVMUnreachable:
        # It may have been made all the same.
        if not powervm.log_and_continue(
            f'tidy up the uploads to {disk.name}',
            lambda: forget(adapters, disk),
        ):
            left()
        raise


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

    # Whatever is said against it: there are a hundred of them at most.
    powervm.retry(delete, exceptions.PowerVMError)
