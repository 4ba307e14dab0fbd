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

import dataclasses

import hypothesis
from hypothesis import strategies

from pvm_imagecache import exceptions
from pvm_imagecache import platform_facts
from pvm_imagecache.cleanup import ownership
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.drivers.localdisk import changes
from pvm_imagecache.drivers.localdisk import vg_document
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.drivers import volume_groups

GIB = base.GIB
Copy, Create, Delete = changes.Copy, changes.Create, changes.Delete
new = volume_groups.new


class WholeGibTest(base.TestCase):
    def test_sizes_are_rounded_up(self):
        for size, gib in (
            (0, 1),
            (1, 1),
            (GIB, 1),
            (GIB + 1, 2),
            (5 * GIB, 5),
        ):
            self.assertEqual(gib * GIB, changes.whole_gib(size))

    @base.generated
    @hypothesis.given(strategies.integers(1, 1 << 60))
    def test_never_too_small_and_never_one_too_many(self, size):
        rounded = changes.whole_gib(size)
        self.assertEqual(0, rounded % GIB)
        self.assertTrue(size <= rounded < size + GIB)


class ApplyTest(base.TestCase):
    """Several requests that go into one update."""

    def setUp(self):
        super().setUp()
        self.wrapper = volume_groups.recorded()
        self.requests = []

    def _apply(self, *operations):
        """Each argument is the operations of one request."""
        self.requests = [changes.Request(each) for each in operations]
        return changes.apply(
            vg_document.Document(self.wrapper), self.requests, None
        )

    def _created(self):
        """What the update will create: disks without UDID."""
        return [
            (disk.name, disk.capacity)
            for disk in self.wrapper.virtual_disks
            if not disk.udid
        ]

    def _last_fails(self, kind, *operations):
        """All requests but the last one are carried out."""
        pending = self._apply(*operations)
        self.assertEqual(self.requests[:-1], pending)
        self.assertIsInstance(self.requests[-1].error, kind)
        self.assertTrue(self.requests[-1].done)
        for each in pending:
            self.assertFalse(each.done)

    def test_requests_go_into_one_document(self):
        pending = self._apply([Create(new('a'))], [Create(new('b', 2))])
        self.assertEqual(self.requests, pending)
        self.assertEqual([('a', 1.0), ('b', 2.0)], self._created())

    def test_a_name_is_given_to_one_request_only(self):
        self._last_fails(
            exceptions.DiskExists, [Create(new('a'))], [Create(new('a'))]
        )
        self.assertEqual([('a', 1.0)], self._created())

    def test_a_failing_request_fails_alone_and_as_a_whole(self):
        self._last_fails(
            exceptions.DiskExists,
            [Create(new('a'))],
            [Create(new('b')), Create(new('asdf'))],
        )
        self.assertEqual([('a', 1.0)], self._created())

    def test_a_failed_request_occupies_no_name(self):
        self._apply(
            [Create(new('b')), Create(new('asdf'))], [Create(new('b'))]
        )
        self.assertIsNotNone(self.requests[0].error)
        self.assertIsNone(self.requests[1].error)
        self.assertEqual([('b', 1.0)], self._created())

    def test_requests_share_the_free_space(self):
        self._last_fails(
            exceptions.NotEnoughSpace,
            [Create(new('a', 500)), Create(new('b', 400))],
            [Create(new('c', 97))],
            [Create(new('d', 1))],
        )
        self.assertEqual(
            ['a', 'b', 'c'], [name for name, _ in self._created()]
        )

    def test_an_error_of_a_validity_check_fails_that_copy_alone(self):
        def broken():
            raise exceptions.CatalogError(path='p', reason='r')

        (source,) = vg_document.Document(self.wrapper).named('asdf')
        self._last_fails(
            exceptions.CatalogError,
            [Create(new('a'))],
            [Copy(new('b'), source, broken)],
        )

    def test_a_source_with_another_label_is_gone(self):
        volume_groups.change(
            self.wrapper, 'asdf', DiskLabel='imagecache_bbbbbbbbbb_5e1f0c2a'
        )
        (source,) = vg_document.Document(self.wrapper).named('asdf')
        self._last_fails(
            exceptions.BaseImageGone,
            [
                Copy(
                    new('a'),
                    dataclasses.replace(source, label=''),
                    lambda: True,
                )
            ],
            [
                Copy(
                    new('b'),
                    dataclasses.replace(
                        source, label='imagecache_aaaaaaaaaa_5e1f0c2a'
                    ),
                    lambda: True,
                )
            ],
        )
        self.assertIn('same UDID', str(self.requests[-1].error))

    def test_a_deletion_of_a_missing_disk_is_done(self):
        gone = driver_base.Disk('gone', 'udid', GIB)
        self.assertEqual([], self._apply([Delete(gone)]))
        self.assertTrue(self.requests[0].done)
        self.assertIsNone(self.requests[0].error)

    def test_requests_that_are_done_are_skipped(self):
        self._apply([Create(new('asdf'))], [Create(new('a'))])
        pending = changes.apply(
            vg_document.Document(volume_groups.recorded()),
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
    def test_never_too_much_and_never_half_of_a_request(self, wanted):
        self.wrapper = volume_groups.recorded()
        pending = self._apply(
            *[
                [Create(new(name, gib)) for name, gib in request]
                for request in wanted
            ]
        )
        made = self._created()
        names = [name for name, _ in made]
        self.assertEqual(len(set(names)), len(names))
        self.assertEqual(set(), {'asdf', 'aix_disk1'} & set(names))
        self.assertLessEqual(sum(gib for _, gib in made), 997)
        self.assertEqual(
            sorted(names),
            sorted(each.name for each in changes.new_disks(pending)),
        )
        for request in self.requests:
            self.assertNotEqual(request in pending, request.done)
            self.assertEqual(request.done, request.error is not None)


class ConfirmTest(base.TestCase):
    """What the answer of an update shows of each request."""

    def setUp(self):
        super().setUp()
        self.wrapper = volume_groups.recorded()
        self.before = vg_document.Document(self.wrapper).udids
        volume_groups.change(self.wrapper, 'asdf', UniqueDeviceID='a new udid')

    def _confirmed(self, *wanted):
        requests = [changes.Request([Create(each)]) for each in wanted]
        changes.confirm(
            vg_document.Document(self.wrapper), requests, self.before
        )
        return requests

    def test_a_created_disk_is_found(self):
        (request,) = self._confirmed(new('asdf'))
        self.assertTrue(request.done)
        self.assertIsNone(request.error)
        self.assertEqual(
            [('asdf', 'a new udid', GIB)],
            [(each.name, each.udid, each.capacity) for each in request.disks],
        )

    def test_only_the_request_that_is_not_shown_fails(self):
        shown, absent = self._confirmed(new('asdf'), new('absent'))
        self.assertIsNone(shown.error)
        self.assertIsInstance(absent.error, exceptions.DiskUnclear)
        self.assertIn('does not show', str(absent.error))
        self.assertTrue(absent.done)


class UnansweredTest(base.TestCase):
    """Which disks an update created whose answer was lost."""

    def _is_ours(self, disk, *others, label='ours'):
        wanted = [driver_base.NewDisk('a', GIB, 'raw', label)]
        return bool(changes.unanswered(wanted, [disk, *others], {'before'}))

    def test_a_disk_with_the_label_is_ours(self):
        self.assertTrue(self._is_ours(driver_base.Disk('a', 'u', GIB, 'ours')))

    def test_disks_of_others_are_not_ours(self):
        labelled = driver_base.Disk('b', 'v', GIB, 'any')
        for disk in (
            driver_base.Disk('a', 'u', GIB, 'theirs'),
            driver_base.Disk('a', 'before', GIB, 'ours'),
            driver_base.Disk('c', 'u', GIB, 'ours'),
            driver_base.Disk('a', 'u', GIB, 'None'),
            driver_base.Disk('a', 'u', GIB),
        ):
            self.assertFalse(self._is_ours(disk, labelled))

    def test_what_is_left_of_a_label_and_the_capacity_are_enough(self):
        label = ownership.label('0123456789' * 3 + '01-89abcdef')
        new = driver_base.NewDisk('a', GIB, 'raw', label)
        for length, capacity, is_ours in (
            (len(label), 9 * GIB, True),
            (len(label) - 1, GIB, True),
            (len(label) - 1, 9 * GIB, False),
            (16, GIB, True),
            (16, GIB - 1, False),
            # The last digits that are left must not be few.
            (15, GIB, True),
            (14, GIB, False),
            (11, GIB, False),
        ):
            disk = driver_base.Disk('a', 'u', capacity, label[:length])
            for doubtful in ((), ('a',)):
                self.assertEqual(
                    is_ours,
                    bool(changes.unanswered([new], [disk], (), doubtful)),
                    (length, capacity),
                )
        other = driver_base.Disk('a', 'u', GIB, label[:15] + 'x')
        self.assertEqual([], changes.unanswered([new], [other], ()))

    def test_only_labels_of_ours_can_be_shortened(self):
        new = driver_base.NewDisk('a', GIB, 'raw', 'some_label_of_others')
        disk = driver_base.Disk('a', 'u', GIB, 'some_label_of_other')
        self.assertEqual([], changes.unanswered([new], [disk], ()))

    def test_name_and_capacity_are_enough_in_a_pool_without_labels(self):
        other = driver_base.Disk('b', 'v', GIB)
        for capacity, is_ours in (
            (GIB - 1, False),
            (GIB, True),
            (4 * GIB, True),
            (5 * GIB, False),
        ):
            plain = driver_base.Disk('a', 'u', capacity, 'None')
            self.assertEqual(is_ours, self._is_ours(plain, other), capacity)

    def test_a_disk_without_label_is_not_ours_in_a_pool_that_keeps_them(self):
        disk = driver_base.Disk('a', 'u', GIB)
        for label in ('ours', None):
            wanted = [driver_base.NewDisk('a', GIB, 'raw', label)]
            for keeps_labels in (None, False, True):
                self.assertEqual(
                    [] if label and keeps_labels else [disk],
                    changes.unanswered(
                        wanted, [disk], (), keeps_labels=keeps_labels
                    ),
                )

    def test_a_request_without_label_owns_no_labelled_disk(self):
        labelled = driver_base.Disk('b', 'v', GIB, 'any')
        for capacity, label, is_ours in (
            (GIB, '', True),
            (5 * GIB, '', False),
            (GIB, 'any', False),
            (GIB, 'a_label_of_many_characters', False),
        ):
            disk = driver_base.Disk('a', 'u', capacity, label)
            self.assertEqual(
                is_ours, self._is_ours(disk, labelled, label=None)
            )


class NameInUseTest(base.TestCase):
    def _name(self, message, *names):
        return changes.name_in_use(
            exceptions.PowerVMRequestFailed(action='a', reason=message), names
        )

    def test_the_name_in_the_message_is_meant(self):
        message = '0516-360 getlvname: The device name i_1 is already used.'
        self.assertEqual('i_1', self._name(message, 'i_1', 'i_12', 'i'))
        self.assertEqual(
            'i_1', self._name(message.replace('i_1', '/p/i_1'), 'i_1', 'i')
        )

    def test_the_only_name_is_meant(self):
        self.assertEqual('a', self._name('0516-360', 'a'))

    def test_it_is_not_guessed(self):
        self.assertIsNone(self._name('0516-360', 'a1', 'b1'))
        self.assertIsNone(self._name('0516-360 a1, b1', 'a1', 'b1'))
        self.assertIsNone(self._name('0516-404 a1', 'a1'))


class RaiseIfFullTest(base.TestCase):
    def _raise_if_full(self, reason, **facts):
        changes.raise_if_full(
            exceptions.PowerVMRequestFailed(action='a', reason=reason),
            vg_document.Document(volume_groups.recorded()),
            [
                changes.Request([Create(new('a', 2)), Create(new('b'))]),
                changes.Request([Delete(driver_base.Disk('c', 'u', 1))]),
            ],
            platform_facts.PlatformFacts(**facts),
        )

    def test_lack_of_space_counts_all_requests(self):
        error = self.assertRaises(
            exceptions.NotEnoughSpace,
            self._raise_if_full,
            '0516-404 allocp: This system cannot fulfill the request',
        )
        self.assertIn('3 GiB for a and b', str(error))
        self.assertEqual(3 * GIB, error.needed_bytes)
        # The pool says that it has room for them.
        self.assertTrue(error.refused)
        self.assertIsNotNone(error.__cause__)

    def test_other_refusals_are_left_alone(self):
        self._raise_if_full('no')
        self._raise_if_full('0516-814 mklv: No other physical volumes')

    def test_words_that_were_learned_mean_lack_of_space(self):
        learned = '0516-814 mklv: No other physical volumes. 0516-822 mklv: x.'
        self.assertRaises(
            exceptions.NotEnoughSpace,
            self._raise_if_full,
            '0516-814 mklv: Andere Platten gibt es nicht.',
            no_space_words=learned,
            name_exists_words='A disk NAME exists already in group NAME.',
        )
        # It may say the same if a name is in use.
        self._raise_if_full(learned, no_space_words=learned)
        # The platform says the same if a name is in use.
        self._raise_if_full(
            learned, no_space_words=learned, name_exists_words=learned
        )


class LearnedNameInUseTest(base.TestCase):
    def named(self, reason, *names, **facts):
        return changes.name_in_use(
            exceptions.PowerVMRequestFailed(action='a', reason=reason),
            names,
            platform_facts.PlatformFacts(**facts),
        )

    def test_words_that_were_learned_mean_a_name_in_use(self):
        learned = 'A disk NAME exists already in group NAME.'
        message = 'A disk web exists already in group rootvg2.'
        self.assertIsNone(self.named(message, 'web', 'db'))
        self.assertEqual(
            'web',
            self.named(
                message,
                'web',
                'db',
                name_exists_words=learned,
                no_space_words='0516-404 allocp: no space',
            ),
        )
        self.assertIsNone(
            self.named(message, 'web', 'db', name_exists_words=learned)
        )
        self.assertIsNone(
            self.named(
                message,
                'web',
                name_exists_words=learned,
                no_space_words=learned,
            )
        )


class RaiseIfTooManyTest(base.TestCase):
    """The recorded volume group has 32 disks."""

    def raised(self, limit, reason='0516-822 mklv: no', unexplained=True):
        document = vg_document.Document(volume_groups.recorded())
        error = exceptions.PowerVMRequestFailed(action='a', reason=reason)
        try:
            changes.raise_if_too_many(
                error,
                document,
                [changes.Request([Create(new('a')), Create(new('b'))])],
                limit,
                is_unexplained=unexplained,
            )
        except exceptions.TooManyDisks as found:
            self.assertEqual(2, found.needed_disks)
            self.assertFalse(found.refused)
            self.assertIn('32 virtual disks', str(found))
            self.assertIn(reason, str(found))
            return 'near' if found.plenty else 'full'
        return None

    def test_the_number_of_disks_decides(self):
        for limit, explained, unexplained in (
            (32, 'full', 'full'),
            (33, 'full', 'full'),
            # The last one is not for disks.
            (34, None, 'full'),
            (35, None, 'near'),
            (37, None, 'near'),
            (40, None, None),
            (255, None, None),
            (None, None, None),
        ):
            self.assertEqual(explained, self.raised(limit, unexplained=False))
            self.assertEqual(unexplained, self.raised(limit))

    def test_known_words_suffice(self):
        words = 'x has the maximum number of logical volumes'
        for limit in (None, 4096):
            self.assertEqual('full', self.raised(limit, words, False))

    def test_deletions_and_busy_platforms_have_other_causes(self):
        document = vg_document.Document(volume_groups.recorded())
        disk = driver_base.Disk('c', 'u', 1)
        for kind, operation in (
            (exceptions.PowerVMRequestFailed, Delete(disk)),
            (exceptions.PowerVMBusy, Create(new('a'))),
        ):
            changes.raise_if_too_many(
                kind(action='a', reason='no'),
                document,
                [changes.Request([operation])],
                1,
                is_unexplained=True,
            )
