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

"""Tests of the rules that say which disks belong to the cache."""

import dataclasses

import hypothesis
from hypothesis import strategies

from pvm_imagecache.catalog import models
from pvm_imagecache.cleanup import ownership
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.tests.unit import base

GIB = base.GIB
FILL_ID = 'ab' * 16
OTHER_FILL_ID = 'cd' * 16

catalogs = strategies.text('0123456789abcdef', min_size=8, max_size=8)
#: Of earlier releases: they name no catalog.
old_fill_ids = strategies.uuids().map(lambda each: each.hex)
new_fill_ids = strategies.builds(models.with_catalog, old_fill_ids, catalogs)
fill_ids = strategies.one_of(old_fill_ids, new_fill_ids)
sizes = strategies.integers(1, 1 << 45)
udids = strategies.sampled_from([None, 'udid', 'other'])
foreign_labels = strategies.one_of(
    strategies.sampled_from(['', 'None', 'theirs', 'imagecache']),
    strategies.text(max_size=30),
).filter(lambda each: not each.startswith('imagecache_'))


def disk_of(label='', udid='udid', capacity=GIB, name='disk'):
    return driver_base.Disk(name, udid, capacity, label)


def record_of(capacity=GIB):
    return models.BaseImage(
        pool='pool',
        disk_name='disk',
        image=base.image_of(b'x'),
        state=models.State.READY,
        fill_id=FILL_ID,
        holder='host/1',
        udid='udid',
        capacity=capacity,
        bytes_done=1,
        created_at=0.0,
        ready_at=0.0,
        last_used_at=None,
        hits=0,
        reason=None,
        started_clock=0.0,
        ready_clock=0.0,
        used_clock=None,
    )


class LabelTest(base.TestCase):
    @base.generated
    @hypothesis.given(fill_ids)
    def test_a_label_is_recognized_as_ours(self, fill_id):
        disk = disk_of(ownership.label(fill_id))
        self.assertTrue(ownership.has_our_label(disk))
        self.assertTrue(ownership.has_label(disk))

    @base.generated
    @hypothesis.given(fill_ids)
    def test_a_label_has_characters_that_were_seen_on_real_hosts(
        self, fill_id
    ):
        self.assertRegex(ownership.label(fill_id), '^[a-z0-9_]{27,30}$')

    @base.generated
    @hypothesis.given(old_fill_ids, catalogs)
    def test_a_label_names_the_catalog_of_the_fill(self, token, catalog):
        disk = disk_of(ownership.label(models.with_catalog(token, catalog)))
        self.assertEqual(catalog, ownership.catalog_of(disk))
        self.assertEqual('', ownership.other_catalog_of(disk, {catalog}))
        for own in ((), {'x'}, {catalog[:7]}):
            self.assertEqual(catalog, ownership.other_catalog_of(disk, own))

    @base.generated
    @hypothesis.given(
        strategies.one_of(foreign_labels, old_fill_ids.map(ownership.label)),
        strategies.sets(catalogs, max_size=2),
    )
    def test_other_labels_name_no_catalog(self, label, own):
        disk = disk_of(label)
        self.assertEqual('', ownership.catalog_of(disk))
        self.assertEqual('', ownership.other_catalog_of(disk, own))

    @base.generated
    @hypothesis.given(new_fill_ids, strategies.integers(0, 29))
    def test_a_part_of_a_label_names_no_catalog(self, fill_id, length):
        # Some platform may keep only the beginning.
        disk = disk_of(ownership.label(fill_id)[:length])
        self.assertEqual('', ownership.catalog_of(disk))
        for udid, expected in (('udid', True), ('other', False)):
            self.assertEqual(
                expected, ownership.is_ours(disk, udid, fill_id, GIB, True)
            )
        self.assertFalse(ownership.is_ours(disk, None, fill_id, GIB, True))

    @base.generated
    @hypothesis.given(old_fill_ids, old_fill_ids)
    def test_labels_of_two_fills_differ_in_their_first_digits(
        self, first, second
    ):
        self.assertEqual(
            first[:16] == second[:16],
            ownership.label(first) == ownership.label(second),
        )

    @base.generated
    @hypothesis.given(old_fill_ids, old_fill_ids, catalogs, catalogs)
    def test_labels_of_two_catalogs_differ(self, first, second, one, other):
        self.assertEqual(
            (first[:10], one) == (second[:10], other),
            ownership.label(models.with_catalog(first, one))
            == ownership.label(models.with_catalog(second, other)),
        )

    @base.generated
    @hypothesis.given(old_fill_ids, new_fill_ids)
    def test_an_old_label_is_never_a_new_one(self, old, new):
        self.assertNotEqual(ownership.label(old), ownership.label(new))

    def test_a_label_contains_the_first_digits_of_the_fill_id(self):
        self.assertEqual(
            'imagecache_' + FILL_ID[:16], ownership.label(FILL_ID)
        )

    @base.generated
    @hypothesis.given(foreign_labels)
    def test_a_foreign_label_is_not_recognized_as_ours(self, label):
        self.assertFalse(ownership.has_our_label(disk_of(label)))

    def test_the_word_of_pypowervm_for_no_label_is_no_label(self):
        for label, expected in (('', False), ('None', False), ('x', True)):
            self.assertEqual(expected, ownership.has_label(disk_of(label)))


