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

A disk that this project creates carries a label with the beginnings of the
ID of its fill and of the ID of the catalog that has its record. The label of
an earlier release has no catalog. Where a platform drops labels, the UDID of
a disk identifies it, or its name and size.

No document states how long a label may be. AIX limits the label of a logical
volume to 127 characters, and recorded answers of the REST API have 59, among
them letters, digits, "_", "." and "/". A label of this project has 30
characters, three more than those of earlier releases.
"""

from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Final

from oslo_utils import units

from pvm_imagecache import image as image_module
from pvm_imagecache import naming
from pvm_imagecache import text
from pvm_imagecache.catalog import models
from pvm_imagecache.drivers import base
from pvm_imagecache.drivers import copy_time

#: Seconds after which no request of a crashed process is still running,
#: unless it copies a large disk.
LONGEST_REQUEST: Final = copy_time.LEAST_LIMIT
_LABEL_DIGITS: Final = 10
#: Of labels without catalog.
_OLD_LABEL_DIGITS: Final = 16


def label(fill_id: str) -> str:
    """Return the label of a disk that is created under a fill ID.

    :param fill_id: of the record of the disk.
    :returns: a text that PowerVM accepts as a label. If the fill ID names a
        catalog, the label does.
    """
    catalog = models.catalog_of(fill_id)
    if not catalog:
        return naming.LABEL_PREFIX + fill_id[:_OLD_LABEL_DIGITS]
    return f'{naming.LABEL_PREFIX}{fill_id[:_LABEL_DIGITS]}_{catalog}'


def certain_label(fill_id: str) -> str:
    """Return the label that the disk of a record has if it has one.

    :param fill_id: of the record of the disk.
    :returns: the label; '' if that is not known: of a record of an earlier
        release, or of an adopted disk without a label of this project.
    """
    return label(fill_id) if models.catalog_of(fill_id) else ''


def catalog_of(disk: base.Disk) -> str:
    """Return the catalog that has the record of a disk.

    :param disk: as the pool shows it.
    :returns: the beginning of the ID of the catalog; '' if the disk has no
        label of this project, or the one of an earlier release.
    """
    found = naming.LABEL.fullmatch(disk.label)
    return found[2] if found else ''


def other_catalog_of(disk: base.Disk, own: Collection[str]) -> str:
    """Return the other catalog to which a disk belongs.

    :param disk: as the pool shows it.
    :param own: the beginnings of the IDs of this catalog, and of those that
        it has taken over.
    :returns: the beginning of the ID of the other catalog; '' if the disk
        belongs to this one, or to none as far as its label says.
    """
    catalog = catalog_of(disk)
    return '' if catalog in own else catalog


def other_catalogs(
    disks: Iterable[base.Disk], own: Collection[str]
) -> tuple[models.OtherCatalog, ...]:
    """Return the other catalogs to which disks of a pool belong.

    :param disks: as the pool shows them.
    :param own: as for :func:`other_catalog_of`.
    :returns: each catalog with the number of its disks, in order of their
        IDs.
    """
    counted: dict[str, list[int]] = {}
    for disk in disks:
        catalog = other_catalog_of(disk, own)
        if catalog:
            counts = counted.setdefault(catalog, [0, 0])
            counts[not naming.is_base_image_name(disk.name)] += 1
    return tuple(
        models.OtherCatalog(catalog, *counts)
        for catalog, counts in sorted(counted.items())
    )


def adopted_fill_id(disk: base.Disk, fill_id: str) -> str:
    """Return the fill ID under which a disk can be adopted.

    :param disk: as the pool shows it.
    :param fill_id: a new fill ID, which names no catalog.
    :returns: the new fill ID; if the disk carries a label of this project,
        the fill ID with that label: a record with another one would not own
        the disk.
    """
    found = naming.LABEL.fullmatch(disk.label)
    if found:
        return models.with_catalog(
            found[1] + fill_id[_LABEL_DIGITS:], found[2]
        )
    found = naming.OLD_LABEL.fullmatch(disk.label)
    return found[1] + fill_id[_OLD_LABEL_DIGITS:] if found else fill_id


def has_our_label(disk: base.Disk) -> bool:
    """Return whether a disk carries a label of this project.

    A label that the platform has shortened is none: it says too little.

    :param disk: as the pool shows it.
    :returns: whether any process of this project created the disk.
    """
    return naming.is_label(disk.label)


def may_be_label(found: str, requested: str) -> bool:
    """Return whether a disk may have been created with a label.

    :param found: the label of the disk, as the pool shows it.
    :param requested: that label.
    :returns: whether it is that label, or what is left of it on a platform
        that drops labels or shortens them.
    """
    return found in base.NO_LABEL or requested.startswith(found)


def has_label(disk: base.Disk) -> bool:
    """Return whether a disk carries any label.

    :param disk: as the pool shows it.
    :returns: False also for the word that pypowervm writes for no label.
    """
    return disk.label not in base.NO_LABEL


def is_disk_of(disk: base.Disk, record: models.BaseImage) -> bool:
    """Return whether a disk is the one that the record of an image names.

    :param disk: as the pool shows it.
    :param record: of a base image whose UDID is known.
    :returns: whether name and UDID are those of the record, and the label
        does not show that the disk was created for something else: a UDID
        may be used again after a disk was deleted.
    """
    if (disk.name, disk.udid) != (record.disk_name, record.udid):
        return False
    expected = certain_label(record.fill_id)
    return not expected or not has_our_label(disk) or disk.label == expected


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


def is_created_for(
    capacity: int, size: int, granularity: int | None = None
) -> bool:
    """Return whether PowerVM creates disks of a capacity for a size.

    A size is rounded up to whole GiB, and then to what the pool allocates.

    :param capacity: of the disk, in bytes.
    :param size: that was requested, in bytes.
    :param granularity: bytes that the pool allocates multiples of; None if
        that is not known.
    :returns: whether the capacity fits the size.
    """
    most = units.Gi
    if granularity and units.Gi % granularity:
        most += granularity
    return 0 <= capacity - size < most


def is_ours(
    disk: base.Disk,
    udid: str | None,
    fill_id: str,
    size: int,
    pool_keeps_labels: bool,
    granularity: int | None = None,
) -> bool:
    """Return whether a disk is the one that was created for a record.

    A label of this project decides: under one fill ID a disk may be created
    again, with another UDID. Otherwise the UDID decides. If the platform may
    drop or shorten labels and the process crashed before PowerVM returned
    the UDID, the name, which no other disk had at that time, the size and
    what is left of the label decide.

    :param disk: that has the name of the record.
    :param udid: of the record; None if PowerVM did not return it.
    :param fill_id: of the record.
    :param size: in bytes, as it was requested.
    :param pool_keeps_labels: False if the platform may drop labels, or
        shorten that of a disk which has one.
    :param granularity: as for :func:`is_created_for`.
    :returns: whether the disk belongs to the record.
    """
    if has_our_label(disk):
        return disk.label == label(fill_id)
    if udid is not None:
        return disk.udid == udid
    if pool_keeps_labels or not may_be_label(disk.label, label(fill_id)):
        return False
    return is_created_for(disk.capacity, size, granularity)


def may_be_base_image(record: models.BaseImage) -> bool:
    """Return whether the disk of a record is named like a base image.

    The catalog belongs to the user of nova-compute, and could name any disk.
    The name tells base images from disks of instances and of others.

    :param record: of the base image.
    :returns: whether it is named as the cache names disks of images.
    """
    return naming.is_base_image_name(record.disk_name)


def may_be_stale(disk: base.Disk, own: Collection[str]) -> bool:
    """Return whether a disk without a record may be a stale base image.

    nova-powervm set no labels. A label of this catalog, or one of this
    project that names no catalog, belongs to a record that was lost. What is
    left of a shortened label can be that of another catalog.

    :param disk: that has the name of a base image.
    :param own: as for :func:`other_catalog_of`.
    :returns: False if the label shows that the disk may belong to others.
    """
    if has_our_label(disk):
        return not other_catalog_of(disk, own)
    return not has_label(disk)


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
    granularity: int | None = None,
) -> str | None:
    """Return why disks of one name are not just one base image.

    :param named: the disks that have the name.
    :param image: that the base image would hold.
    :param mapped: disks that partitions use.
    :param upload_targets: UDIDs of disks that uploads are writing to.
    :param granularity: as for :func:`is_created_for`.
    :returns: None if there is no doubt: at most one disk, of the capacity
        that the image needs, unmapped, and not being written.
    """
    if len(named) > 1:
        return f'there are {len(named)} disks of that name'
    for disk in named:
        if not is_created_for(disk.capacity, image.size, granularity):
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
