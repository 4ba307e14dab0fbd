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

"""Deploys and prefetches: hit, miss, bypass, and what can come between."""

import contextlib
import dataclasses
import hashlib
import itertools
import os
import sqlite3
import threading

from glanceclient import exc as glance_exceptions
import hypothesis
from hypothesis import strategies

from pvm_imagecache import cache as cache_module
from pvm_imagecache import catalog as catalog_module
from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache import naming
from pvm_imagecache.cleanup import reconciler
from pvm_imagecache.deploy import base_image
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.glance import source as image_source
from pvm_imagecache.system import locks
from pvm_imagecache.tests import images
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit import fakes

CHUNK = image_source.CHUNK_SIZE
HIT, MISS = instance_disk.Outcome.HIT, instance_disk.Outcome.MISS
BYPASS, POOL = instance_disk.Outcome.BYPASS, instance_disk.Outcome.POOL
READY = catalog_module.State.READY
POPULATING = catalog_module.State.POPULATING


class BrokenCatalog(catalog_module.Catalog):
    """A catalogue of which chosen methods fail.

    :ivar broken: their names.
    """

    def __init__(self, path):
        super().__init__(path)
        self.broken = set()

    def _fail(self, name):
        if name in self.broken:
            raise exceptions.CatalogError(path=self.path, reason=name)

    def get(self, *args):
        self._fail('get')
        return super().get(*args)

    def begin(self, *args):
        self._fail('begin')
        return super().begin(*args)

    def created(self, *args):
        self._fail('created')
        return super().created(*args)

    def progressed(self, *args):
        self._fail('progressed')
        return super().progressed(*args)

    def commit(self, *args):
        self._fail('commit')
        return super().commit(*args)

    def used(self, *args):
        self._fail('used')
        return super().used(*args)

    def remove(self, *args):
        self._fail('remove')
        return super().remove(*args)

    def instance_disks(self, *args):
        self._fail('instance_disks')
        return super().instance_disks(*args)

    def begin_instance_disk(self, *args):
        self._fail('begin_instance_disk')
        return super().begin_instance_disk(*args)

    def end_instance_disk(self, *args):
        self._fail('end_instance_disk')
        return super().end_instance_disk(*args)


def refusal(*_):
    """PowerVM refuses what would be done next."""
    raise exceptions.PowerVMRequestFailed(action='do it', reason='no')


class DeployTestCase(base.TestCase):
    """One pool, one Glance with one image, an empty cache."""

    size = 2 * CHUNK + 17
    gib = 100

    def setUp(self):
        super().setUp()
        self.content = images.raw_bytes(self.size, seed=1)
        self.image = base.image_of(self.content)
        self.base_name = naming.base_image_name(self.image.id)
        self.source = fakes.FakeSource()
        self.source.put(self.image, *fakes.chunks(self.content))
        self.driver = fakes.FakeDriver(self.gib)
        self.catalog = BrokenCatalog(self.path('state', 'c.sqlite'))
        self.addCleanup(self.catalog.close)
        self.settings = cache_module.Settings(stall_timeout=base.PATIENCE)
        self.locks = locks.LockDirectory(self.path('state', 'locks'))
        self.policies = ()
        self.told = set()

    @property
    def parts(self):
        return cache_module.Parts(
            self.driver,
            self.source,
            self.catalog,
            self.locks,
            self.settings,
            self.policies,
            self.told,
        )

    def deploy(self, name='disk', image=None, size=0, progress=None):
        return instance_disk.InstanceDeploy(
            self.parts, image or self.image, name, size, None, progress
        ).run()

    def prefetch(self, image=None, progress=None):
        return base_image.BaseImageFetch(
            self.parts, image or self.image, None, progress
        ).run()

    def record(self):
        return self.catalog.get('pool', self.base_name)

    def another(self, image_id, content=None, **values):
        """Another image of the same Glance."""
        content = content or images.raw_bytes(CHUNK + 5, seed=2)
        image = base.image_of(content, image_id, **values)
        self.source.put(image, *fakes.chunks(content))
        return image, content

    def check(self, done, outcome, content=None):
        """A deploy that went as it should: every byte is there."""
        content = self.content if content is None else content
        self.assertIs(outcome, done.outcome, done.reason)
        self.assertEqual(bool(done.reason), outcome is BYPASS)
        self.assertEqual(done.disk, self.driver.find_disk(done.disk.name))
        self.assert_bytes(
            content, self.driver.content(done.disk.name, len(content))
        )
        self.assertGreaterEqual(done.disk.capacity, len(content))
        self.assertEqual(
            0 if outcome is HIT else len(content), done.bytes_fetched
        )
        self.assertIn('total', done.seconds)

    def check_cached(self):
        """The base image is whole, and may be served."""
        record = self.record()
        self.assertIs(READY, record.state)
        disk = self.driver.find_disk(self.base_name)
        self.assertEqual(
            (disk.udid, disk.capacity), (record.udid, record.capacity)
        )
        self.assert_bytes(
            self.content, self.driver.content(self.base_name, self.size)
        )

    def check_nothing_left(self):
        self.assertEqual([], self.driver.names())
        self.assertEqual([], self.catalog.images('pool'))
        self.assertEqual([], self.catalog.instance_disks('pool'))
        self.assertTrue(self.locks.is_free(f'image-pool-{self.base_name}'))

    def check_not_cached(self, *names):
        """Nothing is left but these disks."""
        self.assertEqual(sorted(names), self.driver.names())
        self.assertEqual([], self.catalog.images('pool'))

    def leave_behind(self, written=CHUNK, udid=True, gib=1, label=None):
        """What a process leaves that dies while it fills a base image."""
        record = self.catalog.begin('pool', self.base_name, self.image)
        disk = self.driver.add(
            self.base_name,
            gib,
            b'\xee' * written,
            label if label is not None else reconciler.label(record.lease),
        )
        self.driver.uploads.add(disk.udid)
        if udid:
            self.catalog.created(record, disk.udid, disk.capacity)
        return self.record()


