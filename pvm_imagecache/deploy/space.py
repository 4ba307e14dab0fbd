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

"""Creation of disks that may need space of cached images."""

from collections.abc import Callable
import itertools
from typing import Final
from typing import TypeVar

from pvm_imagecache import cache as cache_module
from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache.cleanup import evictor

#: How often images are evicted for the same disks: other deploys may take
#: the space first.
_ATTEMPTS: Final = 3

_Created = TypeVar('_Created')


def with_space(
    cache: cache_module.Cache,
    create: Callable[[], _Created],
    *,
    last_resort: bool = False,
    for_image: str | None = None,
    newcomer: image_module.Image | None = None,
) -> _Created:
    """Create disks; if they do not fit, evict cached images and try again.

    See :meth:`pvm_imagecache.cleanup.evictor.Evictor.make_space`.

    If PowerVM says that there is no space although there is plenty, the
    cause is probably another one. Images are evicted once, by the policies
    only; and not again for an hour, unless that helped.

    :param cache: of the pool.
    :param create: creates the disks.
    :param last_resort: whether the deploy fails if there is no space.
    :param for_image: ID of an image that must not be evicted.
    :param newcomer: the image that a deploy caches with these disks, which
        evicts no image that is deployed more often.
    :returns: what ``create`` returns.
    :raises NotEnoughSpace: if not enough could be evicted.
    """
    plenty = False
    for attempts_left in itertools.count(_ATTEMPTS, -1):
        try:
            created = create()
        except exceptions.NotEnoughSpace as error:
            plenty = error.plenty
            if not attempts_left or (
                plenty and not cache.refused_space.begin()
            ):
                raise
            if not evictor.Evictor(cache).make_space(
                error.needed_bytes,
                disks=error.needed_disks,
                refused=error.refused,
                for_image=for_image,
                last_resort=last_resort and not plenty,
                newcomer=newcomer,
            ):
                raise
        else:
            break
    if plenty:
        # Evicting helped.
        cache.refused_space.end()
    return created
