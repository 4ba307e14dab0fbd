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

"""Tests of the access of one deploy to the data of its image."""

from pvm_imagecache import cache as cache_module
from pvm_imagecache import exceptions
from pvm_imagecache.deploy import download
from pvm_imagecache.deploy import steps
from pvm_imagecache.tests.unit import base


class DownloadTest(base.CacheTestCase):
    def setUp(self):
        super().setUp()
        self.steps = steps.Steps(self.size, None)

    def _download(self, context='user'):
        return download.Download(
            self.cache, self.image, context, self.steps, self.verification()
        )

    def test_permission_is_checked_once(self):
        access = self._download()
        access.check_permission()
        access.check_permission()
        self.assertEqual([(self.image.id, 'user')], self.source.asked)
        self.assertIn('check', self.steps.seconds())

    def test_refusal_is_not_remembered_as_a_permission(self):
        self.source.refusal = exceptions.ImageForbidden(image=self.image.id)
        access = self._download()
        for _ in range(2):
            self.assertRaises(
                exceptions.ImageForbidden, access.check_permission
            )
        self.assertEqual(2, len(self.source.asked))

    def test_configured_credentials_need_no_check(self):
        self._download(None).check_permission()
        self.assertEqual([], self.source.asked)
        self.assertNotIn('check', self.steps.seconds())

    def test_check_can_be_disabled(self):
        self.settings = cache_module.Settings(check_download_permission=False)
        self._download().check_permission()
        self.assertEqual([], self.source.asked)

    def test_opened_stream_gives_the_data(self):
        with self._download().open() as stream:
            self.assert_bytes(self.content, b''.join(stream))
        self.assertEqual([self.image.id], self.source.opened)

    def test_received_bytes_of_all_streams_are_counted(self):
        access = self._download()
        self.assertEqual(0, access.bytes_received)
        for count in (1, 2):
            with access.open() as stream:
                for _ in stream:
                    pass
            self.assertEqual(count * self.size, access.bytes_received)

    def test_missing_data_is_an_error_on_entry(self):
        self.source.put(self.image)
        access = self._download()
        self.assertRaises(exceptions.ImageHasNoData, access.open().__enter__)
        self.assertEqual(0, access.bytes_received)
