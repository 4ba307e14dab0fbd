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

import contextlib
import copy
import dataclasses
import http
import types

import hypothesis
from hypothesis import strategies
from pypowervm import adapter as pvm_adapter
from pypowervm import const as pvm_const
from pypowervm import entities as pvm_entities
from pypowervm.tests.test_utils import pvmhttp

from pvm_imagecache import exceptions
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.drivers import powervm
from pvm_imagecache.drivers.ssp import driver
from pvm_imagecache.tests import images
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.drivers import volume_groups
from pvm_imagecache.tests.unit.drivers.ssp import pools

_UOM = f'{{{pvm_const.UOM_NS}}}'
SIZE = 2 * (1 << 20) + 7
_LONGEST = pvm_const.MaxLen.FILENAME_DEFAULT - len('part12345678')


class ImageLUNameTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.image = base.image_of(b'x', name='rhel 8')

    def _name(self, *, shared=False, **values):
        return driver.image_lu_name(
            dataclasses.replace(self.image, **values),
            shared_with_nova_powervm=shared,
        )

    def test_images_that_differ_in_anything_share_no_unit(self):
        names = {
            self._name(**values)
            for values in (
                {},
                {'id': 'a' * 36},
                {'size': 2},
                {'disk_format': 'qcow2'},
                {'os_hash_algo': 'sha256'},
                {'os_hash_value': 'ab' * 64},
                {'checksum': 'ab' * 16},
                {'os_hash_value': None, 'os_hash_algo': None},
                {'checksum': None},
            )
        }
        self.assertEqual(9, len(names))

    def test_an_image_with_a_forged_md5_has_a_unit_of_its_own(self):
        old = {'os_hash_algo': None, 'os_hash_value': None}
        self.assertNotEqual(
            self._name(id='a' * 36, **old), self._name(id='b' * 36, **old)
        )

    def test_no_name_is_that_of_nova_powervm(self):
        for values in ({}, {'os_hash_algo': None, 'os_hash_value': None}):
            identity = self._name(**values).rpartition('_')[2]
            self.assertEqual(48, len(identity))

    def test_a_shared_name_is_that_of_nova_powervm(self):
        self.assertEqual(
            'image_rhel_8_' + 'ab' * 16,
            self._name(shared=True, checksum='ab' * 16),
        )

    def test_an_image_without_md5_is_not_shared(self):
        values = {'checksum': None, 'os_hash_value': 'cd' * 64}
        self.assertEqual(
            self._name(**values), self._name(shared=True, **values)
        )

    def test_an_image_without_name_is_named_by_its_id(self):
        self.assertTrue(self._name(name=None).startswith('image_3e865d14'))

    def test_an_image_that_must_be_verified_has_a_name_of_its_own(self):
        for shared in (False, True):
            names = {
                driver.image_lu_name(each, shared_with_nova_powervm=shared)
                for each in (
                    self.image,
                    base.signed(self.image),
                    base.signed(self.image, 'another signature'),
                )
            }
            self.assertEqual(3, len(names))

    def test_an_image_without_hash_is_refused(self):
        for shared in (False, True):
            self.assertRaises(
                exceptions.ImageNotCacheable,
                self._name,
                shared=shared,
                checksum=None,
                os_hash_value='',
            )

    @base.generated
    @hypothesis.given(strategies.text(), strategies.booleans())
    def test_the_identity_is_never_truncated(self, name, shared):
        made = self._name(name=name, shared=shared)
        identity = self._name(shared=shared).rpartition('_')[2]
        self.assertTrue(made.endswith(f'_{identity}'))
        self.assertLessEqual(len(made), _LONGEST)
        self.assertRegex(made, r'\A[.0-9A-Z_a-z]+\Z')


class ClustersPowerVM(powervm.AdapterSource):
    """A REST API with clusters of these names, without a pool to read.

    :ivar pools: the names of the clusters whose pool was requested.
    """

    def __init__(self, *names):
        super().__init__(powervm.Connection())
        self.pools = []
        self._entries = [_cluster(name) for name in names]

    def __call__(self):
        return types.SimpleNamespace(
            read=self._read, read_by_href=self._read_by_href
        )

    def _read(self, *args, **kwargs):
        response = pvm_adapter.Response('GET', '', http.HTTPStatus.OK, '', {})
        response.feed = pvm_entities.Feed({}, self._entries)
        return response

    def _read_by_href(self, href, *args, **kwargs):
        self.pools.append(href.rpartition('/')[2])
        raise volume_groups.refusal(http.HTTPStatus.NOT_FOUND)


def _cluster(name):
    """A recorded cluster with another name, and a pool of that name."""
    entry = copy.deepcopy(
        pvmhttp.load_pvm_resp('cluster.txt').get_response().entry
    )
    element = entry.element.element
    element.find(f'{_UOM}ClusterName').text = name
    element.find(f'{_UOM}ClusterSharedStoragePool').set(
        'href', f'http://localhost/rest/api/uom/SharedStoragePool/{name}'
    )
    return entry


