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

"""Volume groups: what an update will say, and who gets what of it."""

import threading
import time
from unittest import mock

import hypothesis
from hypothesis import strategies
from lxml import etree
from oslo_utils import units
from pypowervm import const as pvm_const
from pypowervm.wrappers import storage as pvm_storage
from pypowervm.wrappers import virtual_io_server as pvm_vios

from pvm_imagecache import exceptions
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.drivers.localdisk import volume_group
from pvm_imagecache.system import locks
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.drivers import volume_groups

GIB = base.GIB
Copy, Create = volume_group.Copy, volume_group.Create
Delete = volume_group.Delete
_UOM = f'{{{pvm_const.UOM_NS}}}'
new = volume_groups.new


class WholeGibTest(base.TestCase):
    def test_rounded_up(self):
        for size, gib in (
            (0, 1),
            (1, 1),
            (GIB, 1),
            (GIB + 1, 2),
            (5 * GIB, 5),
        ):
            self.assertEqual(gib * GIB, volume_group.whole_gib(size))

    @base.generated
    @hypothesis.given(strategies.integers(1, 1 << 60))
    def test_never_too_small_and_never_one_too_many(self, size):
        rounded = volume_group.whole_gib(size)
        self.assertEqual(0, rounded % GIB)
        self.assertTrue(size <= rounded < size + GIB)


class DocumentTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.wrapper = volume_groups.recorded()

    def _document(self):
        return volume_group.Document(self.wrapper)

    def test_all_disks_of_a_real_host(self):
        document = self._document()
        self.assertEqual(
            [
                (disk.name, disk.udid, int(disk.capacity * GIB))
                for disk in self.wrapper.virtual_disks
            ],
            [(disk.name, disk.udid, disk.capacity) for disk in document.disks],
        )
        self.assertEqual(32, len(document.udids))
        self.assertEqual(
            (1063 * GIB, 997 * GIB), (document.capacity, document.free)
        )

    def test_the_smaller_figure_of_what_is_free_counts(self):
        element = self.wrapper.entry.element.element
        for tag, free in (('AvailableSize', 5), ('FreeSpace', 3)):
            element.find(f'{_UOM}{tag}').text = str(free)
            self.assertEqual(free * GIB, self._document().free)
        element.remove(element.find(f'{_UOM}FreeSpace'))
        self.assertEqual(5 * GIB, self._document().free)
        element.remove(element.find(f'{_UOM}AvailableSize'))
        self.assertEqual(0, self._document().free)

    def test_file_backed_disks_are_named_by_their_last_component(self):
        volume_groups.change(self.wrapper, 'asdf', DiskName=' /var/vio/a ')
        document = self._document()
        self.assertEqual([], document.named('asdf'))
        (disk,) = document.named('a')
        self.assertTrue(document.has(disk))
        document.delete(disk)
        self.assertEqual(31, len(volume_groups.elements(self.wrapper)))

    def test_several_of_one_name(self):
        volume_groups.change(self.wrapper, 'asdf', DiskName='asdf2')
        document = self._document()
        one, other = document.named('asdf2')
        self.assertNotEqual(one.udid, other.udid)
        document.delete(one)
        self.assertEqual([other], document.named('asdf2'))
        self.assertFalse(document.has(one))
        self.assertTrue(document.has(other))

    def test_a_disk_is_known_by_name_and_udid(self):
        document = self._document()
        (disk,) = document.named('asdf')
        self.assertTrue(document.has(disk))
        for name, udid in (('asdf2', disk.udid), ('asdf', 'other')):
            self.assertFalse(
                document.has(driver_base.Disk(name, udid, disk.capacity))
            )

    def test_delete_takes_out_one_element(self):
        document = self._document()
        before = [disk.udid for disk in self.wrapper.virtual_disks]
        (disk,) = document.named('asdf')
        document.delete(disk)
        before.remove(disk.udid)
        self.assertEqual(
            before, [disk.udid for disk in self.wrapper.virtual_disks]
        )
        self.assertEqual(set(before), document.udids)
        self.assertEqual([], document.named('asdf'))

    def test_nothing_handed_out_is_part_of_it(self):
        """Appending it elsewhere must not take a disk out (poaching)."""
        document = self._document()
        for disk in document.disks:
            self.assertIs(driver_base.Disk, type(disk))
            self.assertEqual(
                {'name', 'udid', 'capacity', 'label'}, set(vars(disk))
            )
        document.disks.clear()
        document.udids.clear()
        self.assertEqual(32, len(document.disks))
        self.assertEqual(32, len(volume_groups.elements(self.wrapper)))

    def test_base_images_are_those_disks_that_are_called_so(self):
        volume_groups.change(
            self.wrapper, 'asdf', DiskName=' /var/vio/i_0123abcd_4567 '
        )
        volume_groups.change(self.wrapper, 'asdf2', DiskName='i_asdf')
        document = self._document()
        (disk,) = document.named('i_0123abcd_4567')
        self.assertEqual([disk], document.base_images())
        document.delete(disk)
        self.assertEqual([], document.base_images())

    def test_what_is_to_be_made_is_not_there_yet(self):
        document = self._document()
        document.append(pvm_storage.VDisk.bld(None, 'new', 1))
        self.assertEqual(32, len(document.udids))
        self.assertNotIn('', document.udids)

    def test_a_group_without_disks(self):
        for element in volume_groups.elements(self.wrapper):
            element.getparent().remove(element)
        self.assertEqual([], self._document().disks)
        self.assertEqual([], self._document().base_images())

    def test_a_disk_that_says_little(self):
        element = volume_groups.elements(self.wrapper)[0]
        for child in list(element):
            element.remove(child)
        self.assertIn(driver_base.Disk('', '', 0), self._document().disks)


