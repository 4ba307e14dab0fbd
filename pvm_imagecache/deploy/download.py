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

"""Access of one deploy to the data of its image in Glance."""

from collections.abc import Iterator
import contextlib

from pvm_imagecache import cache as cache_module
from pvm_imagecache import image as image_module
from pvm_imagecache.deploy import steps as steps_module
from pvm_imagecache.deploy import verification as verification_module
from pvm_imagecache.glance import stream as image_stream
from pvm_imagecache.system import identity
from pvm_imagecache.system import interrupts


class Download:
    """The data of one image, for one requester.

    :param cache: of the pool.
    :param image: the image.
    :param context: nova's request context of the requester; None for the
        configured credentials.
    :param steps: measures the permission check.
    :param verification: what is required of the signature of the data.
    """

    def __init__(
        self,
        cache: cache_module.Cache,
        image: image_module.Image,
        context: identity.RequestContext | None,
        steps: steps_module.Steps,
        verification: verification_module.Verification,
    ) -> None:
        self._source = cache.source
        self._check = cache.settings.check_download_permission
        self._image = image
        self._context = context
        self._steps = steps
        self._verification = verification
        self._streams: list[image_stream.ImageStream] = []
        self._permitted = False

    @property
    def bytes_received(self) -> int:
        """Bytes that came from Glance so far."""
        return sum(stream.bytes_received for stream in self._streams)

    def check_permission(self) -> None:
        """Check that the requester may download the image.

        A cache must not serve what Glance would refuse (CVE-2013-4428).
        Glance is asked once.

        :raises ImageError: as a download would.
        """
        if self._context is None or self._permitted or not self._check:
            return
        with self._steps.timed('check'), interrupts.allowed():
            self._source.check_readable(self._image, self._context)
        self._permitted = True

    @contextlib.contextmanager
    def open(self) -> Iterator[image_stream.ImageStream]:
        """Open a stream of the image's data.

        :returns: a context manager that gives the stream.
        :raises ImageError: on entry, if Glance does not give the data, or a
            required signature cannot be verified.
        """
        with contextlib.ExitStack() as held:
            with interrupts.allowed():
                stream = held.enter_context(
                    self._source.open(
                        self._image,
                        self._context,
                        self._verification.verifier(),
                    )
                )
            self._streams.append(stream)
            yield stream
