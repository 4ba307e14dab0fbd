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


"""Upgrades of a catalog that an earlier release wrote."""

import contextlib
import os
import sqlite3

from pvm_imagecache import exceptions
from pvm_imagecache import platform_facts
from pvm_imagecache.catalog import file as catalog_file
from pvm_imagecache.catalog import models
from pvm_imagecache.catalog import schema
from pvm_imagecache.tests.unit.catalog import base

_BASE_IMAGE = (
    "INSERT INTO base_images VALUES ('pool', '{name}', '{name}', 'n', 10,"
    " NULL, 'raw', 'sha256', 'ab', NULL, '{state}', '{fill_id}', 'h/1',"
    " 'udid-{name}', 1073741824, 10, 5.0, 5.0, {ready}, {used}, 3)"
)


class UpgradeTestCase(base.ClockTestCase):
    def create(self, version, *statements):
        """Create the file as the release with that schema did."""
        os.makedirs(self.path('state'), exist_ok=True)
        with contextlib.closing(sqlite3.connect(self.catalog_path)) as file:
            for step in range(1, version + 1):
                file.executescript(schema.STEPS[step])
            for statement in statements:
                file.execute(statement)
            file.execute(f'PRAGMA user_version = {version}')
            file.commit()

    def layout(self):
        """Return the columns and indexes of all tables."""
        return {
            name: (
                self.sql(f'PRAGMA table_info({name})'),
                self.sql(f'PRAGMA index_list({name})'),
            )
            for (name,) in self.sql(
                "SELECT name FROM sqlite_master WHERE type = 'table'"
            )
        }


class UpgradeFrom1Test(UpgradeTestCase):
    def setUp(self):
        super().setUp()
        self.create(
            1,
            *(
                _BASE_IMAGE.format(
                    name=name,
                    state=state,
                    ready=ready,
                    used=used,
                    fill_id='a' * 32,
                )
                for name, state, ready, used in (
                    ('new', 'ready', 7.0, 900.0),
                    ('old', 'ready', 6.0, 400.0),
                    ('half', 'populating', 'NULL', 'NULL'),
                )
            ),
            'INSERT INTO instance_disks VALUES'
            " ('pool', 'vm', 5, "
            " 'ffffffffffffffffffffffffffffffff', 'h/1', NULL, 5.0)",
            'INSERT INTO totals VALUES'
            " ('pool', 'hit', 4, 0, 40),"
            " ('pool', 'miss', 3, 9, 0),"
            " ('other', 'hit', 2, 0, 1)",
            # Fewer events than the totals count: old ones are not kept.
            *(
                'INSERT INTO history (at, pool, action, image_id, seconds,'
                f" who) VALUES (5.0, '{pool}', '{action}', 'i', {seconds},"
                " 'root')"
                for pool, action, seconds in (
                    ('pool', 'hit', 1.0),
                    ('pool', 'hit', 2.0),
                    ('other', 'hit', 50.0),
                    ('pool', 'pin', 'NULL'),
                )
            ),
        )
        self.images = self.catalog.base_images
        self.history = self.catalog.history

    def test_base_images_are_kept(self):
        found = {each.disk_name: each for each in self.images.list('pool')}
        self.assertEqual({'new', 'old', 'half'}, set(found))
        self.assertEqual(
            (
                base.READY,
                'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
                'udid-new',
                3,
                None,
            ),
            (
                found['new'].state,
                found['new'].fill_id,
                found['new'].udid,
                found['new'].hits,
                found['new'].reason,
            ),
        )

    def test_totals_and_instance_disks_are_kept(self):
        self.assertEqual(4, self.history.totals('pool')['hit'].times)
        (entry,) = self.catalog.instance_disks.list('pool')
        self.assertEqual(
            ('vm', 'ffffffffffffffffffffffffffffffff'),
            (entry.disk_name, entry.fill_id),
        )

    def test_the_durations_of_totals_are_estimated_from_the_history(self):
        found = self.history.totals('pool')
        self.assertEqual(
            (6.0, 0.0), (found['hit'].seconds, found['miss'].seconds)
        )
        self.assertEqual(100.0, self.history.totals('other')['hit'].seconds)
        self.history.add('pool', 'hit', seconds=0.5)
        self.assertEqual(6.5, self.history.totals('pool')['hit'].seconds)

    def test_the_history_is_continued(self):
        self.history.add('pool', 'evict', image_id='i', image_name='n')
        found = self.history.list('pool')
        self.assertEqual(
            [('evict', 'n'), ('pin', None), ('hit', None), ('hit', None)],
            [(each.action, each.image_name) for each in found],
        )
        self.assertEqual({None}, {each.code for each in found})

    def test_cleanup_runs_are_recorded_from_now_on(self):
        self.assertIsNone(self.catalog.pools.last_run('pool'))
        self.catalog.pools.record_run('pool', 'x')
        self.assertEqual(
            models.LastRun(self.now, 'x'), self.catalog.pools.last_run('pool')
        )

    def test_the_order_of_uses_is_kept(self):
        self.catalog.clock.save()
        self.assertEqual(500, self.age('old') - self.age('new'))
        self.assertEqual(
            ['old', 'new'],
            [
                each.disk_name
                for each in self.images.list('pool')
                if each.ready_at
            ],
        )

    def test_records_can_be_changed_after_the_upgrade(self):
        record = self.get('old')
        self.images.record_hit(record)
        self.images.start_eviction(record)
        self.images.remove(record)
        self.make_ready('next')
        self.assertEqual(
            ['half', 'new', 'next'],
            sorted(
                each.disk_name for each in self.open().base_images.list('pool')
            ),
        )

    def test_a_step_that_fails_changes_nothing(self):
        steps = dict(schema.STEPS)
        steps[2] += 'CREATE TABLE pins (twice TEXT);'
        self.patch(schema, 'STEPS', steps)
        self.assertRaises(exceptions.CatalogError, self.images.list, 'pool')
        self.catalog.close()
        self.assertEqual([(1,)], self.sql('PRAGMA user_version'))
        self.assertEqual(
            [], self.sql("SELECT 1 FROM sqlite_master WHERE name = 'clock'")
        )

    def test_the_upgrade_is_logged(self):
        self.images.list('pool')
        self.assertIn(
            f'Upgrading catalog {self.catalog_path} from schema 1 to '
            f'{schema.VERSION}',
            self.logger.output,
        )


