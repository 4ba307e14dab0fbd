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

import http
import itertools
import threading
import time
from unittest import mock

from lxml import etree
from pypowervm import const as pvm_const
from pypowervm import exceptions as pvm_exceptions
from pypowervm.wrappers import virtual_io_server as pvm_vios

from pvm_imagecache import exceptions
from pvm_imagecache import platform_facts
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.drivers import powervm
from pvm_imagecache.drivers.localdisk import changes
from pvm_imagecache.drivers.localdisk import unanswered
from pvm_imagecache.drivers.localdisk import vg_document
from pvm_imagecache.drivers.localdisk import volume_group
from pvm_imagecache.system import locks
from pvm_imagecache.system import retry
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.drivers import volume_groups

GIB = base.GIB
Copy, Create, Delete = changes.Copy, changes.Create, changes.Delete
new = volume_groups.new
refusal = volume_groups.refusal


class VolumeGroupTestCase(base.TestCase):
    """A volume group on a REST API in memory."""

    def setUp(self):
        super().setUp()
        self.patch(retry, 'back_off', lambda attempt: None)
        self.locks = locks.LockDirectory(self.path('locks'))
        self.powervm = volume_groups.MemoryPowerVM()
        self.group = self.powervm.group(self.locks)
        self.before = self.powervm.names()

    def find(self, name):
        """Return a disk that exists; leaves no request behind."""
        (found,) = self.group.read().named(name)
        self.powervm.requests.clear()
        return found

    def refused(self, kind, *operations):
        """The operations fail before anything was changed."""
        error = self.assertRaises(kind, self.group.change, operations)
        self.assertEqual(self.before, self.powervm.names())
        self.assertNotIn('POST', self.powervm.requests)
        return error


class CreateTest(VolumeGroupTestCase):
    def test_one_read_and_one_update_create_disks(self):
        disks = self.group.change([Create(new('a')), Create(new('b', 2))])
        self.assertEqual(['GET', 'POST'], self.powervm.requests)
        self.assertEqual(
            [('a', GIB), ('b', 2 * GIB)],
            [(disk.name, disk.capacity) for disk in disks],
        )
        self.assertEqual([*self.before, 'a', 'b'], self.powervm.names())
        for disk in disks:
            self.assertEqual(self.powervm.disk(disk.name).udid, disk.udid)

    def test_sizes_are_rounded_up_to_whole_gib(self):
        (disk,) = self.group.change(
            [Create(driver_base.NewDisk('a', GIB + 1, 'raw'))]
        )
        self.assertEqual(2 * GIB, disk.capacity)

    def test_the_format_of_a_disk_is_passed_on(self):
        self.group.change(
            [
                Create(driver_base.NewDisk('a', 1, 'raw')),
                Create(driver_base.NewDisk('b', 1, 'qcow2')),
            ]
        )
        self.assertEqual('raw', self.powervm.disk('a').file_format)
        self.assertEqual('qcow2', self.powervm.disk('b').file_format)

    def test_the_label_of_a_disk_is_passed_on(self):
        labelled, plain = self.group.change(
            [Create(new('a', label='mine')), Create(new('b'))]
        )
        self.assertEqual('mine', labelled.label)
        self.assertIn(plain.label, driver_base.NO_LABEL)

    def test_a_taken_name_is_refused(self):
        error = self.refused(exceptions.DiskExists, Create(new('asdf')))
        self.assertEqual(('asdf', 'image_pool'), (error.name, error.pool))

    def test_the_name_of_a_file_backed_disk_is_refused(self):
        volume_groups.change(
            self.powervm.wrapper, 'asdf', DiskName='/var/vio/a'
        )
        self.before = self.powervm.names()
        self.refused(exceptions.DiskExists, Create(new('a')))

    def test_one_name_twice_is_refused(self):
        self.refused(
            exceptions.DiskExists, Create(new('a')), Create(new('a', 2))
        )

    def test_all_disks_are_created_or_none(self):
        self.refused(
            exceptions.DiskExists, Create(new('a')), Create(new('asdf'))
        )
        self.refused(
            exceptions.NotEnoughSpace,
            Delete(self.find('asdf')),
            Create(new('a', 9999)),
        )

    def test_more_than_the_free_space_is_refused(self):
        error = self.refused(exceptions.NotEnoughSpace, Create(new('a', 998)))
        self.assertIn('997 GiB free', str(error))
        self.assertIn('998 GiB are needed for a', str(error))
        self.assertEqual(998 * GIB, error.needed_bytes)

    def test_all_disks_together_must_fit(self):
        self.refused(
            exceptions.NotEnoughSpace,
            Create(new('a', 900)),
            Create(new('b', 98)),
        )

    def test_no_operations_need_no_update(self):
        self.assertEqual([], self.group.change([]))
        self.assertNotIn('POST', self.powervm.requests)