class ReadTest(base.TestCase):
    """All disks are read in one go, whatever they lack."""

    def setUp(self):
        super().setUp()
        self.wrapper = volume_groups.recorded()

    def check(self):
        """Hold what is read against one look after the other."""
        uom = f'{{{pvm_const.UOM_NS}}}'
        self.assertEqual(
            [
                (
                    element.findtext(f'{uom}DiskName') or '',
                    element.findtext(f'{uom}UniqueDeviceID') or '',
                    round(
                        float(element.findtext(f'{uom}DiskCapacity') or 0)
                        * units.Gi
                    ),
                    element.findtext(f'{uom}DiskLabel') or '',
                )
                for element in volume_groups.elements(self.wrapper)
            ],
            [
                (disk.name, disk.udid, disk.capacity, disk.label)
                for disk in volume_group.Document(self.wrapper).disks
            ],
        )

    def drop(self, position, tag):
        element = volume_groups.elements(self.wrapper)[position]
        element.remove(element.find(f'{{{pvm_const.UOM_NS}}}{tag}'))

    def test_recorded(self):
        self.check()
        self.assertEqual(32, len(volume_group.Document(self.wrapper).disks))

    def test_without_a_label(self):
        self.drop(3, 'DiskLabel')
        self.check()

    def test_each_without_another_thing(self):
        # As many of each as if nothing were lacking but one disk.
        for position, tag in enumerate(
            ('DiskLabel', 'DiskCapacity', 'DiskName', 'DiskLabel')
        ):
            self.drop(position, tag)
        self.check()

    def test_in_another_order(self):
        for element in volume_groups.elements(self.wrapper):
            element[:] = reversed(element)
        self.check()

    def test_no_disks(self):
        for element in volume_groups.elements(self.wrapper):
            element.getparent().remove(element)
        self.check()


class MappedTest(base.TestCase):
    """A disk that a mapping has is seen, wherever it stands in that."""

    def mapped(self, mapping):
        server = mock.MagicMock()
        server.entry.element.element = etree.fromstring(
            f'<VIOS xmlns="{pvm_const.UOM_NS}"><VirtualSCSIMappings>'
            f'<VirtualSCSIMapping>{mapping}</VirtualSCSIMapping>'
            '</VirtualSCSIMappings></VIOS>'
        )
        group = volume_group.VolumeGroup(
            mock.MagicMock(),
            'vios',
            'uuid',
            'vg',
            locks.LockDirectory(self.path('locks')),
        )
        disks = [
            driver_base.Disk(name, f'udid-{name}', GIB) for name in ('a', 'b')
        ]
        with mock.patch.object(
            pvm_vios.VIOS, 'get', autospec=True, return_value=server
        ):
            return {disk.name for disk in group.mapped(disks)}

    def test_where_it_is(self):
        named = '<VirtualDisk><DiskName>/var/vio/a</DiskName></VirtualDisk>'
        for mapping in (
            f'<Storage>{named}</Storage>',
            f'<Storage><Other>{named}</Other></Storage>',
            named,
            f'<TargetDevice>{named}</TargetDevice>',
        ):
            self.assertEqual({'a'}, self.mapped(mapping))

    def test_one_without_a_name_is_known_by_its_udid(self):
        self.assertEqual(
            {'b'},
            self.mapped(
                '<Storage><VirtualDisk><UniqueDeviceID>udid-b</UniqueDeviceID>'
                '</VirtualDisk></Storage>'
            ),
        )

    def test_none(self):
        self.assertEqual(set(), self.mapped('<Storage/>'))


class PrepareTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.wrapper = volume_groups.recorded()
        self.requests = []

    def _prepare(self, *changes):
        """Each change is the operations of one request."""
        self.document = volume_group.Document(self.wrapper)
        self.requests = [volume_group._Request(each) for each in changes]
        return volume_group._prepare(self.document, self.requests, None)

    def _disk(self, name):
        return volume_group.Document(self.wrapper).named(name)[0]

    def _made(self):
        """What the update will make: without UDID."""
        return [
            (disk.name, disk.capacity, disk.element.findtext('BaseImage'))
            for disk in self.wrapper.virtual_disks
            if not disk.udid
        ]

    def _failed(self, kind, *changes):
        """All requests but the last can be met, and are."""
        pending = self._prepare(*changes)
        self.assertEqual(self.requests[:-1], pending)
        self.assertIsInstance(self.requests[-1].error, kind)
        self.assertTrue(self.requests[-1].done)
        return self.requests[-1].error

    def test_create(self):
        pending = self._prepare(
            [Create(driver_base.NewDisk('new', GIB + 1, 'raw'))]
        )
        self.assertEqual(self.requests, pending)
        self.assertEqual([('new', 2.0, None)], self._made())
        self.assertFalse(pending[0].done)

    def test_format(self):
        self._prepare(
            [Create(driver_base.NewDisk('a', 1, 'raw'))],
            [Create(driver_base.NewDisk('b', 1, 'qcow2'))],
        )
        self.assertEqual(
            ['raw', 'qcow2'],
            [
                disk.file_format
                for disk in self.wrapper.virtual_disks
                if not disk.udid
            ],
        )

    def test_label(self):
        self._prepare(
            [Create(driver_base.NewDisk('a', 1, 'raw', 'mine'))],
            [Create(driver_base.NewDisk('b', 1, 'raw'))],
        )
        self.assertEqual(
            ['mine', 'None'],
            [
                disk.label
                for disk in self.wrapper.virtual_disks
                if not disk.udid
            ],
        )

    def test_copy(self):
        source = self._disk('aix_disk1')
        self._prepare([Copy(new('new', 12), source, lambda: True)])
        self.assertEqual([('new', 12.0, source.udid)], self._made())

    def test_delete(self):
        disk = self._disk('asdf')
        pending = self._prepare([Delete(disk)])
        self.assertEqual(self.requests, pending)
        self.assertNotIn(disk.udid, self.document.udids)

    def test_delete_of_what_is_gone_needs_no_update(self):
        disk = self._disk('asdf')
        for gone in (
            driver_base.Disk('asdf', 'other', GIB),
            driver_base.Disk('other', disk.udid, GIB),
        ):
            self.assertEqual([], self._prepare([Delete(gone)]))
            self.assertTrue(self.requests[0].done)
            self.assertIsNone(self.requests[0].error)
        self.assertEqual(32, len(volume_groups.elements(self.wrapper)))

    def test_a_name_that_is_taken(self):
        error = self._failed(exceptions.DiskExists, [Create(new('asdf'))])
        self.assertEqual(('asdf', 'image_pool'), (error.name, error.pool))
        self.assertEqual([], self._made())

    def test_a_name_that_a_file_backed_disk_has(self):
        volume_groups.change(self.wrapper, 'asdf', DiskName='/var/vio/a')
        self._failed(exceptions.DiskExists, [Create(new('a'))])

    def test_one_name_twice(self):
        self._failed(
            exceptions.DiskExists, [Create(new('a'))], [Create(new('a'))]
        )
        self.assertEqual([('a', 1.0, None)], self._made())

    def test_a_request_is_met_whole_or_not_at_all(self):
        self._failed(
            exceptions.DiskExists,
            [Create(new('a'))],
            [Create(new('b')), Create(new('asdf'))],
        )
        self.assertEqual([('a', 1.0, None)], self._made())
        # What failed has taken no name.
        self.assertEqual(
            2, len(self._prepare([Create(new('b'))], [Create(new('c'))]))
        )

    def test_no_space(self):
        error = self._failed(
            exceptions.NotEnoughSpace, [Create(new('a', 998))]
        )
        self.assertIn('997 GiB free', str(error))
        self.assertIn('998 GiB are needed for a', str(error))
        self.assertEqual([], self._made())

    def test_space_for_all_but_one(self):
        self._failed(
            exceptions.NotEnoughSpace,
            [Create(new('a', 500)), Create(new('b', 400))],
            [Create(new('c', 97))],
            [Create(new('d', 1))],
        )
        self.assertEqual(['a', 'b', 'c'], [name for name, *_ in self._made()])

    def test_no_space_for_both_but_for_one(self):
        self._failed(
            exceptions.NotEnoughSpace,
            [Create(new('a', 900)), Create(new('b', 98))],
        )
        self.assertEqual([], self._made())

    def test_a_copy_needs_space_too(self):
        self._failed(
            exceptions.NotEnoughSpace,
            [Copy(new('a', 998), self._disk('asdf'), lambda: True)],
        )

    def test_sources_that_can_not_be_copied(self):
        source = self._disk('asdf')
        for changed, valid, reason in (
            (driver_base.Disk('none', 'u', GIB), True, 'no longer'),
            (driver_base.Disk('asdf', 'u', GIB), True, 'replaced'),
            (driver_base.Disk('asdf2', source.udid, GIB), True, 'replaced'),
            (source, False, 'given up'),
        ):
            error = self._failed(
                exceptions.BaseImageGone,
                [Copy(new('a'), changed, lambda valid=valid: valid)],
            )
            self.assertIn(reason, str(error))
        volume_groups.change(self.wrapper, 'asdf2', DiskName='asdf')
        error = self._failed(
            exceptions.BaseImageGone, [Copy(new('a'), source, lambda: True)]
        )
        self.assertIn('several', str(error))
        self.assertEqual([], self._made())

    def test_whether_a_source_is_valid_is_asked_last(self):
        self._failed(
            exceptions.BaseImageGone,
            [Copy(new('a'), driver_base.Disk('asdf', 'u', GIB), self.fail)],
        )
        self._failed(
            exceptions.DiskExists,
            [Copy(new('asdf'), self._disk('asdf'), self.fail)],
        )

    def test_what_a_validity_check_raises_fails_that_copy_alone(self):
        def broken():
            raise exceptions.CatalogError(path='p', reason='r')

        self._failed(
            exceptions.CatalogError,
            [Create(new('a'))],
            [Copy(new('b'), self._disk('asdf'), broken)],
        )

    def test_what_is_done_is_not_done_again(self):
        self._prepare([Create(new('asdf'))], [Create(new('a'))])
        pending = volume_group._prepare(
            volume_group.Document(volume_groups.recorded()),
            self.requests,
            None,
        )
        self.assertEqual([self.requests[1]], pending)

    @base.generated
    @hypothesis.given(
        strategies.lists(
            strategies.lists(
                strategies.tuples(
                    strategies.sampled_from(['a', 'b', 'asdf', 'aix_disk1']),
                    strategies.sampled_from([1, 300, 600]),
                ),
                min_size=1,
                max_size=2,
                unique_by=lambda each: each[0],
            ),
            max_size=5,
        )
    )
    def test_never_too_much_and_never_half_of_it(self, wanted):
        self.wrapper = volume_groups.recorded()
        pending = self._prepare(
            *[
                [Create(new(name, gib)) for name, gib in request]
                for request in wanted
            ]
        )
        made = self._made()
        names = [name for name, *_ in made]
        self.assertEqual(len(set(names)), len(names))
        self.assertLessEqual({'asdf', 'aix_disk1'} & set(names), set())
        self.assertLessEqual(sum(gib for _, gib, _ in made), 997)
        self.assertEqual(
            sorted(names),
            sorted(
                operation.new.name
                for request in pending
                for operation in request.operations
            ),
        )
        for request in self.requests:
            self.assertNotEqual(request in pending, request.done)
            self.assertEqual(request.done, request.error is not None)


