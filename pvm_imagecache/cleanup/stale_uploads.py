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

"""Removal of the File entries that interrupted uploads left in PowerVM."""

from pvm_imagecache import cache as cache_module
from pvm_imagecache import exceptions
from pvm_imagecache import naming
from pvm_imagecache.cleanup import ownership


def remove(cache: cache_module.Cache, *, is_certain: bool = False) -> None:
    """Remove File entries that uploads could not remove in time.

    Those of crashed uploads are removed with their incomplete disks, too.
    Entries of uploads in progress, of disks without a label of this project,
    and of disks of other catalogs, are kept.

    :param cache: of the pool.
    :param is_certain: whether to look for entries even if no upload is known
        to have left one.
    :raises PowerVMError: if the entries or the pool cannot be read, or an
        entry cannot be removed.
    :raises CatalogError: if the catalog cannot be read or written.
    """
    pool = cache.driver.pool_id()
    if not is_certain and (
        cache.catalog.pools.uploads_are_clean(pool)
        and not cache.driver.has_stale_uploads()
    ):
        return
    busy = False
    targets = set(cache.driver.upload_targets())
    disks = cache.driver.snapshot().disks if targets else []
    own = cache.own_catalogs() if disks else frozenset()
    for disk in disks:
        if disk.udid not in targets or not ownership.has_our_label(disk):
            continue
        if ownership.other_catalog_of(disk, own):
            # The locks say nothing about its uploads.
            continue
        lock = (
            cache.fill_lock(disk.name, 0)
            if naming.is_base_image_name(disk.name)
            else cache.instance_disk_lock(disk.name)
        )
        try:
            with lock:
                cache.driver.remove_uploads(disk)
        except exceptions.LockTimeout:
            busy = True
    cache.catalog.pools.record_uploads(pool, clean=not busy)
