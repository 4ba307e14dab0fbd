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

"""Notifications of what becomes of images, through nova's own notifier.

They are versioned, as those of nova are, and sent by a thread of their own:
a message bus that is slow, or gone, holds up neither deploys nor passes.
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

#: Events that may wait to be sent; more are lost.
MOST_WAITING: Final = 1000
#: Seconds for what waits when nova-compute ends.
CLOSING_TIMEOUT: Final = 5.0


@nova_base.NovaObjectRegistry.register_notification
class PVMImageCachePayload(notification_base.NotificationPayloadBase):
    """What an event tells, and where it was; sizes in bytes."""

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
    """A listener that sends each event as a notification."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[events.Event | None] = queue.Queue(
            MOST_WAITING
        )
        self._trouble = fault_log.FaultLog('send notifications of the cache')
        self._thread = threading.Thread(
            target=self._run, name='pvm_imagecache-notify', daemon=True
        )
        self._thread.start()

    def __call__(self, event: events.Event) -> None:
        """Have an event sent; it is lost where too many wait."""
        try:
            self._waiting.put_nowait(event)
        except queue.Full:
            self._trouble.failed(
                RuntimeError(
                    f'{MOST_WAITING} wait to be sent, and no more can'
                )
            )

    def close(self) -> None:
        """Send what waits, if that does not take long."""
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
                self._trouble.failed(error)
            else:
                self._trouble.recovered()


def _send(event: events.Event) -> None:
    payload: Any = PVMImageCachePayload(event)
    rpc.get_versioned_notifier(f'nova-compute:{CONF.host}').info(
        nova_context.get_admin_context(),
        f'pvm_imagecache.image.{event.kind.value}',
        payload.obj_to_primitive(),
    )