class PlainTest(DeployTestCase):
    def test_miss(self):
        self.check(self.deploy(), MISS)
        self.check_cached()
        self.assertEqual(
            [self.base_name],
            [name for name in self.driver.names() if name != 'disk'],
        )

    def test_both_disks_are_made_in_one_step(self):
        self.deploy()
        self.assertEqual(1, self.driver.calls.count('create_disks'))
        self.assertNotIn('copy_disk', self.driver.calls)

    def test_hit(self):
        self.deploy()
        for name in 'abc':
            self.check(self.deploy(name), HIT)
        self.assertEqual([self.image.id], self.source.opened)
        self.assertEqual(3, self.record().hits)

    def test_hit_asks_the_driver_for_nothing_but_the_copy(self):
        self.deploy()
        del self.driver.calls[:]
        self.deploy('other')
        self.assertEqual(['copy_disk', 'create_disks'], self.driver.calls)

    def test_every_size(self):
        for size in (1, CHUNK - 1, CHUNK, CHUNK + 1, 9 * CHUNK):
            image_id = f'{size:08x}-0000-0000-0000-000000000000'
            image, content = self.another(
                image_id, images.raw_bytes(size, seed=size)
            )
            for number, outcome in enumerate((MISS, HIT)):
                self.check(
                    self.deploy(f'{size}.{number}', image), outcome, content
                )

    def test_size_of_the_disk(self):
        for name, outcome in (('miss', MISS), ('hit', HIT)):
            done = self.deploy(name, size=3 * base.GIB)
            self.check(done, outcome)
            self.assertEqual(3 * base.GIB, done.disk.capacity)
        # A base image is not larger than it must be.
        self.assertEqual(base.GIB, self.record().capacity)

    def test_two_images(self):
        other, content = self.another('ffffffff-ffff-0000-0000-000000000000')
        self.check(self.deploy('a'), MISS)
        self.check(self.deploy('b', other), MISS, content)
        self.check(self.deploy('c'), HIT)
        self.check(self.deploy('d', other), HIT, content)

    def test_qcow2_is_as_large_as_its_guest_sees_it(self):
        content = images.qcow2_bytes(5 * base.GIB)
        image, _ = self.another(
            'ffffffff-ffff-0000-0000-000000000000',
            content,
            disk_format='qcow2',
        )
        for name, outcome in (('a', MISS), ('b', HIT)):
            done = self.deploy(name, image)
            self.check(done, outcome, content)
            self.assertEqual(5 * base.GIB, done.disk.capacity)

    def test_progress(self):
        told = []
        self.deploy(progress=lambda *args: told.append(args))
        self.assertEqual(('fetch', self.size, self.size), told[-1])
        del told[:]
        self.deploy('other', progress=lambda *args: told.append(args))
        self.assertEqual(
            [('copy', 0, self.size), ('copy', self.size, self.size)], told
        )

    def test_seconds(self):
        self.assertLessEqual(
            {'wait', 'fetch', 'total'}, set(self.deploy().seconds)
        )
        self.assertEqual({'copy', 'total'}, set(self.deploy('other').seconds))

    def test_sha256_is_given_to_the_platform(self):
        given = []
        real = self.driver.upload
        self.driver.upload = lambda disk, pieces, size, sha256: (
            given.append(sha256),
            real(disk, pieces, size, sha256),
        )
        self.deploy()
        value = hashlib.sha256(self.content).hexdigest()
        image = dataclasses.replace(
            self.image,
            id=self.image.id.replace('3', '4'),
            os_hash_algo='sha256',
            os_hash_value=value,
        )
        self.source.put(image, self.content)
        self.deploy('other', image)
        self.assertEqual([None, None, value, value], given)

    def test_the_pools_own_cache(self):
        self.driver = fakes.FakePool()
        done = self.deploy('a')
        self.check(done, POOL)
        done = self.deploy('b')
        self.assertEqual((POOL, 0), (done.outcome, done.bytes_fetched))
        self.assert_bytes(self.content, self.driver.content('b'))
        self.assertEqual([], self.catalog.images('pool'))


class SizeTest(DeployTestCase):
    def setUp(self):
        super().setUp()
        content = images.qcow2_bytes(5 * base.GIB)
        self.qcow2, _ = self.another(
            'ffffffff-ffff-0000-0000-000000000000',
            content,
            disk_format='qcow2',
        )

    def _refused(self, image, size):
        error = self.assertRaises(
            exceptions.DiskTooSmall, self.deploy, 'small', image, size
        )
        self.assertNotIn('small', self.driver.names())
        return error

    def test_too_small(self):
        error = self._refused(self.image, self.size - 1)
        self.assertIn(f'({self.size} bytes)', str(error))
        self.assertEqual([], self.source.opened)
        self.check_nothing_left()

    def test_too_small_for_the_virtual_size_in_the_header(self):
        self._refused(self.qcow2, 5 * base.GIB - 1)
        self.check_nothing_left()

    def test_too_small_for_what_the_cache_knows(self):
        self.deploy('large', self.qcow2)
        self._refused(self.qcow2, 5 * base.GIB - 1)
        self.assertEqual(1, len(self.source.opened))

    def test_too_small_past_the_cache(self):
        self.settings = cache_module.Settings(enabled=False)
        self._refused(self.qcow2, 5 * base.GIB - 1)
        self.check_nothing_left()

    def test_large_enough(self):
        self.deploy('a', self.image, self.size)
        self.deploy('b', self.qcow2, 5 * base.GIB)


