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
import struct
import time
import unittest
from unittest import mock

from pvm_imagecache.system import socket_diag
from pvm_imagecache.system import socket_owner
from pvm_imagecache.tests.unit import base

_NOBODY = 65534


def _listen(address='127.0.0.1'):
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    listener = socket.socket(family)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind((address, 0))
    listener.listen()
    return listener


class _OtherUser:
    """A process of another user that listens, and accepts if requested."""

    def __init__(self, address, accepts):
        ready, report = os.pipe()
        self._child = os.fork()
        if not self._child:
            try:
                os.setgroups([])
                os.setuid(_NOBODY)
                listener = _listen(address)
                os.write(report, b'%d\n' % listener.getsockname()[1])
                kept = [listener.accept() for _ in range(accepts)]
                while kept is not None:
                    time.sleep(60)
            finally:
                os._exit(1)
        os.close(report)
        self.port = int(os.read(ready, 10))
        os.close(ready)

    def end(self):
        os.kill(self._child, 9)
        os.waitpid(self._child, 0)


class PeersTest(base.TestCase):
    def connect(self, address, port):
        connected = socket.create_connection((address, port))
        self.addCleanup(connected.close)
        return connected

    def tables_only(self):
        return mock.patch.object(
            socket_diag,
            'owner',
            autospec=True,
            side_effect=socket_diag.NotAvailable,
        )

    def test_an_accepted_connection_is_ours(self):
        for address in ('127.0.0.1', '::1'):
            listener = _listen(address)
            self.addCleanup(listener.close)
            connected = self.connect(address, listener.getsockname()[1])
            accepted, _ = listener.accept()
            self.addCleanup(accepted.close)
            self.assertEqual({os.getuid()}, socket_owner.peers(connected))

    def test_a_connection_that_waits_belongs_to_the_listener(self):
        for address in ('127.0.0.1', '0.0.0.0', '::'):
            listener = _listen(address)
            self.addCleanup(listener.close)
            connected = self.connect('127.0.0.1', listener.getsockname()[1])
            self.assertEqual({os.getuid()}, socket_owner.peers(connected))

    def test_ipv4_over_a_socket_of_ipv6_is_found(self):
        listener = _listen('::')
        self.addCleanup(listener.close)
        connected = self.connect('127.0.0.1', listener.getsockname()[1])
        accepted, _ = listener.accept()
        self.addCleanup(accepted.close)
        self.assertEqual({os.getuid()}, socket_owner.peers(connected))

    def test_the_tables_and_the_kernel_agree(self):
        for address in ('127.0.0.1', '::1', '::'):
            listener = _listen(address)
            self.addCleanup(listener.close)
            connected = self.connect(
                '127.0.0.1' if address == '::' else address,
                listener.getsockname()[1],
            )
            accepted, _ = listener.accept()
            self.addCleanup(accepted.close)
            asked = socket_owner.peers(connected)
            with self.tables_only():
                self.assertEqual(asked, socket_owner.peers(connected))

    def test_a_kernel_that_does_not_tell_is_replaced_by_the_tables(self):
        listener = _listen()
        self.addCleanup(listener.close)
        connected = self.connect('127.0.0.1', listener.getsockname()[1])
        with self.tables_only():
            self.assertEqual({os.getuid()}, socket_owner.peers(connected))

    def test_a_connection_is_open_until_the_other_end_closes_it(self):
        listener = _listen()
        self.addCleanup(listener.close)
        port = listener.getsockname()[1]
        for linger in (b'', struct.pack('ii', 1, 0)):
            connected = self.connect('127.0.0.1', port)
            accepted, _ = listener.accept()
            self.assertTrue(socket_owner.is_open(connected))
            if linger:
                # Closing then resets the connection.
                accepted.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, linger
                )
            accepted.close()
            self.assertFalse(socket_owner.is_open(connected))

    def test_a_listener_that_ends_closes_what_waits(self):
        listener = _listen()
        connected = self.connect('127.0.0.1', listener.getsockname()[1])
        self.assertTrue(socket_owner.is_open(connected))
        listener.close()
        self.assertFalse(socket_owner.is_open(connected))

    def test_a_peer_that_is_not_here_has_no_owner(self):
        class Elsewhere:
            def getsockname(self):
                return ('192.0.2.1', 40000)

            def getpeername(self):
                return ('192.0.2.2', 12080)

        self.assertEqual(frozenset(), socket_owner.peers(Elsewhere()))

    @unittest.skipUnless(os.getuid() == 0, 'needs root')
    def test_the_process_of_another_user_is_found(self):
        for address in ('127.0.0.1', '::1', '::'):
            for accepts in (0, 1):
                other = _OtherUser(address, accepts)
                self.addCleanup(other.end)
                connected = self.connect(
                    '127.0.0.1' if address == '::' else address, other.port
                )
                self.assertEqual({_NOBODY}, socket_owner.peers(connected))

    @unittest.skipUnless(os.getuid() == 0, 'needs root')
    def test_a_socket_of_no_process_does_not_belong_to_root(self):
        # Older kernels report the user 0 for it.
        other = _OtherUser('127.0.0.1', accepts=0)
        self.addCleanup(other.end)
        connected = self.connect('127.0.0.1', other.port)
        unowned = socket_diag.Owner(uid=0, inode=0)
        self.patch(socket_diag, 'owner', lambda local, remote: unowned)
        self.assertEqual({_NOBODY}, socket_owner.peers(connected))