class AdoptedFillIdTest(base.TestCase):
    @base.generated
    @hypothesis.given(fill_ids, old_fill_ids)
    def test_a_record_of_an_adopted_disk_owns_it(self, of_disk, new):
        disk = disk_of(ownership.label(of_disk))
        found = ownership.adopted_fill_id(disk, new)
        self.assertEqual(disk.label, ownership.label(found))
        for udid in (None, 'udid', 'other'):
            self.assertTrue(ownership.is_ours(disk, udid, found, GIB, True))
        self.assertEqual(models.catalog_of(of_disk), models.catalog_of(found))
        self.assertRegex(found, '^[0-9a-f]{32}(-[0-9a-f]{8})?$')

    @base.generated
    @hypothesis.given(new_fill_ids)
    def test_a_disk_of_another_catalog_is_not_taken_for_wiped(self, fill_id):
        disk = disk_of(ownership.label(fill_id))
        self.assertFalse(
            models.is_wiped(
                ownership.adopted_fill_id(disk, models.new_fill_id())
            )
        )

    @base.generated
    @hypothesis.given(
        strategies.one_of(
            foreign_labels,
            strategies.sampled_from(
                ['imagecache_', 'imagecache_x', 'imagecache_../../x']
            ),
        ),
        old_fill_ids,
    )
    def test_any_other_label_leaves_the_new_fill_id(self, label, new):
        self.assertEqual(new, ownership.adopted_fill_id(disk_of(label), new))


class OtherCatalogsTest(base.TestCase):
    @base.generated
    @hypothesis.given(
        strategies.lists(
            strategies.tuples(
                strategies.sampled_from(['i_3e865d14_8c1e', 'vm']),
                strategies.one_of(
                    strategies.just(FILL_ID),
                    strategies.sampled_from('abc').map(
                        lambda each: models.with_catalog(FILL_ID, each * 8)
                    ),
                ),
            )
        ),
        strategies.sets(strategies.sampled_from(['a' * 8, 'b' * 8])),
    )
    def test_each_disk_of_another_catalog_is_counted_once(self, made, own):
        found = ownership.other_catalogs(
            [
                disk_of(ownership.label(fill_id), name=name)
                for name, fill_id in made
            ],
            own,
        )
        self.assertEqual(
            sorted(found, key=lambda each: each.catalog), [*found]
        )
        for each in found:
            self.assertNotIn(each.catalog, own)
            names = [
                name
                for name, fill_id in made
                if models.catalog_of(fill_id) == each.catalog
            ]
            self.assertEqual(
                (names.count('i_3e865d14_8c1e'), names.count('vm')),
                (each.base_images, each.other_disks),
            )
        others = {models.catalog_of(fill_id) for _, fill_id in made} - own
        self.assertEqual(others - {''}, {each.catalog for each in found})


class IsDiskOfTest(base.TestCase):
    """Whether a disk is the one that a record of a base image names."""

    @base.generated
    @hypothesis.given(fill_ids, fill_ids, udids)
    def test_a_label_shows_that_a_udid_was_used_again(
        self, of_disk, of_record, udid
    ):
        record = dataclasses.replace(record_of(), fill_id=of_record)
        disk = disk_of(ownership.label(of_disk), udid)
        certain = bool(models.catalog_of(of_record))
        self.assertEqual(
            udid == 'udid'
            and (
                not certain
                or ownership.label(of_disk) == ownership.label(of_record)
            ),
            ownership.is_disk_of(disk, record),
        )

    @base.generated
    @hypothesis.given(fill_ids)
    def test_no_label_says_nothing(self, fill_id):
        record = dataclasses.replace(record_of(), fill_id=fill_id)
        for label in ('', 'None'):
            self.assertTrue(ownership.is_disk_of(disk_of(label), record))
        self.assertFalse(ownership.is_disk_of(disk_of(name='another'), record))