class BypassTest(DeployTestCase):
    """The cache is out of order: the deploy is not."""

    def _bypassed(self, word):
        done = self.deploy()
        self.check(done, BYPASS)
        self.assertIn(word, done.reason)
        return done

    def test_switched_off(self):
        self.deploy('earlier')
        self.settings = cache_module.Settings(enabled=False)
        self._bypassed('switched off')
        self.check_cached()

    def test_no_hash(self):
        self.image = dataclasses.replace(
            self.image, os_hash_value=None, checksum=None
        )
        self._bypassed('no hash')
        self.check_not_cached('disk')

    def test_a_corrupt_catalogue(self):
        """What it knew is forgotten, and nothing of it is served."""
        self.deploy('earlier')
        self.catalog.close()
        with open(self.catalog.path, 'wb') as file:
            file.write(b'this is no database')
        self.check(self.deploy(), MISS)
        self.assertEqual(1, len(self.catalog.images('pool')))
        self.check_cached()
        other, content = self.another('ffffffff-ffff-0000-0000-000000000000')
        self.check(self.deploy('a', other), MISS, content)
        self.check(self.deploy('b', other), HIT, content)

    def test_a_damaged_catalogue(self):
        self.deploy('earlier')
        self.catalog.close()
        size = os.path.getsize(self.catalog.path)
        with open(self.catalog.path, 'r+b') as file:
            file.seek(4096)
            file.write(bytes(size - 4096))
        # It is set aside, and nobody knows that the base image is whole.
        self.check(self.deploy(), MISS)
        self.check_cached()

    def test_the_catalogue_of_a_newer_release(self):
        self.deploy('earlier')
        self.catalog.close()
        with contextlib.closing(sqlite3.connect(self.catalog.path)) as file:
            file.execute('PRAGMA user_version = 99')
        self._bypassed('version 99')

    def test_no_place_for_state(self):
        with open(self.path('file'), 'w'):
            pass
        self.catalog = catalog_module.Catalog(self.path('file', 'c.sqlite'))
        self.locks = locks.LockDirectory(self.path('file', 'locks'))
        self._bypassed(self.catalog.path)

    def test_no_place_for_locks(self):
        with open(self.path('file'), 'w'):
            pass
        self.locks = locks.LockDirectory(self.path('file', 'locks'))
        self._bypassed('no lock')
        self.check_not_cached('disk')

    def test_every_step_of_the_catalogue(self):
        for step in ('get', 'begin', 'created'):
            self.catalog.broken = {step}
            done = self.deploy(step)
            self.check(done, BYPASS)
            self.assertIn(step, done.reason)
            self.catalog.broken = set()
            self.assertNotIn(self.base_name, self.driver.names())
            self.assertIsNone(self.record())

    def test_the_commit(self):
        self.catalog.broken = {'commit'}
        self._bypassed('commit')
        self.check_not_cached('disk')

    def test_progress_that_can_not_be_written_matters_to_nobody(self):
        self.catalog.broken = {'progressed'}
        self.check(self.deploy(), MISS)
        self.check_cached()

    def test_a_use_that_can_not_be_counted_matters_to_nobody(self):
        self.deploy('earlier')
        self.catalog.broken = {'used'}
        self.check(self.deploy(), HIT)

    def test_a_catalogue_that_breaks_for_good_on_the_way(self):
        self.driver.before['create_disks'] = lambda new: (
            self.catalog.broken.update(
                {'get', 'created', 'commit', 'progressed', 'remove'}
            )
        )
        self._bypassed('created')
        self.assertEqual(['disk'], self.driver.names())

    def test_a_lock_that_is_not_to_be_had(self):
        self.settings = cache_module.Settings(fetch_timeout=0)
        with self.locks.hold(f'image-pool-{self.base_name}', 0):
            self._bypassed('held by')
        self.check_not_cached('disk')

    def test_a_hit_needs_no_lock(self):
        self.deploy('earlier')
        with self.locks.hold(f'image-pool-{self.base_name}', 0):
            self.check(self.deploy(), HIT)

    def test_a_name_that_somebody_else_has_taken(self):
        for word, values, taken, uploads in (
            ('label', {'label': 'theirs'}, False, False),
            ('bytes', {'gib': 2}, False, False),
            ('mapped', {}, True, False),
            ('upload', {}, False, True),
        ):
            theirs = self.driver.add(
                self.base_name, content=b'of somebody', **values
            )
            self.driver.taken = {self.base_name} if taken else set()
            self.driver.uploads = {theirs.udid} if uploads else set()
            self._bypassed(word)
            self.assertEqual(theirs, self.driver.find_disk(self.base_name))
            self.assertEqual(
                b'of somebody', self.driver.content(self.base_name)
            )
            self.assertEqual([], self.catalog.images('pool'))
            self.driver.vanish('disk')

    def test_a_left_over_of_nova_powervm_is_replaced(self):
        for label in ('', 'None'):
            self.driver.add(self.base_name, content=b'half of', label=label)
            self.check(self.deploy(), MISS)
            self.check_cached()
            self.catalog.remove(self.record())
            self.driver.vanish(self.base_name)
            self.driver.vanish('disk')

    def test_a_left_over_that_can_not_be_deleted(self):
        self.driver.add(self.base_name)
        self.driver.before['delete'] = refusal
        self._bypassed('refused')
        self.assertEqual([], self.catalog.images('pool'))

    def test_the_reason_is_a_warning_only_once(self):
        self.driver.add(self.base_name, gib=2)
        with self.assertLogs('pvm_imagecache', 'INFO') as logs:
            self._bypassed('bytes')
            self.driver.vanish('disk')
            self._bypassed('bytes')
        levels = [
            each.levelname
            for each in logs.records
            if 'past the cache' in each.getMessage()
        ]
        self.assertEqual(['WARNING', 'INFO'], levels)

    def test_an_image_whose_id_begins_alike(self):
        other, content = self.another(
            self.image.id[:14] + 'f' + self.image.id[15:]
        )
        self.check(self.deploy('theirs', other), MISS, content)
        done = self._bypassed(other.id)
        self.assertIn(self.base_name, done.reason)
        self.check(self.deploy('again', other), HIT, content)

    def test_the_same_id_in_other_case(self):
        other, content = self.another(self.image.id.upper())
        self.check(self.deploy('theirs', other), MISS, content)
        self.check(self.deploy('ours'), MISS)
        self.check(self.deploy('a', other), HIT, content)
        self.check(self.deploy('b'), HIT)

    def test_the_same_name_of_a_disk_for_an_id_in_other_case(self):
        digits = '12345678-1234-abcd-0000-000000000000'
        for number, spelling in enumerate((digits, digits.upper())):
            image, content = self.another(
                spelling, images.raw_bytes(100, seed=number)
            )
            self.check(
                self.deploy(f'disk{number}', image),
                BYPASS if number else MISS,
                content,
            )

    def test_what_can_not_be_compared(self):
        self.deploy('earlier')
        self.image = dataclasses.replace(
            self.image,
            checksum=None,
            os_hash_algo='sha256',
            os_hash_value=hashlib.sha256(self.content).hexdigest(),
        )
        self._bypassed('no hash in common')
        self.check_cached()

    def test_the_pool_refuses_both_and_then_takes_one(self):
        def refuse_two(new):
            if len(new) > 1:
                raise exceptions.NotEnoughSpace(
                    pool='p', free=1, needed=2, what='w'
                )

        self.driver.before['create_disks'] = refuse_two
        self._bypassed('free')
        self.check_not_cached('disk')