class CopyTest(VolumeGroupTestCase):
    def test_a_copy_names_its_source(self):
        source = self.find('aix_disk1')
        (copy,) = self.group.change(
            [Copy(new('new', 12), source, lambda: True)]
        )
        self.assertEqual(12 * GIB, copy.capacity)
        self.assertEqual(
            source.udid,
            self.powervm.disk('new').element.findtext('BaseImage'),
        )

    def test_a_copy_has_an_hour_at_least(self):
        source = self.find('asdf')
        for timeout in (1200, 5000):
            server = volume_groups.MemoryPowerVM(timeout)
            group = server.group(self.locks)
            group.change([Create(new('a'))])
            group.change([Copy(new('b'), source, lambda: True)])
            self.assertEqual([timeout, max(timeout, 3600)], server.timeouts)

    def test_a_copy_needs_space_too(self):
        self.refused(
            exceptions.NotEnoughSpace,
            Copy(new('a', 998), self.find('asdf'), lambda: True),
        )

    def test_sources_that_changed_are_refused(self):
        source = self.find('asdf')
        for changed, valid, reason in (
            (driver_base.Disk('none', 'u', GIB), True, 'no longer exists'),
            (driver_base.Disk('asdf', 'u', GIB), True, 'replaced'),
            (driver_base.Disk('asdf2', source.udid, GIB), True, 'replaced'),
            (source, False, 'evicted'),
        ):
            error = self.refused(
                exceptions.BaseImageGone,
                Copy(new('a'), changed, lambda valid=valid: valid),
            )
            self.assertIn(reason, str(error))

    def test_an_ambiguous_source_is_refused(self):
        source = self.find('asdf')
        volume_groups.change(self.powervm.wrapper, 'asdf2', DiskName='asdf')
        self.before = self.powervm.names()
        error = self.refused(
            exceptions.BaseImageGone, Copy(new('a'), source, lambda: True)
        )
        self.assertIn('several', str(error))

    def test_whether_a_source_is_valid_is_asked_last(self):
        self.refused(
            exceptions.BaseImageGone,
            Copy(new('a'), driver_base.Disk('asdf', 'u', GIB), self.fail),
        )
        self.refused(
            exceptions.DiskExists,
            Copy(new('asdf'), self.find('asdf'), self.fail),
        )

    def test_an_error_of_the_validity_check_is_raised(self):
        def broken():
            raise exceptions.CatalogError(path='p', reason='r')

        self.refused(
            exceptions.CatalogError,
            Copy(new('b'), self.find('asdf'), broken),
        )


class DeleteTest(VolumeGroupTestCase):
    def test_one_update_deletes_a_disk(self):
        disk = self.find('asdf')
        self.assertEqual([], self.group.change([Delete(disk)]))
        self.assertEqual(['GET', 'POST'], self.powervm.requests)
        self.before.remove('asdf')
        self.assertEqual(self.before, self.powervm.names())

    def test_a_disk_is_identified_by_name_and_udid(self):
        disk = self.find('asdf')
        for gone in (
            driver_base.Disk('asdf', 'other', GIB),
            driver_base.Disk('other', disk.udid, GIB),
        ):
            self.group.change([Delete(gone)])
        # There was nothing to do.
        self.assertEqual(['GET', 'GET'], self.powervm.requests)
        self.assertEqual(self.before, self.powervm.names())

    def test_a_deleted_name_can_be_used_again(self):
        asdf = self.find('asdf')
        self.group.change([Delete(asdf)])
        (disk,) = self.group.change([Create(new('asdf'))])
        self.assertNotEqual(asdf.udid, disk.udid)


