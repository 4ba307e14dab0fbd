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

"""The suite of drivers: a correct one passes, each broken one fails."""

import os
import pathlib
import sys
import tempfile
import unittest

from pvm_imagecache import exceptions
from pvm_imagecache import fixtures
from pvm_imagecache import plugins
from pvm_imagecache.conformance import driver as driver_suite
from pvm_imagecache.tests import packages
from pvm_imagecache.tests.unit import base

_EXAMPLE = pathlib.Path(__file__).parents[4] / 'examples' / 'directory_pool'

_START = """
import contextlib
import os
import shutil
import uuid

from directory_pool import driver as driver_module
from pvm_imagecache import exceptions
from pvm_imagecache.drivers import base
"""
CORRECT = """
class Driver(driver_module.DirectoryDriver):
    pass
"""


def body(text):
    """Return a driver with other methods than the correct one."""
    return 'class Driver(driver_module.DirectoryDriver):\n' + '\n'.join(
        f'    {line}' for line in text.strip().splitlines()
    )


#: Drivers that are refused when they are loaded: source, and the cause.
REFUSED = {
    'no driver': ('class Driver:\n    pass', 'not a subclass of'),
    'import': ('import no_such_module', 'ModuleNotFoundError'),
    'version': (body('api_version = 7'), 'version 7 of the contract'),
    'no version': (
        body('api_version = 0'),
        'it does not declare a contract version',
    ),
    'version as text': (body('api_version = "1"'), "api_version is '1'"),
    'capabilities': (
        body('capabilities = frozenset({"image_cache"})'),
        'capabilities are not a frozenset of Capability',
    ),
    'method of a capability': (
        body('copy_disk = base.DiskDriver.copy_disk'),
        'declares image_cache but lacks copy_disk',
    ),
    'abstract method': (
        'import abc\n'
        + body('@abc.abstractmethod\ndef find_disk(self, name):\n    pass'),
        'it lacks find_disk',
    ),
    'arguments': (
        body('def copy_disk(self, source, new):\n    pass'),
        'copy_disk must accept (self, source, new, still_valid)',
    ),
    'length of names': (
        body('max_name_length = 3'),
        'max_name_length is 3',
    ),
    'text as length of names': (
        body('max_name_length = "15"'),
        "max_name_length is '15'",
    ),
    'from_conf': (
        body('@classmethod\ndef from_conf(cls, conf):\n    return None'),
        'from_conf returned None',
    ),
    'failing from_conf': (
        body('@classmethod\ndef from_conf(cls, conf):\n    raise OSError(5)'),
        'from_conf raised OSError',
    ),
}