class NoRoomForBothTest(DeployTestCase):
    gib = 1

    def test_one_fits(self):
        self.check(self.deploy(), BYPASS)
        self.check_not_cached('disk')

    def test_not_even_one_fits(self):
        self.deploy('earlier')
        self.assertRaises(exceptions.NotEnoughSpace, self.deploy)
        self.check_not_cached('earlier')

    def test_no_room_for_a_copy(self):
        self.gib = 2
        self.driver = fakes.FakeDriver(2)
        self.deploy('earlier')
        self.assertRaises(exceptions.NotEnoughSpace, self.deploy)
        self.check_cached()


class RightTest(DeployTestCase):
    """Users of nova get from the cache what Glance would give them."""

    def _deploy_for(self, context, name='disk'):
        return instance_disk.InstanceDeploy(
            self.parts, self.image, name, 0, context, None
        ).run()

    def test_who_downloads_is_not_asked_about(self):
        self.check(self._deploy_for('somebody'), MISS)
        self.assertEqual([], self.source.asked)

    def test_a_hit(self):
        self.prefetch()
        self.check(self._deploy_for('somebody'), HIT)
        self.assertEqual([(self.image.id, 'somebody')], self.source.asked)

    def test_nobody_is_refused(self):
        self.prefetch()
        self.source.refusal = exceptions.ImageForbidden(image=self.image.id)
        self.assertRaises(
            exceptions.ImageForbidden, self._deploy_for, 'somebody'
        )
        self.assertEqual([self.base_name], self.driver.names())

    def test_the_configured_user_needs_no_leave(self):
        self.prefetch()
        self.source.refusal = exceptions.ImageForbidden(image=self.image.id)
        self.check(self.deploy(), HIT)

    def test_switched_off(self):
        self.prefetch()
        self.settings = cache_module.Settings(check_download_permission=False)
        self.source.refusal = exceptions.ImageForbidden(image=self.image.id)
        self.check(self._deploy_for('somebody'), HIT)

    def test_what_the_pool_has(self):
        self.driver = fakes.FakePool()
        self._deploy_for('owner', 'theirs')
        self.source.refusal = exceptions.ImageForbidden(image=self.image.id)
        self.assertRaises(
            exceptions.ImageForbidden, self._deploy_for, 'somebody'
        )
        self.assertEqual(['theirs'], self.driver.names())
        self.deploy('configured')
        self.settings = cache_module.Settings(check_download_permission=False)
        self._deploy_for('somebody', 'unasked')
        self.assertEqual(
            ['configured', 'theirs', 'unasked'], self.driver.names()
        )


class ReplacedTest(DeployTestCase):
    """What is cached is not what is wanted, or no longer there."""

    def setUp(self):
        super().setUp()
        self.deploy('earlier')
        self.old = self.record()

    def _fetched_again(self, name='disk'):
        self.check(self.deploy(name), MISS)
        self.check_cached()
        self.assertNotEqual(self.old.lease, self.record().lease)
        self.check(self.deploy('copy of it'), HIT)

    def test_an_id_with_other_content(self):
        earlier = self.content
        self.content = images.raw_bytes(self.size, seed=9)
        self.image = base.image_of(self.content)
        self.source.put(self.image, *fakes.chunks(self.content))
        self._fetched_again()
        self.assert_bytes(earlier, self.driver.content('earlier'))

    def test_an_id_with_other_size(self):
        self.size = 77
        self.content = images.raw_bytes(77)
        self.image = base.image_of(self.content)
        self.source.put(self.image, self.content)
        self._fetched_again()

    def test_the_disk_vanished(self):
        self.driver.vanish(self.base_name)
        self._fetched_again()

    def test_the_disk_was_replaced(self):
        self.driver.vanish(self.base_name)
        theirs = self.driver.add(self.base_name, content=b'of another')
        self.check(self.deploy(), BYPASS)
        # It is not ours to take away.
        self.assertEqual(theirs, self.driver.find_disk(self.base_name))
        self.assertEqual(b'of another', self.driver.content(self.base_name))

    def test_it_was_fetched_anew_between_look_and_copy(self):
        # What is there by then is right, but it is not what is copied.
        self.prefetch()
        seen = self.record()
        work = instance_disk.InstanceDeploy(
            self.parts, self.image, 'disk', 0, None, None
        )
        self.assertTrue(work._is_current(seen))
        self.catalog.remove(seen)
        self.catalog.adopt(
            'pool', self.base_name, self.image, seen.udid, seen.capacity
        )
        self.assertFalse(work._is_current(seen))

    def test_it_is_purged_between_look_and_copy(self):
        def purge(*_):
            del self.driver.before['copy_disk']
            self.catalog.start_eviction(self.record())
            self.driver.vanish(self.base_name)
            self.catalog.remove(self.record())

        self.driver.before['copy_disk'] = purge
        self._fetched_again()

    def test_it_is_fetched_anew_between_look_and_copy(self):
        def replace(*_):
            del self.driver.before['copy_disk']
            self.catalog.remove(self.record())
            self.driver.vanish(self.base_name)
            self.prefetch()

        self.driver.before['copy_disk'] = replace
        self.check(self.deploy(), HIT)
        self.check_cached()

    def test_it_vanishes_again_and_again(self):
        copies = []

        def replace(*_):
            copies.append(self.record().lease)
            if self.locks.is_free(f'image-pool-{self.base_name}'):
                self.catalog.remove(self.record())
                self.driver.vanish(self.base_name)
                self.prefetch()

        self.driver.before['copy_disk'] = replace
        # In the end it holds the lock, which whoever removes it needs.
        self.check(self.deploy(), HIT)
        self.assertEqual(4, len(set(copies)))
        self.check_cached()

    def test_it_is_given_up_between_look_and_copy(self):
        def give_up(*_):
            del self.driver.before['copy_disk']
            self.catalog.start_eviction(self.record())

        self.driver.before['copy_disk'] = give_up
        done = self.deploy()
        self.assertIsNot(HIT, done.outcome)
        self.check(done, done.outcome)

    def test_an_eviction_that_died_is_finished(self):
        self.catalog.start_eviction(self.old)
        self._fetched_again()

    def test_what_is_being_evicted_is_not_served(self):
        self.catalog.start_eviction(self.old)
        with self.locks.hold(f'image-pool-{self.base_name}', 0):
            self.settings = cache_module.Settings(fetch_timeout=0)
            self.check(self.deploy(), BYPASS)