class AnswerTest(VolumeGroupTestCase):
    """The answer of an update must show the new disks."""

    def _unclear(self, size=1):
        return str(
            self.assertRaises(
                exceptions.DiskUnclear,
                self.group.change,
                [Create(new('a', size))],
            )
        )

    def test_an_answer_without_the_disk_is_an_error(self):
        self.powervm.before_answer = lambda wrapper: volume_groups.change(
            wrapper, 'a', DiskName='another'
        )
        self.assertIn('does not show', self._unclear())

    def test_a_disk_that_existed_before_is_not_the_new_one(self):
        udid = self.find('asdf').udid
        self.powervm.before_answer = lambda wrapper: volume_groups.change(
            wrapper, 'a', UniqueDeviceID=udid
        )
        self.assertIn('does not show', self._unclear())

    def test_two_disks_of_the_name_are_an_error(self):
        self.powervm.before_answer = lambda wrapper: volume_groups.change(
            wrapper, 'asdf', DiskName='a'
        )
        self.assertIn('does not show', self._unclear())

    def test_a_disk_that_is_too_small_is_an_error(self):
        self.powervm.before_answer = lambda wrapper: volume_groups.change(
            wrapper, 'a', DiskCapacity='1'
        )
        self.assertIn(f'{GIB} bytes instead of {2 * GIB}', self._unclear(2))


class ConflictTest(VolumeGroupTestCase):
    """Other processes change the volume group at the same time."""

    def test_a_disk_that_another_process_creates_is_kept(self):
        def other_process():
            if 'theirs' not in self.powervm.names():
                self.powervm.plant('theirs', 'their udid')
            return True

        source = self.find('asdf')
        self.group.change([Copy(new('ours'), source, other_process)])
        self.assertEqual(
            [*self.before, 'theirs', 'ours'], self.powervm.names()
        )
        self.assertEqual(['GET', 'POST'] * 2, self.powervm.requests)

    def test_a_name_that_another_process_took_is_refused(self):
        def other_process():
            self.powervm.plant('ours', 'their udid')
            return True

        source = self.find('asdf')
        self.assertRaises(
            exceptions.DiskExists,
            self.group.change,
            [Copy(new('ours'), source, other_process)],
        )
        self.assertEqual('their udid', self.powervm.disk('ours').udid)

    def test_the_number_of_attempts_is_limited(self):
        pauses = []
        self.patch(retry, 'back_off', pauses.append)

        def conflict(created, deleted):
            raise refusal(412)

        self.powervm.before_update = conflict
        error = self.assertRaises(
            exceptions.VolumeGroupChanged,
            self.group.change,
            [Create(new('a'))],
        )
        self.assertIn(str(powervm.UPDATE_ATTEMPTS), str(error))
        self.assertEqual(
            ['GET', 'POST'] * powervm.UPDATE_ATTEMPTS, self.powervm.requests
        )
        self.assertEqual(list(range(powervm.UPDATE_ATTEMPTS)), pauses)

    def test_status_409_is_a_conflict_if_the_platform_refuses_updates(self):
        left = [1]

        def refuse(created, deleted):
            if created and left:
                left.pop()
                raise refusal(409)

        self.powervm.before_update = refuse
        self.assertRaises(
            exceptions.PowerVMRequestFailed,
            self.group.change,
            [Create(new('a'))],
        )
        left.append(1)
        self.group.facts = lambda: platform_facts.PlatformFacts(
            concurrent_updates=platform_facts.ConcurrentUpdates.REFUSED
        )
        (disk,) = self.group.change([Create(new('a'))])
        self.assertEqual('a', disk.name)

    def test_other_refusals_are_not_repeated(self):
        def refuse(created, deleted):
            raise refusal(400)

        self.powervm.before_update = refuse
        self.assertRaises(
            exceptions.PowerVMRequestFailed,
            self.group.change,
            [Create(new('a'))],
        )
        self.assertEqual(['GET', 'POST', 'GET all'], self.powervm.requests)

    def test_a_refusal_for_lack_of_space_is_named(self):
        def refuse(created, deleted):
            raise refusal(500, '0516-404 allocp: This system cannot fulfill')

        self.powervm.before_update = refuse
        error = self.assertRaises(
            exceptions.NotEnoughSpace, self.group.change, [Create(new('a'))]
        )
        self.assertTrue(error.refused)


