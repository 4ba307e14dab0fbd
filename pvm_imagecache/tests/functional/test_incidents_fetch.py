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

"""Incidents of other image caches: how images come into the cache.

Each class is named after an incident, and says what happened where.
"""

from collections.abc import Callable
from collections.abc import Iterator
from concurrent import futures
import functools
from typing import Any

import fixtures
from keystoneauth1 import token_endpoint
from oslo_utils import units

from pvm_imagecache import exceptions
from pvm_imagecache import naming
from pvm_imagecache.deploy import base_image
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.deploy import transfer
from pvm_imagecache.glance import stream as image_stream
from pvm_imagecache.simulator import body
from pvm_imagecache.tests import images
from pvm_imagecache.tests import seams
from pvm_imagecache.tests.functional import incidents

SIZE = 3 * units.Mi + 17


class Incident01HalfWrittenImageTestCase(incidents.IncidentTestCase):
    """A crash in the middle of an upload left half an image forever.

    It had its final name from the beginning, and was served from then on:
    nova-powervm's localdisk driver; Glance LP 1031842; ironic 8c93d7d.
    """

    def test_killed_in_the_middle_of_the_upload(self) -> None:
        image_id = self.store_raw(incidents.HELD_SIZE)
        self.kill_in_the_middle(image_id, 'dead')
        name = naming.base_image_name(image_id)
        self.assertEqual({name, 'dead'}, set(self.disks()))
        self.assertLess(self.written(name), incidents.HELD_SIZE)

        self.assertEqual(
            instance_disk.Outcome.MISS, self.deploy(image_id, 'vm1')
        )
        self.assertEqual(
            instance_disk.Outcome.HIT, self.deploy(image_id, 'vm2')
        )
        self.assert_cached(image_id)

    def test_killed_between_the_creation_and_the_upload(self) -> None:
        image_id = self.store_raw(SIZE)
        self.powervm.control.add_fault(
            'latency', kind='File.create', seconds=600
        )
        worker = self.start_worker(image_id, 'dead')
        self.wait_until(lambda: self.rows('File.create'))
        worker.kill()
        worker.wait()
        self.powervm.control.clear_faults()
        self.assertEqual(0, self.written(naming.base_image_name(image_id)))

        self.assertEqual(
            instance_disk.Outcome.MISS, self.deploy(image_id, 'vm1')
        )
        self.assertEqual(
            instance_disk.Outcome.HIT, self.deploy(image_id, 'vm2')
        )
        self.assert_cached(image_id)

    def test_the_next_cleanup_run_removes_a_half_written_image(self) -> None:
        image_id = self.store_raw(incidents.HELD_SIZE)
        self.kill_in_the_middle(image_id, 'dead')
        self.wait_until(
            lambda: all(
                row['seconds'] is not None for row in self.rows('File.upload')
            )
        )

        self.assertEqual(
            {naming.base_image_name(image_id), 'dead'},
            set(self.manager.reconcile().removed),
        )
        self.assert_nothing_left()

    def test_a_prefetch_that_was_killed(self) -> None:
        image_id = self.store_raw(incidents.HELD_SIZE)
        with self.slow_glance():
            process = self.start_process(
                *self.shell_command('prefetch', image_id)
            )
            self.hold_fetch(image_id)
            process.kill()
            process.wait()

        self.assertTrue(self.manager.prefetch(self.image(image_id)).fetched)
        self.assertEqual(
            instance_disk.Outcome.HIT, self.deploy(image_id, 'vm1')
        )
        self.assert_cached(image_id)


