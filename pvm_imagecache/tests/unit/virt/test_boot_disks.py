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

from unittest import mock

import hypothesis
from hypothesis import strategies
from pypowervm.wrappers import storage as pvm_storage

from pvm_imagecache import exceptions
from pvm_imagecache import naming
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.drivers import powervm
from pvm_imagecache.system import retry
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.drivers import volume_groups
from pvm_imagecache.tests.unit.virt import mappings
from pvm_imagecache.virt import boot_disks

ID = '8a1c0f2e-4b5d-4c6e-9f70-1234567890ab'


class BootDisksTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.images = mock.Mock()
        self.disks = boot_disks.BootDisks(None, self.images)
        self.there = driver_base.Disk('disk', 'udid', base.GIB)
        self.images.driver.find_disk.return_value = self.there
        self.images.other_catalog_of.return_value = ''

    def test_another_disk_of_the_name_is_not_deleted(self):
        self.disks.delete(boot_disks.Attached('disk', 'other'), None)
        self.images.delete_disk.assert_not_called()
        self.disks.delete(boot_disks.Attached('disk', 'udid'), 'for')
        self.images.delete_disk.assert_called_once_with('disk', context='for')

    def test_a_missing_or_mapped_disk_is_no_error(self):
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

    def test_a_disk_of_another_catalog_is_not_deleted_by_its_name(self):
        self.images.other_catalog_of.return_value = '5e1f0c2a'
        with self.assertLogs('pvm_imagecache', 'WARNING') as logs:
            self.disks.delete_named('disk', None)
        self.assertIn('(5e1f0c2a)', logs.output[0])
        self.images.delete_disk.assert_not_called()
        # That a partition had it proves that it is the instance's.
        self.disks.delete(boot_disks.Attached('disk', 'udid'), 'for')
        self.images.delete_disk.assert_called_once_with('disk', context='for')

    def test_a_disk_whose_owner_cannot_be_read_is_kept_without_failure(self):
        self.images.other_catalog_of.side_effect = exceptions.CatalogError(
            path='/state/catalog', reason='it is locked'
        )
        with self.assertLogs('pvm_imagecache', 'ERROR') as logs:
            self.disks.delete_named('disk', None)
        self.assertIn('/state/catalog', logs.output[0])
        self.assertIn('"pvm-imagecache disk delete"', logs.output[0])
        self.images.delete_disk.assert_not_called()
        self.disks.delete(boot_disks.Attached('disk', 'udid'), 'for')
        self.images.delete_disk.assert_called_once_with('disk', context='for')

    def _create(self, *outcomes):
        self.images.create_disk.side_effect = outcomes
        noted = []
        try:
            return self.disks.create(
                'image', ['a', 'b'], 0, None, noted.append
            ), noted
        except exceptions.PVMImageCacheError as error:
            return error, noted

    def test_the_name_is_noted_before_the_disk_exists(self):
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


