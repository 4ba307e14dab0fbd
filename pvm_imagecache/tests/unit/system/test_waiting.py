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

"""What threads wait for: real waits on locks and on slow servers."""

import http.server
import socketserver
import threading

from keystoneauth1 import session as ksa_session
from keystoneauth1 import token_endpoint

from pvm_imagecache import exceptions
from pvm_imagecache.cmd import clouds
from pvm_imagecache.cmd import keystone
from pvm_imagecache.drivers import powervm
from pvm_imagecache.glance import http as glance_http
from pvm_imagecache.glance import source as image_source
from pvm_imagecache.system import locks
from pvm_imagecache.system import retry
from pvm_imagecache.system import waiting
from pvm_imagecache.tests.unit import base


class OnTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.ident = threading.get_ident()
        waiting.watch(self.ident)
        self.addCleanup(waiting.unwatch, self.ident)

    def test_the_innermost_wait_counts(self):
        self.assertIsNone(waiting.current(self.ident))
        with waiting.on('PowerVM'):
            with waiting.on('another process'):
                self.assertEqual(
                    'another process', waiting.current(self.ident)
                )
            self.assertEqual('PowerVM', waiting.current(self.ident))
        self.assertIsNone(waiting.current(self.ident))

    def test_a_wait_ends_with_an_error(self):
        @waiting.on('PowerVM')
        def fail():
            self.assertEqual('PowerVM', waiting.current(self.ident))
            raise ValueError

        self.assertRaises(ValueError, fail)
        self.assertIsNone(waiting.current(self.ident))

    def test_a_decorated_function_can_call_itself(self):
        @waiting.on('PowerVM')
        def call(depth):
            if depth:
                call(depth - 1)
            self.assertEqual('PowerVM', waiting.current(self.ident))

        call(3)
        self.assertIsNone(waiting.current(self.ident))

    def test_other_threads_do_not_change_the_wait(self):
        def work():
            with waiting.on('Glance'):
                self.assertEqual('PowerVM', waiting.current(self.ident))
                self.assertIsNone(waiting.current(threading.get_ident()))

        with waiting.on('PowerVM'):
            self.in_threads(work, work)

    def test_nothing_is_recorded_for_a_thread_that_is_not_watched(self):
        waiting.unwatch(self.ident)
        with waiting.on('PowerVM'):
            self.assertIsNone(waiting.current(self.ident))
            waiting.watch(self.ident)
            with waiting.on('Glance'):
                self.assertEqual('Glance', waiting.current(self.ident))
        self.assertIsNone(waiting.current(self.ident))