class Incident02ManyDownloadsTestCase(incidents.IncidentTestCase):
    """A thousand builds of one image made a thousand downloads.

    Glance's specification "duplicate-downloads"; docker-registry-proxy #31,
    where a lock of a fixed age let the second one through.
    """

    def test_sixteen_deploys_of_threads_and_processes(self) -> None:
        image_id = self.store_raw(incidents.HELD_SIZE)
        image = self.image(image_id)
        names = [f'vm{number}' for number in range(16)]
        with self.slow_glance(), futures.ThreadPoolExecutor(8) as pool:
            workers = [
                self.start_worker(image_id, *names[8:12]),
                self.start_worker(image_id, *names[12:]),
            ]
            self.hold_fetch(image_id)
            done = [
                pool.submit(self.manager.create_disk, image, name)
                for name in names[:8]
            ]
            # All sixteen have begun before the fetch may end.
            self.wait_until(
                lambda: len(names) == len(self.unfinished(self.manager))
            )
            self.glance.set_bandwidth(0)
            outcomes = [each.result().outcome.value for each in done]
        for worker in workers:
            outcomes += self.finish(worker).split()

        self.assertEqual(['hit'] * 15 + ['miss'], sorted(outcomes))
        self.assertEqual(1, len(self.downloads_of(image_id)))
        self.assertEqual(incidents.HELD_SIZE, self.fetched())
        self.assertEqual(17, len(self.disks()))
        for name in names:
            self.assert_whole(name, image_id)
        self.assert_cached(image_id)

    def test_a_slow_fetch_is_not_taken_over(self) -> None:
        # It takes longer than anybody waits for one without progress.
        for module, name in (
            (transfer, '_PROGRESS_INTERVAL'),
            (base_image, '_POLL_INTERVAL'),
        ):
            self.useFixture(fixtures.MockPatchObject(module, name, 0.05))
        self.manager = self.make_manager(self.conf_with('fetch_timeout = 2'))
        image_id = self.store_raw(incidents.HELD_SIZE)
        image = self.image(image_id)
        self.glance.set_bandwidth(4_000_000)
        first = self.thread(self.manager.create_disk, image, 'vm1')
        self.wait_until(lambda: self.record(image_id))
        second = self.manager.create_disk(image, 'vm2')

        self.assertGreater(first.result().seconds['fetch'], 2)
        self.assertEqual(instance_disk.Outcome.HIT, second.outcome)
        self.assertEqual(1, len(self.downloads_of(image_id)))
        for name in ('vm1', 'vm2'):
            self.assert_whole(name, image_id)


class Incident03PrecacheRaceTestCase(incidents.IncidentTestCase):
    """Precaching an image raced with the boot of a server from it.

    nova's libvirt driver fetched it twice, or booted from what was being
    written: cache_image; nova LP 1014227, 1565895.
    """

    def test_a_boot_while_another_process_precaches(self) -> None:
        image_id = self.store_raw(incidents.HELD_SIZE)
        with self.slow_glance():
            process = self.start_process(
                *self.shell_command(
                    'prefetch', image_id, '-f', 'value', '-c', 'Result'
                )
            )
            self.hold_fetch(image_id)
            boot = self.thread(self.deploy, image_id, 'vm1')
            self.wait_until(lambda: self.unfinished(self.manager))
            self.assertNotIn('vm1', self.disks())
        self.assertEqual('fetched', self.finish(process).strip())
        self.assertEqual(instance_disk.Outcome.HIT, boot.result())
        self.assertEqual(1, len(self.downloads_of(image_id)))
        self.assert_cached(image_id)

    def test_a_precache_while_another_process_boots(self) -> None:
        image_id = self.store_raw(incidents.HELD_SIZE)
        with self.slow_glance():
            worker = self.start_worker(image_id, 'vm1')
            self.hold_fetch(image_id)
            precache = self.thread(self.manager.prefetch, self.image(image_id))
            self.assertFalse(precache.done())
        self.assertEqual('miss', self.finish(worker).strip())
        self.assertFalse(precache.result().fetched)
        self.assertEqual(1, len(self.downloads_of(image_id)))
        self.assert_whole('vm1', image_id)
        self.assert_cached(image_id)

    def test_a_boot_takes_over_a_killed_precache(self) -> None:
        image_id = self.store_raw(incidents.HELD_SIZE)
        with self.slow_glance():
            process = self.start_process(
                *self.shell_command('prefetch', image_id)
            )
            self.hold_fetch(image_id)
            boot = self.thread(self.deploy, image_id, 'vm1')
            self.wait_until(lambda: self.unfinished(self.manager))
            process.kill()
            process.wait()
        self.assertEqual(instance_disk.Outcome.MISS, boot.result())
        self.assert_cached(image_id)