class TakenNameTest(VolumeGroupTestCase):
    """PowerVM refuses a disk whose name another group of the VIOS has."""

    def setUp(self):
        super().setUp()
        self.message = 'No luck'
        self.powervm.before_update = self._refuse
        other = volume_groups.recorded()
        other.entry.properties['id'] = 'other'
        volume_groups.change(other, self.before[3], DiskName='/path/taken')
        self.powervm.others = [self.powervm.wrapper, other]

    def _refuse(self, created, deleted):
        raise refusal(500, self.message)

    def _change(self, *names):
        return self.assertRaises(
            exceptions.PowerVMError,
            self.group.change,
            [Create(new(name)) for name in names],
        )

    def test_the_disk_and_its_group_are_named(self):
        for names in (('taken',), ('a', 'taken'), ('taken', 'a')):
            error = self._change(*names)
            self.assertIsInstance(error, exceptions.DiskExistsElsewhere)
            self.assertEqual('taken', error.name)
            self.assertIn('"taken" in volume group image_pool', str(error))

    def test_other_refusals_are_left_alone(self):
        error = self._change('a', 'b')
        self.assertIsInstance(error, exceptions.PowerVMRequestFailed)
        self.assertIn('No luck', str(error))

    def test_the_message_of_aix_is_believed(self):
        self.powervm.others = []
        self.message = '0516-360 getlvname: The device name b is already used'
        for names in (('b',), ('a', 'b')):
            error = self._change(*names)
            self.assertIsInstance(error, exceptions.DiskExistsElsewhere)
            self.assertEqual('b', error.name)
            self.assertIn('in another volume group', str(error))

    def test_the_refusal_is_reported_if_nothing_more_can_be_read(self):
        self.powervm.others = None
        self.assertIn('No luck', str(self._change('taken')))

    def test_deletions_ask_no_more(self):
        self.assertRaises(
            exceptions.PowerVMRequestFailed,
            self.group.change,
            [Delete(self.find(self.before[0]))],
        )
        self.assertEqual(['GET', 'POST'], self.powervm.requests)


