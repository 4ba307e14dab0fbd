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
"""Images whose data is not what Glance says, on a real Glance."""

import gzip
import pathlib
import threading
from typing import Any

import fixtures

from pvm_imagecache import exceptions
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.tests import functional_base as base
from pvm_imagecache.tests import images

SIZE = 5 * base.MIB + 123


class DataTestCase(base.FunctionalTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.manager = self.make_manager()

    def downloads(self) -> int:
        """How many downloads of all data there were since the last call."""
        found = [each for each in self.glance.downloads() if each.bytes_sent]
        self.glance.reset_downloads()
        return len(found)

    def flip(self, image_id: str, position: int = SIZE // 2) -> None:
        """Change one byte of the data that Glance stores."""
        with self.glance.data_path(image_id).open('r+b') as data:
            data.seek(position)
            byte = data.read(1)
            data.seek(position)
            data.write(bytes([byte[0] ^ 1]))

    def assert_nothing_left(self) -> None:
        self.assertEqual({}, self.disks())
        self.assertEqual([], self.manager.list())
        self.assertEqual(0, self.file_entries())
        self.assertEqual([], self.unfinished(self.manager))


class CorruptTestCase(DataTestCase):
    def test_corruption_at_rest_costs_two_downloads(self) -> None:
        image_id = self.store_raw(SIZE)
        image = self.image(image_id)
        for position in (0, SIZE // 2, SIZE - 1):
            self.flip(image_id, position)
            for attempt in (
                lambda: self.manager.create_disk(image, 'disk'),
                lambda: self.manager.prefetch(image),
            ):
                self.assertRaises(exceptions.ImageCorrupt, attempt)
                self.assertEqual(2, self.downloads())
                self.assert_nothing_left()
            self.flip(image_id, position)
        self.manager.create_disk(image, 'disk')
        self.assertEqual(1, self.downloads())
        self.assert_holds('disk', image_id, SIZE)

    def test_truncation_at_rest_costs_two_downloads(self) -> None:
        image_id = self.store_raw(SIZE)
        image = self.image(image_id)
        path = self.glance.data_path(image_id)
        whole = path.read_bytes()
        path.write_bytes(whole[: 2 * base.MIB])
        self.assertRaises(
            exceptions.ImageError, self.manager.create_disk, image, 'disk'
        )
        # Resumed downloads send no more data.
        self.assertEqual(2, self.downloads())
        self.assert_nothing_left()
        path.write_bytes(whole)
        self.manager.create_disk(image, 'disk')
        self.assert_holds('disk', image_id, SIZE)

    def test_data_that_is_right_the_second_time_is_deployed(self) -> None:
        image_id = self.store_raw(SIZE)
        image = self.image(image_id)
        self.flip(image_id)
        opened = self.source.open
        count = 0

        def repaired(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count == 2:
                self.flip(image_id)
            return opened(*args, **kwargs)

        self.useFixture(
            fixtures.MockPatchObject(self.source, 'open', repaired)
        )
        done = self.manager.create_disk(image, 'disk')
        self.assertIs(instance_disk.Outcome.MISS, done.outcome)
        self.assertEqual(2 * SIZE, done.bytes_fetched)
        self.assertEqual(2, self.downloads())
        self.assert_holds('disk', image_id, SIZE)
        self.assert_holds(self.manager.list()[0].disk_name, image_id, SIZE)
        self.assertEqual(0, self.file_entries())
        hit = self.manager.create_disk(image, 'hit')
        self.assertIs(instance_disk.Outcome.HIT, hit.outcome)
        self.assert_holds('hit', image_id, SIZE)

    def test_concurrent_deploys_share_the_two_downloads(self) -> None:
        image_id = self.store_raw(SIZE)
        image = self.image(image_id)
        self.flip(image_id)
        self.glance.set_bandwidth(4 * base.MIB)
        self.addCleanup(self.glance.set_bandwidth, 0)
        # As in processes: each has a manager of its own.
        managers = [self.make_manager() for _ in range(4)]
        errors: list[Exception] = []
        start = threading.Barrier(len(managers))

        def deploy(number: int) -> None:
            start.wait()
            try:
                if number:
                    managers[number].create_disk(image, f'disk{number}')
                else:
                    managers[number].prefetch(image)
            except exceptions.ImageError as error:
                errors.append(error)

        threads = [
            threading.Thread(target=deploy, args=(number,))
            for number in range(len(managers))
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        self.assertEqual(
            [exceptions.ImageCorrupt] + [exceptions.ImageFetchFailed] * 3,
            sorted(map(type, errors), key=lambda kind: kind.__name__),
        )
        self.assertEqual(2, self.downloads())
        self.assert_nothing_left()

    def test_the_shell_says_what_happened(self) -> None:
        image_id = self.store_raw(SIZE)
        self.flip(image_id)
        done = self.run_shell('prefetch', image_id)
        self.assertEqual(1, done.returncode)
        self.assertIn('once more', done.stderr)
        self.assertIn('is corrupt', done.stderr)
        self.assertEqual(2, self.downloads())


class OtherFormatsTestCase(DataTestCase):
    """Images that are declared as raw, and are not."""

    def store_as_raw(self, data: bytes) -> str:
        # Glance inspects uploads; images from before it did are there.
        image_id = self.store_raw(4096)
        self.glance.replace_data(image_id, data)
        return image_id

    def test_they_are_refused_before_a_disk_is_made(self) -> None:
        disk = images.raw_bytes(SIZE)
        for data, expected in (
            (images.qcow2_bytes(base.GIB), 'a qcow2 image'),
            (images.vmdk_bytes(base.GIB), 'a VMDK image'),
            (gzip.compress(disk), 'compressed with gzip'),
            (b'LUKS\xba\xbe\x00\x02' + disk, 'an encrypted disk (LUKS)'),
        ):
            image = self.image(self.store_as_raw(data))
            seen = self.last_request()
            for attempt in (
                lambda image=image: self.manager.create_disk(image, 'disk'),
                lambda image=image: self.manager.prefetch(image),
            ):
                error = self.assertRaises(exceptions.ImageFormatWrong, attempt)
                self.assertIn(expected, str(error))
            self.assertNotIn('create_disk', self.kinds_since(seen))
            self.assert_nothing_left()

    def test_a_fixed_vhd_leaves_nothing(self) -> None:
        data = images.raw_bytes(SIZE) + b'conectix'.ljust(512, b'\0')
        image = self.image(self.store_as_raw(data))
        error = self.assertRaises(
            exceptions.ImageFormatWrong, self.manager.create_disk, image, 'd'
        )
        self.assertIn('a VHD image', str(error))
        self.assert_nothing_left()

    def test_they_are_not_adopted(self) -> None:
        image_id = self.store_as_raw(images.qcow2_bytes(base.GIB))
        done = self.run_shell('adopt', '--yes', image_id)
        self.assertEqual(1, done.returncode)
        self.assertIn('its data is a qcow2 image', done.stderr)

    def test_the_option_of_nova_permits_them(self) -> None:
        image_id = self.store_as_raw(images.qcow2_bytes(base.GIB))
        conf: pathlib.Path = self.directory / 'permits.conf'
        conf.write_text(
            self.conf_file.read_text()
            + '[workarounds]\ndisable_deep_image_inspection = true\n'
        )
        done = self.run_shell('prefetch', image_id, conf_file=conf)
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertEqual(1, len(self.manager.list()))

    def test_disks_with_boot_records_and_isos_are_deployed(self) -> None:
        sector = bytes(510) + b'\x55\xaa'
        for number, data in enumerate(
            (
                sector + images.raw_bytes(SIZE),
                sector + b'EFI PART' + images.raw_bytes(SIZE),
                images.iso_bytes(SIZE),
            )
        ):
            image_id = self.store_as_raw(data)
            image = self.image(image_id)
            done = self.manager.create_disk(image, f'disk{number}')
            self.assertIs(instance_disk.Outcome.MISS, done.outcome)
            self.assert_holds(f'disk{number}', image_id, len(data))


class PropertiesTestCase(DataTestCase):
    """Images that cannot boot as they are."""

    def test_they_are_refused_by_every_command(self) -> None:
        for name, value in (
            ('cinder_encryption_key_id', 'key'),
            ('os_encrypt_format', 'LUKSv1'),
            ('hw_architecture', 'x86_64'),
        ):
            image_id = self.store_raw(4096, **{name: value})
            for command in (
                ('prefetch', image_id),
                ('disk', 'create', image_id, 'disk'),
                ('adopt', '--yes', image_id),
            ):
                done = self.run_shell(*command)
                self.assertEqual(1, done.returncode, done.stderr)
                self.assertIn('cannot boot on PowerVM', done.stderr)
                self.assertIn(name, done.stderr)
        self.assert_nothing_left()
        self.assertEqual(0, self.downloads())

    def test_an_image_that_became_one_is_still_reported(self) -> None:
        image_id = self.store_raw(4096)
        self.manager.prefetch(self.image(image_id))
        self.glance.client().images.update(image_id, hw_architecture='x86_64')
        done = self.run_shell('verify', '-f', 'json')
        self.assertIn('different format', done.stdout)


class SignaturesTestCase(DataTestCase):
    """The shell cannot verify signatures, and does not undermine them."""

    def setUp(self) -> None:
        super().setUp()
        self.verifying = self.directory / 'verifying.conf'
        text = self.conf_file.read_text()
        self.verifying.write_text(
            text.replace(
                '[glance]\n', '[glance]\nverify_glance_signatures = true\n'
            )
        )
        self.signature = {
            'img_signature': 'c2lnbmF0dXJl',
            'img_signature_hash_method': 'SHA-256',
            'img_signature_key_type': 'RSA-PSS',
            'img_signature_certificate_uuid': 'certificate',
        }

    def store_signed(self) -> str:
        image_id = self.store_raw(4096)
        self.glance.client().images.update(image_id, **self.signature)
        return image_id

    def test_nothing_is_fetched(self) -> None:
        signed, unsigned = self.store_signed(), self.store_raw(4096)
        for image_id, expected in (
            (signed, 'openstack aggregate cache image'),
            (unsigned, 'has no img_signature'),
        ):
            for command in (
                ('prefetch', image_id),
                ('disk', 'create', image_id, 'disk'),
            ):
                done = self.run_shell(*command, conf_file=self.verifying)
                self.assertEqual(1, done.returncode)
                self.assertIn(expected, done.stderr)
        self.assertEqual(0, self.downloads())
        self.assert_nothing_left()

    def test_unverified_base_images_are_neither_served_nor_removed(
        self,
    ) -> None:
        image_id = self.store_signed()
        self.manager.prefetch(self.image(image_id))
        done = self.run_shell(
            'disk', 'create', image_id, 'disk', conf_file=self.verifying
        )
        self.assertEqual(1, done.returncode)
        self.assertNotIn('disk', self.disks())
        self.assertEqual(1, len(self.manager.list()))

    def test_what_nova_verified_is_served(self) -> None:
        image_id = self.store_signed()
        image = self.image(image_id)
        self.manager.prefetch(image)
        with self.catalog()._file.transaction() as connection:
            connection.execute(
                'UPDATE base_images SET verified_signature = ?',
                (image.signature.fingerprint,),
            )
        done = self.run_shell('prefetch', image_id, conf_file=self.verifying)
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertIn('already cached', done.stdout)

    def test_disks_are_not_adopted(self) -> None:
        image_id = self.store_signed()
        done = self.run_shell(
            'adopt', '--yes', image_id, conf_file=self.verifying
        )
        self.assertEqual(1, done.returncode)
        self.assertIn('was not verified', done.stderr)
