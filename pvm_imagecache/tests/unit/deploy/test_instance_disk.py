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

"""Tests of the deploy of one instance disk: hit, miss and bypass."""

import contextlib
import dataclasses
import hashlib
import itertools
import os
import sqlite3
import threading

import hypothesis
from hypothesis import strategies

from pvm_imagecache import cache as cache_module
from pvm_imagecache import exceptions
from pvm_imagecache.catalog import facade
from pvm_imagecache.catalog import models
from pvm_imagecache.cleanup import evictor
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.deploy import transfer
from pvm_imagecache.eviction import lru
from pvm_imagecache.eviction import pipeline
from pvm_imagecache.glance import stream as image_stream
from pvm_imagecache.system import locks
from pvm_imagecache.tests import images
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit import fakes
from pvm_imagecache.tests.unit.glance import responses

CHUNK = image_stream.CHUNK_SIZE
HIT, MISS = instance_disk.Outcome.HIT, instance_disk.Outcome.MISS
BYPASS, POOL = instance_disk.Outcome.BYPASS, instance_disk.Outcome.POOL
READY = models.State.READY
POPULATING = models.State.POPULATING


class HitAndMissTest(base.CacheTestCase):
    def test_miss_writes_the_instance_disk_and_the_base_image(self):
        self.check(self.deploy(), MISS)
        self.check_cached()
        self.assertEqual(
            [self.base_name],
            [name for name in self.driver.names() if name != 'disk'],
        )

    def test_miss_creates_both_disks_in_one_request(self):
        self.deploy()
        self.assertEqual(1, self.driver.calls.count('create_disks'))
        self.assertNotIn('copy_disk', self.driver.calls)

    def test_hit_copies_the_base_image_without_a_download(self):
        self.deploy()
        for name in 'abc':
            self.check(self.deploy(name), HIT)
        self.assertEqual([self.image.id], self.source.opened)
        self.assertEqual(3, self.record().hits)

    def test_hit_records_the_name_that_the_image_has_now(self):
        self.deploy()
        for name in ('new', None, 'newer'):
            self.image = dataclasses.replace(self.image, name=name)
            self.check(self.deploy(f'disk {name}'), HIT)
            self.assertEqual(name, self.record().image.name)

    def test_hit_makes_no_request_but_the_copy(self):
        self.deploy()
        del self.driver.calls[:]
        self.deploy('other')
        self.assertEqual(['copy_disk', 'create_disks'], self.driver.calls)

    def test_image_of_every_size_is_whole(self):
        for size in (1, CHUNK - 1, CHUNK, CHUNK + 1, 9 * CHUNK):
            image_id = f'{size:08x}-0000-0000-0000-000000000000'
            image, content = self.another(
                image_id, images.raw_bytes(size, seed=size)
            )
            for number, outcome in enumerate((MISS, HIT)):
                self.check(
                    self.deploy(f'{size}.{number}', image), outcome, content
                )

    def test_disk_has_the_requested_size(self):
        for name, outcome in (('miss', MISS), ('hit', HIT)):
            done = self.deploy(name, size=3 * base.GIB)
            self.check(done, outcome)
            self.assertEqual(3 * base.GIB, done.disk.capacity)
        # A base image has only the size that the image needs.
        self.assertEqual(base.GIB, self.record().capacity)

    def test_a_larger_disk_is_downloaded_if_the_platform_does_not_copy(self):
        self.deploy()
        facts = self.catalog.platform_facts
        for copies, outcome in ((True, HIT), (False, BYPASS), (None, HIT)):
            facts.forget('pool')
            if copies is not None:
                facts.record('pool', {'copies_into_larger': copies}, {}, '')
            name = f'disk {copies}'
            done = self.deploy(name, size=3 * base.GIB)
            self.check(done, outcome)
            self.assertEqual('larger' in done.reason, copies is False)
            self.check(self.deploy(f'{name} 2'), HIT)

    def test_two_images_are_cached_independently(self):
        other, content = self.another('ffffffff-ffff-0000-0000-000000000000')
        self.check(self.deploy('a'), MISS)
        self.check(self.deploy('b', other), MISS, content)
        self.check(self.deploy('c'), HIT)
        self.check(self.deploy('d', other), HIT, content)

    def test_qcow2_disk_has_the_virtual_size(self):
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

    def test_progress_of_fetch_and_copy_is_reported(self):
        reports = []
        self.deploy(progress=lambda *args: reports.append(args))
        self.assertEqual(('fetch', self.size, self.size), reports[-1])
        del reports[:]
        self.deploy('other', progress=lambda *args: reports.append(args))
        self.assertEqual(
            [('copy', 0, self.size), ('copy', self.size, self.size)], reports
        )

    def test_duration_of_each_step_is_returned(self):
        self.assertLessEqual(
            {'wait', 'fetch', 'total'}, set(self.deploy().seconds)
        )
        self.assertEqual({'copy', 'total'}, set(self.deploy('other').seconds))

    def test_sha256_is_passed_to_the_upload(self):
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

    def test_shared_pool_creates_the_disk_itself(self):
        self.driver = fakes.FakePool()
        done = self.deploy('a')
        self.check(done, POOL)
        done = self.deploy('b')
        self.assertEqual((POOL, 0), (done.outcome, done.bytes_fetched))
        self.assert_bytes(self.content, self.driver.content('b'))
        self.assertEqual([], self.catalog.base_images.list('pool'))


