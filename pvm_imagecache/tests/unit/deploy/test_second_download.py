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
"""Tests of the second download after wrong data."""

import threading
from unittest import mock

import requests

from pvm_imagecache import cache as cache_module
from pvm_imagecache import exceptions
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.deploy import second_download
from pvm_imagecache.glance import stream as image_stream
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit import fakes

CHUNK = image_stream.CHUNK_SIZE
HIT, MISS = instance_disk.Outcome.HIT, instance_disk.Outcome.MISS
BYPASS = instance_disk.Outcome.BYPASS


class SecondDownloadTestCase(base.CacheTestCase):
    """Each download sends the next content, and the last one repeatedly."""

    def setUp(self):
        super().setUp()
        opened = self.source._body

        def body(image, position):
            # Each download sends the next content.
            if position == 0 and self.contents:
                current = self.contents[0]
                if len(self.contents) > 1:
                    del self.contents[0]
                self.source.put(image, *current)
            return opened(image, position)

        self.source._body = body
        self.contents = []

    def send(self, *contents):
        self.contents = [
            each if isinstance(each, tuple) else tuple(fakes.chunks(each))
            for each in contents
        ]

    def wrong(self):
        """Data that is not the image's, by the error that it causes."""
        flipped = bytearray(self.content)
        flipped[CHUNK + 3] ^= 1
        return {
            exceptions.ImageCorrupt: bytes(flipped),
            exceptions.ImageTruncated: self.content[:-3],
        }


