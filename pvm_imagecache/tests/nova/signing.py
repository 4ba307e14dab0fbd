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
"""A key manager, certificates and signatures for the tests."""

import base64
import datetime
from typing import Any
import uuid

from castellan.common import exception as castellan_exception
from castellan.common.objects import x_509
from castellan.tests.unit.key_manager import mock_key_manager
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509 import oid


class KeyManager(mock_key_manager.MockKeyManager):
    """The backend that castellan creates for each request.

    :cvar shared: what it stores, by ID.
    :cvar requests: the user and the ID of each request.
    :cvar failure: raised by requests, if set.
    """

    shared: dict[str, Any] = {}
    requests: list[tuple[str, str]] = []
    failure: Exception | None = None

    def __init__(self, configuration: Any = None) -> None:
        super().__init__(configuration)
        self.keys = self.shared

    @classmethod
    def reset(cls) -> None:
        cls.shared.clear()
        cls.requests.clear()
        cls.failure = None

    def get(self, context: Any, managed_object_id: str, **kwargs: Any) -> Any:
        self.requests.append((context.user_id, managed_object_id))
        if self.failure:
            raise self.failure
        if managed_object_id not in self.shared:
            raise castellan_exception.ManagedObjectNotFoundError(
                uuid=managed_object_id
            )
        return self.shared[managed_object_id]


class Signer:
    """A key with a certificate in the key manager.

    :param issuer: who signs the certificate; None for itself.
    :param days: for which the certificate is valid from yesterday on.
    :param path_length: how many certificates may follow it in a chain; None
        for no limit, which cursive before 0.3 cannot validate.
    :ivar id: of the certificate.
    """

    def __init__(
        self,
        name: str,
        issuer: 'Signer | None' = None,
        days: int = 10,
        path_length: int | None = 1,
    ) -> None:
        self.key = rsa.generate_private_key(65537, 2048)
        self.name = x509.Name(
            [x509.NameAttribute(oid.NameOID.COMMON_NAME, name)]
        )
        start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(
            days=1
        )
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name((issuer or self).name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + datetime.timedelta(days=days, seconds=1))
            .add_extension(x509.BasicConstraints(True, path_length), True)
            .add_extension(
                x509.KeyUsage(
                    True, False, False, False, False, True, False, False, False
                ),
                True,
            )
            .sign((issuer or self).key, hashes.SHA256())
        )
        self.id = str(uuid.uuid4())
        KeyManager.shared[self.id] = x_509.X509(
            self.certificate.public_bytes(serialization.Encoding.DER)
        )

    def properties(self, data: bytes) -> dict[str, str]:
        """Return the properties of an image with a signature of the data."""
        signature = self.key.sign(
            data,
            padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.MAX_LENGTH),
            hashes.SHA256(),
        )
        return {
            'img_signature': base64.b64encode(signature).decode(),
            'img_signature_hash_method': 'SHA-256',
            'img_signature_key_type': 'RSA-PSS',
            'img_signature_certificate_uuid': self.id,
        }