class DiskSizeTest(base.CacheTestCase):
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

    def test_small_disk_is_refused_without_a_download(self):
        error = self._refused(self.image, self.size - 1)
        self.assertIn(f'({self.size} bytes)', str(error))
        self.assertEqual([], self.source.opened)
        self.check_nothing_left()

    def test_virtual_size_in_the_header_is_checked(self):
        self._refused(self.qcow2, 5 * base.GIB - 1)
        self.check_nothing_left()

    def test_virtual_size_of_the_record_is_checked_at_a_hit(self):
        self.deploy('large', self.qcow2)
        self._refused(self.qcow2, 5 * base.GIB - 1)
        self.assertEqual(1, len(self.source.opened))

    def test_virtual_size_is_checked_in_a_bypass(self):
        self.settings = cache_module.Settings(enabled=False)
        self._refused(self.qcow2, 5 * base.GIB - 1)
        self.check_nothing_left()

    def test_disk_of_exactly_the_needed_size_is_created(self):
        self.deploy('a', self.image, self.size)
        self.deploy('b', self.qcow2, 5 * base.GIB)


class BypassTest(base.CacheTestCase):
    """A deploy succeeds without the cache."""

    def _bypassed(self, word):
        done = self.deploy()
        self.check(done, BYPASS)
        self.assertIn(word, done.reason)
        return done

    def test_disabled_cache_is_bypassed(self):
        self.deploy('earlier')
        self.settings = cache_module.Settings(enabled=False)
        self._bypassed('switched off')
        self.check_cached()

    def test_image_without_a_hash_is_not_cached(self):
        self.image = dataclasses.replace(
            self.image, os_hash_value=None, checksum=None
        )
        self._bypassed('no hash')
        self.check_not_cached('disk')

    def test_corrupt_catalog_is_replaced_and_nothing_of_it_served(self):
        """Its records are lost; none of its base images is served."""
        self.deploy('earlier')
        self.catalog.close()
        with open(self.catalog.path, 'wb') as file:
            file.write(b'this is no database')
        self.check(self.deploy(), MISS)
        self.assertEqual(1, len(self.catalog.base_images.list('pool')))
        self.check_cached()
        other, content = self.another('ffffffff-ffff-0000-0000-000000000000')
        self.check(self.deploy('a', other), MISS, content)
        self.check(self.deploy('b', other), HIT, content)

    def test_damaged_catalog_is_replaced_and_the_image_fetched_again(self):
        self.deploy('earlier')
        self.catalog.close()
        size = os.path.getsize(self.catalog.path)
        with open(self.catalog.path, 'r+b') as file:
            file.seek(4096)
            file.write(bytes(size - 4096))
        # It is set aside: no record says that the base image is complete.
        self.check(self.deploy(), MISS)
        self.check_cached()

    def test_catalog_of_a_newer_release_is_not_used(self):
        self.deploy('earlier')
        self.catalog.close()
        with contextlib.closing(sqlite3.connect(self.catalog.path)) as file:
            file.execute('PRAGMA user_version = 99')
        self._bypassed('version 99')

    def test_unusable_state_directory_bypasses_the_cache(self):
        with open(self.path('file'), 'w'):
            pass
        self.catalog = facade.Catalog(self.path('file', 'c.sqlite'))
        self.locks = locks.LockDirectory(self.path('file', 'locks'))
        self._bypassed(self.catalog.path)

    def test_unusable_lock_directory_bypasses_the_cache(self):
        with open(self.path('file'), 'w'):
            pass
        self.locks = locks.LockDirectory(self.path('file', 'locks'))
        self._bypassed('cannot lock')
        self.check_not_cached('disk')

    def test_catalog_error_at_each_step_bypasses_the_cache(self):
        for step in (
            'base_images.get',
            'base_images.start_fill',
            'base_images.set_disk',
        ):
            self.catalog.broken = {step}
            done = self.deploy(step)
            self.check(done, BYPASS)
            self.assertIn(step, done.reason)
            self.catalog.broken = set()
            self.assertNotIn(self.base_name, self.driver.names())
            self.assertIsNone(self.record())

    def test_failed_commit_deletes_the_base_image(self):
        self.catalog.broken = {'base_images.finish_fill'}
        self._bypassed('base_images.finish_fill')
        self.check_not_cached('disk')

    def test_failure_to_record_progress_is_ignored(self):
        self.catalog.broken = {'base_images.set_progress'}
        self.check(self.deploy(), MISS)
        self.check_cached()

    def test_failure_to_record_a_hit_is_ignored(self):
        self.deploy('earlier')
        self.catalog.broken = {'base_images.record_hit'}
        self.check(self.deploy(), HIT)

    def test_catalog_that_fails_during_a_miss_bypasses_the_cache(self):
        self.driver.before['create_disks'] = lambda new: (
            self.catalog.broken.update(
                {
                    'base_images.get',
                    'base_images.set_disk',
                    'base_images.finish_fill',
                    'base_images.set_progress',
                    'base_images.remove',
                }
            )
        )
        self._bypassed('base_images.set_disk')
        self.assertEqual(['disk'], self.driver.names())

    def test_lock_timeout_bypasses_the_cache(self):
        self.settings = cache_module.Settings(fetch_timeout=0)
        with self.locks.hold(f'image-pool-{self.base_name}', 0):
            self._bypassed('Waited 0 s for the lock')
        self.check_not_cached('disk')

    def test_a_disk_without_answer_is_not_copied_twice(self):
        for number, error in enumerate(
            (
                exceptions.UpdateUnanswered(pool='p', what='w', reason='r'),
                exceptions.UpdateNotMade(
                    pool='p', what='w', reason='r', action='a'
                ),
            )
        ):
            self.deploy(f'earlier{number}')
            copies = []

            def fail(*args, error=error, copies=copies):
                copies.append(args)
                raise error

            busy = [exceptions.PowerVMBusy(action='a', reason='busy')]

            def fail_once(new, busy=busy):
                if busy:
                    raise busy.pop()

            self.driver.before['copy_disk'] = fail
            self.driver.before['create_disks'] = fail_once
            done = self.deploy(f'disk{number}')
            self.assertIs(BYPASS, done.outcome)
            self.assertIn('could not be copied', done.reason)
            self.assertEqual(1, len(copies))
            self.assertEqual([], busy)
            self.driver.before.clear()

    def test_a_miss_without_answer_bypasses_the_cache(self):
        def fail(new):
            if len(new) > 1:
                raise exceptions.UpdateUnanswered(
                    pool='p', what='w', reason='r'
                )

        self.driver.before['create_disks'] = fail
        self.check(self.deploy(), BYPASS)

    def test_hit_needs_no_fill_lock(self):
        self.deploy('earlier')
        with self.locks.hold(f'image-pool-{self.base_name}', 0):
            self.check(self.deploy(), HIT)

    def test_untracked_disk_that_is_not_stale_is_kept(self):
        for word, values, taken, uploads in (
            ('label', {'label': 'theirs'}, False, False),
            ('bytes', {'gib': 2}, False, False),
            ('mapped', {}, True, False),
            ('upload', {}, False, True),
        ):
            foreign = self.driver.add(
                self.base_name, content=b'of others', **values
            )
            self.driver.taken = {self.base_name} if taken else set()
            self.driver.uploads = {foreign.udid} if uploads else set()
            self._bypassed(word)
            self.assertEqual(foreign, self.driver.find_disk(self.base_name))
            self.assertEqual(b'of others', self.driver.content(self.base_name))
            self.assertEqual([], self.catalog.base_images.list('pool'))
            self.driver.vanish('disk')

    def test_stale_disk_of_nova_powervm_is_replaced(self):
        for label in ('', 'None'):
            self.driver.add(self.base_name, content=b'half of', label=label)
            self.check(self.deploy(), MISS)
            self.check_cached()
            self.catalog.base_images.remove(self.record())
            self.driver.vanish(self.base_name)
            self.driver.vanish('disk')

    def test_stale_disk_that_cannot_be_deleted_bypasses_the_cache(self):
        self.driver.add(self.base_name)
        self.driver.before['delete'] = fakes.refusal
        self._bypassed('refused')
        self.assertEqual([], self.catalog.base_images.list('pool'))

    def test_repeated_reason_is_a_warning_only_once(self):
        self.driver.add(self.base_name, gib=2)
        with self.assertLogs('pvm_imagecache', 'INFO') as logs:
            self._bypassed('bytes')
            self.driver.vanish('disk')
            self._bypassed('bytes')
        levels = [
            each.levelname
            for each in logs.records
            if 'Bypassing the cache' in each.getMessage()
        ]
        self.assertEqual(['WARNING', 'INFO'], levels)

    def test_images_with_the_same_disk_name_are_both_cached(self):
        other, content = self.another(
            self.image.id[:14] + 'f' + self.image.id[15:]
        )
        self.check(self.deploy('first', other), MISS, content)
        self.check(self.deploy('second'), MISS)
        self.check(self.deploy('again', other), HIT, content)
        self.check(self.deploy('and again'), HIT)

    def test_id_in_other_case_is_another_image(self):
        other, content = self.another(self.image.id.upper())
        self.check(self.deploy('first', other), MISS, content)
        self.check(self.deploy('second'), MISS)
        self.check(self.deploy('a', other), HIT, content)
        self.check(self.deploy('b'), HIT)

    def test_id_in_other_case_with_the_same_disk_name_is_cached(self):
        digits = '12345678-1234-abcd-0000-000000000000'
        for number, spelling in enumerate((digits, digits.upper())):
            image, content = self.another(
                spelling, images.raw_bytes(100, seed=number)
            )
            self.check(self.deploy(f'disk{number}', image), MISS, content)

    def test_image_without_a_common_hash_is_bypassed(self):
        self.deploy('earlier')
        self.image = dataclasses.replace(
            self.image,
            checksum=None,
            os_hash_algo='sha256',
            os_hash_value=hashlib.sha256(self.content).hexdigest(),
        )
        self._bypassed('no hash in common')
        self.check_cached()

    def test_one_disk_is_created_if_both_are_refused(self):
        def refuse_two(new):
            if len(new) > 1:
                raise exceptions.NotEnoughSpace(
                    pool='p', free=1, needed=2, what='w'
                )

        self.driver.before['create_disks'] = refuse_two
        self._bypassed('free')
        self.check_not_cached('disk')