class ConfirmTest(base.TestCase):
    """Whether the answer of an update shows what was wanted."""

    def setUp(self):
        super().setUp()
        self.wrapper = volume_groups.recorded()
        self.before = volume_group.Document(self.wrapper).udids

    def _confirmed(self, *wanted):
        requests = [volume_group._Request([Create(each)]) for each in wanted]
        volume_group._confirm(
            volume_group.Document(self.wrapper), requests, self.before
        )
        return requests

    def _found(self, name, udid):
        """The answer shows a disk that was not there before."""
        volume_groups.change(self.wrapper, name, UniqueDeviceID=udid)

    def test_made(self):
        self._found('asdf', 'new udid')
        (request,) = self._confirmed(new('asdf'))
        (disk,) = request.disks
        self.assertEqual(
            ('asdf', 'new udid', GIB), (disk.name, disk.udid, disk.capacity)
        )
        self.assertTrue(request.done)
        self.assertIsNone(request.error)

    def test_not_shown(self):
        self._found('asdf', 'new udid')
        shown, absent = self._confirmed(new('asdf'), new('absent'))
        self.assertIsNone(shown.error)
        self.assertIn('does not show', str(absent.error))

    def test_an_old_disk_is_not_taken_for_it(self):
        (request,) = self._confirmed(new('asdf'))
        self.assertIsInstance(request.error, exceptions.PowerVMRequestFailed)
        self.assertEqual([], request.disks)

    def test_two_of_the_name(self):
        self._found('asdf', 'new udid')
        volume_groups.change(self.wrapper, 'asdf2', DiskName='asdf')
        (request,) = self._confirmed(new('asdf'))
        self.assertIsNotNone(request.error)

    def test_too_small(self):
        self._found('asdf', 'new udid')
        (request,) = self._confirmed(new('asdf', 2))
        self.assertIn(f'{GIB} bytes instead of {2 * GIB}', str(request.error))


