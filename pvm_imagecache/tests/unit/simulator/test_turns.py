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

import threading

from oslotest import base

from pvm_imagecache.simulator import errors
from pvm_imagecache.simulator import pacing
from pvm_imagecache.simulator import settings as settings_module
from pvm_imagecache.simulator import turns


class UpdatesTest(base.BaseTestCase):
    def setUp(self):
        super().setUp()
        self.settings = settings_module.Settings()
        self.updates = turns.Updates(self.settings)

    def status(self, group, vios):
        """What an update is refused with; None if it is not."""
        try:
            with self.updates.set(group, vios):
                return None
        except errors.RestError as error:
            return error.status

    def test_refusals_depend_on_the_group_or_its_vios(self):
        for way, same_group, same_vios in (
            ('refused', 412, None),
            ('busy', 500, 500),
        ):
            self.settings.change({'concurrent_updates': way})
            with self.updates.set('group', 'vios'):
                self.assertEqual(same_group, self.status('group', 'vios'))
                self.assertEqual(same_vios, self.status('other', 'vios'))
                self.assertIsNone(self.status('third', 'vios2'))
            self.assertIsNone(self.status('group', 'vios'))

    def test_a_queued_update_waits_for_its_group(self):
        done = []

        def run():
            with self.updates.queued('group', 'vios'):
                done.append('second')

        with self.updates.set('group', 'vios'):
            thread = threading.Thread(target=run)
            thread.start()
            self.assertIsNone(self.status('other', 'vios'))
            done.append('first')
        thread.join()
        self.assertEqual(['first', 'second'], done)

    def test_an_update_that_fails_ends(self):
        def fail():
            with self.updates.set('group', 'vios'):
                raise ValueError()

        self.assertRaises(ValueError, fail)
        self.assertIsNone(self.status('group', 'vios'))


class UploadsTest(base.BaseTestCase):
    def setUp(self):
        super().setUp()
        self.stop = threading.Event()
        self.settings = settings_module.Settings(upload_limit=1)
        self.uploads = turns.Uploads(self.settings, self.stop)

    def one(self):
        with self.uploads.one():
            return True

    def test_uploads_over_the_limit_are_refused(self):
        with self.uploads.one():
            error = self.assertRaises(errors.RestError, self.one)
            self.assertEqual(503, error.status)
            self.settings.change({'upload_limit': 2})
            self.assertTrue(self.one())
        self.settings.change({'upload_limit': 0})
        with self.uploads.one(), self.uploads.one(), self.uploads.one():
            pass

    def test_a_waiting_upload_ends_with_the_simulator(self):
        self.settings.change({'uploads_over_limit': 'queued'})
        with self.uploads.one():
            self.stop.set()
            self.assertRaises(pacing.Stopped, self.one)
