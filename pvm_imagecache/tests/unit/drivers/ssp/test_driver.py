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

import collections
import contextlib

import hypothesis
from hypothesis import strategies
from pypowervm import const as pvm_const

from pvm_imagecache import exceptions
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.drivers.ssp import driver
from pvm_imagecache.tests.unit import base

Cluster = collections.namedtuple('Cluster', 'name')
_LONGEST = pvm_const.MaxLen.FILENAME_DEFAULT - len('part12345678')


class ImageLUNameTest(base.TestCase):
    def _name(self, **values):
        return driver.image_lu_name(base.image_of(b'x', **values))

    def test_the_name_is_that_of_nova_powervm(self):
        self.assertEqual(
            'image_rhel_8_' + 'ab' * 16,
            self._name(name='rhel 8', checksum='ab' * 16),
        )

    def test_an_image_without_name_is_named_by_its_id(self):
        self.assertTrue(
            self._name(name=None).startswith('image_3e865d14_8c1e_4615_')
        )

    def test_an_image_without_md5_is_named_by_its_hash(self):
        self.assertTrue(
            self._name(
                name='n', checksum=None, os_hash_value='cd' * 64
            ).endswith('_' + 'cd' * 16)
        )

    def test_an_image_without_hash_is_refused(self):
        self.assertRaises(
            exceptions.ImageNotCacheable,
            self._name,
            checksum=None,
            os_hash_value='',
        )

    @base.generated
    @hypothesis.given(
        strategies.text(),
        strategies.text('abcdef0123456789', min_size=32, max_size=32),
    )
    def test_the_hash_is_never_truncated(self, name, checksum):
        made = self._name(name=name, checksum=checksum)
        self.assertTrue(made.endswith(f'_{checksum}'))
        self.assertLessEqual(len(made), _LONGEST)
        self.assertRegex(made, r'\A[.0-9A-Z_a-z]+\Z')


class ClusterTest(base.TestCase):
    clusters = [Cluster('b'), Cluster('a')]

    def _refused(self, clusters, name):
        return str(
            self.assertRaises(
                exceptions.ClusterNotFound, driver._choose, clusters, name
            )
        )

    def test_a_cluster_is_chosen_by_name(self):
        self.assertEqual('a', driver._choose(self.clusters, 'a').name)
        self.assertEqual('a', driver._choose(self.clusters[1:], '').name)

    def test_a_missing_cluster_is_reported(self):
        self.assertIn(
            'Known clusters: a, b.', self._refused(self.clusters, 'c')
        )
        self.assertIn('Known clusters: none.', self._refused([], 'c'))
        self.assertIn('in a cluster', self._refused([], ''))

    def test_several_clusters_are_reported(self):
        self.assertIn(
            'several clusters: a, b', self._refused(self.clusters, '')
        )


class FeedTest(base.TestCase):
    def _feed(self, pieces, error=None):
        self.events = []

        @contextlib.contextmanager
        def opened():
            self.events.append('opened')
            yield self._pieces(pieces, error)
            self.events.append('closed')

        return driver._Feed(opened)

    def _pieces(self, pieces, error):
        yield from pieces
        if error:
            raise error

    def test_a_stream_is_opened_only_when_needed(self):
        feed = self._feed([b'a'])
        feed.close()
        self.assertEqual([], self.events)
        self.assertFalse(feed.opened)

    def test_all_pieces_are_passed_on(self):
        feed = self._feed([b'a', b'b'])
        self.assertEqual([b'a', b'b'], list(feed.open()))
        feed.close()
        self.assertEqual(['opened', 'closed'], self.events)
        self.assertTrue(feed.opened)
        self.assertIsNone(feed.error)

    def test_an_error_of_the_stream_is_kept(self):
        error = exceptions.ImageNotFound(image='i')
        feed = self._feed([b'a'], error)
        self.assertRaises(exceptions.ImageNotFound, list, feed.open())
        self.assertIs(error, feed.error)
        feed.close()

    def test_an_error_of_opening_is_kept(self):
        error = exceptions.ImageNotFound(image='i')

        def fail():
            raise error

        feed = driver._Feed(fail)
        self.assertRaises(exceptions.ImageNotFound, feed.open)
        self.assertIs(error, feed.error)
        self.assertFalse(feed.opened)


class SSPDriverTest(base.TestCase):
    def test_a_driver_is_made_without_a_request(self):
        made = driver.SSPDriver.from_conf(
            self.make_conf(
                disk_driver='ssp', cluster_name='c', host='nowhere.invalid'
            )
        )
        made.close()
        self.assertEqual(
            {driver_base.Capability.OWN_IMAGE_CACHE}, made.capabilities
        )
        self.assertEqual(
            pvm_const.MaxLen.FILENAME_DEFAULT, made.max_name_length
        )

    def test_a_full_pool_is_reported(self):
        new = driver_base.NewDisk('a', base.GIB, 'raw')
        cause = exceptions.PowerVMRequestFailed(
            action='a', reason='There is not enough space'
        )
        error = self.assertRaises(
            exceptions.NotEnoughSpace,
            driver._raise_if_full,
            cause,
            new,
            base.GIB,
        )
        self.assertIn('1 GiB', str(error))
        self.assertIs(cause, error.__cause__)
        driver._raise_if_full(
            exceptions.PowerVMRequestFailed(action='a', reason='no'),
            new,
            base.GIB,
        )
