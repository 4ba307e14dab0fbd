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
"""Whether the data of an image must have a valid signature.

nova-compute verifies signatures if its options, or the user of the server,
require it. The verifier itself is nova's: see
:mod:`pvm_imagecache.virt.signatures`. Other programs, such as the
pvm-imagecache command, have no access to the key manager. They refuse what
they would have to verify.
"""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Protocol
from typing import TypeAlias

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache.conf import nova as nova_conf
from pvm_imagecache.conf import types
from pvm_imagecache.system import identity


class Verifier(Protocol):
    """Verifies the signature of one stream of data."""

    def update(self, data: bytes) -> None:
        """Take the next bytes.

        :param data: of the image, in order.
        """

    def verify(self) -> None:
        """Verify the signature of all bytes that were taken.

        :raises ImageSignatureWrong: if it is not that of the bytes.
        """


class Requirement(Protocol):
    """The requirement that the data of an image has a valid signature.

    It exists only if the image has a signature whose certificate was
    accepted.
    """

    def verifier(self) -> Verifier:
        """Return a new verifier, for one stream of the data.

        :returns: the verifier.
        :raises ImageSignatureInvalid: if the certificate is not accepted.
        :raises ImageNotVerifiable: if this program cannot verify signatures.
        :raises KeyManagerFailed: if the key manager fails.
        """


#: Returns the requirement for an image, a request context of nova, and the
#: IDs of certificates that the user of the server trusts; None if no
#: signature is required. Raises ImageSignatureInvalid if the image has no
#: signature or its certificate is not accepted, and KeyManagerFailed.
RequirementFor: TypeAlias = Callable[
    [image_module.Image, identity.RequestContext | None, Sequence[str]],
    Requirement | None,
]


def none_required(
    image: image_module.Image,
    context: identity.RequestContext | None,
    trusted_certificates: Sequence[str],
) -> Requirement | None:
    """Require no signature.

    :param image: is ignored.
    :param context: is ignored.
    :param trusted_certificates: is ignored.
    :returns: None.
    """
    return None


def without_key_manager(conf: types.Conf) -> RequirementFor:
    """Return the function for a program that cannot verify signatures.

    If nova is configured to verify signatures, what nova has verified may be
    used, and nothing else may be fetched.

    :param conf: the configuration, with the options of nova.
    :returns: the function.
    """
    nova_conf.register(conf)

    def requirement_for(
        image: image_module.Image,
        context: identity.RequestContext | None,
        trusted_certificates: Sequence[str],
    ) -> Requirement | None:
        if not required(conf, trusted_certificates):
            return None
        check_signed(image)
        return _Unavailable(image)

    return requirement_for


def required(conf: types.Conf, trusted_certificates: Sequence[str]) -> bool:
    """Return whether nova requires a valid signature of each image.

    :param conf: the configuration, with the options of nova.
    :param trusted_certificates: IDs of certificates that the user of the
        server trusts.
    :returns: whether it does.
    """
    return bool(
        conf.glance.verify_glance_signatures
        or trusted_for(conf, trusted_certificates)
    )


def trusted_for(
    conf: types.Conf, trusted_certificates: Sequence[str]
) -> list[str]:
    """Return the certificates that a signing certificate must come from.

    :param conf: the configuration, with the options of nova.
    :param trusted_certificates: IDs of certificates that the user of the
        server trusts.
    :returns: these IDs, or nova's default ones if there are none and
        nova is configured to validate certificates.
    """
    if trusted_certificates or not conf.glance.enable_certificate_validation:
        return list(trusted_certificates)
    return list(conf.glance.default_trusted_certificate_ids or ())


def check_signed(image: image_module.Image) -> None:
    """Check that an image has all properties of a signature.

    :param image: as Glance describes it.
    :raises ImageSignatureInvalid: if a property is missing.
    """
    missing = image.signature.missing
    if missing:
        raise exceptions.ImageSignatureInvalid(
            image=image.id,
            image_name=image.name,
            reason=f'the image has no {" and no ".join(missing)}. Sign it '
            'and set its img_signature properties',
        )


class _Unavailable:
    """A requirement that this program cannot check."""

    def __init__(self, image: image_module.Image) -> None:
        self._image = image

    def verifier(self) -> Verifier:
        raise exceptions.ImageNotVerifiable(
            image=self._image.id, image_name=self._image.name
        )