class LeftOverTest(DeployTestCase):
    """A process died while it filled a base image."""

    def test_it_is_cleaned_and_fetched_again(self):
        left = self.leave_behind()
        self.check(self.deploy(), MISS)
        self.check_cached()
        self.assertNotEqual(left.udid, self.record().udid)
        self.assertEqual(set(), self.driver.uploads)

    def test_before_powervm_told_the_udid(self):
        self.leave_behind(udid=False)
        self.check(self.deploy(), MISS)
        self.check_cached()
        self.assertEqual(set(), self.driver.uploads)

    def test_before_the_disk_was_made(self):
        self.catalog.begin('pool', self.base_name, self.image)
        self.check(self.deploy(), MISS)
        self.check_cached()

    def test_a_disk_that_it_would_not_have_made(self):
        self.leave_behind(udid=False, gib=7, label='')
        theirs = self.driver.find_disk(self.base_name)
        done = self.deploy()
        self.check(done, BYPASS)
        self.assertIn('does not know, and it has 7 GiB', done.reason)
        self.assertEqual(theirs, self.driver.find_disk(self.base_name))

    def test_another_left_over_that_it_was_to_replace(self):
        # No label was seen yet, so that this is not taken for its disk.
        self.catalog.begin('pool', self.base_name, self.image)
        old = self.driver.add(self.base_name)
        self.check(self.deploy(), MISS)
        self.check_cached()
        self.assertNotEqual(old.udid, self.record().udid)

    def test_a_disk_of_that_name_that_is_another_one(self):
        self.leave_behind()
        self.driver.vanish(self.base_name)
        theirs = self.driver.add(self.base_name)
        self.check(self.deploy(), BYPASS)
        self.assertEqual(theirs, self.driver.find_disk(self.base_name))

    def test_it_is_never_served(self):
        self.leave_behind(written=self.size)
        self.assertFalse(base_image.is_servable(self.record(), self.image))

    def test_of_another_image_whose_id_begins_alike(self):
        self.leave_behind()
        self.image = dataclasses.replace(
            self.image, id=self.image.id[:-4] + 'ffff'
        )
        self.source.put(self.image, *fakes.chunks(self.content))
        self.check(self.deploy(), MISS)
        self.check_cached()

    def test_one_that_can_not_be_removed(self):
        self.leave_behind()
        self.driver.before['delete'] = refusal
        self.assertRaises(exceptions.PVMImageCacheError, self.prefetch)
        self.assertIs(POPULATING, self.record().state)
        del self.driver.before['delete']
        self.check(self.deploy(), MISS)
        self.check_cached()

    def test_the_live_holder_is_left_alone(self):
        left = self.leave_behind()
        self.settings = cache_module.Settings(fetch_timeout=0)
        with self.locks.hold(f'image-pool-{self.base_name}', 0):
            self.check(self.deploy(), BYPASS)
        self.assertEqual(left, self.record())
        self.assertIn(left.udid, self.driver.uploads)


