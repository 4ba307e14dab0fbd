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

"""Translate errors of this project into errors of nova.

The type of an error decides whether nova tries another host, and which text
the user sees.
"""

from typing import Final

from nova import exception
from pvm_imagecache import exceptions

#: Errors of the image: nova tries no other host.
_PERMANENT: Final = (
    exceptions.ImageFormatUnsupported,
    exceptions.ImageUnsafe,
    exceptions.ImageHasNoData,
    exceptions.ImageSignatureInvalid,
    exceptions.ImageForbidden,
)


def as_nova(error: exceptions.PVMImageCacheError, image_id: str) -> Exception:
    """Return the error of nova that a failed deploy must raise.

    Users see the text of errors of nova only. nova fails the server after
    ``FlavorDiskTooSmall``, ``ImageNotActive`` and ``ImageUnacceptable``, and
    tries another host after all other errors
    (``ComputeManager._build_and_run_instance``).

    :param error: of the deploy.
    :param image_id: of the image that was deployed.
    :returns: an exception of nova with the same text.
    """
    if isinstance(error, exceptions.DiskTooSmall):
        return exception.FlavorDiskTooSmall(str(error))
    if isinstance(error, exceptions.ImageNotFound):
        return exception.ImageNotFound(image_id=image_id)
    if isinstance(error, exceptions.ImageNotActive):
        return exception.ImageNotActive(image_id=image_id)
    if isinstance(error, _PERMANENT):
        return exception.ImageUnacceptable(
            image_id=image_id, reason=str(error)
        )
    return exception.InstanceDeployFailure(reason=str(error))