class Incident08SlowUploadTestCase(incidents.IncidentTestCase):
    """A pass waited for its turn, and with it every deploy of the host.

    All that was behind one slow upload: nova-powervm's reader-writer lock.
    """

    def setUp(self) -> None:
        super().setUp()
        self.cached_id = self.store_raw(SIZE, 1)
        self.deploy(self.cached_id, 'first')
        self.purged_id = self.store_raw(SIZE, 2)
        self.manager.prefetch(self.image(self.purged_id))
        self.slow_id = self.store_raw(incidents.HELD_SIZE, 3)

    def use_the_cache(self) -> None:
        """A pass, a hit by the same process, one by another, a purge."""
        self.assertEqual(
            ((), ()),
            (
                (found := self.in_time(self.manager.reconcile)).removed,
                found.failed,
            ),
        )
        self.assertEqual(
            instance_disk.Outcome.HIT,
            self.in_time(self.deploy, self.cached_id, 'vm1'),
        )
        other = self.other_manager()
        self.assertEqual(
            instance_disk.Outcome.HIT,
            self.in_time(
                other.create_disk, self.image(self.cached_id), 'vm2'
            ).outcome,
        )
        self.assert_whole('vm2', self.cached_id)
        (result,) = self.in_time(
            self.manager.purge, [self.manager.find(self.purged_id)]
        )
        self.assertTrue(result.removed)

    def test_glance_is_slow(self) -> None:
        with self.slow_glance():
            slow = self.thread(self.deploy, self.slow_id, 'slow')
            self.hold_fetch(self.slow_id)
            self.use_the_cache()
            self.assertFalse(self.is_fetched(self.slow_id))
            self.assertFalse(slow.done())
        self.assertEqual(instance_disk.Outcome.MISS, slow.result())
        self.assert_cached(self.cached_id, self.slow_id)

    def test_powervm_is_slow(self) -> None:
        self.powervm.control.add_fault(
            'stall_after_bytes',
            kind='File.upload',
            bytes=units.Mi,
            seconds=600,
        )
        seen = self.last_request()
        worker = self.start_worker(self.slow_id, 'slow')
        self.wait_until(
            lambda: self.written(naming.base_image_name(self.slow_id))
        )
        self.use_the_cache()
        self.assertEqual(
            [None, None],
            [row['seconds'] for row in self.rows('File.upload', seen)],
        )
        self.assertIsNone(worker.poll())


