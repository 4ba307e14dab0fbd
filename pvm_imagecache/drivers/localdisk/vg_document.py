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

"""The document of a volume group, and the disks in it."""

import functools
import re
from typing import Any
from typing import Final

from pypowervm import const as pvm_const

from pvm_imagecache import naming
from pvm_imagecache.drivers import answers
from pvm_imagecache.drivers import base

_UOM: Final = f'{{{pvm_const.UOM_NS}}}'
_DISKS_PATH: Final = f'{_UOM}VirtualDisks'
_DISK_TAG: Final = f'{_UOM}VirtualDisk'
NAME_TAG: Final = f'{_UOM}DiskName'
UDID_TAG: Final = f'{_UOM}UniqueDeviceID'
_LIMIT_TAG: Final = f'{_UOM}MaximumLogicalVolumes'
#: The elements that are read of each disk, in the order of the schema.
_DISK_TAGS: Final = (
    f'{_UOM}DiskCapacity',
    f'{_UOM}DiskLabel',
    NAME_TAG,
    UDID_TAG,
)
_NUMBER: Final = re.compile('[0-9]{1,9}')


class Document:
    """A volume group as it was read, with an index of its disks.

    Disks that were deleted from the document are no longer in its answers.
    No XML element is handed out: an element that is appended to another
    document leaves this one, and the next update would delete its disk.

    :param wrapper: a ``pypowervm.wrappers.storage.VG``.
    :ivar wrapper: the same; its ``update()`` sends the document.
    :ivar capacity: bytes.
    :ivar free: bytes; the smaller one of the two values of the REST API.
    """

    def __init__(self, wrapper: Any) -> None:
        self.wrapper = wrapper
        self.capacity = answers.size(wrapper.capacity)
        self.free = answers.size(
            min(
                (
                    size
                    for size in (wrapper.free_space, wrapper.available_size)
                    if size is not None
                ),
                default=0,
            )
        )
        self._parent = wrapper.entry.element.element.find(_DISKS_PATH)

    @functools.cached_property
    def _by_udid(self) -> dict[str, base.Disk]:
        return {disk.udid: disk for disk in _disks(self._parent)}

    @functools.cached_property
    def _by_name(self) -> dict[str, list[base.Disk]]:
        found: dict[str, list[base.Disk]] = {}
        for disk in self._by_udid.values():
            found.setdefault(disk.name, []).append(disk)
        return found

    @functools.cached_property
    def _elements(self) -> dict[str, Any]:
        """By UDID, the XML elements; needed only to delete disks."""
        return {
            (element.findtext(UDID_TAG) or '').strip(): element
            for element in self._parent.iterfind(_DISK_TAG)
        }

    @property
    def name(self) -> str:
        """The name of the volume group."""
        return str(self.wrapper.name)

    @property
    def max_disks(self) -> int | None:
        """How many logical volumes it can have; None if it does not say."""
        found = self.wrapper.entry.element.element.findtext(_LIMIT_TAG)
        text = (found or '').strip()
        return (int(text) or None) if _NUMBER.fullmatch(text) else None

    @property
    def disk_count(self) -> int:
        """How many disks the document has, without reading them."""
        if self._parent is None:
            return 0
        return sum(1 for _ in self._parent.iterchildren(_DISK_TAG))

    @property
    def disks(self) -> list[base.Disk]:
        """All disks that exist and were not deleted from the document."""
        return list(self._by_udid.values())

    @property
    def udids(self) -> set[str]:
        """The UDIDs of :attr:`disks`."""
        return set(self._by_udid)

    def base_images(self) -> list[base.Disk]:
        """Return the disks whose names are those of base images.

        Only the names of the other disks, of which there may be many, are
        read.

        :returns: the disks in the order of the document.
        """
        if self._parent is None:
            return []
        return [
            _disk_of(each.getparent())
            for each in self._parent.iter(NAME_TAG)
            if naming.is_base_image_name((each.text or '').strip())
        ]

    def named(self, name: str) -> list[base.Disk]:
        """Return all disks of a name.

        :param name: without a directory.
        :returns: the disks; more than one if the volume group has several
            file-backed disks of that name in different directories.
        """
        return self._by_name.get(name, [])

    def has(self, disk: base.Disk) -> bool:
        """Return whether a disk exists.

        :param disk: identified by its name, its UDID, and its label if it has
            one: PowerVM may use a UDID again.
        :returns: True if these are those of one disk.
        """
        found = self._by_udid.get(disk.udid)
        return (
            found is not None
            and found.name == disk.name
            and not is_other(found.label, disk.label)
        )

    def delete(self, disk: base.Disk) -> None:
        """Delete a disk from the document; the next update deletes it.

        :param disk: one of :attr:`disks`.
        """
        self._by_name[disk.name].remove(self._by_udid.pop(disk.udid))
        element = self._elements.pop(disk.udid)
        element.getparent().remove(element)

    def append(self, wrapper: Any) -> None:
        """Add a disk to the document; the next update creates it.

        It is not in :attr:`disks`, which exist already.

        :param wrapper: a ``pypowervm.wrappers.storage.VDisk`` without UDID.
        """
        # Index the disks before there is one without UDID.
        _ = self._by_udid
        self.wrapper.virtual_disks.append(wrapper)


def is_other(label: str, expected: str) -> bool:
    """Return whether a label shows that a disk is not the expected one.

    :param label: of the disk.
    :param expected: the label of the expected disk; '' if it is not known.
    :returns: False for a label that is not of this project: it may have been
        dropped or changed by the platform.
    """
    return bool(expected) and label != expected and naming.is_label(label)


def _disks(parent: Any) -> list[base.Disk]:
    """Return the disks of a document.

    There may be ten thousand of them, and a search in each would take longer
    than reading the document. So all elements that are needed are collected
    in one iteration. If a disk lacks one of them, or has them in another
    order, which was never seen, each disk is searched.
    """
    if parent is None:
        return []
    count = sum(1 for _ in parent.iterchildren(_DISK_TAG))
    values = list(parent.iter(*_DISK_TAGS))
    texts = [each.text or '' for each in values]
    if [each.tag for each in values] != [*_DISK_TAGS] * count:
        return [_disk_of(each) for each in parent.iterfind(_DISK_TAG)]
    each_four = iter(texts)
    return [
        _disk(*four)
        for four in zip(
            each_four, each_four, each_four, each_four, strict=True
        )
    ]


def _disk_of(element: Any) -> base.Disk:
    return _disk(*(element.findtext(tag) or '' for tag in _DISK_TAGS))


def _disk(capacity: str, label: str, name: str, udid: str) -> base.Disk:
    return base.Disk(
        naming.last_component(name.strip()),
        udid.strip(),
        answers.size(capacity),
        label.strip(),
    )
