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

"""Images in memory, for tests of the cache without a Glance."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import hashlib
import random
from typing import NoReturn
import uuid

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache.glance import signatures
from pvm_imagecache.glance import source as image_source
from pvm_imagecache.glance import stream as image_stream
from pvm_imagecache.system import identity


class MemoryImages(image_source.ImageSource):
    """Images whose bytes are in memory; a source for an ``ImageManager``.

    :ivar downloads: IDs of the images whose data was read, in order.
    :ivar before_piece: is called with the ID of the image before each MiB of
        its data, if given: to raise an error, or to wait.
    """

    def __init__(self) -> None:
        super().__init__(_no_client)
        self.downloads: list[str] = []
        self.before_piece: Callable[[str], None] | None = None
        self._images: dict[str, image_module.Image] = {}
        self._contents: dict[str, bytes] = {}

    def add(
        self,
        name: str = 'an image',
        size: int = 2 * image_stream.CHUNK_SIZE + 17,
        image_id: str = '',
    ) -> image_module.Image:
        """Add an image with pseudo-random bytes.

        :param name: of the image.
        :param size: of the image, in bytes.
        :param image_id: ID of the image; a new one by default.
        :returns: the image.
        """
        image_id = image_id or str(uuid.uuid4())
        content = random.Random(image_id).randbytes(size)  # noqa: S311
        image = image_module.Image(
            id=image_id,
            name=name,
            size=size,
            disk_format='raw',
            os_hash_algo='sha512',
            os_hash_value=hashlib.sha512(content).hexdigest(),
        )
        self._images[image_id] = image
        self._contents[image_id] = content
        return image

    def content(self, image: image_module.Image) -> bytes:
        """Return the bytes of an image.

        :param image: the image.
        :returns: all of its bytes.
        """
        return self._contents[image.id]

    def get(
        self, image_id: str, context: identity.RequestContext | None = None
    ) -> image_module.Image:
        """Return an image by ID.

        :param image_id: of the image.
        :param context: ignored.
        :returns: the image.
        :raises ImageNotFound: if there is none.
        """
        if image_id not in self._images:
            raise exceptions.ImageNotFound(image=image_id)
        return self._images[image_id]

    def check_readable(
        self,
        image: image_module.Image,
        context: identity.RequestContext | None = None,
    ) -> None:
        """Allow every user to read an image that exists.

        :param image: the image.
        :param context: ignored.
        """
        self.get(image.id)

    @contextlib.contextmanager
    def open(
        self,
        image: image_module.Image,
        context: identity.RequestContext | None = None,
        verifier: signatures.Verifier | None = None,
    ) -> Iterator[image_stream.ImageStream]:
        """Open the data of an image.

        :param image: the image.
        :param context: ignored.
        :param verifier: verifies the signature of the data, if given.
        :returns: the stream.
        """
        self.downloads.append(image.id)
        stream = image_stream.ImageStream(
            image, lambda position: self._pieces(image, position), verifier
        )
        try:
            stream.begin()
            yield stream
        finally:
            stream.close()

    def _pieces(
        self, image: image_module.Image, position: int
    ) -> Iterator[bytes]:
        content = self._contents[image.id]
        for start in range(position, len(content), image_stream.CHUNK_SIZE):
            if self.before_piece:
                self.before_piece(image.id)
            yield content[start : start + image_stream.CHUNK_SIZE]


def _no_client(context: object) -> NoReturn:
    """There is no Glance to send requests to."""
    raise exceptions.ConfigurationError(
        reason='Images in memory have no Glance.'
    )
