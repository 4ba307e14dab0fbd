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

"""Sessions that expire, services that restart, servers that are rebooted.

``python -m pvm_imagecache.tests.stress.restarts`` interrupts each operation at
each of its requests; here are some of them.
"""

from oslotest import base

from pvm_imagecache.tests import functional_base
from pvm_imagecache.tests.stress import restarts


class _Case(base.BaseTestCase):
    def setUp(self) -> None:
        super().setUp()
        functional_base.quiet_libraries()

    def interrupt(
        self, operation: str, name: str, *kinds: str
    ) -> list[restarts.Result]:
        """Interrupt an operation at its last requests of some kinds."""
        made = restarts.kinds(operation)
        found = []
        for kind in kinds:
            number = len(made) - 1 - made[::-1].index(kind)
            result = restarts.interrupted(operation, name, number)
            self.assertEqual([], result.problems, result.name)
            found.append(result)
        return found

    def succeeds(self, operation: str, name: str, *kinds: str) -> None:
        """The same; the operation must succeed."""
        for result in self.interrupt(operation, name, *kinds):
            self.assertIsNone(result.error, result.name)


class ExpiredSessionTestCase(_Case):
    """The operation succeeds: there is a new logon, or another upload."""

    def test_a_session_expires_during_a_hit(self) -> None:
        self.succeeds(
            'hit', 'expire', 'VolumeGroup.feed', 'VolumeGroup.update'
        )

    def test_a_session_expires_during_a_miss(self) -> None:
        self.succeeds(
            'miss',
            'expire',
            'VolumeGroup.update',
            'File.create',
            'File.upload',
            'File.delete',
        )

    def test_a_session_expires_during_a_bypass(self) -> None:
        self.succeeds('bypass', 'expire', 'File.upload', 'File.delete')

    def test_a_session_expires_during_a_prefetch(self) -> None:
        self.succeeds('prefetch', 'expire', 'File.create', 'File.delete')

    def test_a_session_expires_during_a_purge(self) -> None:
        self.succeeds(
            'purge', 'expire', 'VirtualIOServer.get', 'VolumeGroup.update'
        )

    def test_a_session_expires_during_an_adoption(self) -> None:
        self.succeeds('adopt', 'expire', 'VolumeGroup.get')

    def test_a_session_expires_during_a_cleanup_run(self) -> None:
        self.succeeds('cleanup', 'expire', 'File.feed', 'VolumeGroup.update')

    def test_a_session_expires_during_a_deletion(self) -> None:
        self.succeeds('delete', 'expire', 'VolumeGroup.update')


class RestartedServiceTestCase(_Case):
    """The operation succeeds or fails; all else is as if it had not begun."""

    def test_the_service_restarts_during_a_hit(self) -> None:
        for name in ('before', 'after', 'down'):
            self.interrupt('hit', name, 'VolumeGroup.update')

    def test_the_service_restarts_during_a_miss(self) -> None:
        self.interrupt('miss', 'before', 'File.upload')
        self.interrupt('miss', 'after', 'VolumeGroup.update', 'File.create')
        self.interrupt('miss', 'down', 'File.upload')

    def test_the_service_restarts_during_a_bypass(self) -> None:
        self.interrupt('bypass', 'after', 'VolumeGroup.update')

    def test_the_service_restarts_during_a_prefetch(self) -> None:
        self.interrupt('prefetch', 'after', 'File.create')
        self.interrupt('prefetch', 'down', 'File.upload')

    def test_the_service_restarts_during_a_purge(self) -> None:
        for name in ('before', 'after', 'down'):
            self.interrupt('purge', name, 'VolumeGroup.update')

    def test_the_service_restarts_during_an_adoption(self) -> None:
        self.interrupt('adopt', 'before', 'VolumeGroup.get')

    def test_the_service_restarts_during_a_cleanup_run(self) -> None:
        self.interrupt('cleanup', 'after', 'VolumeGroup.update')
        self.interrupt('cleanup', 'down', 'File.feed')

    def test_the_service_restarts_during_a_deletion(self) -> None:
        self.interrupt('delete', 'after', 'VolumeGroup.update')


class RebootedServerTestCase(_Case):
    """A Virtual I/O Server that is rebooted during the copy of a hit."""

    def reboot(self, name: str, **settings: str) -> restarts.Result:
        result = restarts.rebooted('hit', name, **settings)
        self.assertEqual([], result.problems, result.name)
        return result

    def test_a_copy_without_answer_is_made_again(self) -> None:
        for name in ('none-lost', 'partly-lost', 'wholly-lost'):
            self.assertIsNone(self.reboot(name).error, name)

    def test_a_copy_that_ends_in_an_error_is_made_again(self) -> None:
        for name in ('none-failed', 'partly-failed', 'wholly-failed'):
            self.assertIsNone(self.reboot(name).error, name)

    def test_a_copy_that_never_ends_leaves_nothing(self) -> None:
        for name in ('none-silent', 'partly-silent', 'wholly-silent'):
            self.reboot(name)

    def test_a_broken_copy_is_found_without_labels(self) -> None:
        for name in ('partly-lost', 'partly-failed', 'partly-silent'):
            self.reboot(name, labels='dropped', new_disks='stale')
