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

"""Rules that say which disks belong to the cache: pure functions.

A disk that this project creates carries a label with the ID of its fill.
Where a platform drops labels, its UDID identifies it, or its name and size.
"""

from collections.abc import Collection
from collections.abc import Sequence
from typing import Final

from oslo_utils import units

from pvm_imagecache import image as image_module
from pvm_imagecache import text
from pvm_imagecache.catalog import models
from pvm_imagecache.drivers import base
from pvm_imagecache.drivers import copy_time

#: Seconds after which no request of a crashed process is still running,
#: unless it copies a large disk.
LONGEST_REQUEST: Final = copy_time.LEAST_LIMIT
_LABEL_PREFIX: Final = 'imagecache_'
_LABEL_DIGITS: Final = 16


def label(fill_id: str) -> str:
    """Return the label of a disk that is created under a fill ID.

    :param fill_id: of the record of the disk.
    :returns: a text that PowerVM accepts as a label.
    """
    return _LABEL_PREFIX + fill_id[:_LABEL_DIGITS]


def adopted_fill_id(disk: base.Disk, fill_id: str) -> str:
    """Return the fill ID under which a disk can be adopted.

    :param disk: as the pool shows it.
    :param fill_id: a new fill ID.
    :returns: the new fill ID; if the disk carries a label of this project,
        it begins with the digits of the label: a record with another fill
        ID would not own the disk.
    """
    if not has_our_label(disk):
        return fill_id
    digits = disk.label.removeprefix(_LABEL_PREFIX)
    return digits + fill_id[len(digits) :]


def has_our_label(disk: base.Disk) -> bool:
    """Return whether a disk carries a label of this project.

    :param disk: as the pool shows it.
    :returns: whether any process of this project created the disk.
    """
    return disk.label.startswith(_LABEL_PREFIX)


def has_label(disk: base.Disk) -> bool:
    """Return whether a disk carries any label.

    :param disk: as the pool shows it.
    :returns: False also for the word that pypowervm writes for no label.
    """
    return disk.label not in base.NO_LABEL


def may_still_appear(
    udid: str | None,
    started_clock: float,
    clock: float,
    copied: int = 0,
    rate: int | None = None,
) -> bool:
    """Return whether the request that creates a disk may still be running.

    :param udid: of the disk; None if the process crashed before PowerVM
        returned it.
    :param started_clock: when the record was written, in seconds of the
        catalog's clock.
    :param clock: now, in seconds of the catalog's clock.
    :param copied: bytes that the request may copy.
    :param rate: bytes per second of a copy, if it was measured.
    :returns: whether the disk may appear later.
    """
    longest = LONGEST_REQUEST * max(
        1, copy_time.time_limit(copied, rate) / copy_time.LEAST_LIMIT
    )
    return udid is None and clock - started_clock < longest


def is_created_for(capacity: int, size: int) -> bool:
    """Return whether PowerVM creates disks of a capacity for a size.

    PowerVM rounds up by less than one GiB.

    :param capacity: of the disk, in bytes.
    :param size: that was requested, in bytes.
    :returns: whether the capacity fits the size.
    """
    return 0 <= capacity - size < units.Gi


def is_ours(
    disk: base.Disk,
    udid: str | None,
    fill_id: str,
    size: int,
    pool_keeps_labels: bool,
) -> bool:
    """Return whether a disk is the one that was created for a record.

    A label of this project decides: under one fill ID a disk may be created
    again, with another UDID. Otherwise the UDID decides. If the platform
    drops labels and the process crashed before PowerVM returned the UDID,
    the name, which no other disk had at that time, and the size decide.

    :param disk: that has the name of the record.
    :param udid: of the record; None if PowerVM did not return it.
    :param fill_id: of the record.
    :param size: in bytes, as it was requested.
    :param pool_keeps_labels: False if the platform is known to drop labels.
    :returns: whether the disk belongs to the record.
    """
    if has_our_label(disk):
        return disk.label == label(fill_id)
    if udid is not None:
        return disk.udid == udid
    if pool_keeps_labels:
        return False
    return is_created_for(disk.capacity, size)


def may_be_stale(disk: base.Disk) -> bool:
    """Return whether a disk without a record may be a stale base image.

    nova-powervm set no labels; a label of this project belongs to a record
    of a catalog that was lost.

    :param disk: that has the name of a base image.
    :returns: False if the label shows that the disk belongs to others.
    """
    return not has_label(disk) or has_our_label(disk)


def fault_of(
    record: models.BaseImage, disk: base.Disk, is_mapped: bool
) -> str | None:
    """Return why a base image may have changed since its fill.

    :param record: of the base image.
    :param disk: of the base image, as the pool shows it.
    :param is_mapped: whether a partition uses the disk.
    :returns: the reason, or None if nothing speaks against the disk.
    """
    if is_mapped:
        return 'its disk is mapped to a partition, which can change it'
    if disk.capacity != record.capacity:
        return (
            f'its disk has {text.size_exact(disk.capacity)}, but had '
            f'{text.size_exact(record.capacity or 0)}'
        )
    return None


def doubt_about(
    named: Sequence[base.Disk],
    image: image_module.Image,
    mapped: Collection[base.Disk],
    upload_targets: Collection[str],
) -> str | None:
    """Return why disks of one name are not just one base image.

    :param named: the disks that have the name.
    :param image: that the base image would hold.
    :param mapped: disks that partitions use.
    :param upload_targets: UDIDs of disks that uploads are writing to.
    :returns: None if there is no doubt: at most one disk, of the capacity
        that the image needs, unmapped, and not being written.
    """
    if len(named) > 1:
        return f'there are {len(named)} disks of that name'
    for disk in named:
        if not is_created_for(disk.capacity, image.size):
            return (
                f'it has {text.size_exact(disk.capacity)}, which PowerVM '
                'does not create for an image of '
                f'{text.size_exact(image.size)}'
            )
        if disk in mapped:
            return 'it is mapped to a partition'
        if disk.udid in upload_targets:
            return 'an upload to it is in progress'
    return None