class _SlowServer(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Answers a request with an error, but only after the test has looked."""

    daemon_threads = True

    def __init__(self):
        super().__init__(('127.0.0.1', 0), _Handler)
        self.asked = threading.Event()
        self.go_on = threading.Event()


class _Handler(http.server.BaseHTTPRequestHandler):
    def _answer(self):
        self.server.asked.set()
        self.server.go_on.wait(base.PATIENCE)
        self.send_error(400)

    do_GET = do_POST = do_PUT = do_HEAD = _answer

    def log_message(self, *args):
        """Print nothing."""


class CallSiteTest(base.TestCase):
    """The code that waits for something declares it."""

    def setUp(self):
        super().setUp()
        self.server = _SlowServer()
        self.port = self.server.server_address[1]
        self.url = f'http://127.0.0.1:{self.port}'
        thread = threading.Thread(target=self.server.serve_forever)
        thread.start()
        self.addCleanup(thread.join, base.PATIENCE)
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.addCleanup(self.server.go_on.set)

    def _wait_of(self, call, error):
        """Return what a thread waits for while the server does not answer."""
        idents = []

        def run():
            idents.append(threading.get_ident())
            waiting.watch(idents[0])
            try:
                self.assertRaises(error, call)
                self.assertIsNone(waiting.current(idents[0]))
            finally:
                waiting.unwatch(idents[0])

        def look():
            self.wait(self.server.asked)
            found = waiting.current(idents[0])
            self.server.go_on.set()
            return found

        return self.in_threads(run, look)[1]

    def test_a_held_lock_is_a_wait_for_another_process(self):
        directory = locks.LockDirectory(self.path('locks'))
        asked, idents = threading.Event(), []

        def patience():
            asked.set()
            return 0 if self.server.go_on.is_set() else base.PATIENCE

        def acquire():
            idents.append(threading.get_ident())
            waiting.watch(idents[0])
            try:
                with directory.hold('x', patience):
                    self.fail('the lock is held')
            except exceptions.LockTimeout:
                return waiting.current(idents[0])
            finally:
                waiting.unwatch(idents[0])

        def look():
            self.wait(asked)
            found = waiting.current(idents[0])
            self.server.go_on.set()
            return found

        with directory.hold('x', 0):
            self.assertEqual(
                [None, 'another process'], self.in_threads(acquire, look)
            )

    def test_nothing_is_waited_for_while_a_lock_is_held(self):
        ident = threading.get_ident()
        waiting.watch(ident)
        self.addCleanup(waiting.unwatch, ident)
        with locks.LockDirectory(self.path('locks')).hold('x', 0):
            self.assertIsNone(waiting.current(ident))

    def test_a_logon_is_a_wait_for_powervm(self):
        adapters = powervm.AdapterSource(
            powervm.Connection(
                '127.0.0.1', self.port, 'http', 'user', 'password'
            )
        )
        self.assertEqual(
            'PowerVM', self._wait_of(adapters, exceptions.PowerVMError)
        )

    def test_a_request_is_a_wait_for_powervm(self):
        adapters = powervm.AdapterSource(powervm.Connection())

        def call():
            with adapters.translated('ask'):
                self.server.asked.set()
                self.server.go_on.wait(base.PATIENCE)
                raise exceptions.PowerVMError(reason='done')

        self.assertEqual(
            'PowerVM', self._wait_of(call, exceptions.PowerVMError)
        )

    def test_the_pause_before_a_retry_is_a_wait_for_powervm(self):
        self.patch(powervm, 'RETRY_DELAYS', (0,))
        self.patch(retry.time, 'sleep', self._sleep)

        def fail():
            raise exceptions.PowerVMBusy(action='work', reason='busy')

        self.assertEqual(
            'PowerVM',
            self._wait_of(lambda: powervm.retry(fail), exceptions.PowerVMBusy),
        )

    def test_the_pause_after_a_conflict_is_a_wait_for_powervm(self):
        self.patch(retry.time, 'sleep', self._sleep)

        def call():
            for attempt in powervm.update_attempts(lambda error: True):
                if attempt.number:
                    raise exceptions.PowerVMError(reason='done')
                with attempt.update():
                    raise exceptions.PowerVMRequestFailed(
                        action='update', reason='412'
                    )

        self.assertEqual(
            'PowerVM', self._wait_of(call, exceptions.PowerVMError)
        )

    def _sleep(self, seconds):
        self.server.asked.set()
        self.server.go_on.wait(base.PATIENCE)

    def _source(self):
        client = glance_http.make_client(
            ksa_session.Session(token_endpoint.Token(self.url, 'token'))
        )
        return image_source.ImageSource(lambda context: client)

    def test_a_look_up_is_a_wait_for_glance(self):
        source = self._source()
        for call in (
            lambda: source.get(base.IMAGE_ID),
            lambda: source.find('debian-13'),
            lambda: source.check_readable(base.image_of(b'x')),
        ):
            self.server.asked.clear()
            self.server.go_on.clear()
            self.assertEqual(
                'Glance', self._wait_of(call, exceptions.ImageError)
            )

    def test_a_download_is_a_wait_for_glance(self):
        source = self._source()

        def download():
            with source.open(base.image_of(b'x')):
                self.fail('it was opened')

        self.assertEqual(
            'Glance', self._wait_of(download, exceptions.ImageError)
        )

    def test_an_authentication_is_a_wait_for_keystone(self):
        url = f'{self.url}/v3'
        session = keystone.session(
            clouds.Credentials(
                'password',
                {
                    'auth_url': url,
                    'username': 'ann',
                    'password': 'secret',
                    'user_domain_name': 'Default',
                },
            )
        )
        self.assertEqual(
            'Keystone',
            self._wait_of(
                lambda: keystone.authenticate(session, [url]),
                exceptions.KeystoneFailed,
            ),
        )
