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

"""Names of virtual disks.

A name does not prove what a disk contains. It keeps only twelve hexadecimal
digits of the image's ID, and the ID can be chosen when an image is created.
"""

import hashlib
import re
from typing import Final

from pvm_imagecache import exceptions

#: Characters that PowerVM allows in the name of a virtual disk
#: (``pypowervm.const.MaxLen.VDISK_NAME``).
MAX_DISK_NAME: Final = 15
#: How the name of every base image begins.
BASE_IMAGE_PREFIX: Final = 'i_'
#: How the name of every disk of a platform check begins.
CHECK_DISK_PREFIX: Final = 'pvmic_chk_'

_FORBIDDEN = re.compile(r'[^.0-9A-Z_a-z]')
_BASE_IMAGE_NAME = re.compile(r'i_[0-9A-Fa-f]{8}_[0-9A-Fa-f]{4}')

#: Labels of disks: the beginnings of a fill ID and of the ID of a catalog, or
#: of a fill ID alone, in earlier releases.
LABEL_PREFIX: Final = 'imagecache_'
LABEL: Final = re.compile(f'{LABEL_PREFIX}([0-9a-f]{{10}})_([0-9a-f]{{8}})')
OLD_LABEL: Final = re.compile(f'{LABEL_PREFIX}([0-9a-f]{{16}})')


def is_label(text: str) -> bool:
    """Return whether a label was written by this project, and is complete.

    :param text: the label of a disk.
    :returns: False also for one that the platform has shortened.
    """
    return bool(LABEL.fullmatch(text) or OLD_LABEL.fullmatch(text))


def base_image_name(image_id: str) -> str:
    """Return the disk name of a base image, such as ``i_3e865d14_8c1e``.

    The rule is that of nova-powervm:
    ``pypowervm.util.sanitize_file_name_for_api(id, prefix='i_',
    max_len=15)``. The case of the ID is kept, because two spellings of one
    UUID are two images in Glance.

    :param image_id: ID of the Glance image.
    :returns: the name, of at most :data:`MAX_DISK_NAME` characters.
    """
    return (BASE_IMAGE_PREFIX + _FORBIDDEN.sub('_', image_id))[:MAX_DISK_NAME]


def second_base_image_name(image_id: str, pool: str) -> str:
    """Return the disk name of a base image whose first name is taken.

    The first name of an image can be that of another image, whose ID a user
    has chosen for that purpose. The second one cannot be predicted without
    the ID of the pool. All processes of a host use the same one.

    :param image_id: ID of the Glance image.
    :param pool: ID of the pool.
    :returns: a name for which :func:`is_base_image_name` is true.
    """
    digits = hashlib.blake2b(
        image_id.encode(errors='backslashreplace'),
        key=hashlib.sha256(pool.encode()).digest(),
    ).hexdigest()
    return f'{BASE_IMAGE_PREFIX}{digits[:8]}_{digits[8:12]}'


def is_base_image_name(disk_name: str) -> bool:
    """Check if a disk is named like the base image of an image with a UUID.

    :param disk_name: name of the disk, or the path of a file-backed disk.
    :returns: True if the name has that form.
    """
    return BASE_IMAGE_PREFIX in disk_name and bool(
        _BASE_IMAGE_NAME.fullmatch(last_component(disk_name))
    )


def last_component(disk_name: str) -> str:
    """Return the part of a disk name after the last slash.

    The platform names file-backed disks by their path.

    :param disk_name: name of the disk, or the path of a file-backed disk.
    :returns: the last component; the name itself if it has no slash.
    """
    return disk_name.rpartition('/')[2] if '/' in disk_name else disk_name


def check_disk_name(disk_name: str, max_length: int = MAX_DISK_NAME) -> str:
    """Return a name if an instance disk can be created under it.

    :param disk_name: the name to check.
    :param max_length: characters that the name may have at most.
    :returns: the name, unchanged.
    :raises DiskNameInvalid: if it is empty or too long, has characters that
        PowerVM does not allow (``FileName.Pattern``), or has the form of a
        base image's name.
    """
    if not disk_name:
        reason = 'it is empty'
    elif len(disk_name) > max_length:
        reason = (
            f'it has {len(disk_name)} characters, and PowerVM allows '
            f'{max_length} at most'
        )
    elif _FORBIDDEN.search(disk_name):
        reason = 'it may contain only letters, digits, "." and "_"'
    elif is_base_image_name(disk_name):
        reason = 'names of that form are reserved for cached images'
    else:
        return disk_name
    raise exceptions.DiskNameInvalid(name=disk_name, reason=reason)
