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

"""The image cache for any compute driver for PowerVM.

A driver that has the mixin as its first base class gets the three methods
that nova calls for image caching: ``manage_image_cache``, ``cache_image`` and
the space of base images in ``update_provider_tree``. It creates its boot
disks with ``image_cache``.
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
from pvm_imagecache.conf import types
from pvm_imagecache.virt import fault_log
from pvm_imagecache.virt import glance
from pvm_imagecache.virt import imagecache
from pvm_imagecache.virt import nova_release
from pvm_imagecache.virt import signatures

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)


class ImageCacheMixin(driver.ComputeDriver):
    """The methods that nova calls in a driver with an image cache.

    They call the methods of the driver that the mixin is added to.

    :ivar image_cache: the :class:`pvm_imagecache.manager.ImageManager`; set
        by ``init_host``.
    :ivar image_source: images, with the permissions of the user of a request.
    """

    capabilities: dict[str, bool]
    image_cache: manager.ImageManager

    def init_host(self, host: str) -> None:
        """Set up the cache, then the driver.

        nova-compute does not start after an error.

        :param host: the name of the host in nova.
        :raises ReleaseTooOld: if nova or pypowervm is older than supported.
        :raises PluginNotFound: if the disk driver is not installed.
        :raises PluginInvalid: if the disk driver cannot be loaded.
        :raises ConfigurationError: if an option is missing or invalid.
        """
        self.start_image_cache()
        super().init_host(host)

    def start_image_cache(self) -> None:
        """Set ``image_cache``, and clean up after a crash of the host.

        An error of the cleanup is logged.

        :raises ReleaseTooOld: if nova or pypowervm is older than supported.
        :raises PluginNotFound: if the disk driver is not installed.
        :raises PluginInvalid: if the disk driver cannot be loaded.
        :raises ConfigurationError: if an option is missing or invalid.
        """
        nova_release.check()
        compute.register(CONF)
        self.image_source = glance.source()
        self.image_cache = manager.ImageManager.from_conf(
            CONF,
            self.image_source,
            plugins.load_usable_policies,
            requirement_for=signatures.requirement_for,
        )
        self._cache_manager = imagecache.PowerVMImageCacheManager(
            self.image_cache
        )
        self._usage_faults = fault_log.FaultLog(
            'determine the usage of the image cache'
        )
        self._reserved_gb = 0
        # All drivers of a process share the dictionary of the class.
        self.capabilities = {
            **self.capabilities,
            'has_imagecache': self.image_cache.caches_images,
        }
        CONF.register_mutate_hook(_reconfigurer(self.image_cache))
        if self.image_cache.caches_images:
            startup = fault_log.FaultLog(
                'run image cache maintenance at startup'
            )
            try:
                self.image_cache.reconcile()
            except Exception as error:
                # The next cleanup run repeats it; nova-compute must start.
                LOG.debug('The cleanup at startup failed', exc_info=True)
                startup.failed(error)

    def cleanup_host(self, host: str) -> None:
        """Clean up the driver, then close the cache.

        :param host: the name of the host in nova.
        """
        super().cleanup_host(host)
        if hasattr(self, 'image_cache'):
            self.image_cache.close()

    def manage_image_cache(self, context: Any, all_instances: Any) -> None:
        """Clean up the cache, every ``manager_interval`` seconds.

        Errors are logged, not raised.

        :param context: of an administrator, without a token.
        :param all_instances: the instances of this host, as nova objects.
        """
        if self.image_cache.caches_images:
            self._cache_manager.update(context, all_instances)

    def cache_image(self, context: Any, image_id: str) -> bool:
        """Prefetch an image.

        :param context: the ``RequestContext`` of the user.
        :param image_id: of the image.
        :returns: False if it was cached already.
        :raises NotImplementedError: if this host does not cache images.
        :raises PVMImageCacheError: if the image cannot be cached.
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
        """Update the inventory, with retained base images as reserved space.

        :param provider_tree: the ``ProviderTree`` of nova; it is changed.
        :param nodename: the name of the node.
        :param allocations: passed to the driver.
        """
        super().update_provider_tree(provider_tree, nodename, allocations)
        self.reserve_cached(provider_tree, nodename)

    def reserve_cached(self, provider_tree: Any, nodename: str) -> None:
        """Add the space of retained base images to the reserved disk space.

        For drivers that override ``update_provider_tree``.

        :param provider_tree: the ``ProviderTree`` of nova; it is changed.
        :param nodename: the name of the node.
        """
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
        """Return how much space base images use that no deploy can evict.

        :returns: GiB, rounded up; the last known value if PowerVM or the
            catalog cannot be read.
        """
        if not self.image_cache.caches_images:
            return 0
        try:
            used = self._cache_manager.get_disk_usage()
        except exceptions.PVMImageCacheError as error:
            self._usage_faults.failed(error)
        else:
            self._usage_faults.recovered()
            self._reserved_gb = math.ceil(used / units.Gi)
        return self._reserved_gb


def _reconfigurer(images: manager.ImageManager) -> Any:
    """Return the hook that is called when nova-compute gets a SIGHUP."""
    manager_of = weakref.ref(images)

    def reconfigure(conf: types.Conf, fresh: Any) -> None:
        current = manager_of()
        if current is None:
            return
        try:
            current.reconfigure(conf, plugins.load_usable_policies)
        except Exception as error:
            LOG.error(
                'The image cache keeps its previous options: %s',
                error,
            )

    return reconfigure
