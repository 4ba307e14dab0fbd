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

"""What the unit tests have in common: no network, no sleeping, no clock."""

import dataclasses
import hashlib
import logging
import os
import threading

import fixtures
import hypothesis
from oslo_config import cfg
from oslotest import base

from pvm_imagecache import cache as cache_module
from pvm_imagecache import image as image_module
from pvm_imagecache import naming
from pvm_imagecache.catalog import models
from pvm_imagecache.cleanup import ownership
from pvm_imagecache.conf import cache
from pvm_imagecache.conf import glance
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.deploy import prefetch
from pvm_imagecache.deploy import verification
from pvm_imagecache.drivers import powervm
from pvm_imagecache.glance import stream as image_stream
from pvm_imagecache.system import cooldown
from pvm_imagecache.system import locks
from pvm_imagecache.system import warn_once
from pvm_imagecache.tests import images
from pvm_imagecache.tests.unit import fakes

#: Bounds a wait that should end at once; never a figure that is tested.
PATIENCE = 30
GIB = 1 << 30
IMAGE_ID = '3e865d14-8c1e-4615-b73f-f78eaecabfbd'

#: Examples are the same each time, so that no run fails by chance. To find
#: new ones, set OS_TEST_RANDOM to 1.
generated = hypothesis.settings(
    deadline=None,
    derandomize=os.environ.get('OS_TEST_RANDOM') != '1',
    max_examples=60,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)