class LostAnswerTest(VolumeGroupTestCase):
    """The connection fails before or after an update was carried out."""

    def lose(self, hook, times=1):
        """Lose so many requests or answers."""
        lost = []

        def fail(*args):
            if len(lost) < times:
                lost.append(args)
                raise pvm_exceptions.ConnectionError('reset by peer')

        setattr(self.powervm, hook, fail)

    def test_a_lost_request_is_repeated(self):
        self.lose('before_update')
        (disk,) = self.group.change([Create(new('a'))])
        self.assertEqual([*self.before, 'a'], self.powervm.names())
        self.assertEqual(disk.udid, self.powervm.disk('a').udid)

    def copy(self, name='a', **kwargs):
        return changes.Copy(
            new(name, **{'label': 'ours', 'gib': 60} | kwargs),
            self.find(self.before[0]),
            lambda: True,
        )

    def test_the_disks_of_a_lost_answer_are_taken(self):
        self.lose('before_answer')
        (disk,) = self.group.change([Create(new('a', label='ours'))])
        self.assertEqual(self.powervm.disk('a').udid, disk.udid)
        # The second one changes nothing: it shows that the first ended.
        self.assertEqual([['a'], []], self.powervm.updates)

    def test_a_copy_without_an_answer_is_not_taken(self):
        # The server may have been rebooted during the copy.
        for error in (
            pvm_exceptions.ConnectionError('reset by peer'),
            pvm_exceptions.TimeoutError('timed out'),
        ):
            self.powervm.updates.clear()

            def fail(answer, error=error):
                self.powervm.before_answer = lambda answer: None
                raise error

            self.powervm.before_answer = fail
            self.assertRaises(
                exceptions.UpdateNotMade, self.group.change, [self.copy()]
            )
            self.assertEqual(self.before, self.powervm.names())
            self.assertEqual([['a'], [], []], self.powervm.updates)

    def test_disks_without_label_are_created_again_but_not_copied(self):
        self.lose('before_answer')
        (disk,) = self.group.change([Create(new('a'))])
        self.assertEqual(disk.udid, self.powervm.disk('a').udid)
        self.assertEqual([['a'], [], [], ['a']], self.powervm.updates)
        self.lose('before_answer')
        error = self.assertRaises(
            exceptions.UpdateNotMade,
            self.group.change,
            [self.copy('b', label=None)],
        )
        self.assertIn('b', str(error))
        self.assertEqual([*self.before, 'a'], self.powervm.names())

    def test_an_incomplete_request_is_undone(self):
        def half(answer):
            wrapper = self.powervm.wrapper
            wrapper.virtual_disks.remove(self.powervm.disk('c'))
            self.powervm.before_answer = lambda answer: None
            raise pvm_exceptions.TimeoutError('timed out')

        self.powervm.before_answer = half
        self.assertRaises(
            exceptions.UpdateNotMade,
            self.group.change,
            [Create(new(name, label='ours')) for name in ('b', 'c')],
        )
        self.assertEqual(self.before, self.powervm.names())
        self.assertEqual([['b', 'c'], [], []], self.powervm.updates)

    def test_what_a_refused_update_made_is_deleted(self):
        def refuse(answer):
            self.powervm.before_answer = lambda answer: None
            raise volume_groups.refusal(500)

        for names in ('bc', 'd'):
            self.powervm.before_answer = refuse
            self.assertRaises(
                exceptions.PowerVMRequestFailed,
                self.group.change,
                [Create(new(name, label='ours')) for name in names],
            )
            self.assertEqual(self.before, self.powervm.names())

    def refuse_beside(self, name, *, status=500, reason='', gib=1, label=''):
        """Refuse an update while another client creates a disk."""

        def before(created, deleted):
            if created:
                self.powervm.plant(name, 'theirs', gib, label)
                raise volume_groups.refusal(status, reason)

        self.powervm.before_update = before

    def change_two(self, label='ours'):
        self.assertRaises(
            exceptions.PVMImageCacheError,
            self.group.change,
            [Create(new(name, label=label)) for name in ('b', 'c')],
        )

    def test_a_disk_whose_name_is_in_use_is_not_deleted(self):
        for reason in (
            '0516-360 mklv: b is already used',
            '0516-360 mklv: The name is already used',
            '0516-360 mklv: b or c is already used',
        ):
            self.refuse_beside('b', reason=reason)
            self.change_two()
            self.assertEqual([*self.before, 'b'], self.powervm.names())
            theirs = self.powervm.disk('b')
            self.powervm.wrapper.virtual_disks.remove(theirs)
            self.powervm.touch()

    def test_a_disk_of_another_capacity_is_not_deleted(self):
        self.refuse_beside('b', gib=9)
        self.change_two()
        self.assertEqual([*self.before, 'b'], self.powervm.names())

    def test_no_disk_is_deleted_by_its_name_if_none_was_labelled(self):
        self.refuse_beside('b')
        self.change_two(label=None)
        self.assertEqual([*self.before, 'b'], self.powervm.names())

    def test_a_mapped_disk_is_not_deleted(self):
        self.powervm.mapped = {'b'}
        self.refuse_beside('b', label='ours')
        self.change_two()
        self.assertEqual([*self.before, 'b'], self.powervm.names())

    def test_a_refusal_that_cannot_be_looked_into_is_no_answer(self):
        # The records of the disks must stay: the update may have made them.
        def fail(*args):
            raise volume_groups.refusal(400)

        def refuse(answer):
            self.powervm.before_answer = lambda answer: None
            self.powervm.before_update = fail
            raise volume_groups.refusal(500)

        self.powervm.before_answer = refuse
        self.assertRaises(
            exceptions.UpdateUnanswered,
            self.group.change,
            [Create(new(name, label='ours')) for name in ('b', 'c')],
        )

    def test_a_refused_inquiry_is_no_refusal_of_the_update(self):
        def fail(*args):
            raise volume_groups.refusal(400)

        def lose(answer):
            self.powervm.before_update = fail
            self.patch(unanswered, '_MOST_REFUSALS', 0)
            self.patch(self.group, 'read', fail_to_read)
            raise pvm_exceptions.ConnectionError('reset by peer')

        def fail_to_read():
            raise exceptions.PowerVMRequestFailed(action='read', reason='no')

        self.powervm.before_answer = lose
        self.assertRaises(
            exceptions.PowerVMUnreachable,
            self.group.change,
            [Create(new('a', label='ours'))],
        )

    def test_others_are_told_how_long_a_copy_may_take(self):
        seen = []

        def note(created, deleted):
            seen.append(self.locks.announced(f'vg-{self.group.uuid}'))

        self.powervm.before_update = note
        self.group.change([self.copy()])
        (seconds,) = seen
        self.assertGreater(seconds, 1200)
        self.assertLessEqual(seconds, self.powervm.timeouts[-1] + 1)

    def test_a_disk_is_not_trusted_as_long_as_the_update_may_run(self):
        # The disk is there, but PowerVM refuses all other updates.
        def busy(created, deleted):
            if not created and not deleted:
                raise volume_groups.refusal(500)

        self.patch(time, 'sleep', lambda seconds: None)
        self.lose('before_answer')
        self.powervm.before_update = busy
        self.assertRaises(
            exceptions.UpdateUnanswered, self.group.change, [self.copy()]
        )
        self.assertEqual(self.before, self.powervm.names())
        self.assertEqual([['a'], []], self.powervm.updates)

    def test_an_update_in_progress_is_awaited(self):
        refusals = [
            volume_groups.refusal(http.HTTPStatus.PRECONDITION_FAILED)
        ] * 3 + [volume_groups.refusal(http.HTTPStatus.SERVICE_UNAVAILABLE)]
        refusals += [volume_groups.refusal(http.HTTPStatus.CONFLICT)] * 9

        def busy(created, deleted):
            if refusals and not created:
                raise refusals.pop()

        slept = []
        self.patch(time, 'sleep', slept.append)
        self.lose('before_answer')
        self.powervm.before_update = busy
        (disk,) = self.group.change([Create(new('a', label='ours'))])
        self.assertEqual(self.powervm.disk('a').udid, disk.udid)
        self.assertEqual([['a'], []], self.powervm.updates)
        self.assertEqual(13, len(slept))

    def test_no_update_is_queued_that_may_be_outdated(self):
        # If-Match is not respected: it would delete the new disks.
        self.patch(unanswered, '_BLIND_WAIT', 0.0)
        self.group.facts = lambda: platform_facts.PlatformFacts(
            stale_etag_refused=False
        )
        self.lose('before_answer')
        self.assertRaises(
            exceptions.UpdateUnanswered, self.group.change, [self.copy()]
        )
        self.assertEqual([['a'], []], self.powervm.updates)
        self.assertEqual(self.before, self.powervm.names())

    def test_a_deletion_that_timed_out_is_not_repeated(self):
        def time_out(answer):
            self.powervm.before_answer = lambda answer: None
            raise pvm_exceptions.TimeoutError('timed out')

        self.powervm.before_answer = time_out
        self.assertRaises(
            exceptions.PowerVMTimedOut,
            self.group.change,
            [Delete(self.find(self.before[0]))],
        )
        self.assertEqual(self.before[1:], self.powervm.names())
        self.assertEqual([[]], self.powervm.updates)

    def test_a_deletion_whose_answer_was_lost(self):
        self.lose('before_answer')
        self.group.change([Delete(self.find(self.before[0]))])
        self.assertEqual([[]], self.powervm.updates)

    def test_a_disk_of_another_process_is_not_deleted(self):
        def other_process(attempt):
            if 'a' not in self.powervm.names():
                self.powervm.plant('a', 'their udid', label='theirs')

        self.patch(retry, 'back_off', other_process)
        self.lose('before_update')
        self.assertRaises(
            exceptions.DiskExists,
            self.group.change,
            [Create(new('a', label='ours'))],
        )
        self.assertEqual('their udid', self.powervm.disk('a').udid)

    def test_a_taken_name_that_may_be_ours_is_no_disk_of_others(self):
        # What the update made cannot be deleted, nor identified.
        for label in ('', 'None', 'imagecache_01234'):

            def plant(attempt, label=label):
                if 'a' not in self.powervm.names():
                    self.powervm.plant('a', f'a udid {label}', label=label)

            self.patch(retry, 'back_off', plant)
            self.lose('before_update')
            self.assertRaises(
                exceptions.UpdateUnanswered,
                self.group.change,
                [Create(new('a', label='imagecache_0123456789_89abcdef'))],
            )
            self.group.change([Delete(self.find('a'))])

    def test_lost_answers_are_limited(self):
        def fail(created, deleted):
            if created:
                raise pvm_exceptions.ConnectionError('reset by peer')

        self.powervm.before_update = fail
        self.assertRaises(
            exceptions.PowerVMUnreachable,
            self.group.change,
            [Create(new('a'))],
        )
        self.assertEqual([[]] * 4, self.powervm.updates)
        self.assertEqual(3, volume_group.LOST_ANSWERS)

    def test_a_copy_without_answer_is_not_repeated(self):
        self.patch(time, 'sleep', lambda seconds: None)
        self.lose('before_update', times=100)
        self.assertRaises(
            exceptions.UpdateUnanswered, self.group.change, [self.copy()]
        )

    def test_an_update_that_timed_out_is_not_repeated(self):
        def time_out(created, deleted):
            raise pvm_exceptions.TimeoutError('timed out')

        self.powervm.before_update = time_out
        self.assertRaises(
            exceptions.UpdateUnanswered, self.group.change, [Create(new('a'))]
        )
        # The last two ask what became of it.
        self.assertEqual(['GET', 'POST'] * 2, self.powervm.requests)

    def test_a_request_that_timed_out_and_was_not_carried_out(self):
        def time_out(created, deleted):
            if created:
                raise pvm_exceptions.TimeoutError('timed out')

        self.powervm.before_update = time_out
        for each in (Create(new('a', label='ours')), self.copy()):
            self.assertRaises(
                exceptions.UpdateNotMade, self.group.change, [each]
            )
        self.assertEqual([[], []], self.powervm.updates)