class UpgradeFrom5Test(UpgradeTestCase):
    def setUp(self):
        super().setUp()
        self.create(
            5,
            'INSERT INTO base_images VALUES'
            " ('pool', 'disk', 'image', 'n', 10, 20, 'qcow2', 'sha256', 'ab',"
            " 'cd', 'quarantined', "
            " 'dddddddddddddddddddddddddddddddd',"
            " 'h/1', 'udid', 30, 10, 1.0, 2.0,"
            " 3.0, 4.0, 5, 'changed', 6.0, 7.0, 8.0)",
            'INSERT INTO base_images VALUES'
            " ('pool', 'half', 'other', NULL, 10, NULL, 'raw', NULL, NULL,"
            " NULL, 'populating', "
            " 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',"
            " 'h/2', NULL, NULL, 0, 9.0, 9.0,"
            ' NULL, NULL, 0, NULL, 9.0, NULL, NULL)',
            'INSERT INTO instance_disks VALUES'
            " ('pool', 'vm', 5, "
            " 'cccccccccccccccccccccccccccccccc', 'h/1', 'u', 5.0, 6.0)",
            "INSERT INTO pools VALUES ('pool', 0, 1, 77.0, 'no luck', 1)",
            "INSERT INTO pool_names VALUES ('vg', 'pool')",
            "INSERT INTO pins VALUES ('pool', 'image', 'why', 'ann', 2.0, 99)",
            "INSERT INTO in_use VALUES ('pool', 'image', 3.0)",
            "INSERT INTO clock VALUES (1, 'first', 100.0, 50.0)",
            *(
                'INSERT INTO history (at, pool, action, who, code)'
                f" VALUES (5.0, 'pool', '{action}', 'root', 'c')"
                for action in ('pass', 'tidy', 'pool', 'hit')
            ),
            *(
                f"INSERT INTO totals VALUES ('pool', '{action}', {n}, 2, 3,"
                ' 4.0)'
                for n, action in enumerate(('pass', 'tidy', 'pool', 'hit'), 1)
            ),
        )

    def test_base_images_are_kept_without_progress_at(self):
        self.assertEqual(
            models.BaseImage(
                pool='pool',
                disk_name='disk',
                image=base.image_of(
                    b'',
                    'image',
                    name='n',
                    size=10,
                    virtual_size=20,
                    disk_format='qcow2',
                    os_hash_algo='sha256',
                    os_hash_value='ab',
                    checksum='cd',
                ),
                state=base.QUARANTINED,
                fill_id='dddddddddddddddddddddddddddddddd',
                holder='h/1',
                udid='udid',
                capacity=30,
                bytes_done=10,
                created_at=1.0,
                ready_at=3.0,
                last_used_at=4.0,
                hits=5,
                reason='changed',
                started_clock=6.0,
                ready_clock=7.0,
                used_clock=8.0,
            ),
            self.get('disk'),
        )
        half = self.get('half')
        self.assertEqual(
            (
                base.POPULATING,
                'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',
                None,
                None,
                9.0,
                None,
            ),
            (
                half.state,
                half.fill_id,
                half.udid,
                half.ready_at,
                half.started_clock,
                half.used_clock,
            ),
        )
        self.assertNotIn(
            'progress_at',
            [row[1] for row in self.sql('PRAGMA table_info(base_images)')],
        )

    def test_instance_disks_are_kept(self):
        self.assertEqual(
            [
                models.InstanceDisk(
                    'pool',
                    'vm',
                    5,
                    'cccccccccccccccccccccccccccccccc',
                    'h/1',
                    'u',
                    5.0,
                    6.0,
                )
            ],
            self.catalog.instance_disks.list('pool'),
        )

    def test_facts_of_pools_are_kept(self):
        pools = self.catalog.pools
        self.assertEqual(
            models.LastRun(77.0, 'no luck'), pools.last_run('pool')
        )
        self.assertTrue(pools.uploads_are_clean('pool'))
        self.assertFalse(pools.keeps_labels('pool'))
        self.assertEqual('pool', pools.id_of('vg'))

    def test_pins_images_in_use_and_the_clock_are_kept(self):
        self.assertEqual(50.0, self.catalog.clock.now())
        self.assertEqual(
            {'image': models.Pin('image', 'why', 'ann', 2.0, 49.0)},
            self.catalog.pins.list('pool'),
        )
        self.assertEqual({'image': 3.0}, self.catalog.pins.in_use('pool'))

    def test_actions_have_the_new_names(self):
        names = ['hit', 'shared-pool', 'discard', 'cleanup']
        events = self.catalog.history.list('pool')
        self.assertEqual(names, [each.action for each in events])
        self.assertEqual({'c'}, {each.code for each in events})
        self.assertEqual(
            {
                'cleanup': models.Total(1, 2, 3),
                'discard': models.Total(2, 2, 3),
                'shared-pool': models.Total(3, 2, 3),
                'hit': models.Total(4, 2, 3),
            },
            self.catalog.history.totals('pool'),
        )

    def test_a_disk_that_was_finished_before_the_upgrade_stays_finished(self):
        os.mkdir(self.path('state', 'finished'))
        with open(
            self.path('state', 'finished', 'cccccccccccccccccccccccccccccccc'),
            'w',
        ):
            pass
        self.assertEqual([], self.catalog.instance_disks.list('pool'))


