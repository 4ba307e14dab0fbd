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

r"""Stateful test of the whole cache against a model of it.

The model is a dict of the bytes that each disk must hold. Catalog, locks and
policies are real; pool and Glance are in memory. Images are deployed, purged,
pinned and evicted, others change the pool, clocks are set, the host restarts,
the catalog or its ID is lost, another catalog has disks and is taken over,
and the process crashes during any of these operations.

A longer run takes more examples and more steps for each::

    PVM_IMAGECACHE_MODEL_RUNS=1500 PVM_IMAGECACHE_MODEL_STEPS=60 \
        python -m testtools.run pvm_imagecache.tests.unit.test_model
"""

import contextlib
import os
import time

import hypothesis
from hypothesis import stateful
from hypothesis import strategies
import testtools

from pvm_imagecache import cache as cache_module
from pvm_imagecache import exceptions
from pvm_imagecache import manager as manager_module
from pvm_imagecache import naming
from pvm_imagecache.catalog import boot_clock
from pvm_imagecache.catalog import facade
from pvm_imagecache.catalog import file as catalog_file
from pvm_imagecache.catalog import models
from pvm_imagecache.cleanup import ownership
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.eviction import age
from pvm_imagecache.eviction import lru
from pvm_imagecache.eviction import pipeline
from pvm_imagecache.eviction import watermark
from pvm_imagecache.system import locks
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit import fakes

HIT, MISS = instance_disk.Outcome.HIT, instance_disk.Outcome.MISS
READY = models.State.READY
POOL_GIB = 8
#: For more runs than a unit test may take, set these variables.
RUNS = int(os.environ.get('PVM_IMAGECACHE_MODEL_RUNS', '40'))
STEPS = int(os.environ.get('PVM_IMAGECACHE_MODEL_STEPS', '50'))
MINIMUM_AGE = 50.0
#: The last two share the twelve digits that the name of a disk contains.
IDS = (
    'aaaaaaaa-0000-4000-8000-000000000001',
    'bbbbbbbb-0000-4000-8000-000000000002',
    'cccccccc-0000-4000-8000-000000000003',
    'dddddddd-0000-4000-8000-000000000004',
    'dddddddd-0000-4000-8000-000000000005',
)
which = strategies.sampled_from(range(len(IDS)))
#: Where the process can crash: before a call of the pool, or before and
#: after a use of the catalog.
crashes = strategies.one_of(
    strategies.tuples(
        strategies.sampled_from(
            ['create_disks', 'copy_disk', 'snapshot', 'delete', 'mapped']
        ),
        strategies.integers(0, 3),
    ),
    strategies.tuples(strategies.just('catalog'), strategies.integers(0, 25)),
)
sometimes = strategies.one_of(strategies.none(), strategies.none(), crashes)


class Crash(BaseException):
    """The process does nothing any more, not even clean up."""


