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

from oslotest import base

from pvm_imagecache.simulator import request_log


class RequestLogTest(base.BaseTestCase):
    def test_rows_and_counters_agree(self):
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