class MayStillAppearTest(base.TestCase):
    @base.generated
    @hypothesis.given(strategies.floats(0, 1e9), strategies.floats(-1e6, 1e6))
    def test_a_disk_whose_udid_is_known_does_not_appear(self, started, passed):
        self.assertFalse(
            ownership.may_still_appear('udid', started, started + passed)
        )

    @base.generated
    @hypothesis.given(
        strategies.integers(0, 10**9), strategies.integers(0, 10**5)
    )
    def test_a_disk_may_appear_within_the_longest_request(
        self, started, passed
    ):
        self.assertEqual(
            passed < ownership.LONGEST_REQUEST,
            ownership.may_still_appear(
                None, float(started), float(started + passed)
            ),
        )

    def test_a_disk_does_not_appear_after_exactly_one_hour(self):
        self.assertTrue(ownership.may_still_appear(None, 10.0, 3609.0))
        self.assertFalse(ownership.may_still_appear(None, 10.0, 3610.0))

    def test_a_copy_of_a_large_disk_may_take_long(self):
        for size, rate, hours in (
            (1 << 30, None, 1),
            (1 << 40, None, 36),
            (1 << 40, 1 << 23, 145),
            # Seven days are the limit of all limits.
            (1 << 40, 1, 168),
            (1 << 62, None, 168),
            (1 << 40, 1 << 30, 1),
        ):
            self.assertTrue(
                ownership.may_still_appear(
                    None, 0.0, hours * 3600.0 - 1, size, rate
                )
            )
            self.assertFalse(
                ownership.may_still_appear(
                    None, 0.0, (hours + 1) * 3600.0, size, rate
                )
            )


