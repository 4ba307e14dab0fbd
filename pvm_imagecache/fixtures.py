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

"""Conformance suites for plugin authors, and their test data.

A policy needs three lines of test::

    class KeepDeployedTest(fixtures.PolicyConformance, unittest.TestCase):
        policy = 'keep-deployed'
        options = {'pvm_imagecache_keep_deployed': {'keep': 3}}

A driver needs a few more, see :class:`DriverConformance`. Each failure names
the rule of the contract that is broken. Any runner of ``unittest`` works.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import itertools
import random
import tempfile
from typing import Any
from typing import cast
from typing import ClassVar
from typing import Final
import unittest
import uuid

from oslo_config import cfg

from pvm_imagecache import exceptions
from pvm_imagecache import naming
from pvm_imagecache import plugins
from pvm_imagecache.conf import cache
from pvm_imagecache.conf import nova
from pvm_imagecache.conf import types
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.eviction import base as eviction_base
from pvm_imagecache.eviction import time_limit

_MIB: Final = 1 << 20
_GIB: Final = 1 << 30
#: Time of the generated snapshots, in Unix seconds.
NOW: Final = 1_800_000_000.0
_LONGEST_AGE: Final = 40 * 86400.0
_VIEWS: Final = 200
_MOST_IMAGES: Final = 40


def configuration(
    options: Mapping[str, Mapping[str, object]] | None = None,
) -> types.Conf:
    """Return a configuration as nova-compute and the commands have it.

    :param options: values by group and option name, as in a configuration
        file. Plugins may register their options afterwards.
    :returns: a new ``ConfigOpts`` with the options of the cache registered.
    """
    conf = cfg.ConfigOpts()
    cache.register(conf)
    nova.register(conf)
    with tempfile.NamedTemporaryFile('w', suffix='.conf') as file:
        for group, values in (options or {}).items():
            file.write(f'[{group}]\n')
            file.writelines(
                f'{name} = {value}\n' for name, value in values.items()
            )
        file.flush()
        conf(
            ['--config-file', file.name],
            project='pvm_imagecache',
            default_config_files=[],
            default_config_dirs=[],
        )
    return conf


def views(
    seed: int = 0, count: int = _VIEWS
) -> Iterator[eviction_base.CacheView]:
    """Generate snapshots of caches of many kinds.

    :param seed: of the random numbers: the same seed gives the same
        snapshots.
    :param count: how many snapshots to generate.
    :returns: the snapshots. The cache or the pool may be empty or full,
        images may have vetoes, and some snapshots have a demand.
    """
    chance = random.Random(seed)  # noqa: S311
    for _ in range(count):
        images = tuple(
            _image(chance)
            for _ in range(
                chance.choice((0, 1, 2, chance.randint(3, _MOST_IMAGES)))
            )
        )
        cached = sum(each.capacity for each in images)
        others = chance.randint(0, 100) * _GIB
        free = chance.choice((0, chance.randint(0, 100) * _GIB))
        yield eviction_base.CacheView(
            now=NOW,
            pool_capacity=chance.choice(
                (0, cached + others + free, cached + others + free)
            ),
            pool_free=free,
            images=images,
            demand=chance.choice((0, 0, chance.randint(1, 60 * _GIB))),
        )


def _image(chance: random.Random) -> eviction_base.CachedImage:
    ready = chance.uniform(0, _LONGEST_AGE)
    image_id = str(uuid.UUID(int=chance.getrandbits(128)))
    return eviction_base.CachedImage(
        image_id=image_id,
        name=chance.choice((None, f'image {ready:.0f}')),
        disk_name='i_' + image_id.replace('-', '_')[:13],
        capacity=chance.randint(1, 20) * _GIB,
        ready_at=NOW - ready,
        last_used_at=NOW - chance.uniform(0, ready),
        hits=chance.randint(0, 100),
        veto=chance.choice((None, None, None, *eviction_base.Veto)),
    )


class PolicyConformance:
    """Tests that every eviction policy must pass; a mixin for a TestCase."""

    #: Name of the policy's entry point.
    policy: ClassVar[str] = ''
    #: Options of the policy: values by group and option name.
    options: ClassVar[Mapping[str, Mapping[str, object]]] = {}

    _made: eviction_base.EvictionPolicy | None = None

    def make_policy(self) -> eviction_base.EvictionPolicy:
        """Return the policy, loaded as nova-compute and the commands do.

        Override to test a policy that has no entry point.

        :returns: a policy with the options of the suite.
        """
        conf = configuration(
            {
                **self.options,
                'pvm_imagecache': {'eviction_policies': self.policy},
            }
        )
        (named,) = plugins.load_policies(conf)
        return named.policy

    def choose(
        self, view: eviction_base.CacheView
    ) -> list[eviction_base.Decision]:
        """Return the decisions of the policy about a snapshot.

        :param view: the snapshot.
        :returns: the decisions.
        :raises TimeLimitExceeded: if the policy does not answer in time.
        :raises AssertionError: if there are more decisions than images.
        """
        if self._made is None:
            self._made = self.make_policy()
        made = self._made
        decisions = time_limit.BoundedCall(
            lambda: list(
                itertools.islice(made.choose(view), len(view.images) + 1)
            )
        ).result()
        _case(self).assertLessEqual(
            len(decisions),
            len(view.images),
            'choose() must end, and return at most one decision for each '
            'image',
        )
        return decisions

    def test_it_can_be_loaded(self) -> None:
        """The policy is installed and follows the contract."""
        _case(self).assertTrue(
            self.policy, 'set "policy" to the name of the entry point'
        )
        found = {
            (each.namespace, each.name): each.error
            for each in plugins.installed()
        }
        key = (plugins.EVICTION, self.policy)
        _case(self).assertIn(
            key, found, 'no entry point of that name is installed'
        )
        _case(self).assertIsNone(found[key])
        self.make_policy()

    def test_it_returns_decisions(self) -> None:
        """It returns complete decisions about images of the view."""
        for view in views():
            known = {each.image_id for each in view.images}
            for decision in self.choose(view):
                _case(self).assertIsInstance(decision, eviction_base.Decision)
                _case(self).assertIn(
                    decision.image_id,
                    known,
                    'only images of the view can be chosen',
                )
                _case(self).assertTrue(
                    decision.code and decision.reason,
                    'a decision needs a code and a human-readable reason',
                )

    def test_it_chooses_no_image_twice(self) -> None:
        """It returns at most one decision for each image."""
        for view in views(1):
            ids = [each.image_id for each in self.choose(view)]
            _case(self).assertEqual(len(set(ids)), len(ids))

    def test_it_chooses_no_vetoed_image(self) -> None:
        """It chooses no image that has a veto."""
        for view in views(2):
            vetoed = {
                each.image_id for each in view.images if each.veto is not None
            }
            _case(self).assertEqual(
                set(),
                vetoed & {each.image_id for each in self.choose(view)},
                'choose images of view.candidates() only',
            )

    def test_it_decides_by_the_view_alone(self) -> None:
        """It returns the same decisions for the same view."""
        for view in views(3):
            _case(self).assertEqual(
                self.choose(view),
                self.choose(view),
                'the same view must give the same decisions',
            )

    def test_the_order_of_images_does_not_matter(self) -> None:
        """Its choice does not depend on the order of the images."""
        for view in views(4):
            turned = dataclasses.replace(
                view, images=tuple(reversed(view.images))
            )
            _case(self).assertEqual(
                {each.image_id for each in self.choose(view)},
                {each.image_id for each in self.choose(turned)},
            )

    def test_a_shift_of_all_times_changes_nothing(self) -> None:
        """It decides by ages, not by dates."""
        for view in views(5):
            later = dataclasses.replace(
                view,
                now=view.now + 86400,
                images=tuple(
                    dataclasses.replace(
                        each,
                        ready_at=each.ready_at + 86400,
                        last_used_at=each.last_used_at + 86400,
                    )
                    for each in view.images
                ),
            )
            _case(self).assertEqual(
                [each.image_id for each in self.choose(view)],
                [each.image_id for each in self.choose(later)],
                'decide by ages, not dates: use no clock except view.now',
            )

    def test_it_chooses_nothing_of_an_empty_cache(self) -> None:
        """It accepts a cache without images."""
        for demand in (0, _GIB):
            _case(self).assertEqual(
                [],
                self.choose(eviction_base.CacheView(NOW, _GIB, 0, demand, ())),
            )


class DriverConformance:
    """Tests for every driver with ``Capability.IMAGE_CACHE``.

    A mixin for a ``TestCase`` that makes the driver, and reads the bytes of
    a disk::

        class MyDriverTest(fixtures.DriverConformance, unittest.TestCase):
            def make_driver(self):
                return plugins.load_driver(fixtures.configuration(...))

            def read(self, disk, size):
                ...

    The pool may contain other disks; each test deletes the disks that it
    creates. Drivers that use the PowerVM REST API can be tested with the
    simulator, :mod:`pvm_imagecache.simulator`.
    """

    def make_driver(self) -> driver_base.DiskDriver:
        """Return a driver for a pool with several GiB of free space.

        :returns: the driver; it is closed at the end of the test.
        """
        raise NotImplementedError

    def read(self, disk: driver_base.Disk, size: int) -> bytes:
        """Return the first bytes of a disk, read without the driver.

        :param disk: the disk.
        :param size: bytes to read.
        :returns: the bytes.
        """
        raise NotImplementedError

    def setUp(self) -> None:
        """Make the driver."""
        super().setUp()  # type: ignore[misc]
        self.driver = self.make_driver()
        _case(self).addCleanup(self.driver.close)

    def make(
        self, *names: str, size: int = _MIB
    ) -> Sequence[driver_base.Disk]:
        """Create disks that are deleted at the end of the test.

        :param names: of the disks.
        :param size: of each disk, in bytes.
        :returns: the disks, in the order of their names.
        """
        made = self.driver.create_disks(
            [driver_base.NewDisk(each, size, 'raw') for each in names]
        )
        _case(self).addCleanup(self.driver.delete_disks, made)
        return made

    def fill(self, disk: driver_base.Disk, data: bytes) -> None:
        """Upload data to a disk, in pieces of 1 MiB.

        :param disk: the disk.
        :param data: the bytes.
        """
        self.driver.upload(
            disk,
            iter(
                [
                    data[start : start + _MIB]
                    for start in range(0, len(data), _MIB)
                ]
            ),
            len(data),
        )

    def test_the_pool_is_described(self) -> None:
        """pool(), pool_id() and snapshot() agree."""
        pool = self.driver.pool()
        _case(self).assertEqual(pool.id, self.driver.pool_id())
        _case(self).assertEqual(pool, self.driver.snapshot().pool)
        _case(self).assertLessEqual(pool.free, pool.capacity)

    def test_disks_are_created_found_and_deleted(self) -> None:
        """Disks can be created, found and deleted."""
        first, second = self.make('pvmic_t1', 'pvmic_t2')
        _case(self).assertNotEqual(first.udid, second.udid)
        _case(self).assertGreaterEqual(first.capacity, _MIB)
        found = self.driver.find_disk('pvmic_t1')
        _case(self).assertEqual(
            (first.name, first.udid),
            (found.name, found.udid) if found else None,
        )
        _case(self).assertIn(
            first.udid, {each.udid for each in self.driver.snapshot().disks}
        )
        _case(self).assertNotIn(
            first.udid,
            {each.udid for each in self.driver.base_image_snapshot().disks},
            'its name is not that of a base image',
        )
        for _ in range(2):
            # A disk that does not exist is not an error.
            _case(self).assertEqual(
                [None, None],
                [
                    each.error
                    for each in self.driver.delete_disks([first, second])
                ],
            )
        _case(self).assertIsNone(self.driver.find_disk('pvmic_t1'))

    def test_base_images_are_found_among_the_disks(self) -> None:
        """base_image_snapshot() contains all disks named as base images."""
        made, _ = self.make('i_00000000_0000', 'pvmic_t1')
        snapshot = self.driver.base_image_snapshot()
        pool, found = snapshot.pool, snapshot.disks
        _case(self).assertEqual(pool, self.driver.pool())
        _case(self).assertIn(made, found)
        _case(self).assertEqual(
            [
                each
                for each in self.driver.snapshot().disks
                if naming.is_base_image_name(each.name)
            ],
            found,
        )

    def test_a_disk_of_the_same_name_is_not_deleted(self) -> None:
        """A disk with another UDID is not deleted."""
        (disk,) = self.make('pvmic_t1')
        self.driver.delete_disks(
            [dataclasses.replace(disk, udid='0' * len(disk.udid))]
        )
        _case(self).assertIsNotNone(
            self.driver.find_disk('pvmic_t1'),
            'delete_disks() must find disks by UDID and name',
        )

    def test_a_name_is_used_once(self) -> None:
        """A name that is in use is refused, and nothing is created."""
        self.make('pvmic_t1')
        _case(self).assertRaises(
            exceptions.DiskExists, self.make, 'pvmic_t2', 'pvmic_t1'
        )
        _case(self).assertIsNone(
            self.driver.find_disk('pvmic_t2'),
            'create_disks() must create all of the disks, or none',
        )

    def test_lack_of_space_is_reported(self) -> None:
        """NotEnoughSpace is raised with the bytes that are needed."""
        free = self.driver.pool().free
        error = _raised(
            self,
            exceptions.NotEnoughSpace,
            lambda: self.make('pvmic_t1', size=free + 2 * _GIB),
        )
        _case(self).assertGreater(
            error.needed_bytes,
            free,
            'needed_bytes must be the space that is needed',
        )

    def test_uploaded_bytes_are_stored_and_copied(self) -> None:
        """An upload and a copy contain the same bytes."""
        data = random.Random(1).randbytes(3 * _MIB + 17)  # noqa: S311
        (source,) = self.make('pvmic_t1', size=len(data))
        self.fill(source, data)
        _case(self).assertEqual(data, self.read(source, len(data)))
        copy = self.driver.copy_disk(
            source, driver_base.NewDisk('pvmic_t2', len(data), 'raw')
        )
        _case(self).addCleanup(self.driver.delete_disks, [copy])
        _case(self).assertEqual(data, self.read(copy, len(data)))
        self.driver.delete_disks([source])
        _case(self).assertEqual(
            data,
            self.read(copy, len(data)),
            'a copy must not depend on its source',
        )

    def test_an_invalid_source_is_not_copied(self) -> None:
        """A source that is missing or no longer valid is not copied."""
        (source,) = self.make('pvmic_t1')
        new = driver_base.NewDisk('pvmic_t2', _MIB, 'raw')
        for wrong, valid in (
            (dataclasses.replace(source, udid='other'), True),
            (dataclasses.replace(source, name='pvmic_t9'), True),
            (source, False),
        ):
            _raised(
                self,
                exceptions.BaseImageGone,
                lambda wrong=wrong, valid=valid: self.driver.copy_disk(
                    wrong, new, lambda: valid
                ),
            )
            _case(self).assertIsNone(self.driver.find_disk('pvmic_t2'))

    def test_a_failed_upload_leaves_nothing_but_the_disk(self) -> None:
        """A failed upload leaves nothing but the disk."""
        (disk,) = self.make('pvmic_t1', size=2 * _MIB)

        def pieces() -> Iterator[bytes]:
            yield bytes(_MIB)
            raise exceptions.TransferAborted(
                what='the test', reason='it ends here'
            )

        _raised(
            self,
            exceptions.PVMImageCacheError,
            lambda: self.driver.upload(disk, pieces(), 2 * _MIB),
        )
        _case(self).assertNotIn(
            disk.udid,
            self.driver.upload_targets(),
            'an upload must leave nothing but the disk',
        )

    def test_a_new_disk_is_not_mapped(self) -> None:
        """A new disk is not mapped to a partition."""
        disks = self.make('pvmic_t1', 'pvmic_t2')
        _case(self).assertEqual(set(), self.driver.mapped(disks))
        self.driver.remove_uploads(disks[0])


def _case(test: object) -> unittest.TestCase:
    """Return the TestCase that a suite is mixed into."""
    return cast(unittest.TestCase, test)


def _raised(
    test: object, kind: type[BaseException], call: Callable[..., object]
) -> Any:
    """Return the error that a call must raise."""
    # Not the method of the test case itself: that of testtools 2.7, which
    # OpenStack 2025.1 has, is no context manager.
    with unittest.TestCase.assertRaises(_case(test), kind) as caught:
        call()
    return caught.exception