class ClusterTest(base.TestCase):
    def _used(self, clusters, name):
        """Return the cluster whose pool the driver reads."""
        adapters = ClustersPowerVM(*clusters)
        self.assertRaises(
            exceptions.PowerVMRequestFailed,
            driver.SSPDriver(adapters, name).pool_id,
        )
        (used,) = adapters.pools
        return used

    def _refused(self, clusters, name):
        adapters = ClustersPowerVM(*clusters)
        error = self.assertRaises(
            exceptions.ClusterNotFound,
            driver.SSPDriver(adapters, name).pool_id,
        )
        self.assertEqual([], adapters.pools)
        return str(error)

    def test_a_cluster_is_chosen_by_name(self):
        self.assertEqual('a', self._used(['b', 'a'], 'a'))
        self.assertEqual('b', self._used(['b', 'a'], 'b'))

    def test_the_only_cluster_needs_no_name(self):
        self.assertEqual('a', self._used(['a'], ''))

    def test_a_missing_cluster_is_reported(self):
        self.assertIn('Known clusters: a, b.', self._refused(['b', 'a'], 'c'))
        self.assertIn('Known clusters: none.', self._refused([], 'c'))
        self.assertIn('in a cluster', self._refused([], ''))

    def test_several_clusters_are_reported(self):
        self.assertIn('several clusters: a, b', self._refused(['b', 'a'], ''))


class CreateDiskTest(pools.PoolTestCase):
    """Disks from an image, whose data is opened as it is needed."""

    def setUp(self):
        super().setUp()
        self.content_of_image = images.raw_bytes(SIZE, seed=1)
        self.image = base.image_of(self.content_of_image)
        self.driver = driver.SSPDriver(self.adapters, 'cluster1')
        self.events = []

    @contextlib.contextmanager
    def opened(self, error=None):
        self.events.append('opened')
        try:
            yield self._pieces(error)
        finally:
            self.events.append('closed')

    def _pieces(self, error):
        yield self.content_of_image[: SIZE // 2]
        if error:
            raise error
        yield self.content_of_image[SIZE // 2 :]

    def create(self, name, open_image=None):
        return self.driver.create_disk_from_image(
            self.image,
            driver_base.NewDisk(name, base.GIB, 'raw'),
            open_image or self.opened,
        )

    def assert_fails_with(self, error, open_image):
        self.assertIs(
            error,
            self.assertRaises(type(error), self.create, 'one', open_image),
        )
        self.assertEqual({}, self.units())

    def test_all_pieces_are_stored_in_the_disk(self):
        disk, fetched = self.create('one')
        self.assertTrue(fetched)
        self.assertEqual(('one', base.GIB), (disk.name, disk.capacity))
        self.assertEqual(disk, self.driver.find_disk('one'))
        self.assertEqual(['opened', 'closed'], self.events)
        self.assert_bytes(self.content_of_image, self.content('one', SIZE))

    def test_a_stream_is_opened_only_when_needed(self):
        self.create('one')
        self.events.clear()
        disk, fetched = self.create('two')
        self.assertFalse(fetched)
        self.assertEqual([], self.events)
        self.assertEqual('two', disk.name)
        self.assert_bytes(self.content_of_image, self.content('two', SIZE))

    def test_an_error_of_the_stream_is_kept(self):
        # pypowervm itself would raise an error with its message only.
        error = exceptions.ImageNotFound(image='i')
        self.assert_fails_with(error, lambda: self.opened(error))
        self.assertEqual(['opened', 'closed'], self.events)

    def test_an_error_of_opening_is_kept(self):
        error = exceptions.ImageNotFound(image='i')

        def fail():
            raise error

        self.assert_fails_with(error, fail)

    def test_a_taken_name_opens_no_stream(self):
        self.create('one')
        self.events.clear()
        error = self.assertRaises(exceptions.DiskExists, self.create, 'one')
        self.assertIn('cluster1', str(error))
        self.assertEqual([], self.events)

    def test_a_full_pool_is_reported(self):
        self.powervm.control.add_fault(
            'status',
            status=400,
            message='There is not enough space',
            method='PUT',
            path_regex='LogicalUnit',
        )
        error = self.assertRaises(
            exceptions.NotEnoughSpace, self.create, 'one'
        )
        self.assertIn('Shared Storage Pool', str(error))
        self.assertIn('disk one', str(error))
        self.assertIsInstance(error.__cause__, exceptions.PowerVMRequestFailed)

    def test_a_pool_without_space_for_a_clone_is_reported(self):
        self.create('one')
        self.powervm.control.add_fault(
            'status',
            status=400,
            message='There is not enough space',
            method='PUT',
            path_regex='LogicalUnit',
        )
        error = self.assertRaises(
            exceptions.NotEnoughSpace, self.create, 'two'
        )
        self.assertIn('1 GiB', str(error))

    def test_another_refusal_is_raised_as_it_is(self):
        self.powervm.control.add_fault(
            'status',
            status=400,
            message='No luck.',
            method='PUT',
            path_regex='LogicalUnit',
        )
        error = self.assertRaises(
            exceptions.PowerVMRequestFailed, self.create, 'one'
        )
        self.assertIn('No luck', str(error))


class SSPDriverTest(base.TestCase):
    def test_a_driver_is_made_without_a_request(self):
        made = driver.SSPDriver.from_conf(
            self.make_conf(
                disk_driver='ssp', cluster_name='c', host='nowhere.invalid'
            )
        )
        made.close()
        self.assertEqual(
            {
                driver_base.Capability.OWN_IMAGE_CACHE,
                driver_base.Capability.SIGNED_IMAGES,
            },
            made.capabilities,
        )
        self.assertEqual(
            pvm_const.MaxLen.FILENAME_DEFAULT, made.max_name_length
        )
