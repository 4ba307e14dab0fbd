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

"""Tests of texts of PowerVM in a report."""

import socket

from oslotest import base

from pvm_imagecache import exceptions
from pvm_imagecache.platform_check import wording


class ShownTest(base.BaseTestCase):
    def test_addresses_and_names_are_replaced(self):
        self.patch(socket, 'gethostname', lambda: 'node7.example.org')
        for message, expected in (
            ('at http://me:secret@10.0.0.1:12080/rest, no', 'at URL, no'),
            ('from 192.168.7.22:80 to 10.1.2.3.', 'from ADDRESS to ADDRESS.'),
            ('from [fe80::1%eth0]: no', 'from ADDRESS: no'),
            ('from 2001:db8::17', 'from ADDRESS'),
            ('on node7 and node7.example.org', 'on HOST and HOST'),
            ('disk pvmic_chk_12ab\nin cachevg', 'disk NAME in cachevg'),
            ('VIOS 2.2.4.0 of node71', 'VIOS ADDRESS of node71'),
            ('node71 at 12:30', None),
        ):
            self.assertEqual(
                message if expected is None else expected,
                wording.shown(message, ['pvmic_chk_12ab']),
            )

    def test_request_and_path_are_left_out(self):
        self.assertEqual(
            'no',
            wording.shown(
                'HTTP error 400 for method POST on path /rest/api/1: Bad '
                'Request -- no'
            ),
        )


class ReasonTest(base.BaseTestCase):
    def test_each_kind_of_error_has_a_reason_without_address(self):
        unanswered = {'url': 'http://h:1', 'reason': 'r', 'hint': ''}
        for error, expected in (
            (exceptions.FactNotMeasured(reason='x'), 'x'),
            (
                exceptions.PowerVMTimedOut(**unanswered),
                'PowerVM did not answer within the time limit',
            ),
            (
                exceptions.PowerVMUnreachable(**unanswered),
                'PowerVM did not answer',
            ),
            (
                exceptions.PowerVMLogonFailed(
                    url='http://h:1', user='me', reason='r'
                ),
                'PowerVM refused the logon',
            ),
            (
                exceptions.PowerVMBusy(action='a', reason='HSCL3205'),
                'PowerVM is busy: HSCL3205',
            ),
            (
                exceptions.PowerVMRequestFailed(action='a', reason='no.'),
                'PowerVM refused it: no',
            ),
            (
                exceptions.OperationCancelled(reason='Stopped.'),
                'Stopped',
            ),
        ):
            self.assertEqual(expected, wording.reason_of(error))