class ChangeMappingsTest(base.TestCase):
    """The update of a Virtual I/O Server, which others change too."""

    def setUp(self):
        super().setUp()
        self.patch(retry, 'back_off', lambda attempt: None)
        self.vios = mappings.MemoryVIOS()
        images = mock.Mock()
        images.driver.servers.return_value = ['vios']
        images.driver.mappable.side_effect = lambda disk: (
            pvm_storage.VDisk.bld_ref(self.vios(), disk.name)
        )
        self.disks = boot_disks.BootDisks(self.vios, images)

    def attach(self, uuid, *errors, name='b_new', udid='new'):
        self.vios.answers = list(errors)
        self.disks.attach(
            mappings.partition(uuid),
            mock.Mock(disk=driver_base.Disk(name, udid, base.GIB)),
        )

    def detach_all(self, uuid):
        return self.disks.detach_all(mappings.partition(uuid))

    def test_a_disk_is_mapped_to_its_partition(self):
        self.attach(mappings.WITHOUT)
        self.assertEqual(['b_new'], self.vios.mapped(mappings.WITHOUT))
        self.assertEqual(['GET', 'POST'], self.vios.requests)

    def test_a_mapped_disk_is_not_mapped_again(self):
        # As after the answer to the first update was lost.
        name, udid = mappings.DISK
        self.attach(mappings.WITH_DISK, name=name, udid=udid)
        self.assertEqual(['GET'], self.vios.requests)
        self.assertEqual([name], self.vios.mapped(mappings.WITH_DISK))

    def test_another_disk_of_the_partition_does_not_count(self):
        self.attach(mappings.WITH_DISK)
        self.assertEqual(
            [mappings.DISK[0], 'b_new'],
            self.vios.mapped(mappings.WITH_DISK),
        )

    def test_conflicts_and_a_busy_server_are_retried(self):
        self.attach(
            mappings.WITHOUT,
            *[volume_groups.refusal(each) for each in (412, 503)],
        )
        # The mappings are read before each update.
        self.assertEqual(['GET', 'POST'] * 3, self.vios.requests)
        self.assertEqual(['b_new'], self.vios.mapped(mappings.WITHOUT))

    def test_other_refusals_are_raised(self):
        self.assertRaises(
            exceptions.PowerVMRequestFailed,
            self.attach,
            mappings.WITHOUT,
            volume_groups.refusal(400),
        )
        self.assertEqual(1, self.vios.requests.count('POST'))

    def test_the_number_of_attempts_is_limited(self):
        error = self.assertRaises(
            exceptions.PowerVMRequestFailed,
            self.attach,
            mappings.WITHOUT,
            *[volume_groups.refusal(412)] * powervm.UPDATE_ATTEMPTS,
        )
        self.assertIn('other processes changed them', str(error))

    def test_the_disks_of_a_partition_are_detached(self):
        self.assertEqual(
            {boot_disks.Attached(*mappings.DISK)},
            self.detach_all(mappings.WITH_DISK),
        )
        self.assertEqual([], self.vios.mapped(mappings.WITH_DISK))
        # Other partitions keep theirs.
        self.assertIn(
            mappings.UNIT, self.vios.mapped(mappings.WITH_UNIT_AND_MEDIA)
        )

    def test_optical_media_are_detached_but_no_disk(self):
        self.assertEqual(
            {mappings.UNIT},
            {
                each.name
                for each in self.detach_all(mappings.WITH_UNIT_AND_MEDIA)
            },
        )
        self.assertEqual([], self.vios.mapped(mappings.WITH_UNIT_AND_MEDIA))

    def test_a_partition_without_mappings_needs_no_update(self):
        self.assertEqual(set(), self.detach_all(mappings.WITHOUT))
        self.assertEqual(['GET'], self.vios.requests)

    def test_orphaned_mappings_are_left_alone(self):
        # Another partition may have that UUID or number now.
        self.vios.orphan(mappings.WITH_DISK)
        self.assertEqual(set(), self.detach_all(mappings.WITH_DISK))
        self.assertEqual(
            [mappings.DISK[0]], self.vios.mapped(mappings.WITH_DISK)
        )


class DiskNamesTest(base.TestCase):
    def test_short_names_are_those_of_nova_powervm(self):
        self.assertEqual(
            ['b_instance_8a1c', 'b_instance_0f2e', 'b_instance_4b5d'],
            boot_disks.short_names('instance-0000002a', ID)[:3],
        )
        self.assertEqual('b_web_8a1c', boot_disks.short_names('web', ID)[0])

    def test_a_long_name_has_the_whole_uuid(self):
        self.assertEqual(
            'boot_instance_0000002a_8a1c0f2e_4b5d_4c6e_9f70_1234567890ab',
            boot_disks.long_name('instance-0000002a', ID, 79),
        )

    @hypothesis.given(strategies.text(min_size=1), strategies.uuids())
    def test_any_instance_gets_valid_names(self, name, uid):
        names = boot_disks.short_names(name, str(uid))
        self.assertEqual(8, len(names))
        for each in names:
            self.assertEqual(each, naming.check_disk_name(each))
        long = boot_disks.long_name(name, str(uid), 79)
        self.assertEqual(long, naming.check_disk_name(long, 79))
        # The name never hides which instance the disk belongs to.
        self.assertTrue(long.endswith(str(uid).replace('-', '_')))
