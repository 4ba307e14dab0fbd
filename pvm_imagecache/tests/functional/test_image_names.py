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

"""Look-ups of images by name and ID in a real Glance."""

import contextlib
import datetime
import io
import json
import sqlite3
import time
from typing import Any
import unicodedata
import uuid

import requests

from pvm_imagecache import exceptions
from pvm_imagecache.cmd import shell
from pvm_imagecache.conf import glance as glance_conf
from pvm_imagecache.glance import client
from pvm_imagecache.glance import pages
from pvm_imagecache.glance import source as image_source
from pvm_imagecache.tests import functional_base
from pvm_imagecache.tests.servers import glance_wsgi

PROJECT = 'own'
STRANGER = 'other'


class TenantTestCase(functional_base.FunctionalTestCase):
    """A member of a project that looks for images."""

    def setUp(self) -> None:
        super().setUp()
        # One Glance serves all tests.
        self.suffix = uuid.uuid4().hex
        self.member = self.glance.token('ann', PROJECT, ['member', 'reader'])
        self.stranger = self.glance.token(
            'bob', STRANGER, ['member', 'reader']
        )
        self.source = self.source_of(self.member)

    def source_of(self, token: str) -> image_source.ImageSource:
        path = self.write_conf('', f'{uuid.uuid4().hex}.conf', token)
        conf = shell.read_configuration([str(path)], [])
        glance_conf.register(conf)
        return image_source.ImageSource(client.factory(conf))

    def upload(
        self,
        name: str | None,
        token: str = '',
        *,
        data: bytes | None = b'some bytes',
        **properties: Any,
    ) -> str:
        """Put an image into Glance; returns its ID."""
        images = self.glance.client(token or None).images
        if name is not None:
            properties['name'] = name
        image_id: str = images.create(
            disk_format='raw', container_format='bare', **properties
        ).id
        if data is not None:
            images.upload(image_id, io.BytesIO(data))
        return image_id

    def set_date(self, image_id: str, days_ago: int) -> str:
        date = datetime.datetime(2026, 3, 30) - datetime.timedelta(days_ago)
        database = sqlite3.connect(
            self.glance.state_dir / glance_wsgi.DATABASE_FILE, timeout=60
        )
        with contextlib.closing(database), database:
            database.execute(
                'UPDATE images SET created_at = ? WHERE id = ?',
                (f'{date.isoformat(" ")}.000000', image_id),
            )
        return f'{date.isoformat()}Z'

    def requests(self) -> list[str]:
        """The requests for metadata since the last call."""
        # A request is logged after its answer: one more shows that it was.
        last = f'/v2/images/last-{uuid.uuid4().hex}'
        requests.get(
            self.glance.url + last,
            headers={'X-Auth-Token': self.member},
            timeout=60,
        )
        end = time.monotonic() + 60
        while last not in (
            log := self.glance.log_path.read_text(errors='replace')
        ):
            self.assertLess(time.monotonic(), end, 'no request is logged')
            time.sleep(0.01)
        seen, self._seen = getattr(self, '_seen', 0), len(log)
        return [
            line.split('"')[1].split()[1]
            for line in log[seen:].splitlines()
            if '"GET /v2/' in line and last not in line
        ]


