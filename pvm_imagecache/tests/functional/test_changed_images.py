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

"""Images whose name or hash in Glance changes after they were used."""

import json
from typing import Any
import uuid

from pvm_imagecache.tests import functional_base
from pvm_imagecache.tests.functional import incidents

SIZE = 4096


class ShellTestCase(functional_base.FunctionalTestCase):
    """Runs commands as processes."""

    def json(self, *arguments: str, code: int = 0) -> Any:
        done = self.run_shell(*arguments, '-f', 'json')
        self.stderr = done.stderr
        self.assertEqual(code, done.returncode, done.stdout + done.stderr)
        return json.loads(done.stdout)

    def refused(self, *arguments: str) -> str:
        done = self.run_shell(*arguments)
        self.assertEqual((1, ''), (done.returncode, done.stdout), done.stderr)
        return done.stderr


class RenamedTestCase(ShellTestCase):
    """An image gets another name after it was cached."""

    def setUp(self) -> None:
        super().setUp()
        suffix = uuid.uuid4().hex[:8]
        self.old, self.new = f'rhel {suffix}', f'rhel-old {suffix}'
        self.image_id = self.named(self.old)

    def named(self, name: str, seed: int = 0) -> str:
        """Put an image with a name into Glance; returns its ID."""
        image_id = self.store_raw(SIZE, seed)
        self.glance.client().images.update(image_id, name=name)
        return image_id

    def rename(self) -> None:
        self.glance.client().images.update(self.image_id, name=self.new)

    def cached(self) -> str:
        (row,) = self.json('list')
        self.assertEqual(self.image_id, row['ID'])
        name: str = row['Name']
        return name

    def test_a_hit_takes_the_new_name(self) -> None:
        self.json('prefetch', self.old)
        self.rename()
        self.assertEqual(self.old, self.cached())
        self.assertEqual(
            'hit', self.json('disk', 'create', self.new, 'vm1')['outcome']
        )
        self.assertEqual(self.new, self.cached())

    def test_a_prefetch_takes_the_new_name(self) -> None:
        self.json('prefetch', self.old)
        self.rename()
        (row,) = self.json('prefetch', self.new)
        self.assertEqual('already cached', row['Result'])
        self.assertEqual(self.new, self.cached())
        (event, *_) = self.json('history')
        self.assertEqual(
            ('rename', self.new, f'was "{self.old}"'),
            (event['Action'], event['Name'], event['Reason']),
        )

    def test_verify_takes_the_new_name(self) -> None:
        self.json('prefetch', self.old)
        self.rename()
        (row,) = self.json('verify')
        self.assertEqual(
            (self.new, 'active, same hash'), (row['Name'], row['Glance'])
        )
        self.assertEqual(self.new, self.cached())
        self.assertEqual(self.image_id, self.json('show', self.new)['id'])
        self.assertIn('is not cached', self.refused('show', self.old))
        self.json('verify')
        self.assertEqual(1, len(self.json('history', '--action', 'rename')))

    def test_verify_takes_the_name_of_a_deactivated_image(self) -> None:
        self.json('prefetch', self.old)
        self.rename()
        self.glance.client().images.deactivate(self.image_id)
        self.json('verify', code=1)
        self.assertEqual(self.new, self.cached())

    def test_verify_without_glance_changes_no_name(self) -> None:
        self.json('prefetch', self.old)
        self.rename()
        self.json('verify', '--no-glance')
        self.assertEqual(self.old, self.cached())

    def test_a_pin_has_the_new_name_after_verify(self) -> None:
        self.json('pin', self.old)
        self.rename()
        self.json('verify')
        other = self.named(self.old, 1)
        # The name is that of another image now, which is not pinned.
        (row,) = self.json('unpin', self.old)
        self.assertEqual((other, 'not pinned'), (row['ID'], row['Result']))
        (row,) = self.json('unpin', self.new)
        self.assertEqual(
            (self.image_id, 'unpinned'), (row['ID'], row['Result'])
        )

    def test_pin_takes_the_image_that_has_the_name_in_glance(self) -> None:
        self.json('prefetch', self.old)
        self.rename()
        other = self.named(self.old, 1)
        (row,) = self.json('pin', self.old)
        self.assertEqual((other, self.old), (row['ID'], row['Name']))
        (row,) = self.json('pin', self.new)
        self.assertEqual((self.image_id, self.new), (row['ID'], row['Name']))
        self.assertEqual(self.new, self.cached())

    def test_pin_refuses_a_name_that_no_image_has_any_more(self) -> None:
        self.json('prefetch', self.old)
        self.rename()
        message = self.refused('pin', self.old)
        for text in (
            f'No image "{self.old}" in Glance',
            f'is "{self.new}" ({self.image_id}) in Glance now',
        ):
            self.assertIn(text, message)
        self.assertEqual(self.new, self.cached())
        self.assertFalse(self.json('list', '--long')[0]['Pinned'])

    def test_pin_accepts_a_cached_image_that_was_deleted(self) -> None:
        self.json('prefetch', self.old)
        self.glance.client().images.delete(self.image_id)
        for text in (self.image_id, self.image_id[:8], self.old):
            (row,) = self.json('pin', text)
            self.assertEqual(self.image_id, row['ID'])
        self.assertIn('Using the cached image', self.stderr)

    def test_pin_by_id_works_without_glance(self) -> None:
        self.json('prefetch', self.old)
        away = self.conf_file.read_text().replace(
            self.glance.url, 'http://127.0.0.1:9'
        )
        self.conf_file.write_text(away)
        (row,) = self.json('pin', self.image_id)
        self.assertNotIn('Glance', self.stderr)
        for text in (self.image_id[:8], self.old):
            (row,) = self.json('pin', text)
            self.assertEqual(self.image_id, row['ID'])
            self.assertIn('Using the cached image', self.stderr)
        unknown = str(uuid.uuid4())
        (row,) = self.json('pin', unknown)
        self.assertEqual(unknown, row['ID'])
        self.assertIn('by its ID', self.stderr)
        self.refused('pin', 'no such image')
        (row,) = self.json('unpin', self.old)
        self.assertEqual('unpinned', row['Result'])

    def test_the_other_commands_know_the_names_of_the_cache(self) -> None:
        self.json('prefetch', self.old)
        self.rename()
        self.assertEqual(self.image_id, self.json('show', self.old)['id'])
        self.assertEqual(self.image_id, self.json('explain', self.old)['id'])
        (row,) = self.json('purge', self.old, '--dry-run')
        self.assertEqual(self.image_id, row['ID'])
        (row,) = self.json('verify', self.old)
        self.assertEqual((self.image_id, self.new), (row['ID'], row['Name']))