class NotEnoughSpaceTest(base.CacheTestCase):
    gib = 1

    def test_image_is_not_cached_if_only_one_disk_fits(self):
        is_free = []
        self.driver.before['upload'] = lambda disk: is_free.append(
            self.locks.is_free(f'image-pool-{self.base_name}')
        )
        self.check(self.deploy(), BYPASS)
        # Other deploys of the image do not wait for this disk.
        self.assertEqual([True], is_free)
        self.check_not_cached('disk')

    def test_deploy_fails_if_no_disk_fits(self):
        self.deploy('earlier')
        self.assertRaises(exceptions.NotEnoughSpace, self.deploy)
        self.check_not_cached('earlier')

    def test_hit_fails_without_space_for_the_copy(self):
        self.gib = 2
        self.driver = fakes.FakeDriver(2)
        self.deploy('earlier')
        self.assertRaises(exceptions.NotEnoughSpace, self.deploy)
        self.check_cached()


class EvictionForDeployTest(base.CacheTestCase):
    """Two images of one GiB each fill the pool."""

    gib = 2

    def setUp(self):
        super().setUp()
        self.patch(evictor, 'FREEING_TIMEOUT', 0)
        self.policies = (
            pipeline.NamedPolicy('lru', lru.LRUPolicy(None, None)),
        )
        self._set_minimum_age(0)
        self.other, _ = self.another('ffffffff-ffff-0000-0000-000000000000')
        self.prefetch()
        self.prefetch(self.other)

    def _set_minimum_age(self, seconds):
        self.settings = cache_module.Settings(
            stall_timeout=base.PATIENCE, minimum_age=seconds
        )

    def test_copy_never_evicts_its_base_image(self):
        # Its base image is the least recently used one.
        self.check(self.deploy(), HIT)
        self.assertEqual(sorted(['disk', self.base_name]), self.driver.names())

    def test_bypass_evicts_a_young_image_as_the_last_resort(self):
        self._set_minimum_age(1000)
        third, content = self.another('eeeeeeee-ffff-0000-0000-000000000000')
        self.check(self.deploy(image=third), BYPASS, content)
        self.assertEqual(2, len(self.driver.names()))


