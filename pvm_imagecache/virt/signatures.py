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
"""Signatures of images, verified as nova verifies them.

The options in ``[glance]`` of nova apply, and the certificates that the user
of a server trusts. The verifier is that of cursive, which nova uses. The
rules are those of ``nova.image.glance.GlanceImageServiceV2``.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import traceback
from typing import Any

from cryptography import exceptions as cryptography_exceptions
from cursive import certificate_utils
from cursive import exception as cursive_exception
from cursive import signature_utils
import nova.conf
from oslo_log import log as logging

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache import text
from pvm_imagecache.glance import signatures
from pvm_imagecache.system import network_errors

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)


def requirement_for(
    image: image_module.Image,
    context: Any,
    trusted_certificates: Sequence[str],
) -> signatures.Requirement | None:
    """Return what nova requires of the signature of an image.

    The key manager is asked for the certificates, with the token of the
    request.

    :param image: as Glance describes it.
    :param context: the ``RequestContext`` of nova.
    :param trusted_certificates: IDs of certificates that the user of the
        server trusts.
    :returns: the requirement; None if no signature is required.
    :raises ImageSignatureInvalid: if the image has no signature, or its
        certificate is not accepted.
    :raises KeyManagerFailed: if the key manager fails.
    """
    if not signatures.required(CONF, trusted_certificates):
        return None
    signatures.check_signed(image)
    requirement = _Requirement(image, context)
    _check_certificate(
        image, context, signatures.trusted_for(CONF, trusted_certificates)
    )
    return requirement


class _Requirement:
    """A requirement of nova, for one request."""

    def __init__(self, image: image_module.Image, context: Any) -> None:
        self._image = image
        self._context = context
        # Made at once: the token of the request may expire.
        self._prepared: Any = self._make()

    def verifier(self) -> signatures.Verifier:
        prepared, self._prepared = self._prepared, None
        return _Verifier(self._image, prepared or self._make())

    def _make(self) -> Any:
        signature = self._image.signature
        with _explained(self._image):
            return signature_utils.get_verifier(
                context=self._context,
                img_signature_certificate_uuid=signature.certificate,
                img_signature_hash_method=signature.hash_method,
                img_signature=signature.value,
                img_signature_key_type=signature.key_type,
            )


class _Verifier:
    """A verifier of cursive, with errors of this project."""

    def __init__(self, image: image_module.Image, verifier: Any) -> None:
        self._image = image
        self._verifier = verifier

    def update(self, data: bytes) -> None:
        self._verifier.update(data)

    def verify(self) -> None:
        try:
            self._verifier.verify()
        except cryptography_exceptions.InvalidSignature as error:
            raise exceptions.ImageSignatureWrong(
                image=self._image.id,
                image_name=self._image.name,
                reason='it is not that of the data. Sign the image again; '
                f'its certificate is {self._image.signature.certificate}',
            ) from error
        LOG.info(
            'Image signature verification succeeded for image %s',
            self._image.label,
        )


def _check_certificate(
    image: image_module.Image, context: Any, trusted: Sequence[str]
) -> None:
    """Validate the signing certificate, if that is required."""
    if trusted:
        with _explained(image):
            certificate_utils.verify_certificate(
                context=context,
                certificate_uuid=image.signature.certificate,
                trusted_certificate_uuids=trusted,
            )
    elif CONF.glance.enable_certificate_validation:
        raise exceptions.ImageSignatureInvalid(
            image=image.id,
            image_name=image.name,
            reason='no trusted certificate is given. Name one for the server, '
            'or set default_trusted_certificate_ids in [glance]: '
            'enable_certificate_validation is set',
        )


@contextlib.contextmanager
def _explained(image: image_module.Image) -> Iterator[None]:
    """Raise errors of cursive and of the key manager as our own."""
    try:
        yield
    except cursive_exception.SignatureVerificationError as error:
        raise exceptions.ImageSignatureInvalid(
            image=image.id,
            image_name=image.name,
            reason=text.one_line(error.format_message()).rstrip('.'),
        ) from error
    except Exception as error:
        if isinstance(error, TypeError) and _is_of_cursive(error):
            raise exceptions.ImageSignatureInvalid(
                image=image.id,
                image_name=image.name,
                reason='cursive before 0.3 requires a path length in the '
                f'certificate of each issuer ({text.one_line(error)})',
            ) from error
        # The key manager is a plugin: any error may come from it.
        raise exceptions.KeyManagerFailed(
            image=image.id,
            image_name=image.name,
            certificate=image.signature.certificate,
            reason=network_errors.plain_cause(error).rstrip('.'),
        ) from error


def _is_of_cursive(error: Exception) -> bool:
    """Return whether cursive raised an error, not what it calls."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals.get('__name__', '')).startswith('cursive.')