class TestCase(base.BaseTestCase):
    """Every test has a directory of its own, and leaves no thread."""

    def setUp(self):
        super().setUp()
        # Shown where a test fails, and only there.
        self.useFixture(fixtures.FakeLogger(level=logging.DEBUG))
        self.directory = self.useFixture(fixtures.TempDir()).path
        for module in (cache, glance):
            # What is registered in a group is seen by every ConfigOpts.
            self.patch(
                module,
                'GROUP',
                cfg.OptGroup(
                    module.GROUP.name, module.GROUP.title, module.GROUP.help
                ),
            )
        for module in (instance_disk, image_stream, powervm):
            # What is tried again is tried at once.
            self.patch(
                module, 'RETRY_DELAYS', tuple(0 for _ in module.RETRY_DELAYS)
            )
        before = set(threading.enumerate())
        self.addCleanup(self._check_threads, before)

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def let_others_reach(self, path):
        """Let other users search the directories above a path."""
        above = os.path.dirname(path)
        while os.stat(above).st_uid == os.getuid() and above != '/':
            os.chmod(above, os.stat(above).st_mode | 0o011)
            above = os.path.dirname(above)

    def _check_threads(self, before):
        for thread in set(threading.enumerate()) - before:
            thread.join(PATIENCE)
            self.assertFalse(thread.is_alive(), thread.name)

    def in_threads(self, *functions):
        """Run functions side by side; returns what each returned."""
        results = [None] * len(functions)
        errors = []

        def run(index, function):
            try:
                results[index] = function()
            except BaseException as error:
                errors.append(error)

        threads = [
            threading.Thread(target=run, args=each, daemon=True)
            for each in enumerate(functions)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
            self.assertFalse(thread.is_alive(), 'a thread hangs')
        for error in errors:
            raise error
        return results

    def make_conf(self, **values):
        """A configuration with our options, and no file."""
        conf = cfg.ConfigOpts()
        cache.register(conf)
        conf([], default_config_files=[], default_config_dirs=[])
        for name, value in values.items():
            conf.set_override(name, value, cache.GROUP.name)
        return conf

    def assert_bytes(self, expected, actual):
        """As assertEqual, without showing megabytes."""
        if expected != actual:
            at = len(os.path.commonprefix([expected, actual]))
            self.fail(
                f'{len(expected)} bytes expected and {len(actual)} '
                f'found, which differ from byte {at}'
            )

    def wait(self, event):
        self.assertTrue(event.wait(PATIENCE), 'it never happened')


def image_of(content, image_id=IMAGE_ID, **values):
    """The description that Glance would give of these bytes."""
    defaults = {
        'name': 'an image',
        'size': len(content),
        'disk_format': 'raw',
        'os_hash_algo': 'sha512',
        'os_hash_value': hashlib.sha512(content).hexdigest(),
        'checksum': hashlib.md5(content).hexdigest(),
    }
    return image_module.Image(id=image_id, **defaults | values)


def signed(image, value='signature'):
    """The same image with a signature."""
    return dataclasses.replace(
        image,
        signature=image_module.Signature(
            value, 'SHA-256', 'RSA-PSS', 'certificate'
        ),
    )


def descriptors():
    """The files that this process has open."""
    return len(os.listdir('/proc/self/fd'))


def environment(name, value):
    """A fixture: a variable of the environment, or None for unset."""
    return fixtures.EnvironmentVariable(name, value)


class TextFile(fixtures.Fixture):
    """A text file, with the directories above it."""

    def __init__(self, path, content):
        self.path = path
        self._content = content

    def _setUp(self):
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        with open(self.path, 'w', encoding='utf-8') as made:
            made.write(self._content)


class CacheTestCase(TestCase):
    """One pool, one Glance with one image, an empty cache."""

    size = 2 * image_stream.CHUNK_SIZE + 17
    gib = 100

    def setUp(self):
        super().setUp()
        self.content = images.raw_bytes(self.size, seed=1)
        self.image = image_of(self.content)
        self.base_name = naming.base_image_name(self.image.id)
        self.source = fakes.FakeSource()
        self.source.put(self.image, *fakes.chunks(self.content))
        self.driver = fakes.FakeDriver(self.gib)
        self.catalog = fakes.BrokenCatalog(self.path('state', 'c.sqlite'))
        self.addCleanup(self.catalog.close)
        self.settings = cache_module.Settings(stall_timeout=PATIENCE)
        self.locks = locks.LockDirectory(self.path('state', 'locks'))
        self.policies = ()
        self.signatures = fakes.Signatures(self.content, required=False)
        self.warn_once = warn_once.WarnOnce(logging.getLogger(__name__))
        self.refused_space = cooldown.Cooldown(1000)

    @property
    def cache(self):
        return cache_module.Cache(
            self.driver,
            self.source,
            self.catalog,
            self.locks,
            self.settings,
            self.policies,
            warn_once=self.warn_once,
            requirement_for=self.signatures.requirement_for,
            refused_space=self.refused_space,
        )

    def deploy(
        self, name='disk', image=None, size=0, progress=None, trusted=()
    ):
        return instance_disk.InstanceDeploy(
            self.cache,
            image or self.image,
            name,
            size,
            None,
            progress,
            trusted,
        ).run()

    def prefetch(self, image=None, progress=None):
        return prefetch.Prefetch(
            self.cache, image or self.image, None, progress
        ).run()

    def verification(self, image=None):
        """What is required of an image, looked up."""
        made = verification.Verification(self.cache, image or self.image, None)
        made.prepare()
        return made

    def record(self):
        return self.catalog.base_images.get('pool', self.base_name)

    def another(self, image_id, content=None, **values):
        """Another image of the same Glance."""
        content = content or images.raw_bytes(
            image_stream.CHUNK_SIZE + 5, seed=2
        )
        image = image_of(content, image_id, **values)
        self.source.put(image, *fakes.chunks(content))
        return image, content

    def check(self, done, outcome, content=None):
        """A deploy that went as it should: every byte is there."""
        content = self.content if content is None else content
        self.assertIs(outcome, done.outcome, done.reason)
        self.assertEqual(
            bool(done.reason), outcome is instance_disk.Outcome.BYPASS
        )
        self.assertEqual(done.disk, self.driver.find_disk(done.disk.name))
        self.assert_bytes(
            content, self.driver.content(done.disk.name, len(content))
        )
        self.assertGreaterEqual(done.disk.capacity, len(content))
        self.assertEqual(
            0 if outcome is instance_disk.Outcome.HIT else len(content),
            done.bytes_fetched,
        )
        self.assertIn('total', done.seconds)

    def check_cached(self):
        """The base image is whole, and may be served."""
        record = self.record()
        self.assertIs(models.State.READY, record.state)
        disk = self.driver.find_disk(self.base_name)
        self.assertEqual(
            (disk.udid, disk.capacity), (record.udid, record.capacity)
        )
        self.assert_bytes(
            self.content, self.driver.content(self.base_name, self.size)
        )

    def check_nothing_left(self):
        self.assertEqual([], self.driver.names())
        self.assertEqual([], self.catalog.base_images.list('pool'))
        self.assertEqual([], self.catalog.instance_disks.list('pool'))
        self.assertTrue(self.locks.is_free(f'image-pool-{self.base_name}'))

    def check_not_cached(self, *names):
        """Nothing is left but these disks."""
        self.assertEqual(sorted(names), self.driver.names())
        self.assertEqual([], self.catalog.base_images.list('pool'))

    def leave_behind(
        self, written=image_stream.CHUNK_SIZE, udid=True, gib=1, label=None
    ):
        """What a process leaves that dies while it fills a base image."""
        record = self.catalog.base_images.start_fill(
            'pool', self.base_name, self.image
        )
        disk = self.driver.add(
            self.base_name,
            gib,
            b'\xee' * written,
            label if label is not None else ownership.label(record.fill_id),
        )
        self.driver.uploads.add(disk.udid)
        if udid:
            self.catalog.base_images.set_disk(record, disk.udid, disk.capacity)
        return self.record()
