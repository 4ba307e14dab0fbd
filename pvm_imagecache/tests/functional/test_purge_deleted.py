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

"""``purge --deleted`` removes only what was deleted from Glance."""

import atexit
import contextlib
import functools
from http import server as http_server
import json
import pathlib
import shutil
import sqlite3
import tempfile
import threading
from typing import Any
import uuid

from pvm_imagecache.tests import functional_base
from pvm_imagecache.tests import images
from pvm_imagecache.tests.servers import glance as glance_server

#: As of now: each test has one of its own, removed at its end.
_TEMPORARY = tempfile.gettempdir()


@functools.cache
def other_region() -> glance_server.GlanceServer:
    """A second Glance, with images of its own."""
    directory = tempfile.mkdtemp(prefix='glance-', dir=_TEMPORARY)
    server = glance_server.GlanceServer(pathlib.Path(directory) / 'glance')
    server.start()
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    atexit.register(server.stop)
    return server


class _NotGlance(http_server.BaseHTTPRequestHandler):
    """A web server that is no Glance."""

    answer: tuple[int, str, bytes] = (404, 'text/html', b'<html>Oops</html>')

    def do_GET(self) -> None:
        status, kind, body = self.answer
        self.send_response(status)
        self.send_header('Content-Type', kind)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class PurgeDeletedTestCase(functional_base.FunctionalTestCase):
    """Three images are cached."""

    def setUp(self) -> None:
        super().setUp()
        self.member = self.glance.token('ann', 'demo', ['member', 'reader'])
        self.stranger = self.glance.token('bob', 'other', ['member', 'reader'])

    def cache(self, count: int, **properties: Any) -> list[str]:
        stored = [
            self.store(images.raw_bytes(4096, seed), **properties)
            for seed in range(count)
        ]
        done = self.run_shell('prefetch', *stored)
        self.assertEqual(0, done.returncode, done.stderr)
        return stored

    def delete(self, *image_ids: str) -> None:
        for each in image_ids:
            self.glance.client().images.delete(each)

    def conf(self, url: str = '', token: str = '') -> pathlib.Path:
        path = self.write_conf(
            f'host = {self.powervm.host}\nport = {self.powervm.port}\n'
            'protocol = http\nvolume_group_name = cachevg\n',
            f'{uuid.uuid4().hex}.conf',
            token,
        )
        if url:
            text = path.read_text().replace(self.glance.url, url)
            path.write_text(text)
        return path

    def purge(
        self,
        *options: str,
        conf_file: pathlib.Path | None = None,
        code: int = 0,
    ) -> dict[str, str]:
        """Run the command; returns the results by image ID."""
        done = self.run_shell(
            'purge',
            '--deleted',
            '-f',
            'json',
            *options,
            conf_file=conf_file,
        )
        self.assertEqual(code, done.returncode, done.stdout + done.stderr)
        self.errors = done.stderr
        return {
            row['ID']: row['Result'] for row in json.loads(done.stdout or '[]')
        }

    def assert_kept(
        self,
        conf_file: pathlib.Path,
        *texts: str,
        modes: tuple[str, ...] = ('--dry-run', '--yes'),
    ) -> None:
        """Neither the command nor its dry run purge anything; both say why."""
        before = self.disks().keys()
        for mode in modes:
            results = self.purge(mode, '--force', conf_file=conf_file, code=1)
            for each in results.values():
                self.assertTrue(each.startswith('kept: '), results)
            said = self.errors + json.dumps(results)
            for text in texts:
                self.assertIn(text, said)
            for text in ('Traceback', 'HTTPException', '<html', 'Error:'):
                self.assertNotIn(text, said)
        self.assertEqual(before, self.disks().keys())

    # -- what is purged

    def test_an_administrator_purges_what_was_deleted(self) -> None:
        deleted, private, hidden = self.cache(3, visibility='private')
        self.glance.client().images.update(hidden, os_hidden=True)
        self.delete(deleted)
        self.assertEqual({deleted: 'would be purged'}, self.purge('--dry-run'))
        self.assertEqual({deleted: 'purged'}, self.purge('--yes'))
        self.assertEqual({}, self.purge('--yes'))
        self.assertEqual(2, len(self.disks()))

    def test_the_only_cached_image_may_have_been_deleted(self) -> None:
        self.store_raw(4096)
        (deleted,) = self.cache(1)
        self.delete(deleted)
        self.assertEqual({deleted: 'purged'}, self.purge('--yes'))

    def test_a_member_purges_what_was_deleted(self) -> None:
        deleted, kept, _ = self.cache(3)
        self.delete(deleted)
        member = self.conf(token=self.member)
        self.assertEqual(
            {deleted: 'purged'}, self.purge('--yes', conf_file=member)
        )

    def test_deactivated_and_changed_images_were_not_deleted(self) -> None:
        off, changed = self.cache(2)
        self.glance.client().images.deactivate(off)
        self.glance.replace_data(changed, b'other')
        self.assertEqual({}, self.purge('--yes'))

    def test_nothing_is_cached(self) -> None:
        self.assertEqual({}, self.purge('--yes'))

    # -- most of the cache

    def test_most_of_the_cache_requires_force(self) -> None:
        cached = self.cache(5)
        self.delete(*cached[:3])
        would = self.purge('--dry-run', code=1)
        self.assertEqual(
            dict.fromkeys(cached[:3], 'would be purged with --force'), would
        )
        self.assertIn('3 of 5', self.errors)
        self.assertEqual({}, self.purge('--yes', code=1))
        self.assertIn('3 of 5 cached images were deleted', self.errors)
        self.assertIn('--force', self.errors)
        self.assertEqual(5, len(self.disks()))
        self.assertEqual(
            dict.fromkeys(cached[:3], 'would be purged'),
            self.purge('--dry-run', '--force'),
        )
        self.assertEqual(
            dict.fromkeys(cached[:3], 'purged'), self.purge('--yes', '--force')
        )

    def test_half_of_the_cache_does_not(self) -> None:
        cached = self.cache(6)
        self.delete(*cached[:3])
        self.assertEqual(3, len(self.purge('--yes')))

    def test_force_is_only_for_deleted(self) -> None:
        done = self.run_shell('purge', '--all', '--force', '--yes')
        self.assertEqual(2, done.returncode)
        self.assertIn('--deleted', done.stderr)

    # -- what proves nothing

    def test_a_private_image_of_another_project_was_not_deleted(self) -> None:
        cached = self.cache(3, visibility='private')
        self.store_raw(4096)
        stranger = self.conf(token=self.stranger)
        self.assert_kept(stranger, 'not visible to', cached[0])

    def test_a_token_of_another_project_sees_some_images(self) -> None:
        self.cache(1)
        private = self.store(b'private', visibility='private')
        self.assertEqual(0, self.run_shell('prefetch', private).returncode)
        deleted = self.store(b'deleted', visibility='private')
        self.assertEqual(0, self.run_shell('prefetch', deleted).returncode)
        stranger = self.conf(token=self.stranger)
        self.assert_kept(stranger, 'not visible to')
        self.delete(deleted)
        results = self.purge('--yes', conf_file=stranger, code=1)
        self.assertEqual('purged', results.pop(deleted))
        self.assertIn('not visible', results.pop(private))
        self.assertEqual({}, results)

    def test_a_version_in_the_endpoint(self) -> None:
        self.cache(3)
        done = self.run_shell(
            'purge',
            '--deleted',
            '--yes',
            conf_file=self.conf(f'{self.glance.url}/v2'),
        )
        # It may work, or not.
        self.assertEqual(3, len(self.disks()), done.stdout)

    def test_a_wrong_path_in_the_endpoint(self) -> None:
        self.cache(3)
        self.assert_kept(self.conf(f'{self.glance.url}/nothing'))

    def test_a_web_server_that_is_no_glance(self) -> None:
        self.cache(3)
        for answer in (
            (404, 'text/html', b'<html>Oops</html>'),
            (404, 'application/json', b'{}'),
            (200, 'text/html', b'<html>Log in</html>'),
            (200, 'application/json', b'{}'),
            (200, 'application/json', b'[]'),
            (200, 'application/json', b'{"images": []}'),
            (200, 'application/json', b'{"images": [{}]}'),
            (400, 'text/html', b'<html>Bad</html>'),
            (403, 'text/html', b'<html>Forbidden</html>'),
        ):
            with not_glance(answer) as url:
                self.assert_kept(self.conf(url), modes=('--yes',))

    def test_a_server_that_knows_lists_but_no_image(self) -> None:
        self.cache(3)
        entry = b'{"id": "x", "status": "active", "size": 1}'

        class Partial(_NotGlance):
            def do_GET(self) -> None:
                self.answer = (
                    (200, 'application/json', b'{"images": [%s]}' % entry)
                    if '?' in self.path
                    else (404, 'text/html', b'no')
                )
                super().do_GET()

        with serving(Partial) as url:
            self.assert_kept(self.conf(url), 'marker')

    def test_the_glance_of_another_region(self) -> None:
        self.cache(3)
        other = other_region()
        other.create_image('x', b'some bytes')
        for token in (self.member, other.token()):
            self.assert_kept(
                self.conf(other.url, token), 'another region', 'none of the'
            )

    def test_another_region_has_copies_of_half_of_the_images(self) -> None:
        cached = self.cache(4)
        other = other_region()
        for number, image_id in enumerate(cached[:2]):
            # As glance-replicator copies it: the same ID, data and name.
            other.create_image(
                'copy', images.raw_bytes(4096, number), id=image_id
            )
        self.addCleanup(other.client().images.delete, cached[0])
        for token in (self.member, other.token()):
            self.assert_kept(
                self.conf(other.url, token), 'another region', cached[0][:8]
            )
        # As one of an earlier release.
        with sqlite3.connect(
            self.directory / 'state' / 'catalog.sqlite'
        ) as file:
            file.execute(
                'UPDATE base_images SET image_created_at = NULL'
                ' WHERE image_id = ?',
                (cached[0],),
            )
        file.close()
        other.client().images.delete(cached[1])
        self.assert_kept(
            self.conf(other.url, self.member), 'came from it', 'by ID'
        )
        self.delete(cached[3])
        self.assertEqual({cached[3]: 'purged'}, self.purge('--yes'))

    def test_an_empty_glance(self) -> None:
        self.cache(3)
        other = other_region()
        for each in other.client().images.list():
            other.client().images.delete(each.id)
        self.assert_kept(self.conf(other.url), 'shows no image at all')

    def test_an_expired_token(self) -> None:
        self.cache(3)
        with not_glance(
            (401, 'text/plain', b'Authentication required')
        ) as url:
            self.assert_kept(self.conf(url), 'refused the credentials')

    def test_a_user_who_may_not_read_images(self) -> None:
        cached = self.cache(3)
        self.delete(cached[0])
        token = self.glance.token('eve', 'demo', ['member'])
        self.assert_kept(self.conf(token=token), 'get_images')

    def test_an_unreachable_glance(self) -> None:
        self.cache(3)
        self.assert_kept(self.conf('http://127.0.0.1:9'), modes=('--yes',))


@contextlib.contextmanager
def serving(handler: type[http_server.BaseHTTPRequestHandler]) -> Any:
    """Serve on a port of the loopback; returns the URL."""
    with http_server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f'http://127.0.0.1:{server.server_address[1]}'
        finally:
            server.shutdown()
            thread.join()


def not_glance(answer: tuple[int, str, bytes]) -> Any:
    """Serve the same answer to everything; returns the URL."""
    return serving(type('_Answers', (_NotGlance,), {'answer': answer}))
