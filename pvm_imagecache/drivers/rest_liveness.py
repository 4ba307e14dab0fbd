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

"""Detect that a server has crashed while it works on a long request.

A copy may take hours, and nothing is sent meanwhile. A server whose host lost
its power does not close the connection. So other, small requests are sent
beside the long one: as long as they are answered, the server works.
"""

from collections.abc import Callable
import threading
import time
from typing import Final

from oslo_log import log as logging

from pvm_imagecache import text

LOG = logging.getLogger(__name__)

#: Seconds between two small requests.
INTERVAL: Final = 60.0


class Watch:
    """Sends small requests to a server while the block waits for it.

    :param ask: sends a small request and returns when it is answered, in
        whatever way; raises an error otherwise.
    :param patience: seconds without any answer after which the server is
        considered unresponsive.
    :param on_dead: is called once then, by another thread.
    """

    def __init__(
        self,
        ask: Callable[[], object],
        patience: float,
        on_dead: Callable[[], object],
    ) -> None:
        self._ask = ask
        self._patience = patience
        self._on_dead = on_dead
        self._over = threading.Event()

    def __enter__(self) -> 'Watch':
        # It is not joined: an answer may take as long as the patience.
        threading.Thread(
            target=self._run, name='powervm-liveness', daemon=True
        ).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()

    def _run(self) -> None:
        answered = time.monotonic()
        while not self._over.wait(min(INTERVAL, self._patience)):
            try:
                self._ask()
            except Exception as error:
                silence = time.monotonic() - answered
                if self._over.is_set():
                    return
                LOG.warning(
                    'PowerVM works on a request, but has answered no other '
                    'one for %(seconds)d s: %(error)s',
                    {'seconds': silence, 'error': text.one_line(error)},
                )
                if silence >= self._patience:
                    self._on_dead()
                    return
            else:
                answered = time.monotonic()
