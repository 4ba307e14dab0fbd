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

"""The small parts: sizes, settings, faults, the log, the state."""

import os

import fixtures
import hypothesis
from hypothesis import strategies
from oslotest import base

from pvm_imagecache.simulator import atom
from pvm_imagecache.simulator import errors
from pvm_imagecache.simulator import faults
from pvm_imagecache.simulator import request_log
from pvm_imagecache.simulator import settings
from pvm_imagecache.simulator import sizes
from pvm_imagecache.simulator import state


class TestSizes(base.BaseTestCase):
    def test_from_gb(self):
        for text, size in (
            ('1', sizes.GIB),
            ('1.000000', sizes.GIB),
            ('0.5', sizes.GIB // 2),
            ('1e-9', sizes.MIB),
            ('1.0001', sizes.GIB + sizes.MIB),
        ):
            self.assertEqual(size, sizes.from_gb(text))
        for text in ('', '0', '-1', 'x', 'nan', 'inf'):
            self.assertRaises(errors.RestError, sizes.from_gb, text)

    @hypothesis.given(strategies.integers(1, 1 << 24))
    def test_exact(self, granules):
        size = granules * sizes.GRANULE
        self.assertEqual(size, sizes.from_gb(sizes.exact_gb(size)))

    @hypothesis.given(strategies.integers(0, 1 << 24))
    def test_rounded(self, granules):
        size = granules * sizes.GRANULE
        shown = float(sizes.rounded_gb(size)) * sizes.GIB
        self.assertLessEqual(shown, size)
        self.assertGreater(shown, size - sizes.GIB / 5000)

    def test_plain(self):
        self.assertEqual('1', sizes.exact_gb(sizes.GIB))
        self.assertEqual('100', sizes.rounded_gb(100 * sizes.GIB))
        self.assertEqual('0', sizes.rounded_gb(0))


class TestSettings(base.BaseTestCase):
    def test_all_or_nothing(self):
        found = settings.Settings()
        for wrong in (
            {'copies': 'x'},
            {'copy_rate': True},
            {'x': 1},
            {'copy_rate': 1.5},
            {'file_limit': -1},
        ):
            self.assertRaises(
                ValueError, found.change, {'upload_rate': 1, **wrong}
            )
        self.assertEqual(settings.Settings(), found)
        found.change({'copies': 'parallel', 'copy_rate': 5})
        self.assertEqual(
            settings.Settings(copies=settings.Copies.PARALLEL, copy_rate=5),
            found,
        )


class TestFaults(base.BaseTestCase):
    def test_skip_and_count(self):
        found = faults.Faults()
        found.add(
            {'action': 'status', 'skip': 2, 'count': 1, 'match': {'kind': 'K'}}
        )
        hits = [bool(found.hitting(kind, 'GET', '/')) for kind in 'KKLKKK']
        self.assertEqual([False, False, False, True, False, False], hits)

    def test_latency_goes_with_others(self):
        found = faults.Faults()
        found.add({'action': 'latency', 'seconds': 1})
        found.add({'action': 'reset_before', 'match': {'method': 'post'}})
        found.add({'action': 'status'})
        self.assertEqual(
            ['latency', 'reset_before'],
            [rule.action for rule in found.hitting('K', 'POST', '/')],
        )
        self.assertEqual(
            ['latency', 'status'],
            [rule.action for rule in found.hitting('K', 'GET', '/')],
        )
        self.assertEqual([2, 1, 1], [rule['hits'] for rule in found.rules()])

    def test_remove(self):
        found = faults.Faults()
        first = found.add({'action': 'status'})
        second = found.add({'action': 'status'})
        found.remove(first)
        self.assertEqual([second], [rule['id'] for rule in found.rules()])
        found.remove()
        self.assertEqual([], found.rules())


class TestRequestLog(base.BaseTestCase):
    def test_rows(self):
        log = request_log.RequestLog()
        row = log.begin('GET', '/a', 'K', None, 's')
        [shown] = log.rows()
        self.assertIsNone(shown['status'])
        self.assertIsNone(shown['seconds'])
        log.end(row, 200, 3, 4)
        log.begin('GET', '/b', 'K', None, 's')
        first, second = log.rows()
        self.assertEqual(
            (200, 3, 4),
            (first['status'], first['bytes_in'], first['bytes_out']),
        )
        self.assertEqual([second], log.rows(first['seq']))
        self.assertEqual(
            {
                'kinds': {'K': {'requests': 2, 'bytes_in': 3}},
                'total': {'requests': 2, 'bytes_in': 3},
            },
            log.counters(),
        )
        log.clear()
        self.assertEqual([], log.rows())
        log.begin('GET', '/c', 'K', None, 's')
        self.assertEqual(3, log.rows()[0]['seq'])


class TestStore(base.BaseTestCase):
    def setUp(self):
        super().setUp()
        self.directory = self.useFixture(fixtures.TempDir()).join('state')

    def test_survives(self):
        store = state.Store(self.directory)
        store.save('kind', 'b', {'n': 1})
        store.save('kind', 'a', {'n': 2})
        store.save('kind', 'b', {'n': 3})
        store.save('other', 'b', {})
        store.delete('other', 'b')
        store.close()
        store = state.Store(self.directory)
        self.addCleanup(store.close)
        self.assertEqual({'a': {'n': 2}, 'b': {'n': 3}}, store.load('kind'))
        self.assertEqual({}, store.load('other'))
        self.assertEqual(0o700, os.stat(self.directory).st_mode & 0o777)
        for name in os.listdir(self.directory):
            self.assertEqual(
                0o600,
                os.stat(os.path.join(self.directory, name)).st_mode & 0o777,
            )

    def test_transaction(self):
        store = state.Store(self.directory)
        self.addCleanup(store.close)

        def fail():
            with store.transaction():
                store.save('kind', 'a', {})
                with store.transaction():
                    store.save('kind', 'b', {})
                raise KeyError

        self.assertRaises(KeyError, fail)
        self.assertEqual({}, store.load('kind'))
        with store.transaction():
            store.save('kind', 'a', {})
        self.assertEqual({'a': {}}, store.load('kind'))

    def test_one_user(self):
        store = state.Store(self.directory)
        self.assertRaises(state.InUse, state.Store, self.directory)
        store.close()
        state.Store(self.directory).close()


class TestAtom(base.BaseTestCase):
    def test_etag(self):
        self.assertRegex(atom.etag('content', 'None'), r'^-?\d+$')
        self.assertNotEqual(
            atom.etag('content', 'None'), atom.etag('content', '')
        )
        self.assertNotEqual(atom.etag('content', ''), atom.etag('other', ''))
        for number in range(1000):
            self.assertTrue(
                -(1 << 31) <= int(atom.etag(str(number), '')) < 1 << 31
            )

    def test_error_hides_the_token(self):
        text = atom.error_entry(
            errors.not_found('<gone>'),
            '/rest/x?y',
            {'X-API-Session': 'secret', 'Accept': '*/*'},
        )
        self.assertNotIn('secret', text)
        self.assertIn('&lt;gone&gt;', text)
        self.assertIn('>/rest/x<', text)
