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

"""nova's image cache manager, on the one core of this project.

nova calls it in its periodic thread, with an administrator's context that
has no token: nothing here asks Glance, and nothing is raised.
"""

from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

# The base class uses it without importing it, for instances that have an
# ephemeral disk.
import nova.privsep.fs  # noqa: F401
from oslo_log import log as logging

from nova.virt import imagecache
from pvm_imagecache import catalog
from pvm_imagecache import manager
from pvm_imagecache.virt import fault_log

LOG = logging.getLogger(__name__)


class PowerVMImageCacheManager(imagecache.ImageCacheManager):
    """Runs passes over the cache of a pool.

    :param images: the manager of the pool's base images.
    """

    def __init__(self, images: manager.ImageManager) -> None:
        super().__init__()
        self._images = images
        self._trouble = fault_log.FaultLog('tidy up the image cache')

    def update(self, context: Any, all_instances: Iterable[Any]) -> None:
        """Tidy up after the dead, and remove what the policies choose.

        What fails is logged, and tried again at nova's next call.
        """
        try:
            self._age_and_verify_cached_images(
                context, all_instances, self._get_base()
            )
        except Exception as error:
            LOG.debug('A pass over the image cache failed', exc_info=True)
            self._trouble.failed(error)
        else:
            self._trouble.recovered()

    def get_disk_usage(self) -> int:
        """The bytes of the pool that base images take up.

        :raises PVMImageCacheError: if that can't be told.
        """
        return self._images.usage().cached

    def _get_base(self) -> str:
        """The id of the pool: there is no directory."""
        return self._images.driver.pool_id()

    def _scan_base_images(self, base_dir: str) -> Sequence[catalog.BaseImage]:
        """What is cached; a pass finds that out itself."""
        return self._images.list()

    def _age_and_verify_cached_images(
        self, context: Any, all_instances: Iterable[Any], base_dir: str
    ) -> None:
        self._images.run_cleanup(images_in_use(all_instances))


def images_in_use(instances: Iterable[Any]) -> set[str]:
    """The ids of the images that instances were made from; a decider.

    They are what ``ImageCacheManager._list_running_instances`` calls used
    images, but for kernels and ramdisks, which PowerVM boots none from. That
    would read the block devices of all instances from the database besides.
    A server that was booted from a volume has '' for an image.
    """
    # nova's lists are slow to go through: there may be ten thousand.
    listed = getattr(instances, 'objects', instances)
    return {instance.image_ref for instance in listed} - {'', None}
