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

"""The logical unit that holds an image, shared by the hosts of a cluster.

Hosts coordinate their uploads by marker units, which are named ``part``, eight
digits and the name of the image unit. A host creates a marker. If no other
marker sorts before it, the host uploads the image; then it deletes the marker.
These are the rules of ``get_or_upload_image_lu`` of pypowervm, which hosts
with nova-powervm in the same cluster follow. That function waits forever for
a host that crashed; here the wait is bounded.
"""

from collections.abc import Callable
from collections.abc import Iterable
import http
import time
from typing import Any
from typing import Final
import uuid

from oslo_log import log as logging
from oslo_utils import units
from pypowervm import exceptions as pvm_exceptions
from pypowervm.tasks import storage as pvm_storage_tasks
from pypowervm.wrappers import storage as pvm_storage

from pvm_imagecache import text

LOG = logging.getLogger(__name__)

MARKER_LENGTH: Final = 12
#: GiB; the smallest size of a unit.
_MARKER_SIZE: Final = 0.001
#: Seconds between two checks of the upload by another host.
_LOOK_INTERVAL: Final = 5.0

#: Opens the data of an image.
Open = Callable[[], Iterable[bytes]]


def get_or_upload(
    tier: Any,
    name: str,
    vios_uuid: str,
    open_image: Open,
    size: int,
    patience: float,
) -> Any:
    """Return the unit of an image, and upload it if it does not exist.

    Errors of pypowervm are raised as they are.

    :param tier: a ``pypowervm.wrappers.storage.Tier``.
    :param name: of the unit.
    :param vios_uuid: of the Virtual I/O Server that receives an upload.
    :param open_image: opens the data of the image.
    :param size: of the image, in bytes.
    :param patience: seconds to wait for another host while no change is
        seen.
    :returns: a ``pypowervm.wrappers.storage.LUEnt``; None if another host
        seems to have crashed during its upload.
    """
    marker = f'part{uuid.uuid4().hex[:8]}{name}'
    seen, changed_at = None, time.monotonic()
    while True:
        found = _units(tier, name)
        if set(found) == {name}:
            return found[name]
        if not found and (
            unit := _upload(tier, name, marker, vios_uuid, open_image, size)
        ):
            return unit
        now = time.monotonic()
        if set(found) != seen:
            seen, changed_at = set(found), now
        elif now - changed_at >= patience:
            LOG.warning(
                'The upload of %(name)s by another host has made no progress '
                'for %(patience)d s; that host may have crashed. The image '
                'is uploaded into each new disk. If no host uploads it any '
                'more, delete the logical units %(units)s.',
                {
                    'name': name,
                    'patience': patience,
                    'units': ', '.join(sorted(found)),
                },
            )
            return None
        time.sleep(min(_LOOK_INTERVAL, patience))


def fill(
    tier: Any,
    name: str,
    size: int,
    kind: str,
    vios_uuid: str,
    open_image: Open,
    image_size: int,
) -> Any:
    """Create a unit that begins with an image.

    If the upload fails, the unit is deleted; a failure of that is logged.
    Errors of pypowervm are raised as they are.

    :param tier: a ``pypowervm.wrappers.storage.Tier``.
    :param name: of the unit.
    :param size: of the unit, in bytes.
    :param kind: one of ``pypowervm.wrappers.storage.LUType``.
    :param vios_uuid: of the Virtual I/O Server that receives the upload.
    :param open_image: opens the data of the image.
    :param image_size: in bytes.
    :returns: a ``pypowervm.wrappers.storage.LUEnt``.
    """
    unit = _create(tier, name, size, kind)
    try:
        _write(unit, vios_uuid, open_image, image_size)
    except BaseException:
        _delete(unit, name)
        raise
    return unit