class Incident15WrongDataTestCase(incidents.IncidentTestCase):
    """What came was wrong, short, long or empty, and was cached all the same.

    Glance LP 882585, 1183049, 1251055, 1664709.
    """

    def refused(self, image_id: str, error: type[Exception]) -> None:
        image = self.image(image_id)
        self.assertRaises(error, self.manager.create_disk, image, 'vm1')
        self.assert_nothing_left()
        self.assertRaises(error, self.manager.prefetch, image)
        self.assert_nothing_left()

    def mended(self, image_id: str, good: bytes) -> None:
        self.glance.data_path(image_id).write_bytes(good)
        self.assertEqual(
            instance_disk.Outcome.MISS, self.deploy(image_id, 'vm1')
        )
        self.assert_cached(image_id)

    def test_a_wrong_checksum_is_refused(self) -> None:
        image_id = self.store_raw(SIZE)
        good = self.spoil(image_id, incidents.flip_last)
        self.refused(image_id, exceptions.ImageCorrupt)
        self.mended(image_id, good)

    def test_wrong_old_checksum(self) -> None:
        image_id = self.store_raw(SIZE)
        self.sql(
            'UPDATE images SET os_hash_algo = NULL, os_hash_value = '
            'NULL WHERE id = ?',
            image_id,
        )
        good = self.spoil(image_id, incidents.flip_last)
        self.refused(image_id, exceptions.ImageCorrupt)
        self.mended(image_id, good)

    def test_short_data_is_refused(self) -> None:
        image_id = self.store_raw(SIZE)
        good = self.spoil(image_id, lambda data: data.pop())
        self.refused(image_id, exceptions.ImageTruncated)
        self.mended(image_id, good)

    def test_short_and_nobody_knows_a_checksum(self) -> None:
        image_id = self.store_raw(SIZE)
        self.forget_hashes(image_id)
        self.spoil(image_id, lambda data: data.pop())
        self.assertRaises(
            exceptions.ImageTruncated,
            self.manager.create_disk,
            self.image(image_id),
            'vm1',
        )
        self.assert_nothing_left()

    def stream(
        self, change: Callable[[Iterator[bytes]], Iterator[bytes]]
    ) -> Any:
        """Change what is read; a promised length is kept by HTTP itself.

        Today's Glance promises one, others did not.
        """
        return seams.changed_data(self.source, change)

    def test_short_though_no_length_was_promised(self) -> None:
        # Each answer ends after a MiB, and nothing says that it is short.
        for number, hashes in enumerate((True, False)):
            image_id = self.store_raw(SIZE)
            if not hashes:
                self.forget_hashes(image_id)
            with self.stream(lambda data: iter([b''.join(data)[: units.Mi]])):
                self.manager.create_disk(self.image(image_id), f'vm{number}')
            self.assert_holds(f'vm{number}', image_id, SIZE)

    def test_data_that_end_early_again_and_again_are_refused(self) -> None:
        image_id = self.store_raw(SIZE)
        with self.stream(lambda data: iter([b''.join(data)[:1000]])):
            self.refused(image_id, exceptions.ImageTruncated)

    def test_long_data_is_refused(self) -> None:
        for more in (b'x', bytes(2 * units.Mi)):
            image_id = self.store_raw(SIZE)
            with self.stream(functools.partial(self.longer, more)):
                self.refused(image_id, exceptions.ImageTruncated)

    @staticmethod
    def longer(more: bytes, data: Iterator[bytes]) -> Iterator[bytes]:
        yield from data
        yield more

    def test_endless_data_is_refused_soon(self) -> None:
        given = []

        def endless(data: Iterator[bytes]) -> Iterator[bytes]:
            yield from data
            for number in range(1000):
                given.append(number)
                yield bytes(units.Mi)

        with self.stream(endless):
            self.refused(self.store_raw(SIZE), exceptions.ImageTruncated)
        self.assertLess(len(given), 10)

    def test_missing_data_changes_no_pool(self) -> None:
        image_id = self.store_raw(SIZE)
        with self.stream(lambda data: iter([])):
            self.refused(image_id, exceptions.ImageHasNoData)
        self.assertEqual([], self.rows('VolumeGroup.update'))

    def test_an_empty_image_is_refused(self) -> None:
        image_id = self.store_raw(SIZE)
        good = self.spoil(image_id, lambda data: data.clear())
        self.refused(image_id, exceptions.ImageError)
        self.mended(image_id, good)

    def test_an_image_of_no_bytes(self) -> None:
        self.assertRaises(
            exceptions.ImageHasNoData, self.image, self.store(b'')
        )

    def test_an_image_without_size_is_refused(self) -> None:
        image_id = self.store_raw(SIZE)
        self.sql('UPDATE images SET size = NULL WHERE id = ?', image_id)
        self.assertRaises(exceptions.ImageHasNoData, self.image, image_id)

    def test_an_image_without_checksum_is_not_cached(self) -> None:
        image_id = self.store_raw(SIZE)
        self.forget_hashes(image_id)
        for name in ('vm1', 'vm2'):
            self.assertEqual(
                instance_disk.Outcome.BYPASS, self.deploy(image_id, name)
            )
        self.assertRaises(
            exceptions.ImageNotCacheable,
            self.manager.prefetch,
            self.image(image_id),
        )
        self.assert_nothing_left('vm1', 'vm2')

    def forget_hashes(self, image_id: str) -> None:
        self.sql(
            'UPDATE images SET checksum = NULL, os_hash_algo = NULL, '
            'os_hash_value = NULL WHERE id = ?',
            image_id,
        )