#: Drivers that fail the suite: source, test, and the cause in its message.
BROKEN = {
    'compares whole disks': (
        body("""
def _same(self, disk):
    found = self.find_disk(disk.name)
    return found if found and (
        (found.udid, found.capacity, found.label)
        == (disk.udid, disk.capacity, disk.label)) else None
"""),
        'test_name_and_udid_identify_a_disk',
        'does not exist',
    ),
    'deletes only what it knows whole': (
        body("""
def delete_disks(self, disks):
    real = self.snapshot().disks
    return [
        super(Driver, self).delete_disks([disk])[0]
        if any((each, each.capacity) == (disk, disk.capacity)
               for each in real)
        else base.Deletion(disk)
        for disk in disks
    ]
"""),
        'test_name_and_udid_identify_a_disk',
        'delete_disks() must identify disks by name and UDID',
    ),
    'deletes by name': (
        body("""
def _same(self, disk):
    return self.find_disk(disk.name)
"""),
        'test_a_disk_of_the_same_name_is_not_deleted',
        'delete_disks() must find disks by UDID and name',
    ),
    'fills a disk of the same name': (
        body("""
def upload(self, disk, pieces, size, sha256=None):
    found = self.find_disk(disk.name) or disk
    super().upload(found, pieces, size, sha256)
"""),
        'test_a_disk_with_another_udid_is_not_filled',
        'upload() to a disk that does not exist must raise',
    ),
    'copies are hard links': (
        body("""
def copy_disk(self, source, new, still_valid=lambda: True):
    made = super().copy_disk(source, new, still_valid)
    path = self._file(made)
    os.unlink(path)
    os.link(self._file(source), path)
    return made
"""),
        'test_an_instance_changes_its_own_disk_only',
        'a copy must not depend on its source',
    ),
    'waits for itself': (
        body("""
def pool_id(self):
    with contextlib.suppress(exceptions.PVMImageCacheError):
        with self._locks.hold('pool', 4):
            pass
    return super().pool_id()
"""),
        'test_the_pool_has_an_id_during_a_copy',
        'must not wait for a lock that copy_disk() holds',
    ),
    'no locks': (
        body("""
@contextlib.contextmanager
def _exclusive(self, action):
    yield
"""),
        'test_changes_at_the_same_time_exclude_each_other',
        'changes of the pool must exclude each other',
    ),
    'locks of its own': (
        'import threading\n'
        + body("""
def __init__(self, *args):
    super().__init__(*args)
    self._lock = threading.RLock()

@contextlib.contextmanager
def _exclusive(self, action):
    with self._lock:
        yield
"""),
        'test_changes_at_the_same_time_exclude_each_other',
        'changes of the pool must exclude each other',
    ),
    'checks space before it locks': (
        body("""
def create_disks(self, new):
    self._check(new)
    with self._exclusive('create disks'):
        taken = {each.name for each in self.snapshot().disks}
        for each in new:
            if each.name in taken:
                raise exceptions.DiskExists(name=each.name, pool='x')
        return self._create(new)
"""),
        'test_disks_that_do_not_fit_together_are_refused',
        'do not fit into the pool together',
    ),
    'accepts short uploads': (
        body("""
def upload(self, disk, pieces, size, sha256=None):
    data = list(pieces)
    super().upload(disk, iter(data), sum(map(len, data)))
"""),
        'test_an_upload_of_another_size_fails',
        'upload() of 1 MiB instead of 2 MiB must raise',
    ),
    'cuts long uploads': (
        body("""
def upload(self, disk, pieces, size, sha256=None):
    def cut():
        left = size
        for each in pieces:
            yield each[:left]
            left -= len(each[:left])
    super().upload(disk, cut(), size)
"""),
        'test_an_upload_of_another_size_fails',
        'upload() of 2 MiB instead of 1 MiB must raise',
    ),
    'free space is constant': (
        body("""
def snapshot(self):
    found = super().snapshot()
    return base.PoolSnapshot(
        base.Pool(found.pool.id, found.pool.name, 3 << 30, 3 << 30),
        found.disks)
"""),
        'test_free_space_follows_the_disks',
        'pool().free must fall by the size of a new disk',
    ),
    'space is never freed': (
        body("""
_least = 3 << 30

def snapshot(self):
    found = super().snapshot()
    Driver._least = min(Driver._least, found.pool.free)
    return base.PoolSnapshot(
        base.Pool(found.pool.id, found.pool.name, 3 << 30, Driver._least),
        found.disks)
"""),
        'test_free_space_follows_the_disks',
        'pool().free must rise when a disk is deleted',
    ),
    'keeps its disks in memory': (
        body("""
def __init__(self, *args):
    super().__init__(*args)
    self._known = set()

def create_disks(self, new):
    made = super().create_disks(new)
    self._known |= {each.name for each in made}
    return made

def find_disk(self, name):
    return super().find_disk(name) if name in self._known else None
"""),
        'test_other_processes_see_the_disks',
        'another driver must see new disks',
    ),
    'keeps its disks in the class': (
        body("""
_known = set()

def create_disks(self, new):
    made = super().create_disks(new)
    self._known |= {each.name for each in made}
    return made

def find_disk(self, name):
    return super().find_disk(name) if name in self._known else None
"""),
        'test_other_processes_see_the_disks',
        'another process must see new disks',
    ),
    'remembers deleted disks': (
        body("""
def __init__(self, *args):
    super().__init__(*args)
    self._seen = {}

def create_disks(self, new):
    made = super().create_disks(new)
    self._seen.update({each.name: each for each in made})
    return made

def find_disk(self, name):
    return super().find_disk(name) or self._seen.get(name)

def delete_disks(self, disks):
    done = super().delete_disks(disks)
    for each in disks:
        self._seen.pop(each.name, None)
    return done
"""),
        'test_other_processes_see_the_disks',
        'a disk that another process deleted must not be found',
    ),
    'wrong label': (
        body("""
def create_disks(self, new):
    return super().create_disks([
        base.NewDisk(each.name, each.size, each.file_format, 'mine')
        for each in new])
"""),
        'test_labels_are_those_of_the_request',
        "is 'mine', not",
    ),
    'swaps labels': (
        body("""
def create_disks(self, new):
    labels = [each.label for each in new][::-1]
    return super().create_disks([
        base.NewDisk(each.name, each.size, each.file_format, label)
        for each, label in zip(new, labels)])
"""),
        'test_labels_are_those_of_the_request',
        'the cache identifies its disks by their labels',
    ),
    'asks too early': (
        body("""
def copy_disk(self, source, new, still_valid=lambda: True):
    if not still_valid():
        raise exceptions.BaseImageGone(name=source.name, reason='gone')
    return super().copy_disk(source, new)
"""),
        'test_a_source_is_not_deleted_before_its_copy',
        'under the lock that deletions need',
    ),
    'does not ask': (
        body("""
def copy_disk(self, source, new, still_valid=lambda: True):
    return super().copy_disk(source, new)
"""),
        'test_a_source_is_not_deleted_before_its_copy',
        'copy_disk() must call still_valid()',
    ),
    'raw OSError': (
        body("""
def upload(self, disk, pieces, size, sha256=None):
    found = self._same(disk)
    with open(self._file(found or disk), 'r+b') as file:
        written = sum(map(file.write, pieces))
    if written != size:
        raise exceptions.TransferAborted(what='x', reason='y')
"""),
        'test_a_disk_with_another_udid_is_not_filled',
        'must raise PVMImageCacheError, not FileNotFoundError',
    ),
    'another pool at each start': (
        body("""
def __init__(self, *args):
    super().__init__(*args)
    self._own_id = str(uuid.uuid4())

def _pool_id(self):
    return self._own_id
"""),
        'test_the_pool_keeps_its_id',
        'the ID of the pool must not change at a restart',
    ),
    'another pool in each process': (
        body("""
def _pool_id(self):
    return str(os.getpid())
"""),
        'test_the_pool_keeps_its_id',
        'each process must see the same ID',
    ),
    'whole image in memory': (
        body("""
def upload(self, disk, pieces, size, sha256=None):
    super().upload(disk, iter([b''.join(pieces)]), size)
"""),
        'test_an_upload_needs_little_memory',
        'write the pieces as they come',
    ),
    'stale files': (
        body("""
def upload(self, disk, pieces, size, sha256=None):
    open(os.path.join(self._path, uuid.uuid4().hex), 'w').close()
    super().upload(disk, pieces, size)
"""),
        'test_nothing_is_left_over',
        'deleted disks and failed uploads must leave no files',
    ),
    'deletes nothing': (
        body("""
def delete_disks(self, disks):
    return [base.Deletion(each) for each in disks]
"""),
        'test_disks_are_created_found_and_deleted',
        'is not None',
    ),
    'length of names that is not true': (
        body("""
max_name_length = 4000
"""),
        'test_names_may_be_as_long_as_declared',
        'File name too long',
    ),
    'creates some of the disks': (
        body("""
def create_disks(self, new):
    return [super(Driver, self).create_disks([each])[0] for each in new]
"""),
        'test_a_name_is_used_once',
        'create_disks() must create all of the disks, or none',
    ),
    'another order': (
        body("""
def delete_disks(self, disks):
    return sorted(super().delete_disks(disks),
                  key=lambda each: each.disk.name)
"""),
        'test_results_are_in_the_order_of_the_request',
        'one result for each disk, in order',
    ),
    'loses bytes': (
        body("""
def copy_disk(self, source, new, still_valid=lambda: True):
    made = super().copy_disk(source, new, still_valid)
    with open(self._file(made), 'r+b') as file:
        file.seek(1 << 20)
        file.write(bytes(9))
    return made
"""),
        'test_uploaded_bytes_are_stored_and_copied',
        'b',
    ),
    'copies only the requested size': (
        body("""
def copy_disk(self, source, new, still_valid=lambda: True):
    made = super().copy_disk(source, new, still_valid)
    return base.Disk(made.name, made.udid, new.size, made.label)
"""),
        'test_disks_are_as_large_as_requested',
        'a copy must be as large as requested, and as its source',
    ),
    'copies are links': (
        body("""
def copy_disk(self, source, new, still_valid=lambda: True):
    made = super().copy_disk(source, new, still_valid)
    os.unlink(self._file(made))
    os.symlink(self._file(self._same(source)), self._file(made))
    return made
"""),
        'test_uploaded_bytes_are_stored_and_copied',
        'No such file',
    ),
    'shrinks disks': (
        body("""
def upload(self, disk, pieces, size, sha256=None):
    super().upload(disk, pieces, size)
    os.truncate(self._file(self._same(disk)), size)
"""),
        'test_an_upload_keeps_the_disk_as_it_is',
        '3145728',
    ),
    'all disks are mapped': (
        body("""
def mapped(self, disks):
    return set(disks)
"""),
        'test_a_new_disk_is_not_mapped',
        'set()',
    ),
    'no disk is mapped': (
        body("""
def mapped(self, disks):
    return set()
"""),
        'test_a_mapped_disk_is_reported',
        'mapped() must return the disks that partitions use',
    ),
    'compares mapped disks whole': (
        body("""
def mapped(self, disks):
    real = {(each.name, each.udid, each.capacity, each.label)
            for each in self.snapshot().disks}
    return {
        each for each in super().mapped(disks)
        if (each.name, each.udid, each.capacity, each.label) in real}
"""),
        'test_a_mapped_disk_is_reported',
        'mapped() must return the disks that partitions use',
    ),
    'ends when it is closed': (
        body("""
def close(self):
    self._path = None
"""),
        'test_a_closed_driver_can_be_used_again',
        'TypeError',
    ),
    'swallows errors of the image': (
        body("""
def upload(self, disk, pieces, size, sha256=None):
    with contextlib.suppress(exceptions.PVMImageCacheError):
        super().upload(disk, pieces, size)
"""),
        'test_a_failed_upload_leaves_nothing_but_the_disk',
        'PVMImageCacheError not raised',
    ),
    'lies about space': (
        body("""
def create_disks(self, new):
    try:
        return super().create_disks(new)
    except exceptions.NotEnoughSpace as error:
        raise exceptions.PowerVMRequestFailed(
            action='create', reason='no space') from error
"""),
        'test_lack_of_space_is_reported',
        'no space',
    ),
    'hides base images': (
        body("""
def base_image_snapshot(self):
    found = super().base_image_snapshot()
    return base.PoolSnapshot(found.pool, found.disks[1:])
"""),
        'test_base_images_are_found_among_the_disks',
        'i_00000000_0000',
    ),
}