class CameOfTest(base.TestCase):
    """What an update may have made of which no answer came."""

    def _came(self, disk, *others, label='ours'):
        wanted = {'a': driver_base.NewDisk('a', GIB, 'raw', label)}
        return bool(volume_group._came_of(wanted, [disk, *others], {'before'}))

    def test_what_has_the_label(self):
        self.assertTrue(self._came(driver_base.Disk('a', 'u', GIB, 'ours')))

    def test_what_is_somebody_elses(self):
        labelled = driver_base.Disk('b', 'v', GIB, 'any')
        for disk in (
            driver_base.Disk('a', 'u', GIB, 'theirs'),
            driver_base.Disk('a', 'before', GIB, 'ours'),
            driver_base.Disk('c', 'u', GIB, 'ours'),
            driver_base.Disk('a', 'u', GIB, 'None'),
            driver_base.Disk('a', 'u', GIB),
        ):
            self.assertFalse(self._came(disk, labelled))

    def test_where_no_disk_has_a_label(self):
        plain = driver_base.Disk('a', 'u', GIB, 'None')
        self.assertTrue(self._came(plain, driver_base.Disk('b', 'v', GIB)))

    def test_what_was_to_have_no_label(self):
        labelled = driver_base.Disk('b', 'v', GIB, 'any')
        plain = driver_base.Disk('a', 'u', GIB)
        self.assertTrue(self._came(plain, labelled, label=None))
        self.assertFalse(
            self._came(driver_base.Disk('a', 'u', GIB, 'any'), label=None)
        )


class FullTest(base.TestCase):
    """What PowerVM says of space that we thought was there."""

    def _raise_if_full(self, reason):
        cause = exceptions.PowerVMRequestFailed(action='a', reason=reason)
        volume_group._raise_if_full(
            cause,
            volume_group.Document(volume_groups.recorded()),
            [
                volume_group._Request([Create(new('a', 2)), Create(new('b'))]),
                volume_group._Request([Delete(driver_base.Disk('c', 'u', 1))]),
            ],
        )

    def test_no_space(self):
        error = self.assertRaises(
            exceptions.NotEnoughSpace,
            self._raise_if_full,
            '0516-404 allocp: This system cannot fulfill the request',
        )
        self.assertIn('3 GiB are needed for a and b', str(error))
        self.assertIsNotNone(error.__cause__)

    def test_anything_else(self):
        self._raise_if_full('no')


