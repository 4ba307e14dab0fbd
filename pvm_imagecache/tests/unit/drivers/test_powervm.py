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

"""What the errors of pypowervm mean, and who we are to PowerVM."""

import http
import http.server
import threading

from pypowervm import adapter as pvm_adapter
from pypowervm import exceptions as pvm_exceptions
from pypowervm.tests.test_utils import pvmhttp

from pvm_imagecache import exceptions
from pvm_imagecache.drivers import powervm
from pvm_imagecache.tests.unit import base


def _answer(status, body=''):
    return pvm_adapter.Response(
        'POST',
        '/rest/api/uom/VolumeGroup',
        status,
        http.HTTPStatus(status).phrase,
        {},
        body=body,
    )


def _recorded(name):
    return pvm_exceptions.HttpError(pvmhttp.load_pvm_resp(name).get_response())


class ConnectionTest(base.TestCase):
    def test_url(self):
        for values, url in (
            ({}, 'http://localhost:12080'),
            ({'password': 'p'}, 'https://localhost:12443'),
            ({'password': 'p', 'protocol': 'http'}, 'http://localhost:12080'),
            ({'protocol': 'https', 'port': 5, 'host': 'h'}, 'https://h:5'),
        ):
            self.assertEqual(url, powervm.Connection(**values).url)

    def test_from_conf(self):
        values = {
            'host': 'h',
            'port': 5,
            'protocol': 'https',
            'user': 'u',
            'password': 'p',
            'verify_tls': False,
        }
        self.assertEqual(
            powervm.Connection(timeout=7, **values),
            powervm.Connection.from_conf(
                self.make_conf(request_timeout=7, **values)
            ),
        )

    def test_the_password_is_never_shown(self):
        connection = powervm.Connection(user='u', password='hush-hush')
        for text in (
            repr(connection),
            connection.url,
            repr(powervm.AdapterSource(connection)),
        ):
            self.assertNotIn('hush-hush', text)

    def test_a_protocol_that_there_is_not(self):
        adapters = powervm.AdapterSource(powervm.Connection(protocol='ftp'))
        self.assertRaises(exceptions.ConfigurationError, adapters)
        adapters.close()


class TranslatedTest(base.TestCase):
    def setUp(self):
        super().setUp()
        for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
            self.useFixture(base.environment(name, None))

    def _translated(self, error, **values):
        def fail():
            adapters = powervm.AdapterSource(powervm.Connection(**values))
            with adapters.translated('make disk a'):
                raise error

        translated = self.assertRaises(exceptions.PVMImageCacheError, fail)
        self.assertIs(error, translated.__cause__)
        self.assertNotIn('\n', str(translated))
        return translated

    def test_no_error(self):
        with powervm.translated(powervm.Connection(), 'do'):
            pass

    def test_others_are_left_alone(self):
        for error in (
            ValueError(),
            KeyboardInterrupt(),
            exceptions.ImageNotFound(image='i'),
        ):

            def fail(error=error):
                with powervm.translated(powervm.Connection(), 'do'):
                    raise error

            self.assertRaises(type(error), fail)

    def test_something_else_listens(self):
        class Page(http.server.BaseHTTPRequestHandler):
            def do_PUT(self):
                self.rfile.read(int(self.headers['Content-Length']))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b'<html><body>Who are you?<br></body>')

            def log_message(self, *args):
                pass

        server = http.server.HTTPServer(('127.0.0.1', 0), Page)
        self.addCleanup(server.server_close)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)
        adapters = powervm.AdapterSource(
            powervm.Connection(
                host='127.0.0.1',
                port=server.server_port,
                protocol='http',
                timeout=base.PATIENCE,
            )
        )
        error = self.assertRaises(exceptions.PowerVMRequestFailed, adapters)
        self.assertIn('is no XML', str(error))
        self.assertIn(f':{server.server_port}', str(error))
        self.assertNotIn('\n', str(error))

    def test_no_answer(self):
        for kind in (
            pvm_exceptions.ConnectionError,
            pvm_exceptions.TimeoutError,
            pvm_exceptions.SSLError,
        ):
            error = self._translated(
                kind('HTTPConnectionPool(x): [Errno 111] Connection refused\n')
            )
            self.assertIsInstance(error, exceptions.PowerVMUnreachable)
            # Nothing listens: that is not gone a moment later.
            self.assertFalse(error.transient)
            self.assertEqual('connection refused', error.reason)
            self.assertIn('http://localhost:12080', str(error))

    def test_no_answer_for_another_reason(self):
        error = self._translated(
            pvm_exceptions.ConnectionError('something\n else')
        )
        self.assertEqual('something else', error.reason)

    def test_a_proxy_that_stands_between(self):
        self.useFixture(base.environment('http_proxy', 'http://proxy'))
        refused = pvm_exceptions.ConnectionError('refused')
        self.assertIn(
            'put localhost into no_proxy', str(self._translated(refused))
        )
        self.assertNotIn(
            'no_proxy', str(self._translated(refused, host='elsewhere'))
        )

    def test_the_logon(self):
        for error in (
            pvm_exceptions.HttpUnauth(_answer(401)),
            pvm_exceptions.AuthFileReadError(access_file='f'),
            pvm_exceptions.AuthFileAccessError(access_file='f', error='e'),
        ):
            translated = self._translated(error)
            self.assertIsInstance(translated, exceptions.PowerVMLogonFailed)
            self.assertIn('the local user', str(translated))

    def test_refused(self):
        for status in (400, 404, 412, 500):
            error = self._translated(pvm_exceptions.HttpError(_answer(status)))
            self.assertIs(exceptions.PowerVMRequestFailed, type(error))
            self.assertIn('refused to make disk a', str(error))
            self.assertEqual(status, powervm.status_of(error))
            self.assertFalse(error.transient)

    def test_busy(self):
        for busy in (
            pvm_exceptions.HttpError(_answer(503)),
            _recorded('fake_httperror.txt'),
        ):
            error = self._translated(busy)
            self.assertIs(exceptions.PowerVMBusy, type(error))
            self.assertTrue(error.transient)

    def test_anything_else_of_pypowervm(self):
        error = self._translated(pvm_exceptions.Error(''))
        self.assertIs(exceptions.PowerVMRequestFailed, type(error))
        self.assertEqual('Error', error.reason)
        self.assertIsNone(powervm.status_of(error))


