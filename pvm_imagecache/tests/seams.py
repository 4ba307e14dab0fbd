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

"""What the tests use of the product beyond its public interfaces.

Stress programs look at the catalog, at locks and at threads, and shorten
waits. All such names are here: a change of the product is followed here,
and nowhere else in the stress programs.

====================================  ====================================
names of the product                  used for
====================================  ====================================
``catalog.facade.Catalog``            the records after a kill or a fault
``base_images``, ``instance_disks``   tables of the catalog
``fill_id``                           the column, and the attribute
``catalog.schema.VERSION``            a catalog of a newer release
``catalog.trust._objects``            a journal of a test in the catalog
``catalog.file.BUSY_TIMEOUT``         how long a busy catalog is waited for
``RETRY_DELAYS`` of three modules     pauses between attempts
``retry._LONGEST_BACKOFF``            the same, after a 412
``VolumeGroup(lock_timeout=...)``     its default
``volume_group.COPY_TIMEOUT``         how long an answer is waited for
``copy_time.SLOWEST_RATE``            the same
``ownership.LONGEST_REQUEST``         until when a late disk may appear
``ownership.label``                   label of a disk, from its fill id
``ImageSource._data``                 other bytes than Glance has sent
``ImageSource._client_for``           how often Glance is asked
``image-POOL-DISK`` and others        names of locks
``pvm_imagecache-DISK``               names of threads
functions of ``interrupts``           where SIGINT is not sent
``reconciliation`` and ``eviction``   what a cleanup run has done
messages                              why a deploy bypasses the cache
====================================  ====================================
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import os
import pathlib
import threading
from typing import Any
from typing import Final
from unittest import mock

from oslo_utils import units

from pvm_imagecache import image as image_module
from pvm_imagecache import naming
from pvm_imagecache import results
from pvm_imagecache.catalog import facade
from pvm_imagecache.catalog import file as catalog_file
from pvm_imagecache.catalog import models
from pvm_imagecache.catalog import schema
from pvm_imagecache.catalog import trust
from pvm_imagecache.cleanup import ownership
from pvm_imagecache.cleanup import removal
from pvm_imagecache.conf import cache as cache_conf
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.drivers import copy_time
from pvm_imagecache.drivers import powervm
from pvm_imagecache.drivers.localdisk import volume_group
from pvm_imagecache.glance import source as image_source
from pvm_imagecache.glance import stream as image_stream
from pvm_imagecache.system import retry

BaseImage = models.BaseImage
Catalog = facade.Catalog
CleanupResult = results.CleanupResult
InstanceDisk = models.InstanceDisk
Removed = removal.RemovalResult

# -- the catalog


def ignore_in_catalog(prefix: str) -> None:
    """Let this process accept tables and triggers of a test in the catalog.

    :param prefix: of their names.
    """
    objects = trust._objects

    def known(connection: Any) -> frozenset[tuple[str, str, str, str]]:
        return frozenset(
            each
            for each in objects(connection)
            if not each[1].startswith(prefix)
        )

    trust._objects = known


CATALOG_FILE: Final = 'catalog.sqlite'
CATALOG_VERSION: Final = schema.VERSION
#: In the table ``base_images``: a column, and the state of a whole image.
FILL_ID_COLUMN: Final = 'fill_id'
READY: Final = models.State.READY.value
#: The statements, by their first three words, that record such a step.
FINISH_INSTANCE_DISK: Final = 'DELETE FROM instance_disks'
START_EVICTION: Final = 'UPDATE base_images SET'


@contextlib.contextmanager
def open_catalog(state: str | os.PathLike[str]) -> Iterator[Catalog]:
    """Open the catalog in a state directory for the length of the block."""
    catalog = facade.Catalog(str(pathlib.Path(state, CATALOG_FILE)))
    with contextlib.closing(catalog):
        yield catalog


def base_image(catalog: Catalog, pool: str, name: str) -> BaseImage | None:
    """Return the record of a base image, by the name of its disk."""
    return catalog.base_images.get(pool, name)


def base_images(catalog: Catalog, pool: str) -> Sequence[BaseImage]:
    """Return the records of all base images of a pool, whole or not."""
    return catalog.base_images.list(pool)


def is_ready(record: BaseImage) -> bool:
    """Whether deploys are served from a base image."""
    return record.state is models.State.READY


def fill_id(record: BaseImage) -> str | None:
    """Return what tells one fetch of an image from the next."""
    return record.fill_id


def label_of(record: BaseImage | InstanceDisk) -> str:
    """Return the label that the disk of a record is created with."""
    return ownership.label(record.fill_id)


def fill_of(disk: driver_base.Disk) -> str:
    """Return a fill ID whose disks have the label of this one."""
    return ownership.adopted_fill_id(disk, '0' * 32)


def remembered_pool(catalog: Catalog, conf: Any) -> str | None:
    """Return the pool that commands without PowerVM show."""
    return catalog.pools.id_of(cache_conf.pool_name(conf))


def start_fill(
    catalog: Catalog, pool: str, name: str, image: image_module.Image
) -> BaseImage:
    """Record that an image is being fetched to a disk of that name."""
    return catalog.base_images.start_fill(pool, name, image)


def set_disk(catalog: Catalog, record: BaseImage, disk: Any) -> None:
    """Record the disk that a fetch has created."""
    catalog.base_images.set_disk(record, disk.udid, disk.capacity)


def finish_fill(catalog: Catalog, record: BaseImage) -> None:
    """Record that a fetch is complete."""
    catalog.base_images.finish_fill(record, record.image)


def quarantine(catalog: Catalog, record: BaseImage, reason: str) -> None:
    """Record that an image must not be served."""
    catalog.base_images.quarantine(record, reason)


def images_in_use(catalog: Catalog, pool: str) -> dict[str, float]:
    """Return the images that instances were last seen to use, and when."""
    return catalog.pins.in_use(pool)


def instance_disks(catalog: Catalog, pool: str) -> Sequence[InstanceDisk]:
    """Return the records of instance disks that are not complete."""
    return catalog.instance_disks.list(pool)


def start_instance_disk(
    catalog: Catalog,
    pool: str,
    name: str,
    size: int,
    fill: str | None = None,
) -> InstanceDisk:
    """Record that an instance disk is being written."""
    return catalog.instance_disks.start(pool, name, size, fill)


def set_udid(catalog: Catalog, entry: InstanceDisk, udid: str) -> None:
    """Record the disk that was created for an entry."""
    catalog.instance_disks.set_udid(entry, udid)


def leave_incomplete(
    driver: driver_base.DiskDriver,
    catalog: Catalog,
    name: str,
    image: image_module.Image,
) -> driver_base.Disk:
    """Leave what a process leaves that is killed during an upload.

    :param name: of a base image, or of an instance disk.
    :returns: the disk, which holds nothing yet.
    """
    pool = driver.pool_id()
    record = entry = None
    if naming.is_base_image_name(name):
        record = start_fill(catalog, pool, name, image)
        fill = record.fill_id
    else:
        entry = start_instance_disk(catalog, pool, name, image.size)
        fill = entry.fill_id
    (disk,) = driver.create_disks(
        [
            driver_base.NewDisk(
                name, image.size, image.disk_format, ownership.label(fill)
            )
        ]
    )
    if record:
        set_disk(catalog, record, disk)
    if entry:
        set_udid(catalog, entry, disk.udid)
    return disk


# -- Glance


@contextlib.contextmanager
def changed_data(
    source: image_source.ImageSource,
    change: Callable[[Iterator[bytes]], Iterator[bytes]],
) -> Iterator[None]:
    """Change the data of images on their way from Glance."""
    data = source._data
    with mock.patch.object(source, '_data', lambda *args: change(data(*args))):
        yield


@contextlib.contextmanager
def noted_clients(source: image_source.ImageSource) -> Iterator[list[Any]]:
    """Note the context of each client of Glance that is asked for."""
    asked: list[Any] = []
    client_for = source._client_for

    def noting(context: Any) -> Any:
        asked.append(context)
        return client_for(context)

    with mock.patch.object(source, '_client_for', noting):
        yield asked


# -- cleanup runs


def cleanup_work(found: Any) -> Sequence[Any]:
    """Return all that a reconciliation has changed, or failed to.

    :param found: what ``ImageManager.reconcile`` returned.
    """
    return (*found.forgotten, *found.removed, *found.failed)


def check_quiet(done: CleanupResult) -> str:
    """Return what a cleanup run did beyond evicting images; '' for nothing."""
    found = done.reconciliation
    if cleanup_work(found) or found.quarantined:
        return f'a cleanup run found {found}'
    if done.eviction is None or done.eviction.plan.faults:
        return f'nothing was evicted: {done}'
    return ''


def evicted(done: CleanupResult) -> Sequence[Removed]:
    """Return what a cleanup run has removed, or tried to."""
    return done.eviction.results if done.eviction else ()


# -- locks and threads


def image_lock(pool: str, disk_name: str) -> str:
    """Return the name of the lock of a base image."""
    return f'image-{pool}-{disk_name}'


def disk_lock(pool: str, disk_name: str) -> str:
    """Return the name of the lock of an instance disk."""
    return f'disk-{pool}-{disk_name}'


def group_lock(pool: str) -> str:
    """Return the name of the lock of a volume group."""
    return f'vg-{pool}'


def lock_directory(state: str | os.PathLike[str]) -> pathlib.Path:
    """Return the directory of the locks of a state directory."""
    return pathlib.Path(state, 'locks')


def catalog_lock(state: str | os.PathLike[str]) -> pathlib.Path:
    """Return the file that is locked while the catalog is opened."""
    return pathlib.Path(state, f'{CATALOG_FILE}.lock')


def our_threads() -> list[threading.Thread]:
    """Return the threads that the product has started."""
    return [
        thread
        for thread in threading.enumerate()
        if thread.name.startswith('pvm_imagecache-')
    ]


def disk_of(thread: threading.Thread) -> str:
    """Return the name of the disk that an upload thread writes."""
    return thread.name.rpartition(' ')[2]


#: Functions of :mod:`pvm_imagecache.system.interrupts` that handle a signal.
SIGNAL_FUNCTIONS: Final = ('_handle', 'install', 'ignore')
#: The one after which signals are not handled any more.
SIGNALS_IGNORED: Final = 'ignore'

# -- waits

RETRY_DELAYS: Final = (0.01, 0.02, 0.05)


@contextlib.contextmanager
def short_retries() -> Iterator[None]:
    """Shorten the pauses before something is tried again."""
    with contextlib.ExitStack() as patches:
        for module in (image_stream, powervm, instance_disk):
            patches.enter_context(
                mock.patch.object(
                    module,
                    'RETRY_DELAYS',
                    RETRY_DELAYS[: len(module.RETRY_DELAYS)],
                )
            )
        yield


@contextlib.contextmanager
def short_waits(catalog: float, lock: float) -> Iterator[None]:
    """Shorten all waits, and let no request of a crashed process be late.

    :param catalog: seconds to wait for a busy catalog.
    :param lock: seconds to wait for the lock of the volume group.
    """
    with contextlib.ExitStack() as patches:
        patches.enter_context(short_retries())
        patches.enter_context(no_late_requests())
        for where, name, value in (
            (retry, '_LONGEST_BACKOFF', 0.02),
            (catalog_file, 'BUSY_TIMEOUT', catalog),
            (volume_group.VolumeGroup.__init__, '__defaults__', (lock,)),
        ):
            patches.enter_context(mock.patch.object(where, name, value))
        yield


@contextlib.contextmanager
def short_copies(seconds: int) -> Iterator[None]:
    """Wait only so long for the answer to an update with copies."""
    with (
        mock.patch.object(volume_group, 'COPY_TIMEOUT', seconds),
        mock.patch.object(copy_time, 'SLOWEST_RATE', units.Ti),
    ):
        yield


@contextlib.contextmanager
def no_late_requests() -> Iterator[None]:
    """Have every request of a crashed process count as ended."""
    with mock.patch.object(ownership, 'LONGEST_REQUEST', 0.0):
        yield


# -- messages

#: The reason of a bypass because of another image under the same name.
NAMESAKE: Final = 'is cached under it'
#: Because of a disk that is not in the catalog.
UNTRACKED: Final = 'cannot be identified as a stale base image'
#: Because another client creates such disks while we do.
CONTESTED: Final = 'another process creates disks of that name'
#: How the commands announce an error that they do not expect.
UNEXPECTED_ERROR: Final = 'This should not have happened'