class ChangeTest(base.TestCase):
    """Who waits goes along with whoever has the turn."""

    def setUp(self):
        super().setUp()
        self.locks = locks.LockDirectory(self.path('locks'))
        self.group = volume_groups.MemoryGroup(self.locks)

    def _names(self):
        return {disk.name for disk in self.group.read().disks}

    def _asdf(self):
        return self.group.read().named('asdf')[0]

    def _all_wait(self, count):
        """A hook: the first update goes on when so many wait."""

        def before_update(batch):
            self.group.before_update = lambda batch: None
            give_up = time.monotonic() + base.PATIENCE
            while len(self.group._waiting) < count:
                self.assertLess(time.monotonic(), give_up)
                time.sleep(0)

        self.group.before_update = before_update

    def test_one_read_and_one_update(self):
        disks = self.group.change([Create(new('a')), Create(new('b', 2))])
        self.assertEqual(
            [('a', GIB), ('b', 2 * GIB)],
            [(disk.name, disk.capacity) for disk in disks],
        )
        self.assertEqual([['a', 'b']], self.group.updates)
        self.assertLessEqual({'a', 'b'}, self._names())

    def test_a_failed_request_changes_nothing(self):
        before = self._names()
        for operations in (
            [Create(new('a')), Create(new('asdf'))],
            [Delete(self._asdf()), Create(new('a', 9999))],
        ):
            self.assertRaises(
                exceptions.PowerVMError, self.group.change, operations
            )
        self.assertEqual(before, self._names())
        self.assertEqual([], self.group.updates)

    def test_a_deletion_and_a_creation(self):
        asdf = self._asdf()
        self.group.change([Delete(asdf)])
        self.assertNotIn('asdf', self._names())
        (disk,) = self.group.change([Create(new('asdf'))])
        self.assertNotEqual(asdf.udid, disk.udid)

    def test_those_who_wait_share_an_update(self):
        self._all_wait(4)
        first = threading.Event()

        def begin():
            self.group.change([Create(new('first'))])

        def follow(name):
            return self.group.change([Create(new(name))])[0].name

        real = self.group.before_update
        self.group.before_update = lambda batch: (first.set(), real(batch))
        results = self.in_threads(
            begin,
            *[
                lambda name=name: self.wait(first) or follow(name)
                for name in 'abcd'
            ],
        )
        self.assertEqual(list('abcd'), results[1:])
        self.assertEqual(
            [['first'], list('abcd')],
            [sorted(each) for each in self.group.updates],
        )

    def test_each_gets_its_own_error(self):
        self._all_wait(3)
        first = threading.Event()
        real = self.group.before_update
        self.group.before_update = lambda batch: (first.set(), real(batch))

        def failing(kind, name, gib):
            self.wait(first)
            self.assertRaises(
                kind, self.group.change, [Create(new(name, gib))]
            )

        self.in_threads(
            lambda: self.group.change([Create(new('first'))]),
            lambda: failing(exceptions.DiskExists, 'asdf', 1),
            lambda: failing(exceptions.NotEnoughSpace, 'huge', 9999),
            lambda: (
                self.wait(first) or self.group.change([Create(new('good'))])
            ),
        )
        self.assertEqual([['first'], ['good']], self.group.updates)

    def test_what_one_refused_request_spoils_is_tried_alone(self):
        def refuse(batch):
            if any(
                operation.new.name == 'bad'
                for request in batch
                for operation in request.operations
            ):
                raise exceptions.PowerVMRequestFailed(
                    action='a', reason='it is bad'
                )

        requests = [
            volume_group._Request([Create(new(name))])
            for name in ('good', 'bad', 'fine')
        ]
        self.group.before_update = refuse
        self.group._carry_out(requests)
        self.assertEqual(
            [None, 'PowerVM refused to a: it is bad', None],
            [each.error and str(each.error) for each in requests],
        )
        self.assertEqual([['good'], ['fine']], self.group.updates)

    def test_an_interrupt_leaves_nobody_waiting(self):
        def interrupt(batch):
            raise KeyboardInterrupt

        requests = [
            volume_group._Request([Create(new(name))]) for name in 'ab'
        ]
        self.group.before_update = interrupt
        self.assertRaises(KeyboardInterrupt, self.group._carry_out, requests)
        for each in requests:
            self.assertTrue(each.done)
            self.assertIsInstance(each.error, KeyboardInterrupt)
        self.assertRaises(
            KeyboardInterrupt, self.group.change, [Create(new('a'))]
        )
        self.assertEqual([], self.group._waiting)
        # And whoever comes next is served.
        self.group.before_update = lambda batch: None
        self.group.change([Create(new('a'))])

    def test_an_interrupt_while_we_wait_for_the_turn(self):
        class Interrupted(locks.LockDirectory):
            def hold(self, *args, **kwargs):
                raise KeyboardInterrupt

        group = volume_groups.MemoryGroup(Interrupted(self.directory))
        self.assertRaises(KeyboardInterrupt, group.change, [Create(new('a'))])
        # It must not be made by whoever comes next.
        self.assertEqual([], group._waiting)

    def test_what_is_quick_does_not_wait_for_copies(self):
        source = self._asdf()
        copy = volume_group._Request([Copy(new('c'), source, lambda: True)])
        quick = [
            volume_group._Request([Create(new('a'))]),
            volume_group._Request([Delete(source)]),
        ]
        self.group._waiting = [copy, *quick]
        self.assertEqual(quick, self.group._next_batch())
        self.assertEqual([copy], self.group._next_batch())
        self.assertEqual([], self.group._next_batch())

    def test_copies_go_together(self):
        copies = [
            volume_group._Request(
                [Copy(new(name), self._asdf(), lambda: True)]
            )
            for name in 'abc'
        ]
        self.group._waiting = list(copies)
        self.assertEqual(copies, self.group._next_batch())

    def test_a_process_that_never_gives_the_turn_back(self):
        """The etag guards what the lock does not."""
        group = volume_groups.MemoryGroup(self.locks, lock_timeout=0)
        with self.locks.hold('vg-vg', 0):
            group.change([Create(new('a'))])
        self.assertEqual([['a']], group.updates)

    def test_no_place_for_locks(self):
        with open(self.path('file'), 'w'):
            pass
        group = volume_groups.MemoryGroup(
            locks.LockDirectory(self.path('file'))
        )
        group.change([Create(new('a'))])
        self.assertEqual([['a']], group.updates)

    def test_the_turn_is_ours_while_it_is_changed(self):
        held = []
        self.group.before_update = lambda batch: held.append(
            self.locks.is_free('vg-vg')
        )
        self.group.change([Create(new('a'))])
        self.assertEqual([False], held)

    def test_the_lock_is_given_back(self):
        self.group.change([Create(new('a'))])
        self.assertRaises(
            exceptions.DiskExists, self.group.change, [Create(new('a'))]
        )
        self.assertTrue(self.locks.is_free('vg-vg'))

    def test_a_request_without_operations(self):
        self.assertEqual([], self.group.change([]))
        self.assertEqual([], self.group.updates)


