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

"""The listener that writes the metrics file."""

import os

from pvm_imagecache import events
from pvm_imagecache import exceptions
from pvm_imagecache.listeners import metrics_file
from pvm_imagecache.tests.unit import base

_CLEANUP = events.Event(events.Kind.CLEANUP, 'pool', '', '', 0)


class MetricsFileTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.file = self.path('metrics.prom')
        self.asked = []
        self.conf = self.make_conf(metrics_textfile=self.file)
        self.listener = metrics_file.MetricsFile.from_conf(self.conf)

    def fail(self):
        self.asked.append(True)
        raise exceptions.PowerVMTimedOut(url='x', reason='it is down', hint='')

    def test_only_a_cleanup_run_writes_the_file(self):
        self.listener.use(self.fail)
        for kind in events.Kind:
            if kind is not events.Kind.CLEANUP:
                self.listener.notify(events.Event(kind, 'p', 'i', 'd', 1))
        self.assertEqual([], self.asked)
        self.listener.notify(_CLEANUP)
        self.assertEqual([True], self.asked)
        self.assertFalse(os.path.exists(self.file))

    def test_the_option_can_be_changed(self):
        self.listener.use(self.fail)
        self.conf.set_override('metrics_textfile', '', 'pvm_imagecache')
        self.listener.notify(_CLEANUP)
        self.assertEqual([], self.asked)

    def test_nothing_is_written_without_figures(self):
        self.listener.notify(_CLEANUP)
        self.assertFalse(os.path.exists(self.file))
