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

"""What a virtual disk may be called, and what its name can tell.

A name never proves what a disk holds: twelve hexadecimal digits of an
image's id survive in it, and whoever creates an image may choose its id.
"""

import re
from typing import Final

from pvm_imagecache import exceptions

#: PowerVM's limit (pypowervm.const.MaxLen.VDISK_NAME).
MAX_DISK_NAME: Final = 15
BASE_IMAGE_PREFIX: Final = 'i_'

_FORBIDDEN = re.compile(r'[^.0-9A-Z_a-z]')
_BASE_IMAGE_NAME = re.compile(r'i_[0-9A-Fa-f]{8}_[0-9A-Fa-f]{4}')


def base_image_name(image_id: str) -> str:
    """The name of the disk that caches an image: ``i_3e865d14_8c1e``.

    The rule is that of nova-powervm and of
    ``pypowervm.util.sanitize_file_name_for_api(id, prefix='i_',
    max_len=15)``; the case of the id is kept, as Glance takes two spellings
    of one UUID for two images.
    """
    return (BASE_IMAGE_PREFIX + _FORBIDDEN.sub('_', image_id))[:MAX_DISK_NAME]


def is_base_image_name(disk_name: str) -> bool:
    """Whether a disk is called as a cached image of a UUID would be."""
    return BASE_IMAGE_PREFIX in disk_name and bool(
        _BASE_IMAGE_NAME.fullmatch(last_component(disk_name))
    )


def last_component(disk_name: str) -> str:
    """The name proper: file-backed disks are named by their whole path."""
    return disk_name.rpartition('/')[2] if '/' in disk_name else disk_name


def check_disk_name(disk_name: str, longest: int = MAX_DISK_NAME) -> str:
    """Return the name if PowerVM takes it for a new disk.

    :param longest: the characters that it may have at most.
    :raises DiskNameInvalid: if it is empty or too long, has characters
        outside PowerVM's FileName.Pattern, or looks like a cached image.
    """
    if not disk_name:
        reason = 'it is empty'
    elif len(disk_name) > longest:
        reason = (
            f'it has {len(disk_name)} characters, and PowerVM takes '
            f'{longest} at most'
        )
    elif _FORBIDDEN.search(disk_name):
        reason = 'only letters, digits, "." and "_" may be in it'
    elif is_base_image_name(disk_name):
        reason = 'such names are those of cached images'
    else:
        return disk_name
    raise exceptions.DiskNameInvalid(name=disk_name, reason=reason)
