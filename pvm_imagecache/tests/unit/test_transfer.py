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

"""One stream in, several disks out."""

import threading

import hypothesis
from hypothesis import strategies

from pvm_imagecache import exceptions
from pvm_imagecache.deploy import transfer
from pvm_imagecache.tests.unit import base


class _Disk:
    """A leg that keeps what it is given, and when that ended."""

    def __init__(self, what='disk'):
        self.content = b''
        self.complete = False
        self.error = None
        self.leg = transfer.Destination(what, self.write)

    def write(self, pieces):
        try:
            for piece in pieces:
                self.content += piece
        except Exception as error:
            self.error = error
            raise
        self.complete = True


class _Deaf(_Disk):
    """A leg that takes an error for the end of the data."""

    def write(self, pieces):
        try:
            super().write(pieces)
        except Exception:
            self.complete = False


class _Failing(_Disk):
    """A leg that fails after so many pieces."""

    def __init__(self, after=0):
        super().__init__('failing')
        self._after = after

    def write(self, pieces):
        for _ in range(self._after):
            next(pieces)
        raise exceptions.PowerVMRequestFailed(action='a', reason='r')


class _Blocked(_Disk):
    """A leg that takes nothing until it is let go."""

    def __init__(self):
        super().__init__('blocked')
        self.released = threading.Event()

    def write(self, pieces):
        self.released.wait(base.PATIENCE)
        super().write(pieces)


class _Broken(Exception):
    """What a stream fails with."""


def _failing_stream(pieces, error):
    yield from pieces
    raise error


