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

"""Tests of writing one stream to several disks."""

import threading

import hypothesis
from hypothesis import strategies

from pvm_imagecache import exceptions
from pvm_imagecache.deploy import transfer
from pvm_imagecache.tests.unit import base


class _Disk:
    """A destination that stores its data and notes its end."""

    def __init__(self, what='disk'):
        self.content = b''
        self.complete = False
        self.error = None
        self.destination = transfer.Destination(what, self.write)

    def write(self, pieces):
        try:
            for piece in pieces:
                self.content += piece
        except Exception as error:
            self.error = error
            raise
        self.complete = True


class _Ignorant(_Disk):
    """A destination that takes an error for the end of the data."""

    def write(self, pieces):
        try:
            super().write(pieces)
        except Exception:
            self.complete = False


class _Failing(_Disk):
    """A destination that fails after a number of pieces."""

    def __init__(self, after=0):
        super().__init__('failing')
        self._after = after

    def write(self, pieces):
        for _ in range(self._after):
            next(pieces)
        raise exceptions.PowerVMRequestFailed(action='a', reason='r')


class _Blocked(_Disk):
    """A destination that takes nothing until it is released."""

    def __init__(self):
        super().__init__('blocked')
        self.released = threading.Event()

    def write(self, pieces):
        self.released.wait(base.PATIENCE)
        super().write(pieces)


