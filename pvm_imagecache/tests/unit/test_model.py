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

"""The whole cache beside a model of it: a dict of what each disk holds.

Real catalogue, locks and policies; a pool and a Glance in memory. Things are
deployed, purged, pinned and evicted, others meddle with the pool, clocks are
set, hosts are restarted, the catalogue is lost, and whoever is at work dies
in the middle of it.
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
RUNS = int(os.environ.get('PVM_IMAGECACHE_MODEL_RUNS', '60'))
STEPS = int(os.environ.get('PVM_IMAGECACHE_MODEL_STEPS', '50'))
MINIMUM_AGE = 50.0
#: The last two share the twelve digits that the name of a disk keeps.
IDS = (
    'aaaaaaaa-0000-4000-8000-000000000001',
    'bbbbbbbb-0000-4000-8000-000000000002',
    'cccccccc-0000-4000-8000-000000000003',
    'dddddddd-0000-4000-8000-000000000004',
    'dddddddd-0000-4000-8000-000000000005',
)
which = strategies.sampled_from(range(len(IDS)))
#: Where whoever is at work can die: before a call of the pool, or before
#: and after a use of the catalogue.
deaths = strategies.one_of(
    strategies.tuples(
        strategies.sampled_from(
            ['create_disks', 'copy_disk', 'snapshot', 'delete', 'mapped']
        ),
        strategies.integers(0, 3),
    ),
    strategies.tuples(
        strategies.just('catalogue'), strategies.integers(0, 25)
    ),
)


class Died(BaseException):
    """The process is gone: it does nothing any more, tidying up neither."""


class MortalCatalog(facade.Catalog):
    """A catalog whose process can crash before and after each use."""

    reach = None

    def __init__(self, path, who=None):
        super().__init__(path, who)
        session, depth = self._file.session, []

        @contextlib.contextmanager
        def mortal():
            if depth:
                # A part of a use.
                with session() as connection:
                    yield connection
                return
            if self.reach:
                self.reach('catalogue')
            depth.append(True)
            try:
                with session() as connection:
                    yield connection
            finally:
                depth.pop()
            if self.reach:
                self.reach('catalogue')

        self._file.session = mortal


class CacheMachine(stateful.RuleBasedStateMachine):
    """What happens to a cache, and what must be true afterwards."""

    def __init__(self):
        super().__init__()
        self.test = base.TestCase('run')
        self.test.setUp()
        self.up, self.boot, self.now = 100.0, 'boot', 1e9
        self.test.patch(boot_clock, 'uptime', lambda: self.up)
        self.test.patch(boot_clock, 'boot', lambda: self.boot)
        self.test.patch(time, 'time', lambda: self.now)
        # Whatever the dead have asked of this pool is done at once.
        self.test.patch(ownership, 'LONGEST_REQUEST', 0)
        self.driver = fakes.FakeDriver(POOL_GIB)
        self.source = fakes.FakeSource()
        self.contents = {}
        self.images = [None] * len(IDS)
        for number in range(len(IDS)):
            self._store(number, b'first')
        self.instances, self.foreign = {}, {}
        #: Disks that may be replaced, and are ours from then on.
        self.left_overs = {}
        self.pinned, self.used = set(), set()
        #: Names of disks whose makers have died.
        self.doubtful = {}
        self.numbers = iter(range(10_000))
        self.manager = None

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
    )
    def begin(self, max_images, high, max_age):
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
        self.catalog = MortalCatalog(self.test.path('state', 'c.sqlite'))
        self.manager = manager_module.ImageManager(
            self.driver,
            self.source,
            self.catalog,
            locks.LockDirectory(self.test.path('state', 'locks')),
            cache_module.Settings(
                stall_timeout=base.PATIENCE, minimum_age=MINIMUM_AGE
            ),
            self.policies,
        )

    # -- looking

    def ready(self):
        """By image id, the records that can be served, and their disks."""
        found = {}
        for record in self.catalog.base_images.list('pool'):
            disk = self.driver.find_disk(record.disk_name)
            if record.state is READY and disk and disk.udid == record.udid:
                found[record.image.id] = record
        return found

    def age_of(self, record):
        return self.catalog.clock.now() - record.ready_clock

    @contextlib.contextmanager
    def dying(self, death):
        """Whoever is at work in the block dies at that point, if at all."""
        point, left = death if death else ('', 0)
        dead = []

        def reach(what):
            nonlocal left
            if dead:
                raise Died
            if what == point:
                left -= 1
                if left < 0:
                    dead.append(what)
                    raise Died

        names = (
            'create_disks',
            'copy_disk',
            'snapshot',
            'delete',
            'mapped',
            'upload',
            'remove_uploads',
        )
        if death:
            self.catalog.reach = reach
            self.driver.before = {
                name: lambda *args, name=name: reach(name) for name in names
            }
        try:
            yield
        except Died:
            pass
        finally:
            self.catalog.reach, self.driver.before = None, {}
            if dead:
                self._start()
        self.died = bool(dead)

    @contextlib.contextmanager
    def pins_hold(self, *but):
        """What is pinned and can be served stays so."""
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
            ), 'a pinned one went'

    # -- what the cache is asked for

    @stateful.rule(
        number=which,
        death=strategies.one_of(strategies.none(), strategies.none(), deaths),
    )
    def deploy(self, number, death):
        image, name = self.images[number], f'vm{next(self.numbers)}'
        before = self.ready().get(image.id)
        served = (
            before is not None
            and before.image.os_hash_value == image.os_hash_value
        )
        room = self.driver.pool().free >= base.GIB
        done = None
        # Another content of the same id takes the place of the old one.
        with self.pins_hold(image.id), self.dying(death):
            try:
                done = self.manager.create_disk(image, name)
            except exceptions.NotEnoughSpace:
                assert not room, 'there was room'
                assert all(
                    image_id in self.pinned
                    or record.disk_name in self.driver.taken
                    for image_id, record in self.ready().items()
                ), f'{self.ready()} could have gone'
        content = self.contents[image.id, image.os_hash_value]
        if done is None:
            self.doubtful[name] = content
            return
        self.instances[name] = content
        if served and room:
            assert done.outcome is HIT, done
        if done.outcome is HIT:
            assert served, done
        if done.outcome is MISS and not self.died:
            assert self.ready()[image.id].image.os_hash_value == (
                image.os_hash_value
            )

    @stateful.rule(
        number=which,
        death=strategies.one_of(strategies.none(), strategies.none(), deaths),
    )
    def prefetch(self, number, death):
        image = self.images[number]
        with (
            self.pins_hold(image.id),
            self.dying(death),
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
        death=strategies.one_of(strategies.none(), deaths),
    )
    def purge(self, spare, death):
        before, done = self.ready(), None
        with self.pins_hold(), self.dying(death):
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
        death=strategies.one_of(strategies.none(), strategies.none(), deaths),
    )
    def run_cleanup(self, numbers, death):
        before, done = self.ready(), None
        young = {
            image_id
            for image_id, record in before.items()
            if self.age_of(record) < MINIMUM_AGE
        }
        used = {IDS[number] for number in numbers}
        with self.pins_hold(), self.dying(death):
            done = self.manager.run_cleanup(used)
        self.used = set(self.catalog.pins.in_use('pool'))
        if done is None:
            return
        self.check_clean()
        # What a partition has is quarantined, and no less there for that.
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
            'it does not end'
        )

    def check_clean(self):
        """Nothing partial is left after a pass."""
        assert not self.driver.uploads
        assert not self.catalog.instance_disks.list('pool')
        for name, content in self.doubtful.items():
            # Whoever died may have done so when all was done.
            if name in self.driver.names():
                self.instances[name] = content
        self.doubtful = {}
        records = self.catalog.base_images.list('pool')
        known = {
            *self.instances,
            *self.foreign,
            *self.left_overs,
            *(each.disk_name for each in records),
        }
        assert set(self.driver.names()) <= known, (
            f"{set(self.driver.names()) - known} is nobody's"
        )
        for record in records:
            assert record.state is READY or (
                record.disk_name in self.driver.taken
            ), record
            assert record.disk_name in self.driver.names()

    # -- what happens to it

    @stateful.rule(seconds=strategies.sampled_from([1, 60, 200]))
    def time_passes(self, seconds):
        self.up += seconds
        self.now += seconds

    @stateful.rule(years=strategies.sampled_from([-10, 10]))
    def the_clock_is_set(self, years):
        self.now += years * 365 * 86400.0

    @stateful.rule()
    def the_host_restarts(self):
        self.up, self.boot = 5.0, self.boot + '+'
        self._start()

    @stateful.rule(number=which)
    def content_changes(self, number):
        self._store(number, f'again{next(self.numbers)}'.encode())

    @stateful.rule(number=strategies.one_of(strategies.none(), which))
    def a_foreign_disk_appears(self, number):
        name = f'other{next(self.numbers)}'
        if number is not None:
            name = naming.base_image_name(IDS[number])
        if name not in self.driver.names() and (
            self.driver.pool().free >= 2 * base.GIB
        ):
            # With this size it is no left-over of a cache.
            self.foreign[name] = self.driver.add(name, 2, b'foreign')

    @stateful.rule(data=strategies.data())
    def a_foreign_disk_goes(self, data):
        if self.foreign:
            name = data.draw(strategies.sampled_from(sorted(self.foreign)))
            del self.foreign[name]
            self.driver.vanish(name)

    @stateful.rule(number=which)
    def a_left_over_appears(self, number):
        name = naming.base_image_name(IDS[number])
        if name not in self.driver.names() and (
            self.driver.pool().free >= base.GIB
        ):
            self.left_overs[name] = self.driver.add(name, 1, b'half an image')

    @stateful.rule(number=which)
    def a_base_image_is_deleted(self, number):
        name = naming.base_image_name(IDS[number])
        if name in self.driver.names() and not (
            name in self.foreign or name in self.left_overs
        ):
            self.driver.vanish(name)
            self.driver.taken.discard(name)

    @stateful.rule(number=which)
    def a_base_image_is_mapped(self, number):
        name = naming.base_image_name(IDS[number])
        if name in self.driver.names() and not (
            name in self.foreign or name in self.left_overs
        ):
            self.driver.taken.add(name)

    @stateful.rule()
    def all_are_unmapped(self):
        self.driver.taken = set()

    @stateful.rule(content=strategies.sampled_from([None, b'', b'rubbish']))
    def the_catalogue_is_lost(self, content):
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
        if content is not None:
            with open(self.catalog.path, 'wb') as file:
                file.write(content)
        self.pinned, self.used = set(), set()
        for name in known & set(self.driver.names()):
            if name not in self.foreign:
                self.left_overs[name] = self.driver.find_disk(name)
        for name in unfinished & set(self.driver.names()):
            # Nobody knows any more that it is not whole.
            self.doubtful.pop(name, None)
            self.foreign[name] = self.driver.find_disk(name)
            self.driver.uploads.discard(self.foreign[name].udid)
        self.driver.uploads = set()

    @stateful.invariant()
    def every_disk_is_right(self):
        for name, content in self.instances.items():
            assert self.driver.content(name, len(content)) == content, name

    @stateful.invariant()
    def nothing_of_others_is_touched(self):
        for name, disk in self.foreign.items():
            assert self.driver.find_disk(name) == disk, name
        self.left_overs = {
            name: disk
            for name, disk in self.left_overs.items()
            if self.driver.find_disk(name) == disk
        }

    @stateful.invariant()
    def what_is_served_is_whole(self):
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
    def test_it_is_what_the_model_says(self):
        stateful.run_state_machine_as_test(
            CacheMachine,
            settings=hypothesis.settings(
                base.generated,
                max_examples=RUNS,
                stateful_step_count=STEPS,
            ),
        )
