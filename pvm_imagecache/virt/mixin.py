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

"""The image cache for a PowerVM compute driver, whoever wrote that.

A driver that has it as its first base class gets nova's three doors to a
cache, and makes its boot disks with ``image_cache``.
"""

import math
from typing import Any
import weakref

import nova.conf
import os_resource_classes as orc
from oslo_log import log as logging
from oslo_utils import units

from nova.virt import driver
from pvm_imagecache import exceptions
from pvm_imagecache import manager
from pvm_imagecache import plugins
from pvm_imagecache.conf import compute
from pvm_imagecache.virt import fault_log
from pvm_imagecache.virt import glance
from pvm_imagecache.virt import imagecache
from pvm_imagecache.virt import notifications

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)


class ImageCacheMixin(driver.ComputeDriver):
    """What nova asks of a driver that has an image cache.

    Its methods call those of the driver that it is mixed into.

    :ivar image_cache: the :class:`pvm_imagecache.manager.ImageManager`; there
        after ``init_host``.
    :ivar image_source: images by the rights of the user of a request.
    """

    capabilities: dict[str, bool]
    image_cache: manager.ImageManager

    def init_host(self, host: str) -> None:
        """Set the cache up, then the driver.

        :raises PluginNotFound, PluginInvalid, ConfigurationError: if the
            disk driver can't be had: nova-compute does not start then.
        """
        self.start_image_cache()
        super().init_host(host)

    def start_image_cache(self) -> None:
        """Make ``image_cache``, and tidy up what died with the host."""
        compute.register(CONF)
        self.image_source = glance.source()
        self._notifier = (
            notifications.Notifier()
            if CONF.pvm_imagecache.send_notifications
            else None
        )
        self.image_cache = manager.ImageManager.from_conf(
            CONF,
            self.image_source,
            plugins.load_usable_policies,
            self._notifier,
        )
        self._cache_manager = imagecache.PowerVMImageCacheManager(
            self.image_cache
        )
        self._usage_trouble = fault_log.FaultLog('tell how full the cache is')
        self._reserved_gb = 0
        # nova reads the class's, which all drivers of a process share.
        self.capabilities = {
            **self.capabilities,
            'has_imagecache': self.image_cache.caches_images,
        }
        CONF.register_mutate_hook(_reconfigurer(self.image_cache))
        if self.image_cache.caches_images:
            start = fault_log.FaultLog('tidy up the image cache at the start')
            try:
                self.image_cache.reconcile()
            except Exception as error:
                # The next pass does it; nova-compute is not to stop for it.
                LOG.debug('It failed here', exc_info=True)
                start.failed(error)

    def cleanup_host(self, host: str) -> None:
        """Let go of PowerVM and the catalogue, after the driver."""
        super().cleanup_host(host)
        if hasattr(self, 'image_cache'):
            self.image_cache.close()
            if self._notifier:
                self._notifier.close()

    def manage_image_cache(self, context: Any, all_instances: Any) -> None:
        """Run a pass; nova does so every ``manager_interval`` seconds."""
        if self.image_cache.caches_images:
            self._cache_manager.update(context, all_instances)

    def cache_image(self, context: Any, image_id: str) -> bool:
        """Fetch an image before somebody needs it.

        :returns: False if it is cached already.
        :raises NotImplementedError: if nothing is cached here.
        """
        if not self.image_cache.caches_images:
            raise NotImplementedError
        try:
            fetched = self.image_cache.prefetch(
                self.image_source.get(image_id, context), context=context
            )
        except (
            exceptions.CacheDisabled,
            exceptions.NotSupported,
        ) as error:
            raise NotImplementedError(str(error)) from error
        LOG.info(
            'Image %(image)s is cached%(how)s',
            {'image': image_id, 'how': '' if fetched.fetched else ' already'},
        )
        return fetched.fetched

    def update_provider_tree(
        self, provider_tree: Any, nodename: str, allocations: Any = None
    ) -> None:
        """The driver's inventory, with base images as reserved disk."""
        super().update_provider_tree(provider_tree, nodename, allocations)
        self.reserve_cached(provider_tree, nodename)

    def reserve_cached(self, provider_tree: Any, nodename: str) -> None:
        """Count base images as disk space that no instance can have."""
        inventory = provider_tree.data(nodename).inventory
        disk = inventory.get(orc.DISK_GB)
        cached = self.cached_gb()
        if disk is None or not cached:
            return
        reserved = min(disk.get('reserved', 0) + cached, disk['total'])
        provider_tree.update_inventory(
            nodename,
            {**inventory, orc.DISK_GB: {**disk, 'reserved': reserved}},
        )

    def cached_gb(self) -> int:
        """The GiB that base images take up; as known, if it can't be told."""
        if not self.image_cache.caches_images:
            return 0
        try:
            used = self._cache_manager.get_disk_usage()
        except exceptions.PVMImageCacheError as error:
            self._usage_trouble.failed(error)
        else:
            self._usage_trouble.recovered()
            self._reserved_gb = math.ceil(used / units.Gi)
        return self._reserved_gb


def _reconfigurer(images: manager.ImageManager) -> Any:
    """What is done when nova-compute gets a SIGHUP."""
    manager_of = weakref.ref(images)

    def reconfigure(conf: Any, fresh: Any) -> None:
        current = manager_of()
        if current is None:
            return
        try:
            current.reconfigure(conf, plugins.load_usable_policies)
        except Exception as error:
            LOG.error(
                'The image cache goes on with the options that it had: %s',
                error,
            )

    return reconfigure