class NamesTestCase(TenantTestCase):
    """Look-ups in the process."""

    def test_every_image_that_glance_serves_is_found(self) -> None:
        for properties in (
            {'visibility': 'public'},
            {'visibility': 'community'},
            {'visibility': 'public', 'os_hidden': True},
            {'visibility': 'community', 'os_hidden': True},
        ):
            name = f'{properties} {self.suffix}'
            image_id = self.upload(name, **properties)
            self.assertEqual(image_id, self.source.find(name).id, name)
            self.assertEqual(image_id, self.source.find(image_id[:-1]).id)
        for number, visibility in enumerate(
            ('private', 'shared', 'community')
        ):
            name = f'own {number} {self.suffix}'
            image_id = self.upload(name, self.member, visibility=visibility)
            self.assertEqual(image_id, self.source.find(name).id, name)

    def test_a_shared_image_is_found_in_every_member_status(self) -> None:
        for status in ('pending', 'accepted', 'rejected'):
            for hidden in (False, True):
                name = f'{status} {hidden} {self.suffix}'
                image_id = self.upload(
                    name,
                    self.stranger,
                    visibility='shared',
                    os_hidden=hidden,
                )
                self.glance.client(self.stranger).image_members.create(
                    image_id, PROJECT
                )
                if status != 'pending':
                    self.glance.client(self.member).image_members.update(
                        image_id, PROJECT, status
                    )
                self.assertEqual(image_id, self.source.find(name).id, name)

    def test_private_images_of_others_are_not_found(self) -> None:
        name = f'secret {self.suffix}'
        image_id = self.upload(name, self.stranger, visibility='private')
        for text in (name, image_id, image_id[:-1]):
            error = self.assertRaises(
                exceptions.ImageNotFound, self.source.find, text
            )
            self.assertIn(f'No image "{text}" in Glance', str(error))
            self.assertNotIn(STRANGER, str(error))

    def test_names_may_have_any_characters(self) -> None:
        for text in (
            'in:a,b',
            'in:"a',
            'eq:x',
            'neq:x',
            'word:rest',
            ':',
            '"quoted"',
            '"',
            'a,b',
            ' leading',
            'trailing ',
            ' ',
            '100%',
            '%41',
            'a+b&c=d#e?f',
            'a/b\\c',
            '\u00fcml\u00e4ut \u65e5\u672c',
            'line\nfeed\ttab',
            '2026-01-01T00:00:00Z',
            '--latest',
            'None',
            '\u202eabc',
        ):
            name = f'{text}{self.suffix}'
            if text.endswith(' '):
                name = f'{self.suffix}{text}'
            image_id = self.upload(name, visibility='public')
            found = self.source.find(name, by_name=True)
            self.assertEqual(image_id, found.id, repr(name))
            self.assertEqual(name, found.name)

    def test_names_are_compared_exactly(self) -> None:
        name = f'Caf\u00e9 {self.suffix}'
        image_id = self.upload(name, visibility='public')
        self.assertEqual(image_id, self.source.find(name).id)
        for other in (
            name.lower(),
            name.upper(),
            f'{name} ',
            f' {name}',
            unicodedata.normalize('NFD', name),
            name[:-1],
            f'eq:{name}',
            name.replace(' ', '+'),
        ):
            self.assertRaises(
                exceptions.ImageNotFound, self.source.find, other
            )

    def test_a_name_that_looks_like_an_id_needs_an_option(self) -> None:
        for name in (
            str(uuid.uuid4()),
            str(uuid.uuid4()).upper(),
            uuid.uuid4().hex,
            uuid.uuid4().hex[:12],
        ):
            image_id = self.upload(name, visibility='public')
            error = self.assertRaises(
                exceptions.NoImageMatches, self.source.find, name
            )
            self.assertIn('use --name', str(error))
            found = self.source.find(name, by_name=True)
            self.assertEqual(image_id, found.id, name)

    def test_an_id_precedes_a_name(self) -> None:
        image_id = self.upload('x', visibility='public')
        self.upload(image_id, visibility='public')
        self.assertEqual(image_id, self.source.find(image_id).id)

    def test_another_spelling_of_an_id_is_not_the_image(self) -> None:
        image_id = self.upload('x', visibility='public')
        for text in (
            image_id.upper(),
            image_id.replace('-', ''),
            image_id.upper()[:-1],
            f'{{{image_id}}}',
        ):
            error = self.assertRaises(
                exceptions.ImageNotFound, self.source.find, text
            )
            self.assertIn('must match exactly', str(error))
            self.assertIn(image_id, str(error))

    def test_impossible_names_are_not_found(self) -> None:
        for text in (
            '',
            'a' * 256,
            'a' * 100_000,
            'not\udcff utf-8',
            '\U0001f600',
        ):
            self.assertRaises(exceptions.ImageNotFound, self.source.find, text)

    def test_the_message_names_the_credentials(self) -> None:
        class Context:
            user_name = 'ann'
            project_name = PROJECT
            global_id = 'req-1'
            member = self.member

            def get_auth_plugin(self) -> Any:
                from keystoneauth1 import token_endpoint

                return token_endpoint.Token(url, self.member)

        url = self.glance.url
        error = self.assertRaises(
            exceptions.ImageNotFound,
            self.source.find,
            f'no {self.suffix}',
            Context(),
        )
        self.assertIn(f'not visible to ann/{PROJECT}.', str(error))

    # -- several images

    def test_several_images_of_a_name_are_listed(self) -> None:
        name = f'twin {self.suffix}'
        found = [
            self.upload(name, visibility='public'),
            self.upload(name, visibility='public', os_hidden=True),
            self.upload(name, visibility='community'),
        ]
        dates = [self.set_date(each, days) for days, each in enumerate(found)]
        off = self.upload(name, visibility='public')
        self.glance.client().images.deactivate(off)
        error = self.assertRaises(
            exceptions.ImageAmbiguous, self.source.find, name
        )
        for image_id, date in zip(found, dates, strict=True):
            self.assertIn(f'{image_id} ({name}, {date}, active)', str(error))
        self.assertIn(off, str(error))
        self.assertIn('deactivated', str(error))
        self.assertIn('--latest', str(error))

    def test_latest_is_the_newest_active_image(self) -> None:
        name = f'series {self.suffix}'
        old, new, newer = (
            self.upload(name, visibility='public', os_hidden=hidden)
            for hidden in (False, True, False)
        )
        for days, image_id in ((9, old), (2, new), (1, newer)):
            self.set_date(image_id, days)
        self.upload(name, data=None, visibility='public')
        self.assertEqual(newer, self.source.find(name, latest=True).id)
        self.glance.client().images.deactivate(newer)
        self.assertEqual(new, self.source.find(name, latest=True).id)

    def test_latest_is_exact_within_a_second(self) -> None:
        name = f'quick {self.suffix}'
        found = [self.upload(name, visibility='public') for _ in range(3)]
        self.assertEqual(found[-1], self.source.find(name, latest=True).id)

    def test_latest_does_not_apply_to_prefixes_of_ids(self) -> None:
        prefix = uuid.uuid4().hex[:7]
        for each in '01':
            self.upload(
                'x',
                visibility='public',
                id=f'{prefix}{each}-0000-4000-8000-000000000000',
            )
        error = self.assertRaises(
            exceptions.ImageAmbiguous, self.source.find, prefix, latest=True
        )
        self.assertNotIn('--latest', str(error))

    # -- images that are not active

    def test_an_inactive_image_does_not_make_a_name_ambiguous(self) -> None:
        name = f'half {self.suffix}'
        self.upload(name, data=None, visibility='public')
        off = self.upload(name, visibility='public')
        self.glance.client().images.deactivate(off)
        gone = self.upload(name, visibility='public')
        self.glance.client().images.delete(gone)
        image_id = self.upload(name, visibility='public')
        self.assertEqual(image_id, self.source.find(name).id)

    def test_an_inactive_image_does_not_make_a_prefix_ambiguous(self) -> None:
        prefix = uuid.uuid4().hex[:7]
        queued, active = (
            f'{prefix}{each}-0000-4000-8000-000000000000' for each in '01'
        )
        self.upload('x', data=None, visibility='public', id=queued)
        # Nor does a name that looks like the prefix hide the image.
        self.upload(prefix, data=None, visibility='public')
        self.upload('x', visibility='public', id=active)
        self.assertEqual(active, self.source.find(prefix).id)

    def test_a_name_of_inactive_images_says_so(self) -> None:
        name = f'off {self.suffix}'
        queued = self.upload(name, data=None, visibility='public')
        for text in (name, queued, queued[:-1]):
            error = self.assertRaises(
                exceptions.ImageNotActive, self.source.find, text
            )
            self.assertIn('queued', str(error))
            self.assertIn(queued, str(error))
        off = self.upload(name, visibility='public', os_hidden=True)
        self.glance.client().images.deactivate(off)
        error = self.assertRaises(
            exceptions.ImageNotActive, self.source.find, name
        )
        for text in (queued, 'queued', off, 'deactivated'):
            self.assertIn(text, str(error))

    # -- requests

    def test_a_name_does_not_list_all_images(self) -> None:
        name = f'one {self.suffix}'
        self.upload(name, visibility='public')
        self.requests()
        self.source.find(name)
        asked = self.requests()
        self.assertEqual(2, len(asked), asked)
        for each in asked:
            self.assertIn('name=eq', each)

    def test_an_id_is_one_request(self) -> None:
        image_id = self.upload('x', visibility='public')
        self.requests()
        self.source.find(image_id)
        self.assertEqual([f'/v2/images/{image_id}'], self.requests())

    def test_all_pages_are_read(self) -> None:
        self.patch(pages, '_PAGE_SIZE', 2)
        name = f'page {self.suffix}'
        found = {self.upload(name, visibility='public') for _ in range(7)}
        error = self.assertRaises(
            exceptions.ImageAmbiguous, self.source.find, name
        )
        for each in found:
            self.assertIn(each, str(error))

    def test_images_may_be_deleted_between_pages(self) -> None:
        self.patch(pages, '_PAGE_SIZE', 3)
        prefix = uuid.uuid4().hex[:4]
        wanted = self.upload(
            'x',
            visibility='public',
            id=f'{prefix}0000-{"0000-" * 3}{"0" * 12}',
        )
        self.set_date(wanted, 999)
        extra = [
            self.upload('x', self.stranger, visibility='community')
            for _ in range(9)
        ]
        images = self.glance.client(self.stranger).images
        ask = self.source._asking

        def asking(*args: Any) -> Any:
            following = ask(*args)

            def ask_and_delete(query: Any) -> Any:
                page = following(query)
                for each in page.entries:
                    if each.id in extra:
                        extra.remove(each.id)
                        if len(extra) % 2:
                            images.delete(each.id)
                        else:
                            images.update(each.id, visibility='private')
                return page

            return ask_and_delete

        self.patch(self.source, '_asking', asking)
        self.assertEqual(wanted, self.source.find(prefix).id)
        self.assertEqual([], extra)


