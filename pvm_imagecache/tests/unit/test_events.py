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

"""Events of the cache."""

import dataclasses
import time

from pvm_imagecache import events
from pvm_imagecache import exceptions
from pvm_imagecache.tests.unit import base


class EventTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.event = events.Event(
            events.Kind.CACHED, 'pool', base.IMAGE_ID, 'i_3e865d14_8c1e', 7
        )

    def test_an_event_has_no_reason_by_default(self):
        self.assertEqual('', self.event.reason)

    def test_a_listener_cannot_change_an_event(self):
        self.assertRaises(
            dataclasses.FrozenInstanceError,
            setattr,
            self.event,
            'reason',
            'forged',
        )

    def test_kinds_are_stable_for_consumers(self):
        self.assertEqual(
            [
                'cached',
                'evicted',
                'bypassed',
                'deployed',
                'failed',
                'discarded',
                'quarantined',
                'cleanup',
            ],
            [each.value for each in events.Kind],
        )

    def test_the_code_of_a_failure_is_its_class(self):
        for error, code in (
            (exceptions.ImageForbidden(image='x'), 'image-forbidden'),
            (
                exceptions.PowerVMTimedOut(url='x', reason='y', hint=''),
                'power-vm-timed-out',
            ),
            (KeyError(), 'key-error'),
        ):
            self.assertEqual(code, events.code_of(error))

    def test_an_event_has_the_time_at_which_it_was_made(self):
        before = time.time()
        event = events.Event(events.Kind.CLEANUP, 'pool', '', '', 0)
        self.assertLessEqual(before, event.at)
        self.assertEqual(
            event, events.Event(events.Kind.CLEANUP, 'pool', '', '', 0)
        )
