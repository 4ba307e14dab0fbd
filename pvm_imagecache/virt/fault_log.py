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

"""Log a fault that persists once, and its end."""

import logging as levels
import threading
from typing import Final

from oslo_log import log as logging

from pvm_imagecache.system import warn_once

LOG = logging.getLogger(__name__)

#: Only the latest error counts: an earlier one that comes back is logged.
_REMEMBERED: Final = 1


class FaultLog:
    """The log of an action that is repeated, and may fail each time.

    An error is logged once as long as it stays the same, and then at level
    DEBUG.

    :param what: the action, as it follows "Could not".
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._guard = threading.Lock()
        self._current: str | None = None
        self._errors = warn_once.WarnOnce(LOG, size=_REMEMBERED)

    def failed(self, error: BaseException) -> None:
        """Log that the action failed.

        :param error: why.
        """
        reason = str(error) or type(error).__name__
        message = f'Could not {self._what}, will retry: {reason}'
        with self._guard:
            self._current = message
            self._errors.log(message, level=levels.ERROR)

    def recovered(self) -> None:
        """Log that the action succeeded, if it failed before."""
        with self._guard:
            message, self._current = self._current, None
            if message is not None:
                self._errors.forget(message)
        if message is not None:
            LOG.info('Able to %s again', self._what)
