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


"""Base classes of the tests of the catalog."""

import contextlib
import hashlib
import logging
import os
import sqlite3
import stat
import threading
import time

import fixtures
from oslotest import base

from pvm_imagecache import image as image_module
from pvm_imagecache.catalog import boot_clock
from pvm_imagecache.catalog import facade
from pvm_imagecache.catalog import models
from pvm_imagecache.tests.unit import base as unit_base

#: Limit of a wait that should end at once; never a figure that is tested.
PATIENCE = 30
GIB = 1 << 30
IMAGE_ID = '3e865d14-8c1e-4615-b73f-f78eaecabfbd'
YEARS = 10 * 365 * 86400.0

POPULATING = models.State.POPULATING
READY = models.State.READY
EVICTING = models.State.EVICTING
QUARANTINED = models.State.QUARANTINED

generated = unit_base.generated


def image_of(content, image_id=IMAGE_ID, **values):
    """Return the description that Glance would give of these bytes."""
    defaults = {
        'name': 'an image',
        'size': len(content),
        'disk_format': 'raw',
        'os_hash_algo': 'sha512',
        'os_hash_value': hashlib.sha512(content).hexdigest(),
        'checksum': hashlib.md5(content).hexdigest(),
    }
    return image_module.Image(id=image_id, **defaults | values)


class TestCase(base.BaseTestCase):
    """Every test has a directory of its own."""

    def setUp(self):
        super().setUp()
        # Shown only if a test fails.
        self.logger = self.useFixture(fixtures.FakeLogger(level=logging.DEBUG))
        self.directory = self.useFixture(fixtures.TempDir()).path
        self.catalog_path = self.path('state', 'c.sqlite')

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def sql(self, statement, values=()):
        """Run a statement on the file, past the catalog."""
        with (
            contextlib.closing(
                sqlite3.connect(self.catalog_path, isolation_level=None)
            ) as connection,
        ):
            return connection.execute(statement, values).fetchall()

    def lock_file(self):
        """Start a transaction as another process would."""
        connection = sqlite3.connect(self.catalog_path, isolation_level=None)
        self.addCleanup(connection.close)
        connection.execute('BEGIN IMMEDIATE')
        return connection

    def write_file(self, content):
        os.makedirs(os.path.dirname(self.catalog_path), exist_ok=True)
        with open(self.catalog_path, 'wb') as file:
            file.write(content)

    def in_threads(self, *functions):
        """Run functions side by side; return what each returned."""
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

    def in_child(self, function):
        """Call a function in a forked process; it must return."""
        pid = os.fork()
        if not pid:
            status = 1
            try:
                function()
                status = 0
            finally:
                os._exit(status)
        self.assertEqual(0, os.waitpid(pid, 0)[1])

    def as_unprivileged_user(self):
        """Drop the privileges of root in a child process."""
        if not os.geteuid():
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)

    def let_others_in(self):
        """Let every user pass through the directories of the test."""
        directory = self.directory
        while directory != '/':
            if os.stat(directory).st_uid == os.geteuid():
                mode = stat.S_IMODE(os.stat(directory).st_mode)
                os.chmod(directory, mode | 0o111)
            directory = os.path.dirname(directory)


class CatalogTestCase(TestCase):
    """Tests of a catalog that does not exist at first."""

    def setUp(self):
        super().setUp()
        self.image = image_of(b'some bytes')
        self.catalog = self.open()

    def open(self, who=None, **kwargs):
        opened = facade.Catalog(self.catalog_path, who, **kwargs)
        self.addCleanup(opened.close)
        return opened

    def start_fill(self, name='disk', pool='pool'):
        return self.catalog.base_images.start_fill(pool, name, self.image)

    def get(self, name='disk', pool='pool'):
        return self.catalog.base_images.get(pool, name)

    def make_ready(self, name='disk', pool='pool', image=None):
        image = image or self.image
        images = self.catalog.base_images
        record = images.start_fill(pool, name, image)
        images.set_disk(record, f'udid of {name}', GIB)
        images.finish_fill(record, image)
        return self.get(name, pool)


class ClockTestCase(CatalogTestCase):
    """Tests on a host whose clocks the test sets."""

    def setUp(self):
        super().setUp()
        self.now, self.up, self.boot = 1e9, 100.0, 'first'
        self.patch(time, 'time', lambda: self.now)
        self.patch(boot_clock, 'uptime', lambda: self.up)
        self.patch(boot_clock, 'boot', lambda: self.boot)

    def later(self, seconds):
        self.now += seconds
        self.up += seconds

    def reboot(self, seconds_down=500.0):
        self.now += seconds_down
        self.up, self.boot = 20.0, self.boot + '+'

    def age(self, name='disk'):
        return self.catalog.clock.now() - self.get(name).used_clock