class HashlessTestCase(incidents.IncidentTestCase, ShellTestCase):
    """Glance computes the hash of an image after it became active."""

    def forget(self, image_id: str) -> Any:
        image = self.glance.client().images.get(image_id)
        self.sql(
            'UPDATE images SET checksum = NULL, os_hash_algo = NULL,'
            ' os_hash_value = NULL WHERE id = ?',
            image_id,
        )
        return image

    def compute(self, image_id: str, image: Any) -> None:
        self.sql(
            'UPDATE images SET checksum = ?, os_hash_algo = ?,'
            ' os_hash_value = ? WHERE id = ?',
            image.checksum,
            image.os_hash_algo,
            image.os_hash_value,
            image_id,
        )

    def test_an_image_is_cached_when_glance_has_its_hash(self) -> None:
        image_id = self.store_raw(SIZE)
        image = self.forget(image_id)
        row = self.json('disk', 'create', image_id, 'vm1')
        self.assertEqual('bypass', row['outcome'])
        why = 'Glance has no hash of it yet; it is not cached until it has one'
        self.assertIn(why, row['reason'])
        self.assertIn(why, self.refused('prefetch', image_id))
        self.assertIn(why, self.refused('adopt', image_id, '--yes'))
        self.assertEqual([], self.json('list'))
        self.compute(image_id, image)
        row = self.json('disk', 'create', image_id, 'vm2')
        self.assertEqual('miss', row['outcome'])
        row = self.json('disk', 'create', image_id, 'vm3')
        self.assertEqual('hit', row['outcome'])
        for name in ('vm1', 'vm2', 'vm3'):
            self.assert_holds(name, image_id, SIZE)

    def test_a_prefetch_succeeds_when_glance_has_the_hash(self) -> None:
        image_id = self.store_raw(SIZE)
        image = self.forget(image_id)
        other = self.store_raw(SIZE, 1)
        rows = self.json('prefetch', image_id, other, code=1)
        self.assertIn('no hash of it yet', rows[0]['Result'])
        self.assertEqual('fetched', rows[1]['Result'])
        self.compute(image_id, image)
        (row,) = self.json('prefetch', image_id)
        self.assertEqual('fetched', row['Result'])

    def test_a_cached_image_is_not_served_while_its_hash_is_gone(self) -> None:
        image_id = self.store_raw(SIZE)
        self.json('prefetch', image_id)
        image = self.forget(image_id)
        row = self.json('disk', 'create', image_id, 'vm1')
        self.assertEqual('bypass', row['outcome'])
        self.compute(image_id, image)
        row = self.json('disk', 'create', image_id, 'vm2')
        self.assertEqual('hit', row['outcome'])

    def test_a_hash_that_is_added_later_is_compared(self) -> None:
        image_id = self.store_raw(SIZE)
        image = self.forget(image_id)
        self.sql(
            'UPDATE images SET checksum = ? WHERE id = ?',
            image.checksum,
            image_id,
        )
        self.json('prefetch', image_id)
        self.compute(image_id, image)
        row = self.json('disk', 'create', image_id, 'vm1')
        self.assertEqual('hit', row['outcome'])
