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
"""Tests of the records of failed downloads."""

from pvm_imagecache.catalog import facade
from pvm_imagecache.catalog import models
from pvm_imagecache.tests.unit.catalog import base


class FailedDownloadsTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.failed = self.open()

    def open(self):
        catalog = facade.Catalog(self.catalog_path)
        self.addCleanup(catalog.close)
        return catalog.failed_downloads

    def test_there_is_none_at_first(self):
        self.assertIsNone(self.failed.get('pool', 'disk'))
        self.failed.remove('pool', 'disk')

    def test_another_process_reads_what_was_recorded(self):
        self.failed.record('pool', 'disk', 'id', 'it is corrupt')
        found = self.open().get('pool', 'disk')
        self.assertEqual(
            models.FailedDownload(found.token, 'id', 'it is corrupt', None),
            found,
        )
        self.assertIsNone(self.failed.get('other', 'disk'))
        self.assertIsNone(self.failed.get('pool', 'other'))

    def test_each_failure_has_a_token_of_its_own(self):
        tokens = set()
        for _ in range(3):
            self.failed.record('pool', 'disk', 'id', 'error', 'signature')
            tokens.add(self.failed.get('pool', 'disk').token)
        self.assertEqual(3, len(tokens))

    def test_a_record_can_be_removed(self):
        for name in ('disk', 'other'):
            self.failed.record('pool', name, 'id', 'error')
        self.failed.remove('pool', 'disk')
        self.assertIsNone(self.failed.get('pool', 'disk'))
        self.assertIsNotNone(self.failed.get('pool', 'other'))
