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

"""Fetching an image into the cache before a deploy needs it."""

import dataclasses
import functools

from oslo_log import log as logging

from pvm_imagecache import cache as cache_module
from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache.catalog import models
from pvm_imagecache.cleanup import evictor
from pvm_imagecache.deploy import base_image
from pvm_imagecache.deploy import checks
from pvm_imagecache.deploy import download
from pvm_imagecache.deploy import new_disks
from pvm_imagecache.deploy import second_download
from pvm_imagecache.deploy import space
from pvm_imagecache.deploy import steps as steps_module
from pvm_imagecache.deploy import verification as verification_module
from pvm_imagecache.system import identity

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class PrefetchResult:
    """What became of a prefetch.

    :ivar image: the image.
    :ivar disk_name: of its base image.
    :ivar fetched: False if the image was already cached.
    :ivar bytes_fetched: from Glance.
    :ivar seconds: that it took.
    """

    image: image_module.Image
    disk_name: str
    fetched: bool
    bytes_fetched: int
    seconds: float


class Prefetch:
    """One prefetch of one image.

    :param cache: of the pool.
    :param image: as Glance describes it.
    :param context: nova's request context of the requester; None for the
        configured credentials.
    :param progress: is called with the progress, if given.
    """

    def __init__(
        self,
        cache: cache_module.Cache,
        image: image_module.Image,
        context: identity.RequestContext | None,
        progress: steps_module.Progress | None,
    ) -> None:
        self._cache = cache
        self._image = image
        self._steps = steps_module.Steps(image.size, progress)
        self._verification = verification_module.Verification(
            cache, image, context
        )
        self._download = download.Download(
            cache, image, context, self._steps, self._verification
        )
        self._fill = base_image.BaseImageFill(
            cache,
            image,
            self._steps,
            new_disks.NewDisks(cache, self._steps),
            self._verification,
        )

    def run(self) -> PrefetchResult:
        """Fetch the image unless it is cached.

        :returns: whether it was fetched, and at what cost.
        :raises CacheFault: if it cannot be cached.
        :raises ImageError: if Glance does not give the image, or a required
            signature cannot be verified.
        :raises PowerVMError: if PowerVM does not create the base image.
        :raises TransferError: if the base image cannot be written.
        """
        checks.check_cacheable(self._image)
        self._verification.prepare()
        record = self._fill.servable()
        gone = None
        if record and not self._exists(record):
            gone = record.fill_id
        fetched = (record is None or gone is not None) and self._fetch(gone)
        return PrefetchResult(
            self._image,
            self._fill.name,
            fetched,
            self._download.bytes_received,
            self._steps.elapsed,
        )

    def _exists(self, record: models.BaseImage) -> bool:
        disk = self._cache.driver.find_disk(record.disk_name)
        return disk is not None and disk.udid == record.udid

    def _fetch(self, gone: str | None) -> bool:
        fill = self._fill
        with fill.claim(self._download.check_permission):
            if fill.servable(gone):
                return False
            second = second_download.SecondDownload(self._image)
            fetch = functools.partial(
                second.run,
                lambda: self._fill_base_image(gone),
                fill.record_failure,
            )
            try:
                fetch()
            except exceptions.UploadFailed as error:
                LOG.warning(
                    'Fetching image %(image)s once more: %(error)s',
                    {'image': self._image.label, 'error': error},
                )
                fetch()
        return True

    def _fill_base_image(self, gone: str | None) -> None:
        fill = self._fill
        fill.clear_previous(gone, self._download.check_permission)
        with self._download.open() as stream:
            evictor.Evictor(self._cache).admit(stream.image, fairly=False)
            space.with_space(self._cache, lambda: fill.create(stream.image))
            with fill.undone_on_error():
                (error,) = fill.write(stream)
                if error:
                    raise error
                fill.commit(stream.image)
