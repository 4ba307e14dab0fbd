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
"""One more download after one whose data was wrong.

A flaky proxy or a store with several replicas may send the right data the
next time. Data that is corrupt in Glance costs two downloads: the deploys
that wait for the one that downloads fail with it.
"""

from collections.abc import Callable
from typing import Final
from typing import TypeVar

from oslo_log import log as logging

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module

LOG = logging.getLogger(__name__)

_Result = TypeVar('_Result')

#: Errors of downloads that ended, with the wrong bytes.
_WRONG_DATA: Final = (exceptions.ImageCorrupt, exceptions.ImageTruncated)
#: Those after which a second download helps nothing: Glance does not answer,
#: or has sent the data twice already.
_NOT_AGAIN: Final = (exceptions.ImageIncomplete, exceptions.ImageInterrupted)


class SecondDownload:
    """The second download that one operation may make.

    :param image: the image.
    :param is_clean: returns whether the disks of the first download are
        deleted, so that a second one can start.
    """

    def __init__(
        self,
        image: image_module.Image,
        is_clean: Callable[[], bool] = lambda: True,
    ) -> None:
        self._image = image
        self._is_clean = is_clean
        self._first: exceptions.ImageError | None = None

    def run(
        self,
        attempt: Callable[[], _Result],
        on_failure: Callable[[exceptions.ImageError], None] | None = None,
    ) -> _Result:
        """Download an image; once more if the data was wrong.

        Only the first call of an operation downloads twice.

        :param attempt: creates disks and fills them. It deletes them again
            if the data was wrong.
        :param on_failure: is called with the error if it is certain that
            other deploys of the image would fail as well.
        :returns: what the attempt returns.
        :raises ImageError: if the last attempt fails.
        """
        try:
            try:
                return attempt()
            except _WRONG_DATA as error:
                if (
                    self._first is not None
                    or isinstance(error, _NOT_AGAIN)
                    or _is_outage(error)
                    or not self._is_clean()
                ):
                    raise
                self._first = error
                LOG.warning(
                    'Fetching image %(image)s once more: %(error)s',
                    {'image': self._image.label, 'error': error},
                )
            return attempt()
        except exceptions.ImageError as error:
            if on_failure and self._is_permanent(error):
                on_failure(error)
            raise

    def _is_permanent(self, error: exceptions.ImageError) -> bool:
        """Return whether the data in Glance is wrong, not the connection."""
        if isinstance(error, exceptions.ImageIncomplete):
            return True
        if isinstance(error, exceptions.ImageTruncated):
            return (
                isinstance(self._first, exceptions.ImageTruncated)
                and self._first.received == error.received
            )
        if isinstance(error, exceptions.ImageCorrupt):
            return self._first is not None
        # The signature is that of other data.
        return isinstance(error, exceptions.ImageSignatureWrong)


def _is_outage(error: exceptions.ImageError) -> bool:
    """Return whether no data came at all: nothing shows that it is wrong."""
    return isinstance(error, exceptions.ImageTruncated) and not error.received