class InstanceRecordTest(base.CacheTestCase):
    """A record identifies the instance disk until it is complete."""

    def _udids_before(self, step):
        """Collect the recorded UDID and the real one before a step."""
        found = []

        def note(*_):
            (entry,) = self.catalog.instance_disks.list('pool')
            disk = self.driver.find_disk('disk')
            found.append((entry.udid, disk.udid if disk else None))

        self.driver.before[step] = note
        return found

    def test_record_is_written_before_the_disk(self):
        found = self._udids_before('create_disks')
        self.deploy()
        self.assertEqual([(None, None)], found)
        self.assertEqual([], self.catalog.instance_disks.list('pool'))

    def test_udid_is_recorded_before_the_data_of_a_miss(self):
        found = self._udids_before('upload')
        self.check(self.deploy(), MISS)
        for recorded, real in found:
            self.assertIsNotNone(recorded)
            self.assertEqual(real, recorded)

    def test_udid_is_recorded_before_the_data_of_a_bypass(self):
        self.settings = cache_module.Settings(enabled=False)
        found = self._udids_before('upload')
        self.check(self.deploy(), BYPASS)
        ((recorded, real),) = found
        self.assertIsNotNone(recorded)
        self.assertEqual(real, recorded)

    def test_udid_of_a_deleted_disk_is_removed_from_the_record(self):
        self.driver.before['upload'] = lambda disk: (
            disk.name == 'disk' and fakes.refusal()
        )
        found = self._udids_before('copy_disk')
        self.check(self.deploy(), MISS)
        self.assertEqual([(None, None)], found)