class CommandsTestCase(TenantTestCase):
    """The commands that take names, as processes."""

    def setUp(self) -> None:
        super().setUp()
        self.conf_file = self.write_conf(
            f'host = {self.powervm.host}\nport = {self.powervm.port}\n'
            'protocol = http\nvolume_group_name = cachevg\n',
            token=self.member,
        )

    def json(self, *arguments: str, code: int = 0) -> Any:
        done = self.run_shell(*arguments, '-f', 'json')
        self.assertEqual(code, done.returncode, done.stderr)
        self.stderr = done.stderr
        return json.loads(done.stdout)

    def refused(self, *arguments: str) -> str:
        done = self.run_shell(*arguments)
        self.assertEqual((1, ''), (done.returncode, done.stdout), done.stderr)
        return done.stderr

    def test_latest_on_the_commands(self) -> None:
        name = f'series {self.suffix}'
        old, new = (self.upload(name, visibility='public') for _ in range(2))
        for arguments in (
            ('prefetch', name),
            ('pin', name),
            ('adopt', name, '--dry-run'),
            ('disk', 'create', name, 'vm1'),
        ):
            message = self.refused(*arguments)
            for text in (old, new, '--latest', 'active'):
                self.assertIn(text, message)
        (row,) = self.json('prefetch', '--latest', name)
        self.assertEqual(new, row['ID'])
        (row,) = self.json('pin', '--latest', name)
        self.assertEqual(new, row['ID'])
        row = self.json('disk', 'create', '--latest', name, 'vm1')
        self.assertEqual((new, 'hit'), (row['image'], row['outcome']))

    def test_no_command_takes_an_id_for_a_name(self) -> None:
        victim = self.upload('debian-13', visibility='public')
        self.json('prefetch', victim)
        for name in (
            victim[:11],
            victim[:13].upper(),
            victim.replace('-', ''),
            victim.upper(),
        ):
            attacker = self.upload(name, self.stranger, visibility='community')
            self.json('prefetch', attacker)
            for command in (
                'show',
                'explain',
                'verify',
                'pin',
                'unpin',
                'prefetch',
                'adopt --dry-run',
                'purge --dry-run',
                'history --image',
            ):
                done = self.run_shell(*command.split(), name, '-f', 'json')
                self.assertNotIn(attacker, done.stdout, command)
                self.assertNotIn('Traceback', done.stderr)
            found = self.json('show', '--name', name)
            self.assertEqual(attacker, found['id'])
            (row,) = self.json('purge', '--name', name, '--yes')
            self.assertEqual(attacker, row['ID'])
        self.assertEqual(victim, self.json('show', victim)['id'])

    def test_a_missing_name_is_explained(self) -> None:
        name = f'in:"a {self.suffix}'
        self.assertIn(
            f'No image "{name}" in Glance, or not visible to',
            self.refused('prefetch', name),
        )
        queued = self.upload(name, data=None, visibility='public')
        message = self.refused('prefetch', name)
        self.assertIn(queued, message)
        self.assertIn('queued', message)