class Incident16CorruptOfTheRightSizeTestCase(incidents.IncidentTestCase):
    """A corrupt file of the right size was taken up again and again.

    Its size was all that was asked about, so no retry ever mended it:
    Longhorn #3061.
    """

    def test_each_attempt_begins_anew(self) -> None:
        image_id = self.store_raw(SIZE)
        good = self.spoil(image_id, incidents.flip_last)
        for number in (1, 2, 3):
            self.assertRaises(
                exceptions.ImageCorrupt,
                self.manager.create_disk,
                self.image(image_id),
                'vm1',
            )
            self.assertEqual(2 * number, len(self.downloads_of(image_id)))
            self.assert_nothing_left()
        self.glance.data_path(image_id).write_bytes(good)
        self.assertEqual(
            instance_disk.Outcome.MISS, self.deploy(image_id, 'vm1')
        )
        self.assertEqual(
            instance_disk.Outcome.HIT, self.deploy(image_id, 'vm2')
        )
        self.assert_cached(image_id)

    def test_the_platform_could_not_delete_it(self) -> None:
        # The corrupt disks of the right size stay where they are.
        image_id = self.store_raw(SIZE)
        good = self.spoil(image_id, incidents.flip_last)
        self.manager.usage()
        self.powervm.control.add_fault(
            'status', kind='VolumeGroup.update', skip=1, status=500
        )
        self.assertRaises(
            exceptions.ImageCorrupt,
            self.manager.create_disk,
            self.image(image_id),
            'vm1',
        )
        self.powervm.control.clear_faults()
        self.assertEqual(
            {'vm1', naming.base_image_name(image_id)}, set(self.disks())
        )

        self.glance.data_path(image_id).write_bytes(good)
        self.assertEqual(
            instance_disk.Outcome.MISS, self.deploy(image_id, 'vm1')
        )
        self.assertEqual(
            instance_disk.Outcome.HIT, self.deploy(image_id, 'vm2')
        )
        self.assert_cached(image_id)


class Incident17RightToDownloadTestCase(incidents.IncidentTestCase):
    """A cached image could be had without the right to download it.

    CVE-2013-4428: the cache answered before the rule was asked about.
    """

    class Context:
        """As much of nova's request context as is asked for."""

        global_id = 'req-aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee'

        def __init__(self, token: str, url: str) -> None:
            self._plugin = token_endpoint.Token(url, token)

        def get_auth_plugin(self) -> Any:
            return self._plugin

    def context(self, project: str, *roles: str) -> Any:
        return self.Context(
            self.glance.token('u', project, roles), self.glance.url
        )

    def setUp(self) -> None:
        super().setUp()
        self.private_id = self.store_raw(SIZE, visibility='private')

    def test_a_forbidden_image_is_not_fetched(self) -> None:
        image = self.image(self.private_id)
        for context, error in (
            (
                self.context('other', 'member', 'reader'),
                exceptions.ImageNotFound,
            ),
            (self.context('demo', 'reader'), exceptions.ImageForbidden),
        ):
            self.assertRaises(
                error, self.manager.create_disk, image, 'vm1', context=context
            )
            self.assert_nothing_left()
        self.assertEqual(
            instance_disk.Outcome.MISS,
            self.deploy(
                self.private_id,
                'vm1',
                context=self.context('demo', 'member', 'reader'),
            ),
        )

    def test_cached_and_not_to_be_seen(self) -> None:
        self.deploy(self.private_id, 'vm1')
        self.assertRaises(
            exceptions.ImageNotFound,
            self.source.get,
            self.private_id,
            self.context('other', 'member', 'reader'),
        )

    def test_cached_and_not_to_be_downloaded(self) -> None:
        self.deploy(self.private_id, 'vm1')
        context = self.context('demo', 'reader')
        image = self.source.get(self.private_id, context)
        self.assertRaises(
            exceptions.ImageForbidden,
            self.manager.create_disk,
            image,
            'vm2',
            context=context,
        )
        self.assertNotIn('vm2', self.disks())


