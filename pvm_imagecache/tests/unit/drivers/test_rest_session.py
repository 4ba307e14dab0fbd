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
import socket
import subprocess
import sys
import threading

import fixtures
from pypowervm import entities
from pypowervm import exceptions as pvm_exceptions

from pvm_imagecache import exceptions
from pvm_imagecache.drivers import answers
from pvm_imagecache.drivers import powervm
from pvm_imagecache.system import socket_owner
from pvm_imagecache.tests import unusable_answers
from pvm_imagecache.tests.servers import hostile_powervm as hostile
from pvm_imagecache.tests.unit import base

_PATH = '/rest/api/uom/ManagedSystem'
_EMPTY = f'<feed xmlns="{hostile.ATOM}"/>'


class SessionTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.tokens = hostile.TokenDirectory()
        self.answer = hostile.answer(_EMPTY)

    def serve(self, decide=None):
        server = hostile.HostilePowerVM(decide or self.decide)
        server.__enter__()
        self.addCleanup(server.__exit__, None, None, None)
        return server

    def decide(self, request):
        if request.is_logon:
            return hostile.logon(self.tokens.new())
        if request.method == 'DELETE':
            return hostile.answer(b'', 204)
        return self.answer

    def adapter(self, server, **kwargs):
        adapters = powervm.AdapterSource(
            powervm.Connection(
                host=server.host,
                port=server.port,
                protocol='http',
                **{'timeout': base.PATIENCE, **kwargs},
            )
        )
        self.addCleanup(adapters.close)
        self.adapters = adapters
        return adapters()

    def test_the_token_of_the_file_is_sent(self):
        server = self.serve()
        self.adapter(server).read('ManagedSystem')
        self.assertEqual(
            'a-token', server.requests[1].headers['x-api-session']
        )

    def test_a_logoff_has_no_traceback(self):
        server = self.serve(
            lambda request: (
                hostile.logon(self.tokens.new())
                if request.is_logon
                else hostile.answer(b'', 500, 'No')
            )
        )
        self.adapter(server)
        self.adapters.close()
        self.assertEqual('DELETE', server.requests[-1].method)

    def test_a_session_that_is_left_does_not_block_the_exit(self):
        server = self.serve()
        # The cycle is collected when the interpreter ends.
        done = subprocess.run(
            [
                sys.executable,
                '-c',
                'from pvm_imagecache.drivers import powervm\n'
                'import gc\n'
                'gc.disable()\n'
                'adapters = powervm.AdapterSource(powervm.Connection(\n'
                f'    port={server.port}, host="127.0.0.1",\n'
                '    protocol="http"))\n'
                'session = adapters().session\n'
                'session.cycle = [session]\n'
                'del session, adapters\n',
            ],
            timeout=base.PATIENCE,
            check=False,
            capture_output=True,
            text=True,
        )
        self.assertEqual(0, done.returncode)
        self.assertNotIn('Traceback', done.stderr)
        self.assertEqual(1, len(server.requests))

    def test_a_redirection_reaches_no_other_server(self):
        other = self.serve(lambda request: hostile.answer(_EMPTY))
        self.answer = hostile.redirection(other.url + _PATH, 307)
        adapter = self.adapter(self.serve())
        for send in (
            lambda: adapter.read('ManagedSystem'),
            lambda: adapter.session.request(
                'PUT', _PATH, filehandle=iter([b'data'])
            ),
        ):
            error = self.assertRaises(pvm_exceptions.HttpError, send)
            self.assertIn('not followed', str(error))
        self.assertEqual([], other.requests)

    def test_a_redirected_logon_sends_no_password(self):
        other = self.serve(lambda request: hostile.answer(_EMPTY))
        for status in (301, 302, 303, 307, 308):
            server = self.serve(
                lambda request, status=status: hostile.redirection(
                    other.url, status
                )
            )
            self.assertRaises(
                exceptions.PowerVMRequestFailed,
                self.adapter,
                server,
                user='u',
                password='secret-word',
            )
            self.assertIn('secret-word', server.received())
        self.assertEqual([], other.requests)

    def test_a_link_to_another_server_is_not_followed(self):
        other = self.serve(lambda request: hostile.answer(_EMPTY))
        server = self.serve()
        adapter = self.adapter(server)
        seen = len(server.requests)
        for link in (
            f'@127.0.0.1:{other.port}{_PATH}',
            f'.invalid{_PATH}',
            f'9{_PATH}',
        ):
            self.assertRaises(answers.BadAnswer, adapter.read_by_path, link)
        # Only the path of a complete address counts.
        adapter.read_by_href(other.url + _PATH)
        self.assertEqual([], other.requests)
        self.assertEqual(seen + 1, len(server.requests))

    def test_answers_have_bounds(self):
        adapter = self.adapter(self.serve())
        for content in (
            b'no xml',
            b'<a/>',
            b'<a>' * 5000,
            b'<!DOCTYPE a>' + _EMPTY.encode(),
            b' ' * (answers.MAX_DOCUMENT + 1),
        ):
            self.answer = hostile.answer(content)
            self.assertRaises(answers.BadAnswer, adapter.read, 'ManagedSystem')

    def test_an_answer_to_a_change_that_is_no_result_counts_as_lost(self):
        adapter = self.adapter(self.serve())
        for status, content in (
            *((200, each) for each in unusable_answers.ANSWERS),
            (
                200,
                unusable_answers.entry('VirtualNetwork').replace(
                    '<id>1</id>', ''
                ),
            ),
            (202, ''),
            (204, ''),
            (304, ''),
        ):
            self.answer = hostile.answer(content, status)
            element = entities.Element('VirtualNetwork', adapter)
            for change in (
                lambda e=element: adapter.create_by_path(
                    e, f'{_PATH}/1/VirtualNetwork'
                ),
                lambda e=element: adapter.update_by_path(
                    e, 'etag', f'{_PATH}/1/VirtualNetwork/2?group=None'
                ),
            ):
                error = self.assertRaises(answers.BadAnswer, change)
                self.assertTrue(error.of_change, content)

    def test_a_job_is_cancelled_without_a_document(self):
        adapter = self.adapter(self.serve())
        self.answer = hostile.answer('', 204)
        adapter.update(None, None, 'jobs', '1', suffix_type='cancel')
        self.answer = hostile.answer(unusable_answers.entry('JobResponse'))
        adapter.update(None, None, 'jobs', '1', suffix_type='cancel')

    def test_a_page_is_no_answer_to_an_upload_or_a_deletion(self):
        adapter = self.adapter(self.serve())
        for page in ('<html/>', ' \n<!DOCTYPE html>', '<HTML lang="en">'):
            self.answer = hostile.answer(page)
            for kwargs in ({}, {'filehandle': iter([b'x'])}):
                error = self.assertRaises(
                    answers.BadAnswer,
                    adapter.session.request,
                    'PUT',
                    '/rest/api/web/File/contents/1',
                    **kwargs,
                )
                self.assertTrue(error.of_change)
        self.answer = hostile.answer('a text of the server')
        adapter.session.request('PUT', '/rest/api/web/File/contents/1')

    def test_a_read_that_finds_nothing_has_no_document(self):
        adapter = self.adapter(self.serve())
        for status in (204, 304):
            self.answer = hostile.answer('', status)
            found = adapter.read('ManagedSystem')
            self.assertFalse(found.feed and found.feed.entries)
            self.assertIsNone(found.entry)
        self.answer = hostile.answer('', 200)
        error = self.assertRaises(
            answers.BadAnswer, adapter.read, 'ManagedSystem'
        )
        self.assertFalse(error.of_change)

    def test_the_answer_to_a_change_has_the_last_type_of_the_path(self):
        adapter = self.adapter(self.serve())
        for path, kind in (
            ('uom/ManagedSystem', 'ManagedSystem'),
            ('pcm/ManagedSystem/1/preferences', 'ManagedSystemPcmPreference'),
            ('web/File', 'File'),
            ('uom/VirtualIOServer/1/VolumeGroup/2?group=None', 'VolumeGroup'),
            ('uom/Tier/1/LogicalUnit', 'LogicalUnit'),
            ('uom/LogicalPartition/1/do/PowerOn', 'JobResponse'),
        ):
            self.answer = hostile.answer(unusable_answers.entry(kind))
            answer = adapter.create_by_path(
                entities.Element(kind, adapter), f'/rest/api/{path}'
            )
            self.assertEqual(kind, answer.entry.element.tag)

    def test_a_compressed_answer_is_not_an_empty_one(self):
        adapter = self.adapter(self.serve())
        self.answer = hostile.answer(b'\x1f\x8b', Content_Encoding='gzip')
        for method in ('GET', 'POST', 'PUT'):
            self.assertRaises(
                answers.BadAnswer, adapter.session.request, method, _PATH
            )

    def test_the_description_of_an_error_has_a_bound(self):
        adapter = self.adapter(self.serve())
        for content in (b'x' * (1 << 20), b'<!DOCTYPE a><a/>', b'<a>'):
            self.answer = hostile.answer(content, 500, 'R' * 5000)
            error = self.assertRaises(
                pvm_exceptions.HttpError, adapter.read, 'ManagedSystem'
            )
            self.assertEqual('', error.response.body)
            self.assertLess(len(str(error)), 500)

    def test_a_request_ends_although_the_server_sends(self):
        gone = threading.Event()
        self.addCleanup(gone.set)

        def drip(headers, data):
            yield b'HTTP/1.1 200 OK\r\n' + headers + b'\r\n\r\n' + data
            while not gone.wait(0.02):
                yield b' '

        adapter = self.adapter(self.serve(), timeout=1)
        for headers, data in (
            (b'Content-Length: 100000', b''),
            # The end of the connection is the end of the answer.
            (b'Connection: close', b''),
            (b'Connection: close', _EMPTY.encode()),
        ):
            self.answer = drip(headers, data)
            self.assertRaises(
                pvm_exceptions.TimeoutError, adapter.read, 'ManagedSystem'
            )

    def test_an_expired_token_is_replaced_once(self):
        answers_left = [hostile.answer(b'', 401), hostile.answer(_EMPTY)]

        def decide(request):
            if request.is_logon:
                return hostile.logon(
                    self.tokens.new(f'token-{len(answers_left)}')
                )
            return answers_left.pop(0) if answers_left else self.answer

        server = self.serve(decide)
        self.adapter(server).read('ManagedSystem')
        self.assertEqual(
            ['token-2', 'token-1'],
            [
                each.headers['x-api-session']
                for each in server.requests
                if not each.is_logon
            ],
        )

    def test_a_refused_logon_is_not_repeated_by_other_threads(self):
        # All requests are sent before one of them is answered.
        threads = 3
        all_sent = threading.Barrier(threads)

        def decide(request):
            if request.method == 'DELETE':
                return hostile.answer(b'', 204)
            if not request.is_logon:
                all_sent.wait(base.PATIENCE)
                return hostile.answer(b'', 401)
            if len(server.requests) > 1:
                return hostile.answer(b'', 401)
            return hostile.logon('a-token', 'X-API-Session')

        server = self.serve(decide)
        session = self.adapter(server, user='u', password='p').session
        errors = []

        def send():
            try:
                session.request('GET', _PATH)
            except pvm_exceptions.HttpUnauth as error:
                errors.append(error)

        senders = [threading.Thread(target=send) for _ in range(threads)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        self.assertEqual(threads, len(errors))
        # The first logon, and one attempt to replace its token.
        self.assertEqual(2, sum(each.is_logon for each in server.requests))

    def test_a_service_that_ends_before_it_accepts_is_not_another_one(self):
        listener = socket.create_server(('127.0.0.1', 0))

        def peers(connection):
            listener.close()
            return frozenset()

        self.useFixture(fixtures.MockPatchObject(socket_owner, 'peers', peers))
        adapters = powervm.AdapterSource(
            powervm.Connection(
                host='127.0.0.1',
                port=listener.getsockname()[1],
                protocol='http',
            )
        )
        error = self.assertRaises(exceptions.PowerVMUnreachable, adapters)
        self.assertEqual('connection aborted', error.reason)
        self.assertTrue(error.transient)

    def test_an_upload_is_not_repeated(self):
        self.answer = hostile.answer(b'', 401)
        server = self.serve()
        adapter = self.adapter(server)
        self.assertRaises(
            pvm_exceptions.HttpUnauth,
            adapter.session.request,
            'PUT',
            _PATH,
            filehandle=iter([b'data']),
        )
        self.assertEqual(2, len(server.requests))

    def test_a_logon_without_token_is_refused(self):
        for answer in (
            hostile.logon(''),
            hostile.logon('x', tag='Other'),
            hostile.answer(b''),
        ):
            server = self.serve(lambda request, answer=answer: answer)
            for password in (None, 'p'):
                self.assertRaises(
                    exceptions.PowerVMRequestFailed,
                    self.adapter,
                    server,
                    password=password,
                )

    def test_no_file_of_the_environment_is_executed(self):
        marker = os.path.join(self.tokens.path, 'executed')
        code = os.path.join(self.tokens.path, 'code.py')
        with open(code, 'w') as file:
            file.write(f'open({marker!r}, "w")\n')
        self.useFixture(base.environment('PYPOWERVM_SESSION_CONFIG', code))
        self.adapter(self.serve()).read('ManagedSystem')
        self.assertFalse(os.path.exists(marker))

    def test_the_user_of_the_service_may_have_an_id_only(self):
        self.adapter(self.serve(), rest_user='987654')
        error = self.assertRaises(
            exceptions.ConfigurationError,
            self.adapter,
            self.serve(),
            rest_user='no-such-user',
        )
        self.assertIn('no-such-user', str(error))

    def test_a_local_logon_uses_no_proxy(self):
        proxy = self.serve(lambda request: hostile.answer(b''))
        self.useFixture(base.environment('http_proxy', proxy.url))
        self.useFixture(base.environment('no_proxy', None))
        self.adapter(self.serve()).read('ManagedSystem')
        self.assertEqual([], proxy.requests)

    def test_a_file_that_is_no_token_is_refused(self):
        secret = os.path.join(self.tokens.path, 'secret')
        with open(secret, 'w') as file:
            file.write('the secret:of root\n')
        server = self.serve(lambda request: hostile.logon(secret))
        error = self.assertRaises(
            exceptions.PowerVMTokenFileRefused, self.adapter, server
        )
        self.assertIn(secret, str(error))
        self.assertNotIn('of root', str(error))
        self.assertNotIn('of root', server.received())
