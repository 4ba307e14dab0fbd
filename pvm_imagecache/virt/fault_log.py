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

"""Telling of a fault that lasts: when it comes, and when it goes."""

import threading

from oslo_log import log as logging

LOG = logging.getLogger(__name__)


class FaultLog:
    """A thing that is tried again and again, and may fail each time.

    A fault is told of once, as long as it stays the same.

    :param what: cannot be done, as it follows "can not".
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._guard = threading.Lock()
        self._said: str | None = None

    def failed(self, error: BaseException) -> None:
        """It failed."""
        text = str(error) or type(error).__name__
        with self._guard:
            is_new, self._said = text != self._said, text
        LOG.log(
            logging.ERROR if is_new else logging.DEBUG,
            'nova-compute can not %(what)s, and will try it again: %(error)s',
            {'what': self._what, 'error': text},
        )

    def recovered(self) -> None:
        """It was done."""
        with self._guard:
            said, self._said = self._said, None
        if said is not None:
            LOG.info('nova-compute can %s again', self._what)