class Incident26PermanentErrorsTestCase(incidents.IncidentTestCase):
    """Errors that never pass were retried, each with a full download.

    nova-powervm did so four times before it gave up.
    """

    def attempts(
        self, error: type[Exception], image_id: str, size: int = 0
    ) -> tuple[int, int]:
        """Downloads and updates of the volume group by a deploy."""
        image = self.image(image_id)
        self.glance.reset_downloads()
        seen = self.last_request()
        self.assertRaises(error, self.manager.create_disk, image, 'vm1', size)
        return (
            len(self.glance.downloads()),
            len(self.rows('VolumeGroup.update', seen)),
        )

    def test_corrupt_data_is_fetched_twice(self) -> None:
        image_id = self.store_raw(SIZE)
        self.spoil(image_id, incidents.flip_last)
        # Of each download, one that makes the disks, and one that takes them
        # away.
        self.assertEqual(
            (2, 4), self.attempts(exceptions.ImageCorrupt, image_id)
        )

    def test_a_deleted_image_is_requested_once(self) -> None:
        image_id = self.store_raw(SIZE)
        image = self.image(image_id)
        self.glance.client().images.delete(image_id)
        self.assertRaises(
            exceptions.ImageNotFound, self.manager.create_disk, image, 'vm1'
        )
        self.assertEqual(1, len(self.downloads_of(image_id)))
        self.assertEqual([], self.rows('VolumeGroup.update'))

    def test_missing_space_is_found_once(self) -> None:
        self.plant('large', 999 * units.Gi)
        downloads, updates = self.attempts(
            exceptions.NotEnoughSpace,
            self.store_raw(incidents.HELD_SIZE),
            2 * units.Gi,
        )
        self.assertEqual((1, 0), (downloads, updates))
        self.assertLess(self.fetched(), incidents.HELD_SIZE)

    def test_powervm_refuses_the_disks(self) -> None:
        self.powervm.control.add_fault(
            'status', kind='VolumeGroup.update', status=500
        )
        downloads, updates = self.attempts(
            exceptions.PowerVMRequestFailed, self.store_raw(SIZE)
        )
        self.assertEqual(1, downloads)
        self.assertLessEqual(updates, 2)

    def test_powervm_refuses_the_data(self) -> None:
        self.powervm.control.add_fault(
            'status', kind='File.upload', status=500
        )
        downloads, _ = self.attempts(
            exceptions.PowerVMRequestFailed, self.store_raw(SIZE)
        )
        self.assertEqual(1, downloads)
        self.assertEqual(2, len(self.rows('File.upload')))
        self.assert_nothing_left()

    def test_a_taken_name_is_found_once(self) -> None:
        self.plant('vm1')
        downloads, updates = self.attempts(
            exceptions.DiskExists, self.store_raw(SIZE)
        )
        self.assertLessEqual(downloads, 1)
        self.assertEqual(0, updates)

    def test_a_too_small_disk_is_refused_once(self) -> None:
        image_id = self.store(images.qcow2_bytes(2 * units.Gi), 'qcow2')
        downloads, updates = self.attempts(
            exceptions.DiskTooSmall, image_id, units.Gi
        )
        self.assertLessEqual(downloads, 1)
        self.assertEqual(0, updates)


