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
import threading

import fixtures
import requests

from pvm_imagecache.drivers import rest_transport
from pvm_imagecache.tests.servers import hostile_powervm as hostile
from pvm_imagecache.tests.unit import base


class RestTransportTest(base.TestCase):
    def serve(self, decide):
        server = hostile.HostilePowerVM(decide)
        server.__enter__()
        self.addCleanup(server.__exit__, None, None, None)
        return server

    def send(self, url, seconds=base.PATIENCE, check=lambda sock: None, **kw):
        with (
            rest_transport.Deadline(seconds) as deadline,
            rest_transport.Session(deadline, check, False) as session,
        ):
            try:
                response = session.request(
                    kw.pop('method', 'GET'),
                    url,
                    timeout=base.PATIENCE,
                    allow_redirects=False,
                    stream=True,
                    **kw,
                )
                return response, response.raw._original_response.read()
            finally:
                self.passed = deadline.passed

    def test_an_answer_is_read(self):
        server = self.serve(lambda request: hostile.answer(b'data'))
        self.assertEqual(b'data', self.send(server.url + '/a')[1])
        self.assertFalse(self.passed)

    def test_a_redirection_is_not_followed_nor_its_answer_read(self):
        other = self.serve(lambda request: hostile.answer(b'data'))
        server = self.serve(
            lambda request: hostile.redirection(other.url, 307)
        )
        for method in ('GET', 'PUT'):
            response, _ = self.send(server.url, method=method)
            self.assertEqual(307, response.status_code)
        self.assertEqual([], other.requests)

    def test_a_check_of_the_connection_comes_before_the_request(self):
        class NotThisOne(Exception):
            pass

        def check(connection):
            self.peer = connection.getpeername()
            raise NotThisOne

        server = self.serve(lambda request: hostile.answer(b''))
        self.assertRaises(NotThisOne, self.send, server.url, check=check)
        self.assertEqual(server.port, self.peer[1])
        self.assertEqual([], server.requests)

    def test_a_server_that_sends_little_is_left(self):
        gone = threading.Event()
        self.addCleanup(gone.set)

        def forever(part):
            def decide(request):
                while not gone.wait(0.01):
                    yield part

            return decide

        for part in (
            b'HTTP/1.1 100 Continue\r\n\r\n',
            b'H',
        ):
            server = self.serve(forever(part))
            self.assertRaises(
                (requests.RequestException, OSError),
                self.send,
                server.url,
                0.3,
            )
            self.assertTrue(self.passed)

    def test_waiting_for_the_data_of_an_upload_does_not_count(self):
        server = self.serve(lambda request: hostile.answer(b'ok'))
        go_on = threading.Event()
        # The server may need most of a second for a piece.
        with rest_transport.Deadline(1) as deadline:

            def pieces():
                for _ in range(2):
                    go_on.wait(1.2)
                    yield b'piece'

            with rest_transport.Session(
                deadline, lambda sock: None, False
            ) as session:
                session.put(
                    server.url,
                    data=rest_transport.extending(pieces(), deadline),
                )
        self.assertEqual(b'piece' * 2, server.requests[0].body)

    def test_descriptors_and_threads_are_returned(self):
        here, there = socket.socketpair()
        with here, there:
            for _ in range(5):
                with rest_transport.Deadline(100) as deadline:
                    deadline.watch(here)
                    (descriptor,) = deadline._descriptors
                    timer = deadline._timer
                    self.assertTrue(timer.is_alive())
                    os.fstat(descriptor)
                self.assertFalse(timer.is_alive())
                self.assertRaises(OSError, os.fstat, descriptor)

    def test_passwords_of_the_user_are_not_sent(self):
        server = self.serve(lambda request: hostile.answer(b'x'))
        home = self.useFixture(fixtures.TempHomeDir()).path
        with open(os.path.join(home, '.netrc'), 'w') as file:
            file.write('machine 127.0.0.1 login u password secret-word\n')
        with (
            rest_transport.Deadline(base.PATIENCE) as deadline,
            rest_transport.Session(
                deadline, lambda sock: None, True
            ) as session,
        ):
            session.get(server.url)
        self.assertNotIn('authorization', server.requests[0].headers)
