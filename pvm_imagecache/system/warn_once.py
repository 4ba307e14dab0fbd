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

"""Log a recurring message once, so that it does not fill the log."""

import collections
import logging
import threading
from typing import Any
from typing import Final

#: Messages that are remembered; the oldest is forgotten first.
DEFAULT_SIZE: Final = 256


class WarnOnce:
    """Log a message at its level once, and at a lower level afterwards.

    The memory is bounded: if many other messages were logged since, a
    message is logged at its level again. Safe to use from several threads.

    :param logger: receives the messages.
    :param repeated: level of repetitions, DEBUG by default.
    :param size: how many messages are remembered.
    """

    def __init__(
        self,
        logger: logging.LoggerAdapter[Any] | logging.Logger,
        repeated: int = logging.DEBUG,
        size: int = DEFAULT_SIZE,
    ) -> None:
        self._logger = logger
        self._repeated = repeated
        self._size = size
        self._seen: collections.OrderedDict[str, None] = (
            collections.OrderedDict()
        )
        self._guard = threading.Lock()

    def log(
        self,
        message: str,
        *,
        key: str | None = None,
        level: int = logging.WARNING,
        repeated: int | None = None,
    ) -> bool:
        """Log a message, at its level if it is new.

        :param message: the complete text.
        :param key: identifies the message where its text contains values
            that change, such as free space; by default the text.
        :param level: level of the first message.
        :param repeated: level of repetitions; None for the default of this
            object.
        :returns: True if the message was new.
        """
        is_new = self._is_new(message if key is None else key)
        if repeated is None:
            repeated = self._repeated
        self._logger.log(level if is_new else repeated, '%s', message)
        return is_new

    def forget(self, key: str) -> None:
        """Forget a message, so that it is logged at its level again.

        :param key: key of the message, or its text if it had no key.
        """
        with self._guard:
            self._seen.pop(key, None)

    def _is_new(self, key: str) -> bool:
        with self._guard:
            is_new = key not in self._seen
            self._seen[key] = None
            self._seen.move_to_end(key)
            while len(self._seen) > self._size:
                self._seen.popitem(last=False)
        return is_new