class DownloadPermissionTest(base.CacheTestCase):
    """The cache serves only what Glance would let the user download."""

    def _deploy_for(self, context, name='disk'):
        return instance_disk.InstanceDeploy(
            self.cache, self.image, name, 0, context, None
        ).run()

    def test_miss_makes_no_permission_check(self):
        self.check(self._deploy_for('user'), MISS)
        self.assertEqual([], self.source.asked)

    def test_hit_checks_the_permission_of_the_user(self):
        self.prefetch()
        self.check(self._deploy_for('user'), HIT)
        self.assertEqual([(self.image.id, 'user')], self.source.asked)

    def test_hit_without_permission_creates_no_disk(self):
        self.prefetch()
        self.source.refusal = exceptions.ImageForbidden(image=self.image.id)
        self.assertRaises(exceptions.ImageForbidden, self._deploy_for, 'user')
        self.assertEqual([self.base_name], self.driver.names())

    def test_configured_user_needs_no_permission(self):
        self.prefetch()
        self.source.refusal = exceptions.ImageForbidden(image=self.image.id)
        self.check(self.deploy(), HIT)

    def test_permission_check_can_be_disabled(self):
        self.prefetch()
        self.settings = cache_module.Settings(check_download_permission=False)
        self.source.refusal = exceptions.ImageForbidden(image=self.image.id)
        self.check(self._deploy_for('user'), HIT)

    def _when_asked(self, do):
        """Hold the lock of the fill until Glance is asked; then do it."""
        held = contextlib.ExitStack()
        self.addCleanup(held.close)
        held.enter_context(self.cache.fill_lock(self.base_name, 0))
        real = self.source.check_readable

        def check_readable(image, context=None):
            real(image, context)
            held.close()
            do()

        self.source.check_readable = check_readable

    def test_permission_is_checked_before_a_wait(self):
        self._when_asked(lambda: self.deploy('of another process'))
        self.check(self._deploy_for('user'), HIT)
        self.assertEqual([(self.image.id, 'user')], self.source.asked)

    def test_token_may_expire_during_a_wait(self):
        def expire():
            self.deploy('of another process')
            self.source.refusal = exceptions.GlanceLogonFailed(reason='401')

        self._when_asked(expire)
        self.check(self._deploy_for('user'), HIT)

    def test_download_after_a_wait_makes_no_second_check(self):
        self._when_asked(lambda: None)
        self.check(self._deploy_for('user'), MISS)
        self.assertEqual([(self.image.id, 'user')], self.source.asked)

    def test_deploy_without_permission_does_not_wait(self):
        self.source.refusal = exceptions.ImageForbidden(image=self.image.id)
        with self.cache.fill_lock(self.base_name, 0):
            self.assertRaises(
                exceptions.ImageForbidden, self._deploy_for, 'user'
            )

    def test_shared_pool_checks_the_permission(self):
        self.driver = fakes.FakePool()
        self._deploy_for('owner', 'first')
        self.source.refusal = exceptions.ImageForbidden(image=self.image.id)
        self.assertRaises(exceptions.ImageForbidden, self._deploy_for, 'user')
        self.assertEqual(['first'], self.driver.names())
        self.deploy('configured')
        self.settings = cache_module.Settings(check_download_permission=False)
        self._deploy_for('user', 'unchecked')
        self.assertEqual(
            ['configured', 'first', 'unchecked'], self.driver.names()
        )