class SecondDownloadTest(SecondDownloadTestCase):
    def test_right_data_of_the_second_download_is_deployed(self):
        for kind, wrong in self.wrong().items():
            name = kind.__name__
            self.send(wrong, self.content)
            done = self.deploy(name)
            self.assertIs(MISS, done.outcome)
            self.assertEqual(len(wrong) + self.size, done.bytes_fetched)
            self.assert_bytes(self.content, self.driver.content(name))
            self.check_cached()
            self.assertEqual({self.base_name, name}, set(self.driver.names()))
            self.check(self.deploy('hit'), HIT)
            self.driver.vanish('hit')
            self.driver.vanish(name)
            self.driver.vanish(self.base_name)
            self.catalog.base_images.remove(self.record())

    def test_wrong_data_costs_two_downloads(self):
        for kind, wrong in self.wrong().items():
            for attempt in (self.deploy, self.prefetch):
                self.source.opened.clear()
                self.send(wrong)
                self.assertRaises(kind, attempt)
                self.assertEqual(2, len(self.source.opened))
                self.check_nothing_left()

    def test_bypass_downloads_twice(self):
        self.settings = cache_module.Settings(
            enabled=False, stall_timeout=base.PATIENCE
        )
        for kind, wrong in self.wrong().items():
            self.source.opened.clear()
            self.send(wrong)
            self.assertRaises(kind, self.deploy)
            self.assertEqual(2, len(self.source.opened))
            self.check_nothing_left()
            self.send(wrong, self.content)
            done = self.deploy()
            self.assertIs(BYPASS, done.outcome)
            self.assert_bytes(self.content, self.driver.content('disk'))
            self.driver.vanish('disk')

    def test_miss_without_space_for_the_base_image_downloads_twice(self):
        for wrong in self.wrong().values():
            self.driver = fakes.FakeDriver(1)
            self.send(wrong, self.content)
            done = self.deploy()
            self.assertIs(BYPASS, done.outcome)
            self.assert_bytes(self.content, self.driver.content('disk'))
            self.assertEqual(['disk'], self.driver.names())

    def test_pool_that_caches_images_downloads_twice(self):
        self.driver = fakes.FakePool()
        for kind, wrong in self.wrong().items():
            self.source.opened.clear()
            self.send(wrong)
            self.assertRaises(kind, self.deploy)
            self.assertEqual(2, len(self.source.opened))
            self.send(wrong, self.content)
            self.deploy(kind.__name__)
            self.assert_bytes(self.content, self.driver.content(kind.__name__))
            self.driver.images.clear()

    def test_base_image_that_cannot_be_deleted_is_bypassed(self):
        def keep(disk):
            if disk.name == self.base_name:
                fakes.refusal()

        self.driver.before['delete'] = keep
        self.send(self.wrong()[exceptions.ImageCorrupt], self.content)
        done = self.deploy()
        self.assertIs(BYPASS, done.outcome)
        self.assert_bytes(self.content, self.driver.content('disk'))
        self.assertEqual(2, len(self.source.opened))
        # What could not be deleted is never served.
        del self.driver.before['delete']
        self.check(self.deploy('next'), MISS)
        self.check_cached()

    def test_instance_disk_that_cannot_be_deleted_ends_the_deploy(self):
        def keep(disk):
            if disk.name == 'disk':
                fakes.refusal()

        self.driver.before['delete'] = keep
        self.send(self.wrong()[exceptions.ImageCorrupt], self.content)
        self.assertRaises(exceptions.ImageCorrupt, self.deploy)
        self.assertEqual(1, len(self.source.opened))
        # The next cleanup run deletes the disk.
        self.assertEqual(
            ['disk'],
            [
                each.disk_name
                for each in self.catalog.instance_disks.list('pool')
            ],
        )

    def test_other_errors_are_not_repeated(self):
        self.send((exceptions.ImageForbidden(image=self.image.id),))
        self.assertRaises(exceptions.ImageForbidden, self.deploy)
        self.assertEqual(1, len(self.source.opened))

    def test_outage_is_not_repeated(self):
        self.send((requests.exceptions.ChunkedEncodingError(),))
        error = self.assertRaises(exceptions.ImageTruncated, self.deploy)
        self.assertEqual(0, error.received)
        self.assertEqual(1, len(self.source.opened))

    def test_what_a_second_download_cannot_mend_is_not_repeated(self):
        for kind, is_permanent in (
            (exceptions.ImageInterrupted, False),
            (exceptions.ImageIncomplete, True),
        ):
            error = kind(image='i', expected=9, received=5, reason='r')
            attempt = mock.Mock(spec_set=[], side_effect=error)
            shared = []
            self.assertRaises(
                kind,
                second_download.SecondDownload(self.image).run,
                attempt,
                shared.append,
            )
            self.assertEqual(1, attempt.call_count)
            self.assertEqual([error] if is_permanent else [], shared)

    def test_each_download_has_a_verifier_of_its_own(self):
        self.image = base.signed(self.image)
        self.signatures.required = True
        self.send(self.wrong()[exceptions.ImageCorrupt], self.content)
        self.assertIs(MISS, self.deploy().outcome)
        first, second = self.signatures.verifiers
        self.assertEqual((0, 1), (first.verified, second.verified))
        self.assert_bytes(self.content, bytes(second.taken))


