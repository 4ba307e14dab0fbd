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

"""What the work of an ImageManager is done with."""

from collections.abc import Callable
from collections.abc import Sequence
import contextlib
import dataclasses

from oslo_log import log as logging

from pvm_imagecache import catalog as catalog_module
from pvm_imagecache import events
from pvm_imagecache.drivers import base
from pvm_imagecache.eviction import pipeline
from pvm_imagecache.glance import source as image_source
from pvm_imagecache.system import locks

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the work wants to know of the configuration; seconds.

    :ivar check_download_permission: whether Glance is asked that the user
        may download an image before it is served from the cache.
    :ivar automatic: whether images may be removed without an operator.
    :ivar minimum_age: before which no policy removes an image.
    :ivar metrics_textfile: is written at the end of a pass, if set.
    """

    enabled: bool = True
    stall_timeout: float = 300
    fetch_timeout: float = 600
    check_download_permission: bool = True
    automatic: bool = True
    minimum_age: float = 300
    metrics_textfile: str = ''


@dataclasses.dataclass(frozen=True)
class Parts:
    """The things that deploys, prefetches and passes share.

    :ivar told: what has been warned of, and need not be again.
    :ivar listener: is told what becomes of images.
    """

    driver: base.DiskDriver
    source: image_source.ImageSource
    catalog: catalog_module.Catalog
    lock_directory: locks.LockDirectory
    settings: Settings
    policies: Sequence[pipeline.NamedPolicy] = ()
    told: set[str] = dataclasses.field(default_factory=set)
    listener: events.Listener | None = None

    def tell(self, event: events.Event) -> None:
        """Let the listener know, who can do no harm by it."""
        if self.listener is None:
            return
        try:
            self.listener(event)
        except Exception as error:
            text = f'Events of the cache are told to nobody: {error!r}'
            LOG.log(
                logging.DEBUG if text in self.told else logging.WARNING,
                '%s',
                text,
            )
            self.told.add(text)

    def hold(
        self,
        disk_name: str,
        timeout: float | Callable[[], float],
    ) -> contextlib.AbstractContextManager[None]:
        """The lock of whoever fills or removes a base image."""
        return self.lock_directory.hold(
            f'image-{self.driver.pool_id()}-{disk_name}',
            timeout,
        )

    def hold_instance_disk(
        self, disk_name: str
    ) -> contextlib.AbstractContextManager[None]:
        """The lock of whoever makes an instance disk; nobody waits for it.

        :raises LockTimeout: if somebody else is making it.
        """
        return self.lock_directory.hold(
            f'disk-{self.driver.pool_id()}-{disk_name}', 0
        )

    def hold_room(
        self, timeout: float
    ) -> contextlib.AbstractContextManager[None]:
        """The lock of whoever chooses images and removes them.

        So nobody chooses by what somebody else is about to change.

        :raises LockTimeout: if it is not to be had in time.
        """
        return self.lock_directory.hold(
            f'room-{self.driver.pool_id()}', timeout
        )
