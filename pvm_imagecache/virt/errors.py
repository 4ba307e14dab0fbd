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

"""Which errors of nova stand for ours.

By the type of an error nova decides whether another host may do better, and
what a user is told.
"""

from typing import Final

from nova import exception
from pvm_imagecache import exceptions

#: What no other host could do better: nova tries none.
_PERMANENT: Final = (
    exceptions.ImageFormatUnsupported,
    exceptions.ImageUnsafe,
    exceptions.ImageHasNoData,
    exceptions.ImageCorrupt,
    exceptions.ImageForbidden,
)


def as_nova(error: exceptions.PVMImageCacheError, image_id: str) -> Exception:
    """What a deploy that failed has to raise; a decider.

    Users are told the words of nova's own errors only. nova gives up after
    ``FlavorDiskTooSmall``, ``ImageNotActive`` and ``ImageUnacceptable``
    (``ComputeManager._build_and_run_instance``), and goes to another host
    after everything else.
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