class _Broken(Exception):
    """The error of a stream."""


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
            [disk.destination for disk in disks],
            stall_timeout,
            **kwargs,
        )

    def _whole(self, *disks):
        for disk in disks:
            self.assertIsNone(disk.destination.error)
            self.assertTrue(disk.complete)
            self.assertEqual(b''.join(self.pieces), disk.content)

    def test_every_disk_gets_all_pieces(self):
        for count in (1, 2, 3):
            disks = [_Disk() for _ in range(count)]
            self._write(*disks)
            self._whole(*disks)

    @base.generated
    @hypothesis.given(strategies.lists(strategies.binary(max_size=5)))
    def test_every_disk_gets_all_of_any_stream(self, pieces):
        disks = _Disk(), _Disk()
        self._write(*disks, pieces=iter(pieces))
        for disk in disks:
            self.assertEqual(
                (b''.join(pieces), True, None),
                (disk.content, disk.complete, disk.destination.error),
            )

    def test_disk_that_fails_first_does_not_stop_the_other(self):
        disk, failing = _Disk(), _Failing()
        self._write(failing, disk)
        self._whole(disk)
        self.assertIsInstance(
            failing.destination.error, exceptions.PowerVMRequestFailed
        )

    def test_disk_that_fails_later_does_not_stop_the_other(self):
        for after in (1, transfer.QUEUE_LENGTH, len(self.pieces)):
            disk, failing = _Disk(), _Failing(after)
            self._write(disk, failing)
            self._whole(disk)
            self.assertIsInstance(
                failing.destination.error, exceptions.PowerVMRequestFailed
            )

    def test_stream_is_not_read_after_all_disks_failed(self):
        taken = []

        def endless():
            while True:
                taken.append(1)
                yield b'piece'

        disks = _Failing(), _Failing(2)
        self._write(*disks, pieces=endless())
        for disk in disks:
            self.assertIsInstance(
                disk.destination.error, exceptions.PowerVMRequestFailed
            )
        # The call ends although the stream does not.
        self.assertTrue(taken)

    def test_disk_that_stops_early_has_an_error(self):
        class Lazy(_Disk):
            def write(self, pieces):
                next(pieces)

        disk, lazy = _Disk(), Lazy()
        self._write(disk, lazy)
        self._whole(disk)
        self.assertIsInstance(lazy.destination.error, exceptions.TransferError)
        self.assertIn('before all data was taken', str(lazy.destination.error))

    def test_disk_that_takes_nothing_has_an_error(self):
        class Idle(_Disk):
            def write(self, pieces):
                return

        idle = Idle()
        self._write(idle)
        self.assertIsInstance(idle.destination.error, exceptions.TransferError)

    def test_failed_stream_aborts_every_disk(self):
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
                self.assertIs(disk.error, disk.destination.error)

    def test_interrupt_aborts_every_disk(self):
        for error in (KeyboardInterrupt, SystemExit, GeneratorExit):
            disk = _Disk()
            self.assertRaises(
                error,
                self._write,
                disk,
                pieces=_failing_stream(self.pieces, error()),
            )
            self.assertFalse(disk.complete)
            self.assertIsNotNone(disk.destination.error)

    def test_disk_that_ignores_the_abort_has_an_error(self):
        disk = _Ignorant()
        self.assertRaises(
            _Broken,
            self._write,
            disk,
            pieces=_failing_stream(self.pieces, _Broken()),
        )
        self.assertIsInstance(disk.destination.error, exceptions.TransferError)

    def test_first_error_of_a_disk_is_kept(self):
        disk, failing = _Disk(), _Failing()
        self.assertRaises(
            _Broken,
            self._write,
            disk,
            failing,
            pieces=_failing_stream(self.pieces, _Broken()),
        )
        self.assertIsInstance(
            failing.destination.error, exceptions.PowerVMRequestFailed
        )
        self.assertIsInstance(
            disk.destination.error, exceptions.TransferAborted
        )

    def test_stalled_disk_is_abandoned(self):
        disk, blocked = _Disk(), _Blocked()
        self.addCleanup(blocked.released.set)
        self._write(blocked, disk, stall_timeout=0.02)
        self._whole(disk)
        error = blocked.destination.error
        self.assertIsInstance(error, exceptions.TransferStalled)
        self.assertTrue(error.transient)
        # Its thread is still running.
        self.assertIn(
            'pvm_imagecache-blocked',
            [thread.name for thread in threading.enumerate()],
        )
        # When it continues later, it must not take the data as complete.
        blocked.released.set()
        self._check_threads({threading.current_thread()})
        self.assertIsInstance(blocked.error, exceptions.TransferAborted)
        self.assertEqual(b'', blocked.content)
        self.assertIs(error, blocked.destination.error)

    def test_single_stalled_disk_has_an_error(self):
        blocked = _Blocked()
        self.addCleanup(blocked.released.set)
        self._write(blocked, stall_timeout=0.02)
        self.assertIsInstance(
            blocked.destination.error, exceptions.TransferStalled
        )

    def test_slow_disk_is_waited_for_at_the_end(self):
        blocked = _Blocked()
        self.pieces = self.pieces[: transfer.QUEUE_LENGTH]

        def stream():
            yield from self.pieces
            blocked.released.set()

        self._write(blocked, pieces=stream())
        self._whole(blocked)

    def test_few_pieces_wait_for_a_slow_disk(self):
        """Memory does not grow with the slowness of a disk."""
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
                        # Wait until as many pieces wait as may wait.
                        most_now = written + transfer.QUEUE_LENGTH + 2
                        while taken < min(most_now, count):
                            changed.wait(base.PATIENCE)
                        written += 1
                    self.content += piece
                self.complete = True

        slow, disk = Slow(), _Disk()
        self._write(disk, slow, pieces=stream())
        self._whole(disk, slow)
        # The queue, one in the feeder and one in the writer.
        self.assertEqual(transfer.QUEUE_LENGTH + 2, max(most))

    def test_progress_ends_with_the_whole_size(self):
        reports = []
        self._write(_Disk(), progress=reports.append)
        self.assertEqual(len(b''.join(self.pieces)), reports[-1])
        self.assertEqual(sorted(reports), reports)

    def test_progress_counts_the_bytes_given(self):
        self.patch(transfer, '_PROGRESS_INTERVAL', 0)
        reports = []
        self._write(_Disk(), pieces=[b'abc', b'de'], progress=reports.append)
        self.assertEqual([3, 5, 5], reports)

    def test_failed_progress_callback_aborts_every_disk(self):
        def progress(done):
            raise _Broken

        disk = _Disk()
        self.assertRaises(_Broken, self._write, disk, progress=progress)
        self.assertFalse(disk.complete)
        self.assertIsNotNone(disk.destination.error)

    def test_no_thread_is_left_running(self):
        before = threading.active_count()
        self._write(_Disk(), _Failing(3), _Ignorant())
        self.assertRaises(
            _Broken,
            self._write,
            _Disk(),
            _Failing(3),
            _Ignorant(),
            pieces=_failing_stream(self.pieces, _Broken()),
        )
        self.assertEqual(before, threading.active_count())
