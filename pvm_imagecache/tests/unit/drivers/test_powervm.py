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

import http
import http.server
import threading

from pypowervm import adapter as pvm_adapter
from pypowervm import exceptions as pvm_exceptions
from pypowervm.tests.test_utils import pvmhttp

from pvm_imagecache import exceptions
from pvm_imagecache.drivers import powervm
from pvm_imagecache.system import retry
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


class MayBeDoneTest(base.TestCase):
    def test_only_a_refusal_shows_that_nothing_was_done(self):
        lost = exceptions.PowerVMUnreachable(url='u', reason='r', hint='')
        self.assertTrue(powervm.may_be_done(lost))
        for status, kind, expected in (
            (500, exceptions.PowerVMRequestFailed, True),
            (503, exceptions.PowerVMBusy, False),
            (400, exceptions.PowerVMRequestFailed, False),
            (412, exceptions.PowerVMRequestFailed, False),
        ):
            error = kind(action='a', reason='r')
            error.__cause__ = pvm_exceptions.HttpError(_answer(status))
            self.assertEqual(expected, powervm.may_be_done(error), status)


class ConnectionTest(base.TestCase):
    def test_the_url_follows_the_options(self):
        for values, url in (
            ({}, 'http://localhost:12080'),
            ({'password': 'p'}, 'https://localhost:12443'),
            ({'password': 'p', 'protocol': 'http'}, 'http://localhost:12080'),
            ({'protocol': 'https', 'port': 5, 'host': 'h'}, 'https://h:5'),
            ({'host': '::1'}, 'http://[::1]:12080'),
            ({'host': '[::1]'}, 'http://[::1]:12080'),
            ({'host': 'fe80::1%eth0'}, 'http://[fe80::1%eth0]:12080'),
        ):
            self.assertEqual(url, powervm.Connection(**values).url)

    def test_options_make_a_connection(self):
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

    def test_an_unknown_protocol_is_refused(self):
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

    def test_no_error_is_no_error(self):
        with powervm.translated(powervm.Connection(), 'do'):
            pass

    def test_other_errors_are_left_alone(self):
        for error in (
            ValueError(),
            KeyboardInterrupt(),
            exceptions.ImageNotFound(image='i'),
        ):

            def fail(error=error):
                with powervm.translated(powervm.Connection(), 'do'):
                    raise error

            self.assertRaises(type(error), fail)

    def test_another_service_on_the_port_is_reported(self):
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
        self.assertIn('is HTML', str(error))
        self.assertIn(f':{server.server_port}', str(error))
        self.assertNotIn('\n', str(error))

    def test_no_answer_means_unreachable(self):
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

    def test_an_unknown_reason_is_passed_on(self):
        error = self._translated(
            pvm_exceptions.ConnectionError('something\n else')
        )
        self.assertEqual('something else', error.reason)

    def test_a_proxy_is_named_in_the_hint(self):
        self.useFixture(base.environment('http_proxy', 'http://proxy'))
        refused = pvm_exceptions.ConnectionError('refused')
        self.useFixture(base.environment('SUDO_UID', None))
        self.assertIn(
            'add localhost to no_proxy',
            str(self._translated(refused, password='p')),
        )
        # There it has no brackets.
        self.assertIn(
            'add ::1 to no_proxy',
            str(self._translated(refused, host='[::1]', password='p')),
        )
        for values in (
            {'host': 'elsewhere', 'password': 'p'},
            # No proxy is used without a password.
            {},
        ):
            self.assertNotIn(
                'no_proxy', str(self._translated(refused, **values))
            )

    def test_a_refused_logon_names_the_user(self):
        for error in (
            pvm_exceptions.HttpUnauth(_answer(401)),
            pvm_exceptions.AuthFileReadError(access_file='f'),
            pvm_exceptions.AuthFileAccessError(access_file='f', error='e'),
        ):
            translated = self._translated(error)
            self.assertIsInstance(translated, exceptions.PowerVMLogonFailed)
            self.assertIn('the local user', str(translated))

    def test_a_refusal_is_not_transient(self):
        for status in (400, 404, 412, 500):
            error = self._translated(pvm_exceptions.HttpError(_answer(status)))
            self.assertIs(exceptions.PowerVMRequestFailed, type(error))
            self.assertIn('refused to make disk a', str(error))
            self.assertEqual(status, powervm.status_of(error))
            self.assertFalse(error.transient)

    def test_a_busy_vios_is_transient(self):
        for busy in (
            pvm_exceptions.HttpError(_answer(503)),
            _recorded('fake_httperror.txt'),
        ):
            error = self._translated(busy)
            self.assertIs(exceptions.PowerVMBusy, type(error))
            self.assertTrue(error.transient)

    def test_other_errors_of_pypowervm_are_refusals(self):
        error = self._translated(pvm_exceptions.Error(''))
        self.assertIs(exceptions.PowerVMRequestFailed, type(error))
        self.assertEqual('Error', error.reason)
        self.assertIsNone(powervm.status_of(error))