class WriteToAllTest(base.TestCase):
    pieces = [b'%d;' % number for number in range(50)]

    def _write(
        self, *disks, pieces=None, stall_timeout=base.PATIENCE, **kwargs
    ):
        transfer.write_to_all(
            self.pieces if pieces is None else pieces,
            [disk.leg for disk in disks],
            stall_timeout,
            **kwargs,
        )

    def _whole(self, *disks):
        for disk in disks:
            self.assertIsNone(disk.leg.error)
            self.assertTrue(disk.complete)
            self.assertEqual(b''.join(self.pieces), disk.content)

    def test_all_get_all(self):
        for count in (1, 2, 3):
            disks = [_Disk() for _ in range(count)]
            self._write(*disks)
            self._whole(*disks)

    @base.generated
    @hypothesis.given(strategies.lists(strategies.binary(max_size=5)))
    def test_all_get_all_of_any_stream(self, pieces):
        disks = _Disk(), _Disk()
        self._write(*disks, pieces=iter(pieces))
        for disk in disks:
            self.assertEqual(
                (b''.join(pieces), True, None),
                (disk.content, disk.complete, disk.leg.error),
            )

    def test_one_fails_at_once(self):
        disk, failing = _Disk(), _Failing()
        self._write(failing, disk)
        self._whole(disk)
        self.assertIsInstance(
            failing.leg.error, exceptions.PowerVMRequestFailed
        )

    def test_one_fails_on_the_way(self):
        for after in (1, transfer.QUEUE_LENGTH, len(self.pieces)):
            disk, failing = _Disk(), _Failing(after)
            self._write(disk, failing)
            self._whole(disk)
            self.assertIsInstance(
                failing.leg.error, exceptions.PowerVMRequestFailed
            )

    def test_all_fail(self):
        taken = []

        def endless():
            while True:
                taken.append(1)
                yield b'piece'

        disks = _Failing(), _Failing(2)
        self._write(*disks, pieces=endless())
        for disk in disks:
            self.assertIsInstance(
                disk.leg.error, exceptions.PowerVMRequestFailed
            )
        # It ends, though the stream would not.
        self.assertTrue(taken)

    def test_one_that_stops_early_is_not_complete(self):
        class Lazy(_Disk):
            def write(self, pieces):
                next(pieces)

        disk, lazy = _Disk(), Lazy()
        self._write(disk, lazy)
        self._whole(disk)
        self.assertIsInstance(lazy.leg.error, exceptions.TransferError)
        self.assertIn('before all data was taken', str(lazy.leg.error))

    def test_one_that_takes_nothing_is_not_complete(self):
        class Idle(_Disk):
            def write(self, pieces):
                return

        idle = Idle()
        self._write(idle)
        self.assertIsInstance(idle.leg.error, exceptions.TransferError)

    def test_the_stream_fails(self):
        for count in (0, 1, 3, len(self.pieces)):
            error = _Broken()
            disks = _Disk('one'), _Disk('other')
            self.assertRaises(
                _Broken,
                self._write,
                *disks,
                pieces=_failing_stream(self.pieces[:count], error),
            )
            for disk in disks:
                self.assertFalse(disk.complete)
                self.assertIsInstance(disk.error, exceptions.TransferAborted)
                self.assertIs(error, disk.error.__cause__)
                self.assertIs(disk.error, disk.leg.error)

    def test_the_process_is_told_to_end(self):
        for error in (KeyboardInterrupt, SystemExit, GeneratorExit):
            disk = _Disk()
            self.assertRaises(
                error,
                self._write,
                disk,
                pieces=_failing_stream(self.pieces, error()),
            )
            self.assertFalse(disk.complete)
            self.assertIsNotNone(disk.leg.error)

    def test_a_leg_that_hears_no_error_has_one_all_the_same(self):
        disk = _Deaf()
        self.assertRaises(
            _Broken,
            self._write,
            disk,
            pieces=_failing_stream(self.pieces, _Broken()),
        )
        self.assertIsInstance(disk.leg.error, exceptions.TransferError)

    def test_a_leg_had_failed_before_the_stream_did(self):
        disk, failing = _Disk(), _Failing()
        self.assertRaises(
            _Broken,
            self._write,
            disk,
            failing,
            pieces=_failing_stream(self.pieces, _Broken()),
        )
        self.assertIsInstance(
            failing.leg.error, exceptions.PowerVMRequestFailed
        )
        self.assertIsInstance(disk.leg.error, exceptions.TransferAborted)

    def test_a_leg_that_stalls_is_left_behind(self):
        disk, blocked = _Disk(), _Blocked()
        self.addCleanup(blocked.released.set)
        self._write(blocked, disk, stall_timeout=0.02)
        self._whole(disk)
        error = blocked.leg.error
        self.assertIsInstance(error, exceptions.TransferStalled)
        self.assertTrue(error.transient)
        # Nobody has waited for it.
        self.assertIn(
            'pvm_imagecache-blocked',
            [thread.name for thread in threading.enumerate()],
        )
        # It wakes up much later, and still must not take it as whole.
        blocked.released.set()
        self._check_threads({threading.current_thread()})
        self.assertIsInstance(blocked.error, exceptions.TransferAborted)
        self.assertEqual(b'', blocked.content)
        self.assertIs(error, blocked.leg.error)

    def test_all_stall(self):
        blocked = _Blocked()
        self.addCleanup(blocked.released.set)
        self._write(blocked, stall_timeout=0.02)
        self.assertIsInstance(blocked.leg.error, exceptions.TransferStalled)

    def test_a_slow_leg_is_waited_for_at_the_end(self):
        blocked = _Blocked()
        self.pieces = self.pieces[: transfer.QUEUE_LENGTH]

        def stream():
            yield from self.pieces
            blocked.released.set()

        self._write(blocked, pieces=stream())
        self._whole(blocked)

    def test_few_pieces_wait(self):
        """However slow a leg is, memory is flat."""
        changed = threading.Condition()
        taken = written = 0
        count = len(self.pieces)
        most = []

        def stream():
            nonlocal taken
            for piece in self.pieces:
                with changed:
                    taken += 1
                    most.append(taken - written)
                    changed.notify_all()
                yield piece

        class Slow(_Disk):
            def write(self, pieces):
                nonlocal written
                for piece in pieces:
                    with changed:
                        # As many as there may be, and those there are.
                        most_now = written + transfer.QUEUE_LENGTH + 2
                        while taken < min(most_now, count):
                            changed.wait(base.PATIENCE)
                        written += 1
                    self.content += piece
                self.complete = True

        slow, disk = Slow(), _Disk()
        self._write(disk, slow, pieces=stream())
        self._whole(disk, slow)
        # Those that wait, one in each hand.
        self.assertEqual(transfer.QUEUE_LENGTH + 2, max(most))

    def test_progress(self):
        told = []
        self._write(_Disk(), progress=told.append)
        self.assertEqual(len(b''.join(self.pieces)), told[-1])
        self.assertEqual(sorted(told), told)

    def test_progress_counts_what_was_given(self):
        self.patch(transfer, '_PROGRESS_INTERVAL', 0)
        told = []
        self._write(_Disk(), pieces=[b'abc', b'de'], progress=told.append)
        self.assertEqual([3, 5, 5], told)

    def test_progress_that_fails_ends_all(self):
        def progress(done):
            raise _Broken

        disk = _Disk()
        self.assertRaises(_Broken, self._write, disk, progress=progress)
        self.assertFalse(disk.complete)
        self.assertIsNotNone(disk.leg.error)

    def test_no_thread_is_left(self):
        before = threading.active_count()
        self._write(_Disk(), _Failing(3), _Deaf())
        self.assertRaises(
            _Broken,
            self._write,
            _Disk(),
            _Failing(3),
            _Deaf(),
            pieces=_failing_stream(self.pieces, _Broken()),
        )
        self.assertEqual(before, threading.active_count())
