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
"""What the properties of an image say: boot, signature, metadata."""

from collections.abc import Mapping
from typing import Any
from typing import Final

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module

#: Properties that only images with encrypted data have: of Cinder, of the
#: image encryption of Glance, and of snapshots of nova.
_ENCRYPTED: Final = (
    'cinder_encryption_key_id',
    'os_encrypt_key_id',
    'os_encrypt_format',
    'os_encrypt_cipher',
    'os_encrypt_type',
    'hw_ephemeral_encryption_secret_uuid',
)

#: Values of the property for the processor architecture that certainly are
#: not POWER. Others, as spelled by the owner of an image, are accepted.
_OTHER_ARCHITECTURES: Final = frozenset(
    (
        'aarch64',
        'alpha',
        'amd64',
        'arm',
        'arm64',
        'armv6',
        'armv7',
        'armv7b',
        'armv7l',
        'i386',
        'i486',
        'i586',
        'i686',
        'ia64',
        'mips',
        'mips64',
        'riscv64',
        's390',
        's390x',
        'sparc',
        'sparc64',
        'x86',
        'x86-64',
        'x86_64',
    )
)


#: Characters of the longest value that is kept for policies; Glance has tags
#: and names of properties of at most 255.
_LONGEST: Final = 255
#: What has a place of its own, or says where the data is.
_NO_PROPERTIES: Final = frozenset(
    ('id', 'name', 'owner', 'direct_url', 'self', 'file', 'schema')
)


def check(found: Mapping[str, Any]) -> None:
    """Check that an image can boot on PowerVM as it is.

    :param found: the description of the image by Glance.
    :raises ImageNotBootable: if its data is encrypted, is in volumes, or is
        for another processor architecture.
    """
    for name in _ENCRYPTED:
        if found.get(name):
            raise _refused(
                found,
                f'its data is encrypted (property {name}). Create a volume '
                'from it and boot from that, or upload the decrypted disk',
            )
    if not found.get('size') and _names_volumes(found):
        raise _refused(
            found,
            'it is the snapshot of a server that boots from a volume, and '
            'has no data of its own. Create an image from the volume with '
            '"openstack image create --volume"',
        )
    for name in ('hw_architecture', 'architecture'):
        value = str(found.get(name) or '')
        if value.strip().lower() in _OTHER_ARCHITECTURES:
            raise _refused(
                found,
                f'it is for another processor architecture (property {name} '
                f'is {value!r}). Use an image for ppc64le or ppc64, or '
                'correct the property',
            )


def signature(found: Mapping[str, Any]) -> image_module.Signature:
    """Return the signature of an image.

    :param found: the description of the image by Glance.
    :returns: its properties, as they are.
    """
    return image_module.Signature(
        value=found.get('img_signature'),
        hash_method=found.get('img_signature_hash_method'),
        key_type=found.get('img_signature_key_type'),
        certificate=found.get('img_signature_certificate_uuid'),
    )


def metadata(found: Mapping[str, Any]) -> image_module.Metadata:
    """Return what eviction policies can know of an image.

    :param found: the description of the image by Glance.
    :returns: project, tags and properties. What is no text, or too long to
        be kept, is left out.
    """
    owner, tags = found.get('owner'), found.get('tags')
    return image_module.Metadata(
        owner if _is_short(owner) else None,
        tuple(
            sorted(
                {each for each in tags if _is_short(each)}
                if isinstance(tags, list)
                else ()
            )
        ),
        tuple(
            sorted(
                (name, value)
                for name, value in found.items()
                if _is_short(value)
                and _is_short(name)
                and name not in _NO_PROPERTIES
            )
        ),
    )


def _is_short(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST


def _names_volumes(found: Mapping[str, Any]) -> bool:
    mapping = found.get('block_device_mapping')
    return bool(mapping) and str(mapping).strip() not in ('[]', '{}', 'null')


def _refused(
    found: Mapping[str, Any], reason: str
) -> exceptions.ImageNotBootable:
    return exceptions.ImageNotBootable(
        image=found['id'], image_name=found.get('name'), reason=reason
    )