class DriverTestCase(base.TestCase):
    def setUp(self):
        super().setUp()
        self.patch(sys, 'path', [str(_EXAMPLE), *sys.path])

    def package(self, code):
        return packages.Package(
            _START + code, {plugins.DRIVERS: {'theirs': 'Driver'}}
        )

    def suite(self, kind=fixtures.DriverConformance):
        class Suite(kind, unittest.TestCase):
            def configure(self):
                directory = tempfile.TemporaryDirectory()
                self.addCleanup(directory.cleanup)
                return {
                    'pvm_imagecache': {'disk_driver': 'theirs'},
                    'pvm_imagecache_directory': {
                        'path': directory.name,
                        'capacity_gib': 3,
                    },
                }

            def file(self, disk):
                (path,) = pathlib.Path(self.driver.pool().name).glob(
                    f'{disk.name}~{disk.udid}~*'
                )
                return path

            def read(self, disk, size):
                return self.file(disk).read_bytes()[:size]

            def write(self, disk, data):
                with open(self.file(disk), 'r+b') as file:
                    file.write(data)

            def map(self, disk):
                path = self.file(disk)
                os.link(path, path.with_name('of_a_partition'))

        return Suite

    def failures(self, suite, names=()):
        """Run tests of a suite; returns their messages."""
        tests = (
            map(suite, names)
            if names
            else unittest.defaultTestLoader.loadTestsFromTestCase(suite)
        )
        result = unittest.TestResult()
        unittest.TestSuite(tests).run(result)
        self.assertEqual([], result.skipped)
        self.assertGreater(result.testsRun, 0)
        return {
            test.id().rpartition('.')[2]: text
            for test, text in result.failures + result.errors
        }