class KeptTest(base.TestCase):
    """Deletions that begin from what was read a moment ago."""

    def setUp(self):
        super().setUp()
        self.group = volume_groups.MemoryGroup(
            locks.LockDirectory(self.path('locks'))
        )
        self.document = self.group.read()
        self.group.keep(self.document)
        (self.disk,) = self.document.named('asdf')

    def _start(self, *operations):
        return self.group._start_from(
            [volume_group._Request([each]) for each in operations]
        )

    def test_once(self):
        self.assertIs(self.document, self._start(Delete(self.disk)))
        self.assertIsNot(self.document, self._start(Delete(self.disk)))

    def test_nothing_but_deletions(self):
        self.assertIsNot(
            self.document, self._start(Delete(self.disk), Create(new('a')))
        )
        # Whatever has changed since, it is not used for the next one.
        self.assertIsNot(self.document, self._start(Delete(self.disk)))

    def test_not_for_what_has_come_since(self):
        late = driver_base.Disk('late', 'udid', GIB)
        self.assertIsNot(
            self.document, self._start(Delete(self.disk), Delete(late))
        )

    def test_not_for_long(self):
        self.patch(volume_group, '_KEPT_FOR', 0)
        self.assertIsNot(self.document, self._start(Delete(self.disk)))

    def test_nothing_was_read(self):
        self._start(Delete(self.disk))
        self.assertEqual(32, len(self._start(Delete(self.disk)).disks))
