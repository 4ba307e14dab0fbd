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

"""Notifications about base images, through the notifier of nova.

They are versioned notifications, sent by a separate thread: a message bus that
is slow or unreachable delays neither deploys nor cleanup runs.
"""

import queue
import threading
from typing import Any
from typing import Final

import nova.conf
from nova.notifications.objects import base as notification_base
from nova.objects import base as nova_base
from nova.objects import fields
from oslo_log import log as logging

from nova import context as nova_context
from nova import rpc
from pvm_imagecache import events
from pvm_imagecache.virt import fault_log

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

#: Events that can be queued; further events are dropped.
MAX_QUEUED: Final = 1000
#: Seconds to send queued events when nova-compute stops.
CLOSING_TIMEOUT: Final = 5.0


@nova_base.NovaObjectRegistry.register_notification
class PVMImageCachePayload(notification_base.NotificationPayloadBase):
    """The payload of a notification; sizes in bytes."""

    OBJ_PROJECT_NAMESPACE = 'pvm_imagecache'
    # Version 1.0: Initial version
    VERSION = '1.0'

    fields = {
        'host': fields.StringField(),
        'pool_id': fields.StringField(),
        'image_id': fields.StringField(),
        'image_size': fields.IntegerField(),
        'disk_name': fields.StringField(),
        'reason': fields.StringField(),
    }

    def __init__(self, event: events.Event) -> None:
        super().__init__()
        self.host = CONF.host
        self.pool_id = event.pool
        self.image_id = event.image_id
        self.image_size = event.size
        self.disk_name = event.disk_name
        self.reason = event.reason


class Notifier:
    """A listener for events that sends each one as a notification."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[events.Event | None] = queue.Queue(
            MAX_QUEUED
        )
        self._faults = fault_log.FaultLog('send image cache notifications')
        self._thread = threading.Thread(
            target=self._run, name='pvm_imagecache-notify', daemon=True
        )
        self._thread.start()

    def __call__(self, event: events.Event) -> None:
        """Queue an event; it is lost if the queue is full.

        :param event: the event to send.
        """
        try:
            self._waiting.put_nowait(event)
        except queue.Full:
            self._faults.failed(
                RuntimeError(
                    f'the queue is full with {MAX_QUEUED} notifications'
                )
            )

    def close(self) -> None:
        """Send queued events, for at most :data:`CLOSING_TIMEOUT`."""
        try:
            self._waiting.put_nowait(None)
        except queue.Full:
            return
        self._thread.join(CLOSING_TIMEOUT)

    def _run(self) -> None:
        while (event := self._waiting.get()) is not None:
            try:
                _send(event)
            except Exception as error:
                self._faults.failed(error)
            else:
                self._faults.recovered()


def _send(event: events.Event) -> None:
    payload: Any = PVMImageCachePayload(event)
    rpc.get_versioned_notifier(f'nova-compute:{CONF.host}').info(
        nova_context.get_admin_context(),
        f'pvm_imagecache.image.{event.kind.value}',
        payload.obj_to_primitive(),
    )