class IsCreatedForTest(base.TestCase):
    @base.generated
    @hypothesis.given(sizes)
    def test_exactly_one_capacity_in_gib_fits_a_size(self, size):
        rounded = -(-size // GIB)
        self.assertEqual(
            [rounded],
            [
                gib
                for gib in range(max(0, rounded - 2), rounded + 3)
                if ownership.is_created_for(gib * GIB, size)
            ],
        )

    @base.generated
    @hypothesis.given(sizes, strategies.integers(1, 4 * GIB))
    def test_every_capacity_that_a_granularity_gives_fits(
        self, size, granularity
    ):
        whole = -(-size // GIB) * GIB
        capacity = -(-whole // granularity) * granularity
        self.assertTrue(ownership.is_created_for(capacity, size, granularity))
        self.assertFalse(
            ownership.is_created_for(
                capacity + GIB + granularity, size, granularity
            )
        )

    @base.generated
    @hypothesis.given(sizes, sizes)
    def test_a_disk_smaller_than_the_size_does_not_fit(self, one, two):
        if one != two:
            smaller, larger = sorted((one, two))
            self.assertFalse(ownership.is_created_for(smaller, larger))


class IsOursTest(base.TestCase):
    """A disk that has the name of a record, and the fill of the record."""

    @base.generated
    @hypothesis.given(
        fill_ids, fill_ids, udids, sizes, sizes, strategies.booleans()
    )
    def test_a_label_of_this_project_decides_alone(
        self, of_disk, of_record, udid, size, capacity, keeps_labels
    ):
        disk = disk_of(ownership.label(of_disk), capacity=capacity)
        self.assertEqual(
            ownership.label(of_disk) == ownership.label(of_record),
            ownership.is_ours(disk, udid, of_record, size, keeps_labels),
        )

    @base.generated
    @hypothesis.given(foreign_labels, sizes, strategies.booleans())
    def test_the_udid_decides_if_there_is_no_label_of_ours(
        self, label, size, keeps_labels
    ):
        disk = disk_of(label)
        for udid, expected in (('udid', True), ('other', False)):
            self.assertEqual(
                expected,
                ownership.is_ours(disk, udid, FILL_ID, size, keeps_labels),
            )

    @base.generated
    @hypothesis.given(foreign_labels, sizes)
    def test_a_disk_without_label_is_foreign_if_labels_are_kept(
        self, label, size
    ):
        self.assertFalse(
            ownership.is_ours(
                disk_of(label, capacity=size), None, FILL_ID, size, True
            )
        )

    @base.generated
    @hypothesis.given(sizes, sizes)
    def test_the_size_decides_if_labels_are_dropped_and_no_udid_is_known(
        self, size, capacity
    ):
        self.assertEqual(
            ownership.is_created_for(capacity, size),
            ownership.is_ours(
                disk_of(capacity=capacity), None, FILL_ID, size, False
            ),
        )

    def test_the_size_of_a_disk_is_rounded_up_to_gib(self):
        for gib, size, expected in (
            (1, 1, True),
            (1, GIB, True),
            (1, GIB + 1, False),
            (2, GIB, False),
            (2, GIB + 1, True),
        ):
            self.assertEqual(
                expected,
                ownership.is_ours(
                    disk_of(capacity=gib * GIB), None, FILL_ID, size, False
                ),
            )

    def test_a_part_of_our_label_is_not_our_label(self):
        label = ownership.label(FILL_ID)
        for other in (label[:-1], ownership.label(OTHER_FILL_ID), 'None', ''):
            self.assertFalse(
                ownership.is_ours(disk_of(other), None, FILL_ID, GIB, True)
            )

    @base.generated
    @hypothesis.given(fill_ids, fill_ids, strategies.integers(1, 26))
    def test_the_rest_of_a_shortened_label_must_be_that_of_the_record(
        self, of_disk, of_record, length
    ):
        disk = disk_of(ownership.label(of_disk)[:length])
        self.assertEqual(
            ownership.label(of_record).startswith(disk.label),
            ownership.is_ours(disk, None, of_record, GIB, False),
        )


class MayBeStaleTest(base.TestCase):
    @base.generated
    @hypothesis.given(foreign_labels)
    def test_a_disk_with_a_foreign_label_is_not_stale(self, label):
        self.assertEqual(
            label in ('', 'None'),
            ownership.may_be_stale(disk_of(label), {'0a1b2c3d'}),
        )

    @base.generated
    @hypothesis.given(fill_ids, catalogs, strategies.integers(11, 26))
    def test_a_disk_with_a_shortened_label_is_not_stale(
        self, fill_id, own, length
    ):
        disk = disk_of(ownership.label(fill_id)[:length])
        self.assertFalse(ownership.may_be_stale(disk, {own}))

    @base.generated
    @hypothesis.given(fill_ids, catalogs)
    def test_a_disk_of_no_other_catalog_may_be_stale(self, fill_id, other):
        disk = disk_of(ownership.label(fill_id))
        catalog = models.catalog_of(fill_id)
        self.assertTrue(ownership.may_be_stale(disk, {catalog, other}))
        self.assertEqual(
            catalog in ('', other), ownership.may_be_stale(disk, {other})
        )


class FaultOfTest(base.TestCase):
    @base.generated
    @hypothesis.given(sizes, sizes, strategies.booleans())
    def test_only_an_unmapped_disk_of_the_same_capacity_has_no_fault(
        self, before, now, is_mapped
    ):
        fault = ownership.fault_of(
            record_of(before), disk_of(capacity=now), is_mapped
        )
        self.assertEqual(before == now and not is_mapped, fault is None)

    def test_the_fault_names_both_capacities(self):
        fault = ownership.fault_of(
            record_of(GIB), disk_of(capacity=2 * GIB), False
        )
        self.assertIn(str(GIB), fault.replace(',', ''))
        self.assertIn(str(2 * GIB), fault.replace(',', ''))

    def test_a_mapped_disk_is_reported_as_mapped(self):
        self.assertIn(
            'mapped', ownership.fault_of(record_of(), disk_of(), True)
        )


class DoubtAboutTest(base.TestCase):
    """Whether disks of one name are one base image that is not in use."""

    def setUp(self):
        super().setUp()
        self.image = base.image_of(b'x')

    def doubt(self, *named, mapped=(), targets=()):
        return ownership.doubt_about(named, self.image, mapped, targets)

    def test_there_is_no_doubt_about_no_disk(self):
        self.assertIsNone(self.doubt())

    def test_there_is_no_doubt_about_one_unused_disk_of_the_right_size(self):
        self.assertIsNone(
            self.doubt(disk_of(), mapped={disk_of(name='x')}, targets={'y'})
        )

    def test_two_disks_of_one_name_are_doubtful(self):
        self.assertIn('2 disks', self.doubt(disk_of(), disk_of(udid='b')))

    def test_a_mapped_disk_is_doubtful(self):
        self.assertIn('mapped', self.doubt(disk_of(), mapped={disk_of()}))

    def test_the_target_of_an_upload_is_doubtful(self):
        self.assertIn('upload', self.doubt(disk_of(), targets={'udid'}))

    @base.generated
    @hypothesis.given(sizes, sizes)
    def test_a_disk_of_another_capacity_is_doubtful(self, size, capacity):
        self.image = dataclasses.replace(self.image, size=size)
        self.assertEqual(
            ownership.is_created_for(capacity, size),
            self.doubt(disk_of(capacity=capacity)) is None,
        )