class SharedFailureTest(SecondDownloadTestCase):
    """Operations that wait for a download that fails."""

    count = 4

    def attempts(self, *contents, last=(), first=None):
        """Run an operation, and others that wait for it.

        :param contents: of the downloads.
        :param last: of all further downloads.
        :returns: the errors of all of them, that of the first one first.
        """
        waiting = set()
        all_wait = threading.Event()
        begun = threading.Event()

        def progress(step, *_):
            if step == 'wait':
                waiting.add(threading.current_thread())
                if len(waiting) == self.count:
                    all_wait.set()

        def hold():
            begun.set()
            self.wait(all_wait)

        self.send(
            *(
                # The others see that it runs once the disks exist.
                (each[:CHUNK], hold, *fakes.chunks(each[CHUNK:]))
                for each in contents
            ),
            *last,
        )

        def outcome(function):
            try:
                return function()
            except exceptions.PVMImageCacheError as error:
                return error

        def follow(function):
            self.wait(begun)
            return outcome(function)

        return self.in_threads(
            lambda: outcome(first or (lambda: self.deploy('first'))),
            *[
                lambda number=number: follow(
                    lambda: (
                        self.deploy(f'disk{number}', progress=progress)
                        if number % 2
                        else self.prefetch(progress=progress)
                    )
                )
                for number in range(self.count)
            ],
        )

    def test_waiting_operations_fail_without_a_download(self):
        for kind, wrong in self.wrong().items():
            self.source.opened.clear()
            first, *others = self.attempts(wrong, wrong)
            self.assertIsInstance(first, kind)
            for each in others:
                self.assertIsInstance(each, exceptions.ImageFetchFailed)
                self.assertIn('fetched it twice', str(each))
                self.assertIn(str(first), str(each))
            self.assertEqual(2, len(self.source.opened))
            self.check_nothing_left()

    def test_operations_that_wait_for_a_prefetch_fail_with_it(self):
        wrong = self.wrong()[exceptions.ImageCorrupt]
        first, *others = self.attempts(wrong, wrong, first=self.prefetch)
        self.assertIsInstance(first, exceptions.ImageCorrupt)
        self.assertEqual(
            {exceptions.ImageFetchFailed}, {type(each) for each in others}
        )
        self.assertEqual(2, len(self.source.opened))

    def test_later_operations_download_again(self):
        wrong = self.wrong()[exceptions.ImageCorrupt]
        self.attempts(wrong, wrong)
        self.send(self.content)
        self.check(self.deploy(), MISS)
        self.check(self.deploy('second'), HIT)
        self.assertIsNone(
            self.catalog.failed_downloads.get('pool', self.base_name)
        )

    def test_interrupted_connections_are_not_shared(self):
        first, *others = self.attempts(
            self.content[:-3],
            self.content[:-9],
            last=(self.content,),
        )
        self.assertIsInstance(first, exceptions.ImageTruncated)
        for each in others:
            self.assertNotIsInstance(each, Exception)

    def test_wrong_signature_is_downloaded_once(self):
        self.image = base.signed(self.image)
        self.signatures = fakes.Signatures(b'other data')
        errors = self.attempts(self.content)
        self.assertEqual(
            {exceptions.ImageSignatureWrong}, {type(each) for each in errors}
        )
        self.assertEqual(
            {'Signature of image'}, {str(each)[:18] for each in errors}
        )
        self.assertEqual(1, len(self.source.opened))
        self.check_nothing_left()

    def test_failure_of_one_key_manager_is_not_shared(self):
        def unable():
            if not made:
                made.append(1)
                raise exceptions.ImageSignatureInvalid(
                    image=self.image.id, reason='no certificate'
                )
            return verifier()

        made = []
        self.image = base.signed(self.image)
        self.signatures = fakes.Signatures(self.content)
        verifier = self.signatures.verifier
        self.patch(self.signatures, 'verifier', unable)
        self.send(self.content, self.content)
        self.assertRaises(exceptions.ImageSignatureInvalid, self.deploy)
        failed = self.catalog.failed_downloads.get('pool', self.base_name)
        self.assertIsNone(failed)
        self.check(self.deploy('second'), MISS)

    def test_replaced_image_is_downloaded(self):
        wrong = self.wrong()[exceptions.ImageCorrupt]
        self.send(wrong)
        fill_seen = self.catalog.failed_downloads.get('pool', self.base_name)
        self.assertIsNone(fill_seen)
        self.assertRaises(exceptions.ImageCorrupt, self.deploy)
        failed = self.catalog.failed_downloads.get('pool', self.base_name)
        self.assertEqual(self.image.data_id, failed.data_id)
        self.image = base.image_of(wrong)
        self.content = wrong
        self.assertNotEqual(self.image.data_id, failed.data_id)
        self.check(self.deploy(), MISS)

    def test_failure_that_cannot_be_recorded_is_raised(self):
        self.catalog.broken = {'failed_downloads.record'}
        self.send(self.wrong()[exceptions.ImageCorrupt])
        self.assertRaises(exceptions.ImageCorrupt, self.deploy)
        self.assertRaises(exceptions.ImageCorrupt, self.prefetch)