class SmallTest(base.TestCase):
    def test_status_of(self):
        self.assertIsNone(powervm.status_of(None))
        self.assertIsNone(powervm.status_of(ValueError()))
        error = pvm_exceptions.HttpError(_answer(412))
        self.assertEqual(412, powervm.status_of(error))

    def test_no_space(self):
        for text in (
            '0516-404 allocp: This system cannot fulfill',
            'Not Enough Space in the volume group',
            'There is insufficient free space',
        ):
            self.assertTrue(powervm.means_no_space(ValueError(text)), text)
        self.assertFalse(powervm.means_no_space(ValueError('space')))

    def test_one_line(self):
        self.assertEqual('a b', powervm.one_line(ValueError(' a\n\tb ')))
        self.assertEqual('ValueError', powervm.one_line(ValueError('\n')))

    def test_persistently(self):
        busy = exceptions.PowerVMBusy(action='a', reason='busy')
        refused = exceptions.PowerVMRequestFailed(action='a', reason='no')
        for raised in ([], [busy], [busy] * 3):
            outcomes = [*raised, 'done']

            def call(outcomes=outcomes):
                outcome = outcomes.pop(0)
                if isinstance(outcome, Exception):
                    raise outcome
                return outcome

            self.assertEqual('done', powervm.retry(call))
            self.assertEqual([], outcomes)
        for raised, kind in (
            ([busy] * 4, exceptions.PowerVMBusy),
            ([refused], exceptions.PowerVMRequestFailed),
            ([busy, refused], exceptions.PowerVMRequestFailed),
            ([ValueError()], ValueError),
        ):

            def fail(raised=raised):
                raise raised.pop(0)

            self.assertRaises(kind, powervm.retry, fail)
            self.assertEqual([], raised)

    def test_forgiving(self):
        def fail(error):
            raise error

        self.assertTrue(powervm.log_and_continue('tidy', lambda: None))
        for error in (
            pvm_exceptions.HttpError(_answer(500)),
            pvm_exceptions.TimeoutError('t'),
            exceptions.PowerVMRequestFailed(action='a', reason='r'),
        ):
            self.assertFalse(
                powervm.log_and_continue(
                    'tidy', lambda error=error: fail(error)
                )
            )
        self.assertRaises(
            ValueError,
            powervm.log_and_continue,
            'tidy',
            lambda: fail(ValueError()),
        )