class CacheMachine(stateful.RuleBasedStateMachine):
    """The operations on a cache, and what must be true after each."""

    def __init__(self):
        super().__init__()
        self.test = base.TestCase('run')
        self.test.setUp()
        self.up, self.boot, self.now = 100.0, 'boot', 1e9
        self.test.patch(boot_clock, 'uptime', lambda: self.up)
        self.test.patch(boot_clock, 'boot', lambda: self.boot)
        self.test.patch(time, 'time', lambda: self.now)
        # This pool ends every request of a crashed process at once.
        self.test.patch(ownership, 'LONGEST_REQUEST', 0)
        #: Is called at each point where the process can crash.
        self.reach = lambda point: None
        self._make_catalog_crash()
        self.driver = fakes.FakeDriver(POOL_GIB)
        self.source = fakes.FakeSource()
        self.contents = {}
        self.images = [None] * len(IDS)
        for number in range(len(IDS)):
            self._store(number, b'first')
        self.instances, self.foreign = {}, {}
        #: Untracked disks that the cache may replace.
        self.stale = {}
        #: UDIDs of disks of other catalogs that are being written.
        self.written_by_others = set()
        self.pinned, self.used = set(), set()
        #: Instance disks whose deploy crashed or failed, and their bytes.
        self.unfinished = {}
        self.numbers = iter(range(10_000))
        #: How many disks were adopted, which may exceed the limit.
        self.adopted = 0
        self.manager = None

    def _make_catalog_crash(self):
        """Let the process crash before and after each use of a catalog."""
        session, in_use = catalog_file.CatalogFile.session, []

        @contextlib.contextmanager
        def crashing_session(file):
            if in_use:
                # A part of the same use.
                with session(file) as connection:
                    yield connection
                return
            self.reach('catalog')
            in_use.append(True)
            try:
                with session(file) as connection:
                    yield connection
            finally:
                in_use.pop()
            self.reach('catalog')

        self.test.patch(catalog_file.CatalogFile, 'session', crashing_session)

    def _store(self, number, text):
        content = text * (100 + number)
        image = base.image_of(content, IDS[number])
        self.source.put(image, *fakes.chunks(content))
        self.images[number] = image
        self.contents[image.id, image.os_hash_value] = content

    def teardown(self):
        if self.manager:
            self.manager.close()
        self.test.doCleanups()

    @stateful.initialize(
        max_images=strategies.one_of(
            strategies.none(), strategies.integers(1, 4)
        ),
        high=strategies.sampled_from([50, 80, 100]),
        max_age=strategies.sampled_from([100.0, 1e6]),
        max_gib=strategies.sampled_from([None, None, 1, 2, 3]),
    )
    def begin(self, max_images, high, max_age, max_gib):
        self.max_gib = max_gib
        self.policies = [
            pipeline.NamedPolicy('age', age.AgePolicy(max_age)),
            pipeline.NamedPolicy('lru', lru.LRUPolicy(max_images, None)),
            pipeline.NamedPolicy(
                'watermark', watermark.WatermarkPolicy(high, high / 2)
            ),
        ]
        self._start()

    def _start(self):
        if self.manager:
            self.manager.close()
        self.catalog = facade.Catalog(self.test.path('state', 'c.sqlite'))
        self.manager = manager_module.ImageManager(
            self.driver,
            self.source,
            self.catalog,
            locks.LockDirectory(self.test.path('state', 'locks')),
            cache_module.Settings(
                stall_timeout=base.PATIENCE,
                minimum_age=MINIMUM_AGE,
                max_bytes=self.max_gib and self.max_gib * base.GIB,
            ),
            self.policies,
        )

    # -- reading

    def ready(self):
        """Return the records that can be served, by image ID."""
        found = {}
        for record in self.catalog.base_images.list('pool'):
            disk = self.driver.find_disk(record.disk_name)
            if record.state is READY and disk and disk.udid == record.udid:
                found[record.image.id] = record
        return found

    def age_of(self, record):
        return self.catalog.clock.now() - record.ready_clock

    @contextlib.contextmanager
    def crashing(self, crash):
        """Crash in the block when it reaches a point, if it does."""
        target, left = crash or ('', 0)
        crashed = False

        def reach(point):
            nonlocal left, crashed
            if not crashed and point == target:
                left -= 1
                crashed = left < 0
            if crashed:
                raise Crash

        if crash:
            self.reach = reach
            self.driver.before = {
                name: lambda *args, name=name: reach(name)
                for name in (
                    'create_disks',
                    'copy_disk',
                    'snapshot',
                    'delete',
                    'mapped',
                    'upload',
                    'remove_uploads',
                )
            }
        try:
            yield
        except Crash:
            pass
        finally:
            self.reach, self.driver.before = lambda point: None, {}
            if crashed:
                self._start()
        self.crashed = crashed

    @contextlib.contextmanager
    def keeping_pinned(self, *but):
        """Check that pinned images can be served after the block, too."""
        before = {
            image_id: record
            for image_id, record in self.ready().items()
            if image_id in self.pinned and image_id not in but
        }
        yield
        after = self.ready()
        for image_id, record in before.items():
            assert after.get(image_id, record).fill_id == record.fill_id
            assert image_id in after or (
                record.disk_name in self.driver.taken
            ), 'a pinned image was evicted'

    # -- operations of the cache

    @stateful.rule(
        number=which,
        crash=sometimes,
    )
    def deploy(self, number, crash):
        image, name = self.images[number], f'vm{next(self.numbers)}'
        before = self.ready().get(image.id)
        served = (
            before is not None
            and before.image.os_hash_value == image.os_hash_value
        )
        room = self.driver.pool().free >= base.GIB
        done = None
        # Changed content of an image replaces the base image.
        with self.keeping_pinned(image.id), self.crashing(crash):
            try:
                done = self.manager.create_disk(image, name)
            except exceptions.NotEnoughSpace:
                assert not room, 'there was space'
                assert all(
                    image_id in self.pinned
                    or record.disk_name in self.driver.taken
                    for image_id, record in self.ready().items()
                ), f'{self.ready()} could have been evicted'
        content = self.contents[image.id, image.os_hash_value]
        if done is None:
            self.unfinished[name] = content
            return
        self.instances[name] = content
        if served and room:
            assert done.outcome is HIT, done
        if done.outcome is HIT:
            assert served, done
        if done.outcome is MISS and not self.crashed:
            assert self.ready()[image.id].image.os_hash_value == (
                image.os_hash_value
            )

    @stateful.rule(
        number=which,
        crash=sometimes,
    )
    def prefetch(self, number, crash):
        image = self.images[number]
        with (
            self.keeping_pinned(image.id),
            self.crashing(crash),
            (
                contextlib.suppress(
                    exceptions.CacheFault, exceptions.NotEnoughSpace
                )
            ),
        ):
            self.manager.prefetch(image)
            assert self.ready()[image.id].image.os_hash_value == (
                image.os_hash_value
            )

    @stateful.rule(data=strategies.data())
    def delete(self, data):
        if self.instances:
            name = data.draw(strategies.sampled_from(sorted(self.instances)))
            self.manager.delete_disk(name)
            del self.instances[name]
            assert name not in self.driver.names()

    @stateful.rule(
        spare=strategies.booleans(),
        crash=strategies.one_of(strategies.none(), crashes),
    )
    def purge(self, spare, crash):
        before, done = self.ready(), None
        with self.keeping_pinned(), self.crashing(crash):
            done = self.manager.purge(self.manager.list(), spare_in_use=spare)
        if done is None:
            return
        left = self.ready()
        for image_id, record in before.items():
            stays = (
                image_id in self.pinned
                or record.disk_name in self.driver.taken
                or (spare and image_id in self.used)
            )
            assert (image_id in left) == stays, (image_id, done)

    @stateful.rule(number=which)
    def pin(self, number):
        self.manager.pin(IDS[number])
        self.pinned.add(IDS[number])

    @stateful.rule(number=which)
    def unpin(self, number):
        known = IDS[number] in self.pinned
        assert self.manager.unpin(IDS[number]) == known
        self.pinned.discard(IDS[number])

    @stateful.rule(
        numbers=strategies.sets(which),
        crash=sometimes,
    )
    def run_cleanup(self, numbers, crash):
        before, done = self.ready(), None
        young = {
            image_id
            for image_id, record in before.items()
            if self.age_of(record) < MINIMUM_AGE
        }
        used = {IDS[number] for number in numbers}
        with self.keeping_pinned(), self.crashing(crash):
            done = self.manager.run_cleanup(used)
        self.used = set(self.catalog.pins.in_use('pool'))
        if done is None:
            return
        self.check_clean()
        # The disk of a quarantined image is mapped, and still exists.
        gone = {
            image_id
            for image_id in set(before) - set(self.ready())
            if before[image_id].disk_name not in self.driver.taken
        }
        assert not gone & self.pinned
        assert not gone & (used | young), 'a veto was broken'
        assert gone <= {
            each.base_image.image.id
            for each in done.eviction.results
            if each.removed
        }
        again = self.manager.run_cleanup(used)
        assert not any(each.removed for each in again.eviction.results), (
            'a second run evicts more'
        )

    def check_clean(self):
        """Check that a cleanup run leaves no incomplete disk."""
        assert self.driver.uploads == self.written_by_others
        assert not self.catalog.instance_disks.list('pool')
        for name, content in self.unfinished.items():
            # The process may have crashed when the disk was complete.
            if name in self.driver.names():
                self.instances[name] = content
        self.unfinished = {}
        records = self.catalog.base_images.list('pool')
        known = {
            *self.instances,
            *self.foreign,
            *self.stale,
            *(each.disk_name for each in records),
        }
        assert set(self.driver.names()) <= known, (
            f'{set(self.driver.names()) - known} are orphaned'
        )
        for record in records:
            assert record.state is READY or (
                record.disk_name in self.driver.taken
            ), record
            assert record.disk_name in self.driver.names()

    @stateful.rule(number=which)
    def adopt(self, number):
        image = self.images[number]
        name = naming.base_image_name(image.id)
        content = self.contents[image.id, image.os_hash_value]
        if name in self.stale and self.driver.content(name) == content:
            # Without a catalog, a complete base image is untracked.
            with contextlib.suppress(exceptions.ImageNotAdoptable):
                self.manager.adopt(image)
                self.adopted += 1
                del self.stale[name]
                assert image.id in self.ready()

    @stateful.rule(number=which)
    def adopt_from_other_catalog(self, number):
        image = self.images[number]
        name = naming.base_image_name(image.id)
        content = self.contents[image.id, image.os_hash_value]
        if name in self.others() and self.driver.content(name) == content:
            try:
                self.manager.adopt(image)
                raise AssertionError('it belongs to another catalog')
            except exceptions.RequestRefused:
                pass
            with contextlib.suppress(exceptions.ImageNotAdoptable):
                self.manager.adopt(image, take_over=True)
                self.adopted += 1
                del self.foreign[name]
                assert image.id in self.ready()

    @stateful.rule(crash=sometimes, first=strategies.booleans())
    def take_over(self, crash, first):
        others = sorted(self.others().values())
        if not others:
            return
        with self.crashing(crash):
            self.manager.take_over(others[0 if first else -1])
        self.classify()

    # -- events around the cache

    def others(self):
        """Return the base images of other catalogs, with the catalogs."""
        own = self.catalog.identity.own()
        return {
            name: ownership.other_catalog_of(disk, own)
            for name, disk in self.foreign.items()
            if ownership.other_catalog_of(disk, own)
        }

    def classify(self):
        """Sort untracked base images by what their labels mean now."""
        own = self.catalog.identity.own()
        untracked = {**self.stale, **self.foreign}
        for name, disk in untracked.items():
            if not ownership.catalog_of(disk):
                continue
            if not naming.is_base_image_name(name):
                continue
            is_other = ownership.other_catalog_of(disk, own)
            new, old = (
                (self.foreign, self.stale)
                if is_other
                else (self.stale, self.foreign)
            )
            new[name] = disk
            old.pop(name, None)
            if not is_other:
                self.written_by_others.discard(disk.udid)

    @stateful.rule(
        number=which,
        catalog=strategies.sampled_from(['0a1b2c3d', '5e1f0c2a']),
        content=strategies.sampled_from(['whole', 'half', 'being written']),
    )
    def add_base_image_of_other_catalog(self, number, catalog, content):
        name = naming.base_image_name(IDS[number])
        if (
            name in self.driver.names()
            or catalog in self.catalog.identity.own()
            or self.driver.pool().free < base.GIB
        ):
            return
        image = self.images[number]
        whole = self.contents[image.id, image.os_hash_value]
        # Nothing but its label distinguishes it from a stale base image.
        disk = self.foreign[name] = self.driver.add(
            name,
            1,
            whole if content == 'whole' else whole[: len(whole) // 2],
            ownership.label(models.new_fill_id(catalog_id=catalog)),
        )
        if content == 'being written':
            self.driver.uploads.add(disk.udid)
            self.written_by_others.add(disk.udid)

    @stateful.rule(seconds=strategies.sampled_from([1, 60, 200]))
    def let_time_pass(self, seconds):
        self.up += seconds
        self.now += seconds

    @stateful.rule(years=strategies.sampled_from([-10, 10]))
    def set_the_clock(self, years):
        self.now += years * 365 * 86400.0

    @stateful.rule()
    def restart_the_host(self):
        self.up, self.boot = 5.0, self.boot + '+'
        self._start()

    @stateful.rule(number=which)
    def change_content(self, number):
        self._store(number, f'again{next(self.numbers)}'.encode())

    @stateful.rule(number=strategies.one_of(strategies.none(), which))
    def add_foreign_disk(self, number):
        name = f'other{next(self.numbers)}'
        if number is not None:
            name = naming.base_image_name(IDS[number])
        if name not in self.driver.names() and (
            self.driver.pool().free >= 2 * base.GIB
        ):
            # With this size it cannot be a stale base image.
            self.foreign[name] = self.driver.add(name, 2, b'foreign')

    @stateful.rule(data=strategies.data())
    def delete_foreign_disk(self, data):
        if self.foreign:
            name = data.draw(strategies.sampled_from(sorted(self.foreign)))
            udid = self.foreign.pop(name).udid
            self.driver.vanish(name)
            self.driver.uploads.discard(udid)
            self.written_by_others.discard(udid)

    @stateful.rule(number=which)
    def add_stale_disk(self, number):
        name = naming.base_image_name(IDS[number])
        if name not in self.driver.names() and (
            self.driver.pool().free >= base.GIB
        ):
            self.stale[name] = self.driver.add(name, 1, b'half an image')

    @stateful.rule(number=which)
    def delete_base_image(self, number):
        name = naming.base_image_name(IDS[number])
        if name in self.driver.names() and not (
            name in self.foreign or name in self.stale
        ):
            self.driver.vanish(name)
            self.driver.taken.discard(name)

    @stateful.rule(number=which)
    def map_base_image(self, number):
        name = naming.base_image_name(IDS[number])
        if name in self.driver.names() and not (
            name in self.foreign or name in self.stale
        ):
            self.driver.taken.add(name)

    @stateful.rule()
    def unmap_all(self):
        self.driver.taken = set()

    @stateful.rule(
        content=strategies.sampled_from([None, b'', b'rubbish']),
        with_id=strategies.booleans(),
    )
    def lose_the_catalog(self, content, with_id):
        known = {
            each.disk_name for each in self.catalog.base_images.list('pool')
        }
        unfinished = {
            each.disk_name for each in self.catalog.instance_disks.list('pool')
        }
        self.catalog.close()
        for ending in ('', '-wal', '-shm'):
            with contextlib.suppress(FileNotFoundError):
                os.remove(self.catalog.path + ending)
        if with_id:
            os.remove(self.test.path('state', 'catalog.id'))
        if content is not None:
            with open(self.catalog.path, 'wb') as file:
                file.write(content)
        self.pinned, self.used = set(), set()
        for name in known & set(self.driver.names()):
            if name not in self.foreign:
                self.stale[name] = self.driver.find_disk(name)
        for name in unfinished & set(self.driver.names()):
            # No record says any more that it is incomplete.
            self.unfinished.pop(name, None)
            self.foreign[name] = self.driver.find_disk(name)
            self.driver.uploads.discard(self.foreign[name].udid)
        self.driver.uploads = set(self.written_by_others)
        self.classify()

    @stateful.invariant()
    def instance_disks_hold_their_image(self):
        for name, content in self.instances.items():
            assert self.driver.content(name, len(content)) == content, name

    @stateful.invariant()
    def the_cache_is_not_larger_than_allowed(self):
        if self.manager is None or not self.max_gib:
            return
        existing = [
            each
            for each in self.catalog.base_images.list('pool')
            if each.disk_name in self.driver.names()
        ]
        # Adopting a disk is the explicit wish of an operator.
        assert len(existing) <= self.max_gib + self.adopted, existing

    @stateful.invariant()
    def foreign_disks_are_kept(self):
        for name, disk in self.foreign.items():
            assert self.driver.find_disk(name) == disk, name
        self.stale = {
            name: disk
            for name, disk in self.stale.items()
            if self.driver.find_disk(name) == disk
        }

    @stateful.invariant()
    def servable_base_images_are_complete(self):
        if self.manager is None:
            return
        for record in self.ready().values():
            content = self.contents[
                record.image.id, record.image.os_hash_value
            ]
            assert (
                self.driver.content(record.disk_name, len(content)) == content
            ), record


class ModelTest(testtools.TestCase):
    def test_cache_behaves_like_the_model(self):
        stateful.run_state_machine_as_test(
            CacheMachine,
            settings=hypothesis.settings(
                base.generated,
                max_examples=RUNS,
                stateful_step_count=STEPS,
            ),
        )