class UpgradeFrom6Test(UpgradeTestCase):
    def test_base_images_are_kept_and_are_not_verified(self):
        self.create(
            6,
            'INSERT INTO base_images VALUES'
            " ('pool', 'disk', 'image', 'n', 10, 20, 'raw', 'sha256', 'ab',"
            " 'cd', 'ready', "
            " 'eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee',"
            " 'h/1', 'udid', 30, 10, 1.0, 3.0, 4.0, 5,"
            ' NULL, 6.0, 7.0, 8.0)',
        )
        kept = self.get('disk')
        self.assertEqual(
            (
                base.READY,
                'eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee',
                'udid',
                5,
                8.0,
                None,
            ),
            (
                kept.state,
                kept.fill_id,
                kept.udid,
                kept.hits,
                kept.used_clock,
                kept.verified_signature,
            ),
        )


class UpgradeFrom7Test(UpgradeTestCase):
    def test_records_are_kept_and_nothing_is_known_of_the_platform(self):
        self.create(
            7,
            "INSERT INTO pools VALUES ('pool', 1, 1, 77.0, '', 0)",
            "INSERT INTO failed_downloads VALUES ('pool', 'd', 't', 'i', 'e',"
            ' NULL)',
        )
        self.assertEqual(
            platform_facts.PlatformFacts(),
            self.catalog.platform_facts.read('pool'),
        )
        self.assertTrue(self.catalog.pools.keeps_labels('pool'))
        self.assertEqual(
            't', self.catalog.failed_downloads.get('pool', 'd').token
        )

    def test_each_catalog_gets_an_id_that_stays(self):
        found = []
        for version in range(1, 8):
            with contextlib.suppress(FileNotFoundError):
                os.remove(self.catalog_path)
            with contextlib.suppress(FileNotFoundError):
                os.remove(self.path('state', 'catalog.id'))
            self.create(version)
            found.append(self.catalog.catalog_id)
            self.assertRegex(found[-1], '^[0-9a-f]{32}$')
            self.catalog.close()
            self.assertEqual(found[-1], self.catalog.catalog_id)
            self.assertEqual(found[-1], self.open(read_only=True).catalog_id)
            self.catalog.close()
        self.assertEqual(7, len(set(found)))

    def test_a_catalog_of_a_downgrade_gets_the_id_of_the_directory(self):
        before = self.catalog.catalog_id
        for version in range(1, 8):
            self.catalog.close()
            os.remove(self.catalog_path)
            self.create(version)
            self.assertEqual(before, self.catalog.catalog_id)


class AllVersionsTest(UpgradeTestCase):
    def test_every_version_is_upgraded_to_the_same_tables(self):
        self.catalog.clock.save()
        self.catalog.close()
        expected = self.layout()
        self.assertIn('base_images_by_image', str(expected['base_images']))
        for version in range(1, schema.VERSION):
            os.remove(self.catalog_path)
            self.create(version)
            self.assertEqual(
                version, catalog_file.version_of(self.catalog_path)
            )
            self.catalog.clock.save()
            self.catalog.close()
            self.assertEqual(
                schema.VERSION, catalog_file.version_of(self.catalog_path)
            )
            self.assertEqual(expected, self.layout())
