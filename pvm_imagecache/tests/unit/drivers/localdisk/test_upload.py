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

import types
from unittest import mock

from pypowervm.wrappers import vios_file as pvm_file

from pvm_imagecache import exceptions
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.drivers import powervm
from pvm_imagecache.drivers.localdisk import upload
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.drivers import volume_groups

DISK = driver_base.Disk('disk', 'udid', base.GIB)


class UploadTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.rest = mock.Mock(spec=['upload_file', 'delete', 'read'])
        self.adapters = powervm.AdapterSource(powervm.Connection())
        self.patch(self.adapters, '_adapter', self.rest)
        self.entry = mock.Mock(
            spec=['element', 'uuid', 'schema_type', 'tdev_udid'],
            uuid='entry',
            schema_type='File',
            tdev_udid=DISK.udid,
        )
        self.wanted = mock.Mock(spec=['create'])
        self.wanted.create.return_value = self.entry
        self.file = mock.Mock(spec=['bld', 'get'])
        self.file.bld.return_value = self.wanted
        self.patch(pvm_file, 'File', self.file)
        self.stale = mock.Mock(spec=[])

    def upload(self):
        upload.upload(
            self.adapters,
            'vios',
            DISK,
            iter([b'data']),
            4,
            'sha',
            self.stale,
        )

    def test_an_upload_has_its_size_and_hash(self):
        self.upload()
        self.assertEqual(
            {'sha_chksum': 'sha', 'f_size': 4, 'tdev_udid': 'udid'},
            self.file.bld.call_args.kwargs,
        )
        self.rest.delete.assert_called_once_with(
            'File', root_id='entry', service='web'
        )
        self.stale.assert_not_called()

    def test_a_full_list_of_entries_is_told_from_other_refusals(self):
        for count, reason, kind in (
            (100, 'no', exceptions.FileListFull),
            (1, 'The maximum number of files exists', exceptions.FileListFull),
            (99, 'no', exceptions.PowerVMRequestFailed),
        ):
            self.file.get.return_value = [self.entry] * count
            self.wanted.create.side_effect = volume_groups.refusal(400, reason)
            error = self.assertRaises(
                exceptions.PowerVMRequestFailed, self.upload
            )
            self.assertIs(kind, type(error))
            self.assertEqual(kind is exceptions.FileListFull, error.transient)
        self.file.get.side_effect = volume_groups.refusal(500)
        self.assertRaises(exceptions.PowerVMRequestFailed, self.upload)

    def test_a_request_with_data_is_made_only_once(self):
        self.upload()
        (helper,) = self.rest.upload_file.call_args.kwargs['helpers']
        request = mock.Mock(spec=[])
        helper(request)('PUT', relogin=True)
        request.assert_called_once_with('PUT', relogin=False)

    def test_the_entry_is_deleted_after_a_failed_upload(self):
        self.rest.upload_file.side_effect = volume_groups.refusal(500)
        self.assertRaises(exceptions.PowerVMRequestFailed, self.upload)
        self.assertEqual(1, self.rest.delete.call_count)
        self.stale.assert_not_called()

    def test_an_expired_session_is_transient(self):
        self.rest.upload_file.side_effect = exceptions.PowerVMLogonFailed(
            url='u', user='n', reason='r'
        )
        # The session is gone; the entry is deleted in a new one.
        self.patch(powervm, '_log_on', lambda connection: self.rest)
        error = self.assertRaises(
            exceptions.PowerVMSessionExpired, self.upload
        )
        self.assertTrue(error.transient)
        self.assertEqual(1, self.rest.delete.call_count)

    def test_an_entry_that_cannot_be_deleted_is_reported(self):
        self.rest.delete.side_effect = volume_groups.refusal(500)
        self.upload()
        self.stale.assert_called_once_with()
        self.assertEqual(
            len(powervm.RETRY_DELAYS) + 1, self.rest.delete.call_count
        )

    def test_an_entry_that_is_gone_needs_no_deletion(self):
        self.rest.delete.side_effect = volume_groups.refusal(404)
        self.upload()
        self.stale.assert_not_called()
        self.assertEqual(1, self.rest.delete.call_count)

    def test_entries_of_a_lost_answer_are_deleted(self):
        self.wanted.create.side_effect = [
            exceptions.PowerVMUnreachable(url='u', reason='r', hint=''),
            self.entry,
        ]
        other = types.SimpleNamespace(tdev_udid='other')
        self.file.get.return_value = [other, self.entry]
        self.upload()
        # That of the lost answer, and that of the upload.
        self.assertEqual(2, self.rest.delete.call_count)
        self.stale.assert_not_called()

    def test_entries_of_a_failed_creation_are_deleted(self):
        # An error of the server can follow the work; a refusal cannot.
        other = types.SimpleNamespace(tdev_udid='other')
        self.file.get.return_value = [other, self.entry]
        for status, deleted in ((500, 1), (400, 0)):
            self.rest.delete.reset_mock()
            self.wanted.create.side_effect = volume_groups.refusal(status)
            self.assertRaises(exceptions.PowerVMRequestFailed, self.upload)
            self.assertEqual(deleted, self.rest.delete.call_count, status)

    def test_entries_without_disk_are_no_targets(self):
        self.file.get.return_value = [
            types.SimpleNamespace(tdev_udid=each)
            for each in ('one', None, 'two')
        ]
        self.assertEqual(['one', 'two'], upload.targets(self.adapters))