class SuiteTest(DriverTestCase):
    def test_a_correct_driver_passes(self):
        with self.package(CORRECT):
            self.assertEqual({}, self.failures(self.suite()))

    def test_each_broken_driver_fails_with_its_cause(self):
        for name, (code, test, cause) in BROKEN.items():
            if name == 'waits for itself':
                self.patch(driver_suite, '_PATIENCE', 1.0)
            with self.subTest(name), self.package(code):
                found = self.failures(self.suite(), [test])
                self.assertEqual([test], list(found), name)
                self.assertIn(cause, found[test], name)

    def test_each_other_one_is_refused_when_it_is_loaded(self):
        for name, (code, cause) in REFUSED.items():
            with self.subTest(name), self.package(code):
                conf = self.make_conf(disk_driver='theirs')
                error = self.assertRaises(
                    exceptions.PluginInvalid, plugins.load_driver, conf
                )
                self.assertIn('their-package 1.5', str(error))
                self.assertIn(cause, str(error))

    def test_there_are_enough_broken_drivers(self):
        self.assertGreaterEqual(len(BROKEN), 30)

    def test_a_suite_without_a_second_driver_skips_its_tests(self):
        class Suite(self.suite()):
            def make_driver(self):
                return plugins.load_driver(
                    fixtures.configuration(self.configure())
                )

        with self.package(CORRECT):
            result = unittest.TestResult()
            Suite('test_the_pool_keeps_its_id').run(result)
        ((_, reason),) = result.skipped
        self.assertIn('make_second_driver', reason)