class LegsTest(DeployTestCase):
    """One of the disks, or both, can't be written."""

    def _fail(self, name, after=1):
        """The upload to a disk fails with one of its pieces."""
        seen = []

        def piece(disk, _):
            if disk.name == name:
                seen.append(disk)
                if len(seen) == after:
                    refusal()

        self.driver.before['piece'] = piece

    def test_the_base_image_fails(self):
        for after in (1, 2, 3):
            self._fail(self.base_name, after)
            done = self.deploy(f'disk{after}')
            self.check(done, BYPASS)
            self.assertIn('refused', done.reason)
            self.assertEqual(1, len(self.source.opened))
            del self.source.opened[:]
            self.check_not_cached(f'disk{after}')
            self.driver.vanish(f'disk{after}')

    def test_the_instance_fails(self):
        for after in (1, 2, 3):
            self._fail('disk', after)
            self.check(self.deploy(), MISS)
            self.check_cached()
            # Not fetched twice.
            self.assertEqual(1, len(self.source.opened))
            del self.source.opened[:]
            self.driver.vanish('disk')
            self.driver.vanish(self.base_name)
            self.catalog.remove(self.record())

    def test_both_fail(self):
        self.driver.before['upload'] = refusal
        self.assertRaises(exceptions.PowerVMRequestFailed, self.deploy)
        self.check_nothing_left()
        self.assertEqual(1, len(self.source.opened))

    def test_past_the_cache(self):
        self.settings = cache_module.Settings(enabled=False)
        self._fail('disk', 2)
        self.assertRaises(exceptions.PowerVMRequestFailed, self.deploy)
        self.check_nothing_left()

    def test_the_base_image_stalls(self):
        released = threading.Event()
        self.addCleanup(released.set)
        self.driver.before['upload'] = lambda disk: (
            disk.name == self.base_name and released.wait(base.PATIENCE)
        )
        self.settings = cache_module.Settings(stall_timeout=0.02)
        self.patch(base_image.transfer, 'QUEUE_LENGTH', 1)
        done = self.deploy()
        self.check(done, BYPASS)
        self.assertIn('no progress', done.reason)
        self.check_not_cached('disk')
        released.set()

    def test_the_disk_is_taken_already(self):
        theirs = self.driver.add('disk', content=b'of somebody')
        error = self.assertRaises(exceptions.DiskExists, self.deploy)
        self.assertEqual('disk', error.name)
        self.check_not_cached('disk')
        self.assertEqual(theirs, self.driver.find_disk('disk'))
        self.assertEqual(b'of somebody', self.driver.content('disk'))

    def test_the_disk_is_taken_already_at_a_hit(self):
        self.deploy('earlier')
        theirs = self.driver.add('disk')
        self.assertRaises(exceptions.DiskExists, self.deploy)
        self.assertEqual(theirs, self.driver.find_disk('disk'))
        self.check_cached()

    def test_powervm_is_away(self):
        def away(*_):
            raise exceptions.PowerVMUnreachable(url='u', reason='r', hint='')

        self.driver.before['create_disks'] = away
        self.assertRaises(exceptions.PowerVMUnreachable, self.deploy)
        self.assertEqual([], self.driver.names())
        # Nobody knows what became of it, so it stays on record.
        (entry,) = self.catalog.instance_disks('pool')
        self.assertEqual('disk', entry.disk_name)
        self.assertIs(POPULATING, self.record().state)
        del self.driver.before['create_disks']
        self.check(self.deploy(), MISS)
        self.check_cached()
        self.assertEqual([], self.catalog.instance_disks('pool'))

    def test_a_passing_fault_is_tried_again(self):
        for step in ('create_disks', 'copy_disk'):
            turns = []

            def busy(*_, turns=turns):
                turns.append(1)
                if len(turns) == 1:
                    raise exceptions.PowerVMBusy(action='a', reason='busy')

            self.driver.before = {step: busy}
            self.deploy(step)
            self.assert_bytes(
                self.content, self.driver.content(step, self.size)
            )
            self.assertGreater(len(turns), 1)

    def test_a_fault_that_does_not_pass(self):
        turns = []

        def busy(*_):
            turns.append(1)
            raise exceptions.PowerVMBusy(action='a', reason='busy')

        self.driver.before['create_disks'] = busy
        self.assertRaises(exceptions.PowerVMBusy, self.deploy)
        self.assertEqual(len(instance_disk.RETRY_DELAYS) + 1, len(turns))
        self.check_nothing_left()


class StreamTest(DeployTestCase):
    """Glance sends something else than the image."""

    serial = itertools.count()

    def _damaged(self):
        damaged = bytearray(self.content)
        damaged[-1] ^= 1
        return fakes.chunks(bytes(damaged))

    def _each_way(self, kind, *parts):
        """Neither a deploy nor a prefetch leaves anything."""
        self.source.put(self.image, *parts)
        self.assertRaises(kind, self.deploy)
        self.check_nothing_left()
        self.assertRaises(kind, self.prefetch)
        self.check_nothing_left()
        self.assertEqual(2, len(self.source.opened))
        self.settings = cache_module.Settings(enabled=False)
        self.assertRaises(kind, self.deploy)
        self.check_nothing_left()
        self.assertEqual(
            set(), {name for name in self.driver.calls if name == 'copy_disk'}
        )

    def test_corrupt(self):
        self._each_way(exceptions.ImageCorrupt, *self._damaged())

    def test_short(self):
        self._each_way(
            exceptions.ImageTruncated, *fakes.chunks(self.content[:-1])
        )

    def test_long(self):
        self._each_way(
            exceptions.ImageTruncated, *fakes.chunks(self.content + b'x')
        )

    def test_nothing(self):
        self._each_way(exceptions.ImageHasNoData)

    def test_it_breaks(self):
        self._each_way(
            exceptions.GlanceUnreachable,
            self.content[:CHUNK],
            BrokenPipeError(),
        )

    def test_unsafe(self):
        content = images.qcow2_bytes(base.GIB, backing_file='/etc/shadow')
        self.image = base.image_of(content, disk_format='qcow2')
        self._each_way(exceptions.ImageUnsafe, content)
        self.assertNotIn('create_disks', self.driver.calls)

    def test_interrupted(self):
        self._each_way(
            KeyboardInterrupt, self.content[:CHUNK], KeyboardInterrupt()
        )

    def test_a_later_deploy_is_not_harmed(self):
        self.source.put(self.image, *self._damaged())
        self.assertRaises(exceptions.ImageCorrupt, self.deploy)
        self.source.put(self.image, *fakes.chunks(self.content))
        self.check(self.deploy(), MISS)
        self.check_cached()

    @base.generated
    @hypothesis.given(
        strategies.sampled_from(
            ['upload', 'create_disks', 'copy_disk', 'delete', 'piece']
        ),
        strategies.integers(1, 4),
        strategies.sampled_from(
            [
                'get',
                'begin',
                'created',
                'commit',
                'progressed',
                'used',
                'remove',
                None,
            ]
        ),
    )
    def test_whatever_fails_no_disk_is_wrong(self, step, turn, broken):
        """One fault of PowerVM and one of the catalogue, anywhere."""
        self.driver = fakes.FakeDriver()
        self.catalog.close()
        self.catalog = BrokenCatalog(self.path(f'{next(self.serial)}.sqlite'))
        self.catalog.broken = {broken}
        turns = []

        def fault(*_):
            turns.append(1)
            if len(turns) == turn:
                refusal()

        self.driver.before[step] = fault
        for name in ('one', 'two'):
            try:
                self.check_bytes(self.deploy(name))
            except exceptions.PVMImageCacheError:
                pass
        self.catalog.broken = set()
        self.driver.before = {}
        self.check_bytes(self.deploy('last'))
        for record in self.catalog.images('pool'):
            if record.state is READY:
                self.assert_bytes(
                    self.content,
                    self.driver.content(record.disk_name, self.size),
                )
        self.catalog.close()

    def check_bytes(self, done):
        self.assert_bytes(
            self.content, self.driver.content(done.disk.name, self.size)
        )


