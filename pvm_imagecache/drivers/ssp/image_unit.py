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

Hosts that know nothing of each other agree by marker units, ``part``, eight
digits and the name of the image unit: who has made one, and finds none that
sorts before it, uploads the image, and removes it. These are the rules of
pypowervm's ``get_or_upload_image_lu``, which hosts with nova-powervm follow
in the same cluster. But that one waits for ever for a host that has died; here
the wait has an end.
"""

from collections.abc import Callable
from collections.abc import Iterable
import time
from typing import Any
from typing import Final
import uuid

from oslo_log import log as logging
from oslo_utils import units
from pypowervm.tasks import storage as pvm_storage_tasks
from pypowervm.wrappers import storage as pvm_storage

LOG = logging.getLogger(__name__)

MARKER_LENGTH: Final = 12
#: GiB: the least that a unit can have.
_MARKER_SIZE: Final = 0.001
#: Seconds between two looks at what another host is doing.
_LOOK_INTERVAL: Final = 5.0

#: Opens the image's data.
Open = Callable[[], Iterable[bytes]]


def get_or_upload(
    tier: Any,
    name: str,
    vios_uuid: str,
    open_image: Open,
    size: int,
    patience: float,
) -> Any:
    """The unit of an image, which is uploaded unless it is there.

    :param size: of the image in bytes.
    :param patience: seconds to wait for another host when nothing changes.
    :returns: a LUEnt; None when the other host seems to be dead.
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
                'The upload of %(name)s by another host has not changed for '
                '%(patience)d s: that host may be dead. Its image is '
                'uploaded for one disk only, as all others will be. If '
                'nobody uploads it any more, delete the logical units '
                '%(units)s.',
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
    """Make a unit that begins with an image; nothing is left on failure.

    :param size: of the unit in bytes.
    :param kind: of ``pypowervm.wrappers.storage.LUType``.
    """
    # PowerVM wants GiB, image units to two digits, and disks whole.
    gib: float = -(-size // units.Gi)
    if kind == pvm_storage.LUType.IMAGE:
        gib = max(1, -(-size * 100 // units.Gi)) / 100
    _, unit = pvm_storage_tasks.crt_lu(tier, name, gib, typ=kind)
    try:
        pvm_storage_tasks.upload_lu(
            vios_uuid,
            unit,
            open_image,
            image_size,
            upload_type=pvm_storage_tasks.UploadType.IO_STREAM_BUILDER,
        )
    except BaseException:
        unit.delete()
        raise
    return unit


def _upload(
    tier: Any,
    name: str,
    marker: str,
    vios_uuid: str,
    open_image: Open,
    size: int,
) -> Any:
    """Upload the image, unless another host has begun at the same time."""
    _, made = pvm_storage_tasks.crt_lu(
        tier, marker, _MARKER_SIZE, typ=pvm_storage.LUType.IMAGE
    )
    try:
        found = _units(tier, name)
        if name in found or min(found) != marker:
            LOG.info('Another host uploads %s', name)
            return None
        return fill(
            tier,
            name,
            size,
            pvm_storage.LUType.IMAGE,
            vios_uuid,
            open_image,
            size,
        )
    finally:
        made.delete()


def _units(tier: Any, name: str) -> dict[str, Any]:
    """By name, the unit of an image and the markers for it."""
    return {
        unit.name: unit
        for unit in pvm_storage.LUEnt.search(
            tier.adapter, parent=tier, lu_type=pvm_storage.LUType.IMAGE
        )
        if unit.name.endswith(name)
    }
