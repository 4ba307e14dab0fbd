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

import os

import fixtures
from oslotest import base

from pvm_imagecache.simulator import state


class StoreTest(base.BaseTestCase):
    def setUp(self):
        super().setUp()
        self.directory = self.useFixture(fixtures.TempDir()).join('state')

    def test_the_state_survives_a_restart(self):
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

    def test_a_failed_transaction_saves_nothing(self):
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

    def test_only_one_process_uses_it(self):
        store = state.Store(self.directory)
        self.assertRaises(state.InUse, state.Store, self.directory)
        store.close()
        state.Store(self.directory).close()