class ReplacedBaseImageTest(base.CacheTestCase):
    """The base image changes, is evicted or disappears."""

    def setUp(self):
        super().setUp()
        self.deploy('earlier')
        self.old = self.record()

    def _fetched_again(self, name='disk'):
        self.check(self.deploy(name), MISS)
        self.check_cached()
        self.assertNotEqual(self.old.fill_id, self.record().fill_id)
        self.check(self.deploy('copy'), HIT)

    def test_changed_content_is_fetched_again(self):
        earlier = self.content
        self.content = images.raw_bytes(self.size, seed=9)
        self.image = base.image_of(self.content)
        self.source.put(self.image, *fakes.chunks(self.content))
        self._fetched_again()
        self.assert_bytes(earlier, self.driver.content('earlier'))

    def test_changed_size_is_fetched_again(self):
        self.size = 77
        self.content = images.raw_bytes(77)
        self.image = base.image_of(self.content)
        self.source.put(self.image, self.content)
        self._fetched_again()

    def test_missing_base_image_is_fetched_again(self):
        self.driver.vanish(self.base_name)
        self._fetched_again()

    def test_foreign_disk_in_its_place_is_kept(self):
        self.driver.vanish(self.base_name)
        foreign = self.driver.add(self.base_name, content=b'of another')
        self.check(self.deploy(), BYPASS)
        # The cache did not create it.
        self.assertEqual(foreign, self.driver.find_disk(self.base_name))
        self.assertEqual(b'of another', self.driver.content(self.base_name))

    def test_record_replaced_before_the_copy_is_read_again(self):
        def adopt_again(*_):
            del self.driver.before['copy_disk']
            record = self.record()
            self.catalog.base_images.remove(record)
            self.catalog.base_images.adopt(
                'pool',
                self.base_name,
                self.image,
                record.udid,
                record.capacity,
            )

        del self.driver.calls[:]
        self.driver.before['copy_disk'] = adopt_again
        self.check(self.deploy(), HIT)
        # The disk is the same, but not the record that was looked up.
        self.assertEqual(2, self.driver.calls.count('copy_disk'))

    def test_base_image_purged_before_the_copy_is_fetched_again(self):
        def purge(*_):
            del self.driver.before['copy_disk']
            self.catalog.base_images.start_eviction(self.record())
            self.driver.vanish(self.base_name)
            self.catalog.base_images.remove(self.record())

        self.driver.before['copy_disk'] = purge
        self._fetched_again()

    def test_base_image_replaced_before_the_copy_is_a_hit(self):
        def replace(*_):
            del self.driver.before['copy_disk']
            self.catalog.base_images.remove(self.record())
            self.driver.vanish(self.base_name)
            self.prefetch()

        self.driver.before['copy_disk'] = replace
        self.check(self.deploy(), HIT)
        self.check_cached()

    def test_base_image_that_keeps_changing_is_copied_with_its_lock(self):
        copies = []

        def replace(*_):
            copies.append(self.record().fill_id)
            if self.locks.is_free(f'image-pool-{self.base_name}'):
                self.catalog.base_images.remove(self.record())
                self.driver.vanish(self.base_name)
                self.prefetch()

        self.driver.before['copy_disk'] = replace
        # The last copy holds the lock, which a removal needs.
        self.check(self.deploy(), HIT)
        self.assertEqual(4, len(set(copies)))
        self.check_cached()

    def test_eviction_that_starts_before_the_copy_prevents_a_hit(self):
        def start_eviction(*_):
            del self.driver.before['copy_disk']
            self.catalog.base_images.start_eviction(self.record())

        self.driver.before['copy_disk'] = start_eviction
        done = self.deploy()
        self.assertIsNot(HIT, done.outcome)
        self.check(done, done.outcome)

    def test_interrupted_eviction_is_finished(self):
        self.catalog.base_images.start_eviction(self.old)
        self._fetched_again()

    def test_base_image_in_eviction_is_not_served(self):
        self.catalog.base_images.start_eviction(self.old)
        with self.locks.hold(f'image-pool-{self.base_name}', 0):
            self.settings = cache_module.Settings(fetch_timeout=0)
            self.check(self.deploy(), BYPASS)