class TogetherTest(DeployTestCase):
    def test_a_disk_that_somebody_else_makes(self):
        # Only one of them can have the name: nothing is fetched for it.
        with self.parts.hold_instance_disk('disk'):
            error = self.assertRaises(exceptions.DiskBeingCreated, self.deploy)
        self.assertIn('"disk"', str(error))
        self.assertEqual([], self.source.opened)
        self.check(self.deploy(), MISS)

    def test_one_fetch_for_all(self):
        """The fetch goes on only when all others wait for it."""
        count = 5
        waiting = set()
        all_wait = threading.Event()

        def progress(step, *_):
            if step == 'wait':
                waiting.add(threading.current_thread())
                if len(waiting) == count - 1:
                    all_wait.set()

        self.source.put(
            self.image,
            self.content[:CHUNK],
            lambda: self.wait(all_wait),
            self.content[CHUNK:],
        )
        done = self.in_threads(
            *[
                lambda name=name: self.deploy(f'disk{name}', progress=progress)
                for name in range(count)
            ]
        )
        self.assertEqual([self.image.id], self.source.opened)
        for each in done:
            self.check(each, each.outcome)
        self.assertEqual(
            [HIT] * (count - 1) + [MISS],
            sorted(
                (each.outcome for each in done),
                key=lambda outcome: outcome.value,
            ),
        )
        self.check_cached()

    def test_the_next_takes_over_from_one_that_fails(self):
        waits = threading.Event()
        self.source.put(
            self.image,
            self.content[:CHUNK],
            lambda: self.wait(waits),
            lambda: self.source.put(self.image, *fakes.chunks(self.content)),
            glance_exceptions.HTTPForbidden(),
        )
        begun = threading.Event()

        def first():
            self.assertRaises(exceptions.ImageForbidden, self.deploy, 'first')

        def second():
            self.wait(begun)
            return self.deploy(
                'second',
                progress=lambda step, *_: step == 'wait' and waits.set(),
            )

        self.driver.before['upload'] = lambda disk: begun.set()
        _, done = self.in_threads(first, second)
        self.check(done, MISS)
        self.check_cached()
        self.assertNotIn('first', self.driver.names())

    def test_other_images_do_not_wait(self):
        other, content = self.another('ffffffff-ffff-0000-0000-000000000000')
        self.deploy('earlier', other)
        self.source.put(
            self.image,
            self.content[:CHUNK],
            lambda: self.check(self.deploy('hit', other), HIT, content),
            self.content[CHUNK:],
        )
        self.check(self.deploy(), MISS)

    def test_a_prefetch_serves_a_deploy_that_waits(self):
        waits, begun = threading.Event(), threading.Event()
        self.source.put(
            self.image,
            self.content[:CHUNK],
            lambda: self.wait(waits),
            self.content[CHUNK:],
        )
        self.driver.before['upload'] = lambda disk: begun.set()

        def second():
            self.wait(begun)
            return self.deploy(
                progress=lambda step, *_: step == 'wait' and waits.set()
            )

        base_image, done = self.in_threads(self.prefetch, second)
        self.assertTrue(base_image.fetched)
        self.check(done, HIT)


class PrefetchTest(DeployTestCase):
    def test_fetched(self):
        result = self.prefetch()
        self.assertEqual(
            (True, self.size, self.base_name, self.image),
            (
                result.fetched,
                result.bytes_fetched,
                result.disk_name,
                result.image,
            ),
        )
        self.check_cached()
        self.assertEqual([self.base_name], self.driver.names())
        self.check(self.deploy(), HIT)

    def test_there_already(self):
        self.deploy()
        result = self.prefetch()
        self.assertEqual((False, 0), (result.fetched, result.bytes_fetched))
        self.assertEqual(1, len(self.source.opened))

    def test_fetched_by_somebody_else_meanwhile(self):
        real = self.parts.lock_directory.hold
        outcomes = []

        def hold(*args, **kwargs):
            self.locks.hold = real
            outcomes.append(self.deploy().outcome)
            return real(*args, **kwargs)

        self.locks.hold = hold
        self.assertFalse(self.prefetch().fetched)
        self.assertEqual([MISS], outcomes)

    def test_what_can_not_be_cached_is_told(self):
        self.assertRaises(
            exceptions.ImageNotCacheable,
            self.prefetch,
            dataclasses.replace(self.image, os_hash_value=None, checksum=None),
        )
        self.catalog.broken = {'begin'}
        self.assertRaises(exceptions.CatalogError, self.prefetch)
        self.catalog.broken = set()
        self.driver.add(self.base_name, 7)
        self.assertRaises(exceptions.BaseImageOccupied, self.prefetch)
        self.assertEqual([], self.catalog.images('pool'))

    def test_no_room(self):
        self.driver = fakes.FakeDriver(0)
        self.assertRaises(exceptions.NotEnoughSpace, self.prefetch)
        self.check_nothing_left()

    def test_the_upload_fails(self):
        self.driver.before['upload'] = refusal
        self.assertRaises(exceptions.PowerVMRequestFailed, self.prefetch)
        self.check_nothing_left()

    def test_a_left_over_is_replaced(self):
        self.leave_behind()
        self.assertTrue(self.prefetch().fetched)
        self.check_cached()
        self.assertEqual(set(), self.driver.uploads)

    def test_another_fetch_makes_no_progress(self):
        self.settings = cache_module.Settings(fetch_timeout=0)
        with self.locks.hold(f'image-pool-{self.base_name}', 0):
            self.assertRaises(exceptions.LockTimeout, self.prefetch)


