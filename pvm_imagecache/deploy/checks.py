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

"""Rules of a deploy: whether an image can be cached and served, and fits."""

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache import text
from pvm_imagecache.catalog import models


def is_servable(record: models.BaseImage, image: image_module.Image) -> bool:
    """Return whether deploys of an image may be served from a base image.

    :param record: of the base image.
    :param image: as Glance describes it.
    :returns: False unless the base image is ready, has a disk, and is
        identical in ID, size, format and hash. A base image that was adopted
        without a virtual size is not served either: the size of its copies
        is unknown.
    """
    return (
        record.state is models.State.READY
        and bool(record.udid)
        and not record.image.needs_virtual_size
        and image_module.compare(record.image, image)
        is image_module.Sameness.SAME
    )


def check_cacheable(image: image_module.Image) -> None:
    """Check that an image can be verified.

    :param image: as Glance describes it.
    :raises ImageNotCacheable: if the image has no hash that this Python can
        compute.
    """
    if image.digest is not None:
        return
    if image.os_hash_value:
        reason = (
            'it has no hash that can be verified: Glance used '
            f'"{image.os_hash_algo}", which this Python does not have, and '
            'there is no checksum.'
        )
    else:
        # After an import or a copy, Glance computes it in the background.
        reason = (
            'it has no hash that can be verified. Glance has no hash of it '
            'yet; it is not cached until it has one. If the image was '
            'registered by a location without a hash, upload or import it '
            'again.'
        )
    raise exceptions.ImageNotCacheable(
        image=image.id, image_name=image.name, reason=reason
    )


def check_size(image: image_module.Image, size: int) -> None:
    """Check that a disk can hold an image.

    :param image: as Glance describes it.
    :param size: of the disk, in bytes; 0 for what the image needs.
    :raises DiskTooSmall: if the image needs a larger disk.
    """
    if size and size < image.least_disk_size:
        raise exceptions.DiskTooSmall(
            size=text.size_exact(size),
            image=image.id,
            needed=text.size_exact(image.least_disk_size),
        )
