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

"""Messages that are logged at their level once."""

import logging

from pvm_imagecache.system import warn_once
from pvm_imagecache.tests.unit import base


class _Records(logging.Handler):
    """Keeps what is logged."""

    def __init__(self):
        super().__init__()
        self.found = []

    def emit(self, record):
        self.found.append((record.levelno, record.getMessage()))


class WarnOnceTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.records = _Records()
        self.logger = logging.Logger(self.id(), logging.DEBUG)
        self.logger.addHandler(self.records)
        self.warn_once = warn_once.WarnOnce(self.logger)

    def _levels(self):
        return [level for level, _ in self.records.found]

    def test_a_repetition_is_logged_at_debug(self):
        self.assertTrue(self.warn_once.log('a message'))
        self.assertFalse(self.warn_once.log('a message'))
        self.assertEqual(
            [
                (logging.WARNING, 'a message'),
                (logging.DEBUG, 'a message'),
            ],
            self.records.found,
        )

    def test_another_message_is_logged_at_its_level(self):
        self.warn_once.log('one')
        self.assertTrue(self.warn_once.log('another', level=logging.ERROR))
        self.assertEqual([logging.WARNING, logging.ERROR], self._levels())

    def test_a_key_identifies_messages_that_change(self):
        self.assertTrue(self.warn_once.log('7 GiB are free', key='space'))
        self.assertFalse(self.warn_once.log('6 GiB are free', key='space'))
        self.assertEqual(
            (logging.DEBUG, '6 GiB are free'), self.records.found[-1]
        )

    def test_the_level_of_repetitions_can_be_chosen(self):
        warned = warn_once.WarnOnce(self.logger, repeated=logging.INFO)
        for _ in range(2):
            warned.log('a message')
        warned.log('a message', repeated=logging.ERROR)
        self.assertEqual(
            [logging.WARNING, logging.INFO, logging.ERROR], self._levels()
        )

    def test_the_lowest_level_is_not_taken_for_the_default(self):
        warned = warn_once.WarnOnce(self.logger, repeated=logging.INFO)
        self.logger.setLevel(1)
        warned.log('a message')
        warned.log('a message', repeated=logging.NOTSET)
        self.assertEqual([logging.WARNING], self._levels())

    def test_a_forgotten_message_is_new_again(self):
        self.warn_once.log('a message', key='key')
        self.warn_once.forget('key')
        self.assertTrue(self.warn_once.log('a message', key='key'))
        self.assertEqual([logging.WARNING] * 2, self._levels())

    def test_an_unknown_message_can_be_forgotten(self):
        self.warn_once.forget('never logged')
        self.assertTrue(self.warn_once.log('never logged'))

    def test_percent_signs_are_not_interpreted(self):
        self.warn_once.log('100 %s full')
        self.assertEqual('100 %s full', self.records.found[0][1])

    def test_memory_is_bounded_by_its_size(self):
        warned = warn_once.WarnOnce(self.logger, size=3)
        for number in range(1000):
            self.assertTrue(warned.log(str(number)))
        # The last three are known; what came before them is new again.
        for number in (997, 998, 999):
            self.assertFalse(warned.log(str(number)))
        self.assertTrue(warned.log('996'))

    def test_the_message_unseen_for_longest_is_forgotten(self):
        warned = warn_once.WarnOnce(self.logger, size=2)
        for message in ('a', 'b', 'a', 'c'):
            warned.log(message)
        self.assertFalse(warned.log('a'))
        self.assertTrue(warned.log('b'))

    def test_threads_log_a_message_as_new_once(self):
        results = []

        def work():
            for number in range(100):
                if self.warn_once.log(f'message {number}'):
                    results.append(number)

        self.in_threads(*[work] * 8)
        self.assertEqual(list(range(100)), sorted(results))
        self.assertEqual(100, self._levels().count(logging.WARNING))
        self.assertEqual(700, self._levels().count(logging.DEBUG))

    def test_threads_keep_the_memory_bounded(self):
        warned = warn_once.WarnOnce(self.logger, size=5)

        def work(name):
            for number in range(200):
                warned.log(f'{name} {number}')
                warned.forget(f'{name} {number - 1}')

        self.in_threads(*[lambda name=name: work(name) for name in range(4)])
        before = {message for _, message in self.records.found}
        for number in range(5):
            warned.log(f'as many as fit: {number}')
        self.assertTrue(all(warned.log(each) for each in before))