def _create(tier: Any, name: str, size: int, kind: str) -> Any:
    # PowerVM takes GiB: two decimals for images, whole numbers for disks.
    gib: float = -(-size // units.Gi)
    if kind == pvm_storage.LUType.IMAGE:
        gib = max(1, -(-size * 100 // units.Gi)) / 100
    return pvm_storage_tasks.crt_lu(tier, name, gib, typ=kind)[1]


def _write(unit: Any, vios_uuid: str, open_image: Open, size: int) -> None:
    pvm_storage_tasks.upload_lu(
        vios_uuid,
        unit,
        open_image,
        size,
        upload_type=pvm_storage_tasks.UploadType.IO_STREAM_BUILDER,
    )


def _delete(unit: Any, name: str) -> bool:
    """Delete an incomplete unit; return whether it is deleted."""
    try:
        unit.delete()
    except Exception as error:
        LOG.warning(
            'Could not delete the incomplete logical unit %(name)s: %(error)s',
            {'name': name, 'error': text.one_line(error)},
        )
        return False
    return True


def _upload(
    tier: Any,
    name: str,
    marker: str,
    vios_uuid: str,
    open_image: Open,
    size: int,
) -> Any:
    """Upload an image, unless another host started at the same time."""
    try:
        _, made = pvm_storage_tasks.crt_lu(
            tier, marker, _MARKER_SIZE, typ=pvm_storage.LUType.IMAGE
        )
    except Exception as error:
        if not _is_refusal(error):
            _delete_late(tier, marker, marker)
        raise
    # Without a marker, all hosts take the unit for complete: it stays until
    # the unit is complete, or certainly does not exist.
    incomplete = False
    try:
        found = _units(tier, name)
        if name in found or min(found) != marker:
            LOG.info('Another host is uploading %s', name)
            return None
        incomplete = True
        try:
            unit = _create(tier, name, size, pvm_storage.LUType.IMAGE)
        except Exception as error:
            incomplete = not (
                _is_refusal(error) or _delete_late(tier, name, marker)
            )
            if _is_refusal(error) and name in _units(tier, name):
                # A host with a higher marker looked before ours was there.
                LOG.info('Another host is uploading %s', name)
                return None
            raise
        try:
            _write(unit, vios_uuid, open_image, size)
        except BaseException:
            incomplete = not _delete(unit, name)
            raise
        incomplete = False
        return unit
    finally:
        if not incomplete:
            made.delete()


def _is_refusal(error: Exception) -> bool:
    """Return whether PowerVM answered that it did not create a unit."""
    return (
        isinstance(error, pvm_exceptions.HttpError)
        and error.response is not None
        and http.HTTPStatus.BAD_REQUEST
        <= error.response.status
        < http.HTTPStatus.INTERNAL_SERVER_ERROR
    )


def _delete_late(tier: Any, name: str, marker: str) -> bool:
    """Delete a unit whose creation was not answered.

    A marker is ours, since it has a random name. A unit of the image is not
    deleted while another host has a marker: it can be of that host.

    :param tier: of the unit.
    :param name: of the unit.
    :param marker: of this host.
    :returns: whether there is no such unit now.
    """
    try:
        found = _units(tier, name)
    except Exception as error:
        LOG.warning(
            'Could not check whether an incomplete logical unit %(name)s '
            'exists: %(error)s',
            {'name': name, 'error': text.one_line(error)},
        )
        return False
    if name not in found:
        return True
    if others := sorted(set(found) - {name, marker}):
        LOG.warning(
            'The logical unit %(name)s is kept: another host can have '
            'created it, as %(others)s shows.',
            {'name': name, 'others': ', '.join(others)},
        )
        return False
    return _delete(found[name], name)


def _units(tier: Any, name: str) -> dict[str, Any]:
    """Return the unit of an image and its markers, by name."""
    return {
        unit.name: unit
        for unit in pvm_storage.LUEnt.search(
            tier.adapter, parent=tier, lu_type=pvm_storage.LUType.IMAGE
        )
        if unit.name.endswith(name)
    }