class TimeLimitTest(VolumeGroupTestCase):
    def copy(self, rate, gib):
        self.group.facts = lambda: platform_facts.PlatformFacts(copy_rate=rate)
        self.group.change(
            [
                changes.Copy(
                    new(f'a{next(self.serial)}', gib),
                    self.find(self.before[0]),
                    lambda: True,
                )
            ]
        )
        return self.powervm.timeouts[-1]

    def test_it_grows_with_the_bytes_and_falls_with_the_rate(self):
        self.serial = itertools.count()
        self.patch(
            vg_document.Document, '__init__', self._endless(vg_document)
        )
        self.assertEqual(3600, self.copy(None, 20))
        self.assertEqual(1024 * 128, self.copy(None, 1024))
        self.assertEqual(1024 * 4, self.copy(1 << 30, 1024))
        self.assertEqual(1024 * 512, self.copy(8 << 20, 1024))
        # The limit of all limits.
        self.assertEqual(7 * 24 * 3600, self.copy(1, 1024))

    def _endless(self, module):
        init = module.Document.__init__

        def endless(document, wrapper):
            init(document, wrapper)
            document.free = 1 << 60

        return endless

    def test_other_updates_have_the_usual_limit(self):
        self.group.change([Create(new('a'))])
        self.assertEqual([1200], self.powervm.timeouts)


