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
"""Whether the data of one deploy must have a valid signature."""

from collections.abc import Sequence

from pvm_imagecache import cache as cache_module
from pvm_imagecache import image as image_module
from pvm_imagecache.catalog import models
from pvm_imagecache.glance import signatures
from pvm_imagecache.system import identity
from pvm_imagecache.system import interrupts


class Verification:
    """What one deploy requires of the signature of its image.

    The certificate is checked for each deploy, with the certificates that
    its user trusts. The data is verified when it is downloaded. A base image
    may be served if its data was verified with the same signature.

    :param cache: of the pool.
    :param image: as Glance describes it.
    :param context: nova's request context of the requester; None for the
        configured credentials.
    :param trusted_certificates: IDs of certificates that the user of the
        server trusts.
    """

    def __init__(
        self,
        cache: cache_module.Cache,
        image: image_module.Image,
        context: identity.RequestContext | None,
        trusted_certificates: Sequence[str] = (),
    ) -> None:
        self._requirement_for = cache.requirement_for
        self._image = image
        self._context = context
        self._trusted = tuple(trusted_certificates)
        self._requirement: signatures.Requirement | None = None
        self._ready: signatures.Verifier | None = None

    def prepare(self) -> None:
        """Check that the image has the signature that is required.

        Call it before the other methods, and before anything waits: the key
        manager needs the token of the requester.

        :raises ImageSignatureInvalid: if it has none, or the certificate is
            not accepted.
        :raises KeyManagerFailed: if the key manager fails.
        """
        with interrupts.allowed():
            self._requirement = self._requirement_for(
                self._image, self._context, self._trusted
            )

    @property
    def fingerprint(self) -> str | None:
        """Of the signature that the data must have; None if none is."""
        return self._image.signature.fingerprint if self._requirement else None

    def covers(self, record: models.BaseImage) -> bool:
        """Return whether the data of a base image was verified as required.

        :param record: of the base image.
        :returns: the answer; True if no signature is required.
        """
        return self.fingerprint in (None, record.verified_signature)

    def make_ready(self) -> None:
        """Make sure that the data can be verified.

        Call it before a base image is deleted because of its signature.

        :raises ImageSignatureInvalid: if the certificate is not accepted.
        :raises ImageNotVerifiable: if this program cannot verify signatures.
        :raises KeyManagerFailed: if the key manager fails.
        """
        self._ready = self._ready or self.verifier()

    def verifier(self) -> signatures.Verifier | None:
        """Return a verifier for one stream of the data.

        :returns: the verifier; None if no signature is required.
        :raises ImageSignatureInvalid: if the certificate is not accepted.
        :raises ImageNotVerifiable: if this program cannot verify signatures.
        :raises KeyManagerFailed: if the key manager fails.
        """
        ready, self._ready = self._ready, None
        if ready or self._requirement is None:
            return ready
        return self._requirement.verifier()