class FailedWriteTest(base.CacheTestCase):
    """One of the disks, or both, cannot be written."""

    def _fail(self, name, after=1):
        """Make the upload to a disk fail at a piece."""
        seen = []

        def piece(disk, _):
            if disk.name == name:
                seen.append(disk)
                if len(seen) == after:
                    fakes.refusal()

        self.driver.before['piece'] = piece

    def test_instance_disk_survives_a_failed_base_image(self):
        for after in (1, 2, 3):
            self._fail(self.base_name, after)
            done = self.deploy(f'disk{after}')
            self.check(done, BYPASS)
            self.assertIn('refused', done.reason)
            self.assertEqual(1, len(self.source.opened))
            del self.source.opened[:]
            self.check_not_cached(f'disk{after}')
            self.driver.vanish(f'disk{after}')

    def test_failed_instance_disk_is_copied_from_the_cache(self):
        for after in (1, 2, 3):
            self._fail('disk', after)
            self.check(self.deploy(), MISS)
            self.check_cached()
            # The image is not fetched twice.
            self.assertEqual(1, len(self.source.opened))
            del self.source.opened[:]
            self.driver.vanish('disk')
            self.driver.vanish(self.base_name)
            self.catalog.base_images.remove(self.record())

    def test_both_failed_disks_are_deleted(self):
        self.driver.before['upload'] = fakes.refusal
        self.assertRaises(exceptions.PowerVMRequestFailed, self.deploy)
        self.check_nothing_left()
        self.assertEqual(1, len(self.source.opened))

    def test_failed_disk_of_a_bypass_is_deleted(self):
        self.settings = cache_module.Settings(enabled=False)
        self._fail('disk', 2)
        self.assertRaises(exceptions.PowerVMRequestFailed, self.deploy)
        self.check_nothing_left()

    def test_stalled_base_image_does_not_stop_the_instance_disk(self):
        released = threading.Event()
        self.addCleanup(released.set)
        self.driver.before['upload'] = lambda disk: (
            disk.name == self.base_name and released.wait(base.PATIENCE)
        )
        self.settings = cache_module.Settings(stall_timeout=0.02)
        self.patch(transfer, 'QUEUE_LENGTH', 1)
        done = self.deploy()
        self.check(done, BYPASS)
        self.assertIn('no progress', done.reason)
        self.check_not_cached('disk')
        released.set()

    def test_miss_keeps_an_existing_disk_of_that_name(self):
        foreign = self.driver.add('disk', content=b'of others')
        error = self.assertRaises(exceptions.DiskExists, self.deploy)
        self.assertEqual('disk', error.name)
        self.check_not_cached('disk')
        self.assertEqual(foreign, self.driver.find_disk('disk'))
        self.assertEqual(b'of others', self.driver.content('disk'))

    def test_hit_keeps_an_existing_disk_of_that_name(self):
        self.deploy('earlier')
        foreign = self.driver.add('disk')
        self.assertRaises(exceptions.DiskExists, self.deploy)
        self.assertEqual(foreign, self.driver.find_disk('disk'))
        self.check_cached()

    def test_unreachable_powervm_keeps_both_records(self):
        def unreachable(*_):
            raise exceptions.PowerVMUnreachable(url='u', reason='r', hint='')

        self.driver.before['create_disks'] = unreachable
        self.assertRaises(exceptions.PowerVMUnreachable, self.deploy)
        self.assertEqual([], self.driver.names())
        # The disk may exist, so its record stays.
        (entry,) = self.catalog.instance_disks.list('pool')
        self.assertEqual('disk', entry.disk_name)
        self.assertIs(POPULATING, self.record().state)
        del self.driver.before['create_disks']
        self.check(self.deploy(), MISS)
        self.check_cached()
        self.assertEqual([], self.catalog.instance_disks.list('pool'))

    def test_transient_error_is_retried(self):
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

    def test_persistent_error_is_raised_after_the_retries(self):
        turns = []

        def busy(*_):
            turns.append(1)
            raise exceptions.PowerVMBusy(action='a', reason='busy')

        self.driver.before['create_disks'] = busy
        self.assertRaises(exceptions.PowerVMBusy, self.deploy)
        self.assertEqual(len(instance_disk.RETRY_DELAYS) + 1, len(turns))
        self.check_nothing_left()


class RefusedUploadTest(base.CacheTestCase):
    """PowerVM does not take the data of a disk."""

    def setUp(self):
        super().setUp()
        self.patch(instance_disk, 'RETRY_DELAYS', (0, 0))

    def test_both_uploads_of_a_miss_are_repeated_once(self):
        self.driver.before['upload'] = fakes.refused_uploads(2)
        self.assertEqual(MISS, self.deploy().outcome)
        self.check_cached()
        self.driver.before['upload'] = fakes.refused_uploads(4)
        self.settings = cache_module.Settings(enabled=False)
        self.assertRaises(exceptions.UploadFailed, self.deploy, 'second')
        self.assertEqual(['disk', self.base_name], self.driver.names())

    def test_upload_of_a_bypass_is_repeated_once(self):
        self.settings = cache_module.Settings(enabled=False)
        self.driver.before['upload'] = fakes.refused_uploads(1)
        self.assertEqual(BYPASS, self.deploy().outcome)
        self.assert_bytes(self.content, self.driver.content('disk'))


