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

"""Boot disks are made once, had once, and nobody else's are deleted."""

from unittest import mock

from pvm_imagecache import exceptions
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.tests.unit import base
from pvm_imagecache.virt import boot_disks


class BootDisksTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.images = mock.Mock()
        self.disks = boot_disks.BootDisks(None, self.images)
        self.there = driver_base.Disk('disk', 'udid', base.GIB)
        self.images.driver.find_disk.return_value = self.there

    def test_another_disk_of_the_name_is_not_deleted(self):
        self.disks.delete(boot_disks.Attached('disk', 'other'), None)
        self.images.delete_disk.assert_not_called()
        self.disks.delete(boot_disks.Attached('disk', 'udid'), 'for')
        self.images.delete_disk.assert_called_once_with('disk', context='for')

    def test_what_is_gone_or_needed_is_no_error(self):
        for error in (
            exceptions.DiskNotFound(name='disk', pool='p'),
            exceptions.DiskInUse(name='disk'),
        ):
            self.images.delete_disk.side_effect = error
            self.disks.delete_named('disk', None)
        self.images.driver.find_disk.return_value = None
        self.images.delete_disk.reset_mock()
        self.disks.delete_named('disk', None)
        self.images.delete_disk.assert_not_called()

    def test_what_a_partition_has_it_is_not_given_again(self):
        # As where the answer to the first update was lost.
        made = mock.Mock(disk=self.there)
        for udid, added in (('udid', False), ('other', True)):
            with (
                mock.patch.object(
                    boot_disks,
                    '_attached',
                    autospec=True,
                    return_value=[boot_disks.Attached('disk', udid)],
                ),
                (
                    mock.patch.object(boot_disks, 'scsi_mapper', autospec=True)
                ) as mapper,
            ):
                self.assertEqual(
                    added, self.disks._add(mock.Mock(), mock.Mock(), made)
                )
            self.assertEqual(added, mapper.add_map.called)

    def _create(self, *outcomes):
        self.images.create_disk.side_effect = outcomes
        noted = []
        try:
            return self.disks.create(
                'image', ['a', 'b'], 0, None, noted.append
            ), noted
        except exceptions.PVMImageCacheError as error:
            return error, noted

    def test_the_name_that_is_kept(self):
        taken = exceptions.DiskExists(name='a', pool='p')
        refused = exceptions.ImageForbidden(image='image')
        self.assertEqual(('made', ['a']), self._create('made'))
        self.assertEqual(
            ('made', ['a', None, 'b']), self._create(taken, 'made')
        )
        for errors, noted in (
            ((refused,), ['a', None]),
            ((taken, taken), ['a', None, 'b', None]),
        ):
            self.assertEqual((errors[-1], noted), self._create(*errors))