class LockTest(VolumeGroupTestCase):
    """The lock keeps processes from colliding; the ETag protects disks."""

    def test_the_lock_is_held_during_the_update(self):
        free = []
        self.powervm.before_update = lambda created, deleted: free.append(
            self.locks.is_free('vg-vg')
        )
        self.group.change([Create(new('a'))])
        self.assertEqual([False], free)

    def test_the_lock_is_released_after_an_error_too(self):
        self.group.change([Create(new('a'))])
        self.assertRaises(
            exceptions.DiskExists, self.group.change, [Create(new('a'))]
        )
        self.assertTrue(self.locks.is_free('vg-vg'))

    def test_a_change_is_made_without_a_lock_that_stays_held(self):
        group = self.powervm.group(self.locks, lock_timeout=0)
        with self.locks.hold('vg-vg', 0):
            group.change([Create(new('a'))])
        self.assertEqual([['a']], self.powervm.updates)

    def test_a_change_is_made_without_a_place_for_locks(self):
        with open(self.path('file'), 'w'):
            pass
        group = self.powervm.group(locks.LockDirectory(self.path('file')))
        group.change([Create(new('a'))])
        self.assertEqual([['a']], self.powervm.updates)

    def test_threads_change_the_group_at_the_same_time(self):
        start = threading.Barrier(4)

        def create(name):
            start.wait(base.PATIENCE)
            (disk,) = self.group.change([Create(new(name))])
            return disk.name

        self.assertEqual(
            list('abcd'),
            self.in_threads(
                *[lambda name=name: create(name) for name in 'abcd']
            ),
        )
        self.assertEqual(
            list('abcd'), sorted(set(self.powervm.names()) - set(self.before))
        )


