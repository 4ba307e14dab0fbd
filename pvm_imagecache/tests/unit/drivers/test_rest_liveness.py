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

import threading

from pvm_imagecache.drivers import rest_liveness
from pvm_imagecache.tests.unit import base


class WatchTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.patch(rest_liveness, 'INTERVAL', 0.01)
        self.asked = 0
        self.enough = threading.Event()
        self.dead = threading.Event()
        self.alive = True

    def ask(self):
        self.asked += 1
        if self.asked >= 5:
            self.enough.set()
        if not self.alive:
            raise OSError('no route to host')

    def test_a_server_that_answers_is_not_dead(self):
        with rest_liveness.Watch(self.ask, 0.03, self.dead.set):
            self.wait(self.enough)
        self.assertFalse(self.dead.is_set())

    def test_a_server_that_does_not_answer_is_dead(self):
        self.alive = False
        with rest_liveness.Watch(self.ask, 0.03, self.dead.set):
            self.wait(self.dead)

    def test_a_server_may_be_silent_for_a_while(self):
        self.alive = False
        with rest_liveness.Watch(self.ask, base.PATIENCE, self.dead.set):
            self.wait(self.enough)
        self.assertFalse(self.dead.is_set())
