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

"""The listener ``notifications``: versioned notifications of nova.

It is enabled by the option ``send_notifications``, which only nova-compute
has: in the shell it does nothing, and nova is not imported.
"""

import importlib
from typing import Any

from pvm_imagecache import events
from pvm_imagecache.conf import types

#: The module that sends them. It imports nova, so it is imported only inside
#: nova-compute, and by name: nothing but ``virt`` imports nova.
_SENDER = 'pvm_imagecache.virt.notifications'
_KINDS = frozenset(
    (events.Kind.CACHED, events.Kind.EVICTED, events.Kind.BYPASSED)
)


class Notifications(events.EventListener):
    """Sends a notification if an image is cached, evicted or bypassed.

    :param sender: a callable that sends an event, with a method ``close``;
        None to send nothing.
    """

    api_version = 1

    def __init__(self, sender: Any = None) -> None:
        self._sender = sender

    @classmethod
    def from_conf(cls, conf: types.Conf) -> 'Notifications':
        """Make the listener from the option ``send_notifications``.

        :param conf: the configuration of the process.
        :returns: the listener.
        """
        options = conf.pvm_imagecache
        if not getattr(options, 'send_notifications', False):
            return cls()
        return cls(importlib.import_module(_SENDER).Notifier())

    def notify(self, event: events.Event) -> None:
        """Queue a notification for the message bus.

        :param event: what happened.
        """
        if self._sender is not None and event.kind in _KINDS:
            self._sender(event)

    def close(self) -> None:
        """Send queued notifications."""
        if self._sender is not None:
            self._sender.close()