class KeepTest(VolumeGroupTestCase):
    """Deletions that start from a document that was just read."""

    def setUp(self):
        super().setUp()
        document = self.group.read()
        self.group.keep(document)
        self.disk, self.other = (
            document.named(name)[0] for name in ('asdf', 'asdf2')
        )
        self.powervm.requests.clear()

    def requests(self, *operations):
        """Return the requests that operations need."""
        self.powervm.requests.clear()
        self.group.change(operations)
        return self.powervm.requests

    def test_a_deletion_needs_no_read(self):
        self.assertEqual(['POST'], self.requests(Delete(self.disk)))
        self.assertNotIn('asdf', self.powervm.names())

    def test_a_document_is_used_once(self):
        self.requests(Delete(self.disk))
        self.assertEqual(['GET', 'POST'], self.requests(Delete(self.other)))

    def test_a_creation_reads_again(self):
        self.assertEqual(
            ['GET', 'POST'],
            self.requests(Delete(self.disk), Create(new('a'))),
        )
        # The document is out of date for the next deletion.
        self.assertEqual(['GET', 'POST'], self.requests(Delete(self.other)))

    def test_a_disk_that_is_not_in_the_document_is_looked_for(self):
        self.powervm.plant('late', 'late udid')
        late = driver_base.Disk('late', 'late udid', GIB)
        self.assertEqual(
            ['GET', 'POST'], self.requests(Delete(self.disk), Delete(late))
        )
        self.assertNotIn('late', self.powervm.names())

    def test_an_old_document_is_not_used(self):
        self.patch(volume_group, '_KEPT_FOR', 0)
        self.assertEqual(['GET', 'POST'], self.requests(Delete(self.disk)))

    def test_a_document_that_was_outrun_is_read_again(self):
        self.powervm.plant('theirs', 'their udid')
        self.assertEqual(
            ['POST', 'GET', 'POST'], self.requests(Delete(self.disk))
        )
        self.assertIn('theirs', self.powervm.names())
        self.assertNotIn('asdf', self.powervm.names())


class MappedTest(base.TestCase):
    """A mapped disk is found, wherever it is in the mapping."""

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

    def test_a_disk_is_found_anywhere_in_a_mapping(self):
        named = '<VirtualDisk><DiskName>/var/vio/a</DiskName></VirtualDisk>'
        for mapping in (
            f'<Storage>{named}</Storage>',
            f'<Storage><Other>{named}</Other></Storage>',
            named,
            f'<TargetDevice>{named}</TargetDevice>',
        ):
            self.assertEqual({'a'}, self.mapped(mapping))

    def test_a_disk_without_name_is_found_by_its_udid(self):
        self.assertEqual(
            {'b'},
            self.mapped(
                '<Storage><VirtualDisk><UniqueDeviceID>udid-b</UniqueDeviceID>'
                '</VirtualDisk></Storage>'
            ),
        )

    def test_an_empty_mapping_has_no_disk(self):
        self.assertEqual(set(), self.mapped('<Storage/>'))
