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

"""The image cache manager of nova.

nova calls it in its periodic thread, with an administrator's context that has
no token. So nothing here makes requests to Glance, and nothing is raised.
"""

from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

# The base class uses this module without importing it, for instances with an
# ephemeral disk.
import nova.privsep.fs  # noqa: F401
from oslo_log import log as logging

from nova.virt import imagecache
from pvm_imagecache import manager
from pvm_imagecache.catalog import models
from pvm_imagecache.virt import fault_log

LOG = logging.getLogger(__name__)


class PowerVMImageCacheManager(imagecache.ImageCacheManager):
    """Runs the cleanup of a pool.

    :param images: the manager of the base images of the pool.
    """

    def __init__(self, images: manager.ImageManager) -> None:
        super().__init__()
        self._images = images
        self._faults = fault_log.FaultLog('run image cache maintenance')

    def update(self, context: Any, all_instances: Iterable[Any]) -> None:
        """Reconcile catalog and pool, then evict what the policies select.

        An error is logged, and nova's next call is the next attempt.

        :param context: of an administrator, without a token; not used.
        :param all_instances: the instances of this host, as nova objects.
        """
        try:
            self._age_and_verify_cached_images(
                context, all_instances, self._get_base()
            )
        except Exception as error:
            LOG.debug('A cleanup run failed', exc_info=True)
            self._faults.failed(error)
        else:
            self._faults.recovered()

    def get_disk_usage(self) -> int:
        """Return how much of the pool base images keep from instances.

        nova reserves it in placement. Base images that can be evicted at
        once are not included: a deploy that needs their space gets it.

        :returns: bytes.
        :raises PVMImageCacheError: if the catalog or the pool cannot be
            read.
        """
        return self._images.reserved()

    def _get_base(self) -> str:
        """Return the ID of the pool, which takes the place of a directory."""
        return self._images.driver.pool_id()

    def _scan_base_images(self, base_dir: str) -> Sequence[models.BaseImage]:
        """Return the base images; a cleanup run does not need them."""
        return self._images.list()

    def _age_and_verify_cached_images(
        self, context: Any, all_instances: Iterable[Any], base_dir: str
    ) -> None:
        self._images.run_cleanup(images_in_use(all_instances))


def images_in_use(instances: Iterable[Any]) -> set[str]:
    """Return the images that instances were created from.

    ``ImageCacheManager._list_running_instances`` would also read the block
    devices of all instances from the database. Its kernels and ramdisks are
    not needed, because PowerVM does not boot from them.

    :param instances: nova objects; one that was booted from a volume has the
        image ''.
    :returns: image IDs.
    """
    # Iterating over the lists of nova is slow: there may be ten thousand.
    listed = getattr(instances, 'objects', instances)
    return {instance.image_ref for instance in listed} - {'', None}