class StatusOfTest(base.TestCase):
    def test_the_status_is_that_of_the_response(self):
        error = pvm_exceptions.HttpError(_answer(412))
        self.assertEqual(412, powervm.status_of(error))

    def test_an_error_without_response_has_no_status(self):
        self.assertIsNone(powervm.status_of(None))
        self.assertIsNone(powervm.status_of(ValueError()))


class NoSpaceTest(base.TestCase):
    def test_messages_of_a_full_pool_are_recognized(self):
        for text in (
            '0516-404 allocp: This system cannot fulfill',
            'Not Enough Space in the volume group',
            'There is insufficient free space',
        ):
            self.assertTrue(powervm.means_no_space(ValueError(text)), text)
        for text in (
            'space',
            '0516-822 mklv: Unable to create logical volume',
            '0516-360 getlvname: The device name is already used; choose a '
            'different name. 0516-822 mklv: Unable to create logical volume',
        ):
            self.assertFalse(powervm.means_no_space(ValueError(text)), text)

    def _raise_if_full(self, reason='no space', **values):
        powervm.raise_if_full(
            exceptions.PowerVMRequestFailed(action='a', reason=reason),
            pool='The pool',
            what='disk d',
            **values,
        )

    def test_a_full_pool_is_reported_with_its_space(self):
        for free, text in ((None, 'less than that'), (0, '0 B')):
            error = self.assertRaises(
                exceptions.NotEnoughSpace,
                self._raise_if_full,
                needed=base.GIB,
                free=free,
            )
            self.assertIn(f'The pool has {text} free', str(error))
            self.assertEqual(base.GIB, error.needed_bytes)
            self.assertFalse(error.refused)

    def test_a_refusal_in_spite_of_free_space_quotes_powervm(self):
        for gib, plenty in ((1, False), (3, False), (4, True), (1000, True)):
            error = self.assertRaises(
                exceptions.SpaceRefused,
                self._raise_if_full,
                reason='0516-404 allocp: no.',
                needed=base.GIB,
                free=gib * base.GIB,
            )
            self.assertIn(
                f'The pool has {gib} GiB free, but PowerVM refused 1 GiB for '
                'disk d: 0516-404 allocp: no. Look',
                str(error),
            )
            self.assertTrue(error.refused)
            self.assertEqual(plenty, error.plenty)

    def test_other_refusals_raise_nothing(self):
        self._raise_if_full('no', needed=base.GIB)


class RetryTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.busy = exceptions.PowerVMBusy(action='a', reason='busy')
        self.refused = exceptions.PowerVMRequestFailed(action='a', reason='no')
        self.timed_out = exceptions.PowerVMTimedOut(
            url='u', reason='r', hint=''
        )

    def _call(self, *outcomes):
        """Return a call with these outcomes, one after the other."""
        self.outcomes = list(outcomes)

        def call():
            outcome = self.outcomes.pop(0)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        return call

    def test_transient_errors_are_retried(self):
        for errors in ([], [self.busy], [self.busy] * 3):
            self.assertEqual(
                'done', powervm.retry(self._call(*errors, 'done'))
            )
            self.assertEqual([], self.outcomes)

    def test_the_last_error_is_raised(self):
        for errors, kind in (
            ([self.busy] * 4, exceptions.PowerVMBusy),
            ([self.refused], exceptions.PowerVMRequestFailed),
            ([self.busy, self.refused], exceptions.PowerVMRequestFailed),
            ([ValueError()], ValueError),
        ):
            self.assertRaises(kind, powervm.retry, self._call(*errors))
            self.assertEqual([], self.outcomes)

    def test_errors_that_are_named_are_retried(self):
        call = self._call(self.refused, 'done')
        self.assertEqual(
            'done', powervm.retry(call, exceptions.PowerVMRequestFailed)
        )

    def test_errors_of_others_are_not_retried(self):
        truncated = exceptions.ImageTruncated(
            image='i', expected=2, received=1, reason='r'
        )
        self.assertTrue(truncated.transient)
        call = self._call(truncated, 'done')
        self.assertRaises(exceptions.ImageTruncated, powervm.retry, call)

    def test_a_read_is_repeated_once_after_a_timeout(self):
        call = self._call(self.timed_out, 'done')
        self.assertEqual('done', powervm.retry_read(call))
        call = self._call(self.timed_out, self.timed_out, 'done')
        self.assertRaises(exceptions.PowerVMTimedOut, powervm.retry_read, call)


class UpdateAttemptsTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.pauses = []
        self.patch(retry, 'back_off', self.pauses.append)

    def _update(self, *statuses, **kwargs):
        """Update until there is no error; return the number of attempts."""
        errors = [pvm_exceptions.HttpError(_answer(each)) for each in statuses]
        for attempt in powervm.update_attempts(**kwargs):
            with (
                attempt.update(),
                powervm.translated(powervm.Connection(), 'update'),
            ):
                if errors:
                    raise errors.pop(0)
                return attempt.number + 1
        return None

    def test_conflicts_call_for_another_attempt(self):
        self.assertEqual(1, self._update())
        self.assertEqual(3, self._update(412, 412))
        self.assertEqual([0, 1], self.pauses)

    def test_there_are_more_attempts_while_patience_lasts(self):
        many = [412] * (powervm.UPDATE_ATTEMPTS + 5)
        self.assertIsNone(self._update(*many))
        self.assertEqual(
            len(many) + 1, self._update(*many, patience=base.PATIENCE)
        )

    def test_other_errors_end_the_update(self):
        for status in (400, 404, 500, 503):
            self.assertRaises(
                exceptions.PowerVMRequestFailed, self._update, status
            )
        self.assertEqual([], self.pauses)

    def test_the_caller_chooses_which_errors_are_repeated(self):
        self.assertEqual(
            2, self._update(503, may_repeat=lambda error: error.transient)
        )

    def test_the_attempts_end_some_time(self):
        most = powervm.UPDATE_ATTEMPTS
        self.assertIsNone(self._update(*[412] * most))
        self.assertEqual(list(range(most)), self.pauses)


class LogAndContinueTest(base.TestCase):
    def _fail(self, error):
        def fail():
            raise error

        return fail

    def test_success_is_reported(self):
        self.assertTrue(powervm.log_and_continue('do it', lambda: None))

    def test_expected_errors_are_logged(self):
        for error in (
            pvm_exceptions.HttpError(_answer(500)),
            pvm_exceptions.TimeoutError('t'),
            exceptions.PowerVMRequestFailed(action='a', reason='r'),
        ):
            self.assertFalse(
                powervm.log_and_continue('do it', self._fail(error))
            )

    def test_programming_errors_are_raised(self):
        self.assertRaises(
            ValueError,
            powervm.log_and_continue,
            'do it',
            self._fail(ValueError()),
        )
