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


"""The catalog: base images, pins and history of one host.

A record is written before its disk exists and names the process that fills
it. It becomes ``ready`` only after size and hash are verified. nova-compute
and the shell share the catalog. Nothing in this package talks to PowerVM:
:mod:`pvm_imagecache.manager` compares records with disks.
"""

from collections.abc import Iterator
import contextlib
import functools
import os
from typing import TYPE_CHECKING

from pvm_imagecache import exceptions
from pvm_imagecache.catalog import base_images
from pvm_imagecache.catalog import clock
from pvm_imagecache.catalog import file as catalog_file
from pvm_imagecache.catalog import identity as catalog_identity
from pvm_imagecache.catalog import identity_file
from pvm_imagecache.catalog import image_metadata
from pvm_imagecache.catalog import pins
from pvm_imagecache.catalog import pools
from pvm_imagecache.system import identity
from pvm_imagecache.system import private_files

if TYPE_CHECKING:
    from pvm_imagecache.catalog import failed_downloads
    from pvm_imagecache.catalog import history
    from pvm_imagecache.catalog import instance_disks
    from pvm_imagecache.catalog import platform_facts


class Catalog:
    """The catalog of this host, by subject.

    Safe to share between threads. A forked process opens its own connection.
    Every method of every subject raises :exc:`CatalogError` if the file
    cannot be read or written, or holds malformed values.

    :param path: the SQLite file; it is created when it is first needed, with
        its directory.
    :param who: the user for whom things are done; default: the user who runs
        this process.
    :param read_only: create nothing and write nothing.
    :ivar who: the user for whom things are done.
    :ivar base_images: see :class:`~.base_images.BaseImages`.
    :ivar image_metadata: see :class:`~.image_metadata.ImageMetadata`.
    :ivar instance_disks: see :class:`~.instance_disks.InstanceDisks`.
    :ivar failed_downloads: see
        :class:`~.failed_downloads.FailedDownloads`.
    :ivar pins: see :class:`~.pins.Pins`.
    :ivar pools: see :class:`~.pools.Pools`.
    :ivar identity: see :class:`~.identity.Identity`.
    :ivar platform_facts: see :class:`~.platform_facts.PlatformFacts`.
    :ivar history: see :class:`~.history.History`.
    :ivar clock: see :class:`~.clock.Clock`.
    """

    def __init__(
        self, path: str, who: str | None = None, *, read_only: bool = False
    ) -> None:
        self.who = user = who or identity.user()
        self._file = catalog_file.CatalogFile(path, read_only=read_only)
        self.clock = clock.Clock(self._file)
        self.pins = pins.Pins(self._file, self.clock, user)
        self.base_images = base_images.BaseImages(
            self._file, self.clock, self.pins, user
        )
        self.image_metadata = image_metadata.ImageMetadata(self._file)
        self.identity = catalog_identity.Identity(self._file, user)
        self.pools = pools.Pools(self._file)

    @functools.cached_property
    def instance_disks(self) -> 'instance_disks.InstanceDisks':
        """The records of instance disks that are being created."""
        from pvm_imagecache.catalog import instance_disks

        return instance_disks.InstanceDisks(self._file, self.clock)

    @functools.cached_property
    def failed_downloads(self) -> 'failed_downloads.FailedDownloads':
        """The downloads that failed because of their data."""
        from pvm_imagecache.catalog import failed_downloads

        return failed_downloads.FailedDownloads(self._file)

    @functools.cached_property
    def platform_facts(self) -> 'platform_facts.PlatformFacts':
        """What was measured of the platform of each pool."""
        from pvm_imagecache.catalog import platform_facts

        return platform_facts.PlatformFacts(self._file, self.clock)

    @functools.cached_property
    def history(self) -> 'history.History':
        """What was done in each pool."""
        from pvm_imagecache.catalog import history

        return history.History(self._file, self.who)

    @property
    def path(self) -> str:
        """Path of the SQLite file."""
        return self._file.path

    @property
    def catalog_id(self) -> str:
        """ID of this catalog: 32 hexadecimal digits that never change.

        It is read each time: a corrupt catalog is replaced by a new one.

        :raises CatalogError: if the catalog cannot be read.
        """
        return self.identity.id

    @property
    def exists(self) -> bool:
        """Whether the file exists. A read of a missing one creates it."""
        return os.path.lexists(self._file.path)

    @property
    def kept_id(self) -> str:
        """The ID that a catalog will have which is created now.

        Its disks are there already, if a catalog was lost.

        :returns: the ID; '' if it is not determined.
        """
        try:
            with private_files.opened(
                os.path.dirname(self._file.path)
            ) as directory:
                return identity_file.read(directory) or ''
        except (OSError, exceptions.StateRefused):
            return ''

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        self._file.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the block in one transaction.

        All that the block writes to the catalog is stored when it ends, or
        nothing of it if it raises. A transaction within another one is a
        part of that one. Other writers are blocked: make no requests in the
        block. An exception of the block is raised unchanged.

        :raises CatalogError: if the catalog cannot be opened or written.
        """
        with self._file.transaction():
            yield
