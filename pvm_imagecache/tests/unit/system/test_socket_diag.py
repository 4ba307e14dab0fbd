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
from unittest import mock

from pvm_imagecache.system import socket_diag
from pvm_imagecache.tests.unit import base

_ENOENT = 2


def _accepted_pair(address):
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    with socket.socket(family) as listener:
        listener.bind((address, 0))
        listener.listen()
        connected = socket.create_connection(listener.getsockname()[:2])
        return connected, listener.accept()[0]


class OwnerTest(base.TestCase):
    def pair(self, address):
        found = _accepted_pair(address)
        for each in found:
            self.addCleanup(each.close)
        return found

    def test_it_names_the_socket_of_the_other_end(self):
        for address in ('127.0.0.1', '::1'):
            connected, accepted = self.pair(address)
            found = socket_diag.owner(
                connected.getpeername()[:2], connected.getsockname()[:2]
            )
            self.assertEqual(
                (os.getuid(), os.fstat(accepted.fileno()).st_ino),
                (found.uid, found.inode),
            )

    def test_a_socket_that_no_process_accepted_has_no_inode(self):
        with socket.socket() as listener:
            listener.bind(('127.0.0.1', 0))
            listener.listen()
            connected = socket.create_connection(listener.getsockname())
            self.addCleanup(connected.close)
            found = socket_diag.owner(
                connected.getpeername(), connected.getsockname()
            )
        self.assertEqual(0, found.inode)

    def test_addresses_that_no_socket_has_are_not_available(self):
        self.assertRaises(
            socket_diag.NotAvailable,
            socket_diag.owner,
            ('192.0.2.1', 40000),
            ('192.0.2.2', 12080),
        )

    def test_a_kernel_without_the_interface_does_not_tell(self):
        def refuse(*args):
            raise OSError('not supported')

        self.patch(socket, 'socket', refuse)
        self.assertRaises(
            socket_diag.NotAvailable,
            socket_diag.owner,
            ('127.0.0.1', 1),
            ('127.0.0.1', 2),
        )


class AnswerTest(base.TestCase):
    """Answers that the kernel of this host does not send now."""

    def owner(self, *answers):
        netlink = mock.MagicMock()
        netlink.__enter__.return_value = netlink
        netlink.recvfrom.side_effect = answers
        self.patch(socket, 'socket', lambda *args: netlink)
        return socket_diag.owner(('127.0.0.1', 1), ('127.0.0.1', 2))

    def test_an_answer_of_another_process_is_ignored(self):
        forged = self.answer(uid=0, inode=1)
        true = self.answer(uid=1000, inode=2)
        found = self.owner((forged, (4711, 0)), (true, (0, 0)))
        self.assertEqual((1000, 2), (found.uid, found.inode))

    def test_errors_and_short_answers_are_not_available(self):
        error = struct.pack('=IHHIIi', 20, 2, 0, 1, 0, -_ENOENT)
        other = self.answer(uid=0, inode=1, kind=3)
        for answer in (b'', error, other, self.answer(0, 1)[:-8]):
            self.assertRaises(
                socket_diag.NotAvailable, self.owner, (answer, (0, 0))
            )

    @staticmethod
    def answer(uid, inode, kind=20):
        body = struct.pack('=4B48sIII', 2, 1, 0, 0, b'', 0, 0, 0)
        body += struct.pack('=II', uid, inode)
        return struct.pack('=IHHII', 16 + len(body), kind, 0, 1, 0) + body