class PatienceTest(base.TestCase):
    """How long a fetch by somebody else is waited for."""

    def setUp(self):
        super().setUp()
        self.now = 100.0
        self.seen = None
        self.told = []
        self.patch(base_image, 'time', self)
        self.patience = base_image._Patience(
            60, lambda: self.seen, lambda *args: self.told.append(args)
        )

    def monotonic(self):
        return self.now

    def _left(self, seconds, lease=None, done=0):
        self.now += seconds
        self.seen = lease and _Seen(lease, done)
        return self.patience.seconds_left()

    def test_nothing_happens(self):
        self.assertEqual(60, self._left(0))
        self.assertEqual(50, self._left(10))
        self.assertEqual(0, self._left(50))

    def test_progress_renews_it(self):
        self.assertEqual(60, self._left(10, 'a', 1))
        self.assertEqual(50, self._left(10, 'a', 1))
        self.assertEqual(60, self._left(40, 'a', 2))
        self.assertEqual(60, self._left(50, 'b', 2))
        self.assertEqual([('wait', done) for done in (1, 1, 2, 2)], self.told)

    def test_the_catalogue_is_not_asked_all_the_time(self):
        self._left(10, 'a', 1)
        self._left(0.1, 'a', 2)
        self.assertEqual(1, len(self.told))


@dataclasses.dataclass
class _Seen:
    lease: str
    bytes_done: int


class DecidersTest(base.TestCase):
    image = base.image_of(b'some bytes')

    def _record(self, **values):
        defaults = {
            'pool': 'pool',
            'disk_name': 'i_',
            'image': self.image,
            'state': READY,
            'lease': 'l',
            'holder': 'h',
            'udid': 'u',
            'capacity': base.GIB,
            'bytes_done': 10,
            'created_at': 1.0,
            'progress_at': 1.0,
            'ready_at': 1.0,
            'last_used_at': 1.0,
            'hits': 0,
            'reason': None,
            'started_clock': 1.0,
            'ready_clock': 1.0,
            'used_clock': 1.0,
        }
        return catalog_module.BaseImage(**defaults | values)

    def test_servable(self):
        self.assertTrue(base_image.is_servable(self._record(), self.image))

    def test_not_servable(self):
        for values in (
            {'udid': None},
            {'udid': ''},
            {'state': POPULATING},
            {'state': catalog_module.State.EVICTING},
            {'image': dataclasses.replace(self.image, disk_format='qcow2')},
        ):
            self.assertFalse(
                base_image.is_servable(self._record(**values), self.image),
                values,
            )

    @base.generated
    @hypothesis.given(
        strategies.sampled_from(catalog_module.State),
        strategies.sampled_from([None, '', 'udid']),
        strategies.sampled_from([base.IMAGE_ID, base.IMAGE_ID.upper()]),
        strategies.sampled_from([10, 11]),
        strategies.sampled_from(['raw', 'qcow2']),
        strategies.sampled_from([None, 'sha512', 'sha256']),
        strategies.sampled_from([None, 'other']),
    )
    def test_only_the_very_same_is_served(
        self, state, udid, image_id, size, disk_format, algo, value
    ):
        cached = dataclasses.replace(
            self.image,
            id=image_id,
            size=size,
            disk_format=disk_format,
            os_hash_algo=algo,
            os_hash_value=value or self.image.os_hash_value,
        )
        served = base_image.is_servable(
            self._record(state=state, udid=udid, image=cached), self.image
        )
        same = image_module.compare(cached, self.image)
        self.assertEqual(
            state is READY
            and udid == 'udid'
            and disk_format == 'raw'
            and same is image_module.Sameness.SAME,
            served,
        )
        if served:
            self.assertEqual(
                (base.IMAGE_ID, 10, 'raw'),
                (cached.id, cached.size, cached.disk_format),
            )

    def test_check_size(self):
        base_image.check_size(self.image, 0)
        base_image.check_size(self.image, 10)
        self.assertRaises(
            exceptions.DiskTooSmall, base_image.check_size, self.image, 9
        )
        large = dataclasses.replace(self.image, virtual_size=base.GIB + 1)
        error = self.assertRaises(
            exceptions.DiskTooSmall, base_image.check_size, large, base.GIB
        )
        self.assertIn('1 GiB (1073741824 bytes)', str(error))
        self.assertIn('(1073741825 bytes)', str(error))

    def test_check_cacheable(self):
        base_image.check_cacheable(self.image)
        self.assertRaises(
            exceptions.ImageNotCacheable,
            base_image.check_cacheable,
            dataclasses.replace(
                self.image, os_hash_algo='blake17', checksum=None
            ),
        )

    def test_contract_without_capabilities(self):
        class Bare(fakes.FakeDriver):
            snapshot = driver_base.DiskDriver.snapshot
            create_disks = driver_base.DiskDriver.create_disks
            upload = driver_base.DiskDriver.upload
            copy_disk = driver_base.DiskDriver.copy_disk
            remove_uploads = driver_base.DiskDriver.remove_uploads
            pool_id = driver_base.DiskDriver.pool_id

        bare = Bare()
        self.assertEqual('pool', bare.pool_id())
        for call in (
            bare.snapshot,
            lambda: bare.create_disks([]),
            lambda: bare.upload(None, iter(()), 1),
            lambda: bare.copy_disk(None, None),
            lambda: bare.remove_uploads(None),
            lambda: bare.create_disk_from_image(None, None, None),
        ):
            error = self.assertRaises(exceptions.NotSupported, call)
            self.assertIn('Bare does not', str(error))
