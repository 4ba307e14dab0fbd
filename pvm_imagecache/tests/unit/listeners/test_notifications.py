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

"""The listener that sends notifications inside nova-compute."""

import sys
import types

from pvm_imagecache import events
from pvm_imagecache.conf import compute
from pvm_imagecache.listeners import notifications
from pvm_imagecache.tests.unit import base


class NotificationsTest(base.TestCase):
    def test_the_shell_does_not_import_nova(self):
        self.patch(sys, 'modules', {**sys.modules, 'nova': None})
        made = notifications.Notifications.from_conf(self.make_conf())
        for kind in events.Kind:
            made.notify(events.Event(kind, 'p', 'i', 'd', 1))
        made.close()
        self.assertIsNone(made._sender)

    def test_nova_compute_sends_three_kinds(self):
        sent = []

        class Notifier:
            def __call__(self, event):
                sent.append(event.kind.value)

            def close(self):
                sent.append('closed')

        self.patch(
            notifications.importlib,
            'import_module',
            lambda name: types.SimpleNamespace(Notifier=Notifier),
        )
        conf = self.make_conf()
        compute.register(conf)
        conf.set_override('send_notifications', True, 'pvm_imagecache')
        made = notifications.Notifications.from_conf(conf)
        for kind in events.Kind:
            made.notify(events.Event(kind, 'p', 'i', 'd', 1))
        made.close()
        self.assertEqual(['cached', 'evicted', 'bypassed', 'closed'], sent)