class FailedDownloadTest(base.CacheTestCase):
    """Glance sends other data than the image, or none."""

    serial = itertools.count()

    def _damaged(self):
        damaged = bytearray(self.content)
        damaged[-1] ^= 1
        return fakes.chunks(bytes(damaged))

    def _check_failure(self, kind, *parts, downloads=1):
        """Check that neither a deploy nor a prefetch leaves anything."""
        self.source.put(self.image, *parts)
        self.assertRaises(kind, self.deploy)
        self.check_nothing_left()
        self.assertRaises(kind, self.prefetch)
        self.check_nothing_left()
        self.assertEqual(2 * downloads, len(self.source.opened))
        self.settings = cache_module.Settings(enabled=False)
        self.assertRaises(kind, self.deploy)
        self.check_nothing_left()
        self.assertEqual(
            set(), {name for name in self.driver.calls if name == 'copy_disk'}
        )

    def test_corrupt_image_leaves_nothing(self):
        self._check_failure(
            exceptions.ImageCorrupt, *self._damaged(), downloads=2
        )

    def test_short_image_leaves_nothing(self):
        self._check_failure(
            exceptions.ImageTruncated,
            *fakes.chunks(self.content[:-1]),
            downloads=2,
        )

    def test_long_image_leaves_nothing(self):
        self._check_failure(
            exceptions.ImageTruncated,
            *fakes.chunks(self.content + b'x'),
            downloads=2,
        )

    def test_empty_image_leaves_nothing(self):
        self._check_failure(exceptions.ImageHasNoData)

    def test_broken_connection_leaves_nothing(self):
        self._check_failure(
            exceptions.GlanceUnreachable,
            self.content[:CHUNK],
            BrokenPipeError(),
        )

    def test_unsafe_image_creates_no_disk(self):
        content = images.qcow2_bytes(base.GIB, backing_file='/etc/shadow')
        self.image = base.image_of(content, disk_format='qcow2')
        self._check_failure(exceptions.ImageUnsafe, content)
        self.assertNotIn('create_disks', self.driver.calls)

    def test_interrupted_download_leaves_nothing(self):
        self._check_failure(
            KeyboardInterrupt, self.content[:CHUNK], KeyboardInterrupt()
        )

    def test_later_deploy_succeeds_after_a_corrupt_image(self):
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
                'base_images.get',
                'base_images.start_fill',
                'base_images.set_disk',
                'base_images.finish_fill',
                'base_images.set_progress',
                'base_images.record_hit',
                'base_images.remove',
                None,
            ]
        ),
    )
    def test_any_two_errors_leave_no_wrong_disk(self, step, turn, broken):
        """Combine one error of PowerVM with one of the catalog."""
        self.driver = fakes.FakeDriver()
        self.catalog.close()
        self.catalog = fakes.BrokenCatalog(
            self.path(f'{next(self.serial)}.sqlite')
        )
        self.catalog.broken = {broken}
        turns = []

        def fault(*_):
            turns.append(1)
            if len(turns) == turn:
                fakes.refusal()

        self.driver.before[step] = fault
        for name in ('one', 'two'):
            with contextlib.suppress(exceptions.PVMImageCacheError):
                self.check_bytes(self.deploy(name))
        self.catalog.broken = set()
        self.driver.before = {}
        self.check_bytes(self.deploy('last'))
        for record in self.catalog.base_images.list('pool'):
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


class ConcurrentDeployTest(base.CacheTestCase):
    def test_disk_in_creation_is_refused_without_a_download(self):
        # Only one of them can have the name, so nothing is fetched.
        with self.cache.instance_disk_lock('disk'):
            error = self.assertRaises(exceptions.DiskBeingCreated, self.deploy)
        self.assertIn('"disk"', str(error))
        self.assertEqual([], self.source.opened)
        self.check(self.deploy(), MISS)

    def test_concurrent_deploys_share_one_download(self):
        """The download continues only when all other deploys wait."""
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

    def test_waiting_deploy_takes_over_from_a_failed_one(self):
        waits = threading.Event()
        self.source.put(
            self.image,
            self.content[:CHUNK],
            lambda: self.wait(waits),
            lambda: self.source.put(self.image, *fakes.chunks(self.content)),
            responses.refused(403),
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

    def test_other_images_do_not_wait_for_a_fetch(self):
        other, content = self.another('ffffffff-ffff-0000-0000-000000000000')
        self.deploy('earlier', other)
        self.source.put(
            self.image,
            self.content[:CHUNK],
            lambda: self.check(self.deploy('hit', other), HIT, content),
            self.content[CHUNK:],
        )
        self.check(self.deploy(), MISS)

    def test_waiting_deploy_is_served_by_a_prefetch(self):
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