class Incident28TinyPiecesTestCase(incidents.IncidentTestCase):
    """A library changed its default, and data came in pieces of 128 bytes.

    Transfers slowed to a crawl: ironic, release note
    "image-download-performance".
    """

    def setUp(self) -> None:
        super().setUp()
        self.sizes: list[int] = []
        take_line = body._ChunkFraming._take_line

        def noting(framing: Any, line: bytes) -> None:
            take_line(framing, line)
            if framing._in_chunk:
                self.sizes.append(framing._in_chunk)

        self.useFixture(
            fixtures.MockPatchObject(body._ChunkFraming, '_take_line', noting)
        )

    def assert_large(self, disks: int) -> None:
        """As few pieces were sent to PowerVM as there can be."""
        self.assertGreaterEqual(image_stream.CHUNK_SIZE, 64 * units.Ki)
        self.assertEqual(SIZE * disks, sum(self.sizes))
        most = -(-SIZE // image_stream.CHUNK_SIZE)
        self.assertLessEqual(len(self.sizes), most * disks)

    def test_a_miss_writes_large_pieces(self) -> None:
        self.assertEqual(
            instance_disk.Outcome.MISS,
            self.deploy(self.store_raw(SIZE), 'vm1'),
        )
        self.assert_large(2)

    def test_a_prefetch_writes_large_pieces(self) -> None:
        self.manager.prefetch(self.image(self.store_raw(SIZE)))
        self.assert_large(1)

    def test_a_download_that_was_taken_up_again(self) -> None:
        image_id = self.store_raw(SIZE)
        self.glance.inject(image_id, reset_after=units.Mi + 5)
        self.deploy(image_id, 'vm1')
        self.assertEqual(2, len(self.downloads_of(image_id)))
        self.assert_large(2)

    def test_glance_gives_tiny_pieces(self) -> None:
        image_id = self.store_raw(SIZE)
        parts = []

        def tiny(data: Iterator[bytes]) -> Iterator[bytes]:
            for part in data:
                for start in range(0, len(part), 128):
                    parts.append(1)
                    yield part[start : start + 128]

        with seams.changed_data(self.source, tiny):
            self.deploy(image_id, 'vm1')
        self.assertGreaterEqual(len(parts), SIZE // 128)
        self.assert_large(2)

    def test_large_pieces_are_read_from_glance(self) -> None:
        image_id = self.store_raw(SIZE)
        sizes = []

        def noting(data: Iterator[bytes]) -> Iterator[bytes]:
            for part in data:
                sizes.append(len(part))
                yield part

        with seams.changed_data(self.source, noting):
            self.deploy(image_id, 'vm1')
        self.assertEqual(SIZE, sum(sizes))
        # Parts are read as they arrive, so that single ones may be small.
        self.assertGreaterEqual(SIZE / len(sizes), 16 * units.Ki)


class Incident29SlowLookupTestCase(incidents.IncidentTestCase):
    """To look into the cache took longer than the download would have.

    spegel #217.
    """

    DISKS = 60

    def test_requests_of_a_hit(self) -> None:
        image_id = self.store_raw(SIZE)
        self.deploy(image_id, 'first')
        for number in range(self.DISKS):
            self.powervm.control.plant_disk(
                'cachevg', f'other{number}', units.Gi
            )
        for number in range(3):
            self.deploy_without_glance(image_id, f'vm{number}')

    def deploy_without_glance(self, image_id: str, name: str) -> None:
        image = self.image(image_id)
        seen = self.last_request()
        self.glance.reset_downloads()
        with seams.noted_clients(self.source) as asked:
            done = self.manager.create_disk(image, name)
        self.assertEqual(instance_disk.Outcome.HIT, done.outcome)
        self.assertEqual(
            ['VolumeGroup.get', 'VolumeGroup.update'], self.kinds_since(seen)
        )
        self.assertEqual(([], []), (asked, self.glance.downloads()))
        self.assert_whole(name, image_id)

    def test_an_image_that_is_not_cached(self) -> None:
        # What the cache costs there: nothing before the fetch, whose
        # update makes both disks.
        image_id = self.store_raw(SIZE)
        # The first disk shows that the pool keeps labels.
        self.deploy(self.store_raw(SIZE, 1), 'first')
        seen = self.last_request()
        self.deploy(image_id, 'vm1')
        self.assertEqual(1, len(self.rows('VolumeGroup.get', seen)))
        self.assertEqual(1, len(self.rows('VolumeGroup.update', seen)))
