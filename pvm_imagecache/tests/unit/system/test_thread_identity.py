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

import os
import threading

from pvm_imagecache.system import thread_identity
from pvm_imagecache.tests.unit import base

UID, GID = 12345, 54321


def _identity():
    return os.geteuid(), os.getegid(), os.getgroups()


class ActingTest(base.TestCase):
    def setUp(self):
        super().setUp()
        if os.geteuid():
            self.skipTest('only root acts as another user')
        self.before = _identity()

    def test_the_block_acts_as_the_user_without_groups(self):
        with thread_identity.acting_as(UID, GID):
            self.assertEqual((UID, GID, []), _identity())
            self.assertRaises(PermissionError, open, self.path('x'), 'w')
        self.assertEqual(self.before, _identity())

    def test_it_ends_with_an_error_too(self):
        def fail():
            with thread_identity.acting_as(UID, GID):
                raise ValueError

        self.assertRaises(ValueError, fail)
        self.assertEqual(self.before, _identity())

    def test_blocks_can_be_nested(self):
        with thread_identity.acting_as(UID, GID):
            with thread_identity.acting_as(UID, GID):
                self.assertEqual(UID, os.geteuid())
            self.assertEqual(UID, os.geteuid())

    def test_other_threads_keep_their_identity(self):
        seen = []
        entered, looked = threading.Event(), threading.Event()

        def look():
            entered.wait(base.PATIENCE)
            seen.append(_identity())
            looked.set()

        def act():
            with thread_identity.acting_as(UID, GID):
                entered.set()
                looked.wait(base.PATIENCE)
                seen.append(_identity())

        self.in_threads(look, act)
        self.assertEqual([self.before, (UID, GID, [])], seen)


class NoChangeTest(base.TestCase):
    def test_the_directory_of_root_needs_no_change(self):
        before = _identity()
        with thread_identity.acting_as(0, 0):
            self.assertEqual(before, _identity())

    def test_another_user_than_root_stays_that_user(self):
        self.patch(os, 'geteuid', lambda: 1000)
        before = _identity()
        with thread_identity.acting_as(UID, GID):
            self.assertEqual(before, _identity())
