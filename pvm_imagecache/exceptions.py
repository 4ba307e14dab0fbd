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

"""Every error that this project raises, by family.

Messages are written for the operator who reads them in a log or on a
terminal: what is wrong, then what to do about it. ``transient`` tells whether
the same call may succeed when it is made again a little later; permanent
errors are never retried. What the values in a message were is kept as
attributes of the error.
"""

from typing import Any
from typing import ClassVar


class PVMImageCacheError(Exception):
    """The root: catch this to catch all of ours and nothing else."""

    msg_fmt: ClassVar[str] = 'An error of pvm_imagecache: %(reason)s'
    transient: ClassVar[bool] = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(self.msg_fmt % kwargs)
        for key, value in kwargs.items():
            setattr(self, key, value)


# -- configuration and plugins


class ConfigurationError(PVMImageCacheError):
    """An option has a value that can't work, or a needed one is missing."""

    msg_fmt = '%(reason)s'


class PluginError(PVMImageCacheError):
    """The family of everything that is wrong with a plugin."""


class PluginNotFound(PluginError):
    """No distribution installed here offers a plugin of that name."""

    msg_fmt = (
        'There is no plugin "%(name)s" in %(namespace)s. Installed '
        'are: %(known)s. Install the package that offers it into the '
        'same Python environment, or mend the option that names it.'
    )


class PluginInvalid(PluginError):
    """A plugin is installed, but can't be used."""

    msg_fmt = (
        'Plugin "%(name)s" of %(namespace)s (from %(distribution)s) '
        'can not be used: %(reason)s'
    )


class MetricsError(PVMImageCacheError):
    """The metrics file cannot be rendered or written."""

    msg_fmt = '%(reason)s'


# -- access


class AccessError(PVMImageCacheError):
    """The family of what has to do with who asks."""

    msg_fmt = '%(reason)s'


class NotAuthorized(AccessError):
    """The policy does not let this user do that."""

    msg_fmt = (
        'The policy does not allow it: the rule "%(rule)s" is '
        '%(check)s, and %(who)s has %(roles)s.%(hint)s'
    )


class KeystoneFailed(AccessError):
    """Keystone does not say who somebody is."""

    msg_fmt = (
        'Keystone does not tell who you are: %(reason)s. Say it with '
        '--os-cloud, or with OS_AUTH_URL, OS_USERNAME and the other '
        'variables of the openstack command.'
    )


# -- refused requests


class RequestRefused(PVMImageCacheError):
    """A request of an operator or a caller that is refused as it stands.

    Nothing is wrong with the cache, PowerVM or Glance.
    """

    msg_fmt = '%(reason)s'


class UsageError(RequestRefused):
    """What was asked for on the command line makes no sense."""

    msg_fmt = '%(reason)s'


class OperationCancelled(RequestRefused):
    """The user answered a prompt with "no", or there is no terminal."""

    msg_fmt = '%(reason)s'


class DiskNameInvalid(RequestRefused):
    """A name that PowerVM does not take for a virtual disk."""

    msg_fmt = '"%(name)s" can not be the name of a virtual disk: %(reason)s.'


class DiskNotOurs(RequestRefused):
    """A disk that is part of the cache was named where none may be."""

    msg_fmt = (
        'Disk "%(name)s" is the cached image %(image_id)s, not an '
        'instance disk. Use "purge" to remove it from the cache.'
    )


class ImageNotCached(RequestRefused):
    """The operator named an image that the cache does not hold."""

    msg_fmt = (
        'No cached image answers to "%(image)s". "pvm-imagecache '
        'list" shows those that are there.'
    )


class ImageNotInHistory(RequestRefused):
    """Nothing was done to such an image, or it was long ago."""

    msg_fmt = (
        'Nothing in the history is about an image "%(image)s". '
        '"pvm-imagecache history" shows all that is in it.'
    )


class ImagePinned(RequestRefused):
    """An operator has said that the image is to stay."""

    msg_fmt = 'Image %(image)s is pinned: "pvm-imagecache unpin" lets it go.'


class ImageInUse(RequestRefused):
    """Instances of the host were made from the image."""

    msg_fmt = (
        'Image %(image)s is in use by instances of this host: name it '
        'to purge it all the same, which harms none of them.'
    )


class ImageNotAdoptable(RequestRefused):
    """The disk that is to be taken over can't be a base image."""

    msg_fmt = (
        'Disk %(name)s can not be taken into the cache as image '
        '%(image)s: %(reason)s.'
    )


# -- unsupported operations


class NotSupported(PVMImageCacheError):
    """The disk driver or the pool does not provide an operation."""

    msg_fmt = '%(reason)s'


# -- PowerVM


class PowerVMError(PVMImageCacheError):
    """The family of everything that comes from the PowerVM REST API."""

    msg_fmt = 'PowerVM: %(reason)s'


class PowerVMUnreachable(PowerVMError):
    """No answer: nothing listens, the connection broke, or time ran out."""

    msg_fmt = (
        'The PowerVM REST API at %(url)s does not answer: %(reason)s. '
        'Is the pvm-rest service of NovaLink running there? See host, '
        'port and protocol in [pvm_imagecache].%(hint)s'
    )
    transient = True


class PowerVMNotThere(PowerVMUnreachable):
    """Nothing listens at that address, which is not a thing of a moment."""

    transient = False


class PowerVMTimedOut(PowerVMUnreachable):
    """No answer within the time-out, which was the time to wait for one.

    PowerVM may still be at it: the request is not to be sent again.
    """

    transient = False


class PowerVMLogonFailed(PowerVMError):
    """The REST API answers, but does not let us in."""

    msg_fmt = (
        'The PowerVM REST API at %(url)s refused the logon of '
        '%(user)s: %(reason)s. See user and password in '
        '[pvm_imagecache]; without a password the user that runs '
        'this must be in the group pvm_admin.'
    )


class PowerVMRequestFailed(PowerVMError):
    """The REST API refused a request; ``status`` is the HTTP status."""

    msg_fmt = 'PowerVM refused to %(action)s: %(reason)s'


class DiskUnclear(PowerVMRequestFailed):
    """PowerVM took an update, but the disk is not there as it should be."""

    msg_fmt = 'Disk "%(name)s" was not made as it should be: %(reason)s.'


class PowerVMBusy(PowerVMRequestFailed):
    """The VIOS is busy, or the service is unavailable for the moment."""

    msg_fmt = 'PowerVM is busy and could not %(action)s: %(reason)s'
    transient = True


class PowerVMSessionExpired(PowerVMRequestFailed):
    """The session ended while a request was made that comes only once."""

    msg_fmt = (
        'The session with PowerVM expired in the middle of an attempt '
        'to %(action)s.'
    )
    transient = True


class VolumeGroupChanged(PowerVMError):
    """Others kept changing the volume group; our update never got through."""

    msg_fmt = (
        'Volume group %(name)s was changed by others during each of '
        '%(attempts)d attempts to update it. Try again.'
    )
    transient = True


class VolumeGroupNotFound(PowerVMError):
    """No VIOS has a volume group of that name."""

    msg_fmt = (
        'There is no volume group "%(name)s"%(where)s. There are: '
        '%(known)s. Set volume_group_name in [pvm_imagecache].'
    )


class VolumeGroupAmbiguous(PowerVMError):
    """Several VIOSes have a volume group of that name."""

    msg_fmt = (
        'Volume group "%(name)s" exists on several Virtual I/O '
        'Servers: %(known)s. Set vios_name in [pvm_imagecache] to the '
        'one that is meant.'
    )


class VIOSNotFound(PowerVMError):
    """There is no Virtual I/O Server of that name."""

    msg_fmt = (
        'There is no Virtual I/O Server "%(name)s". There are: '
        '%(known)s. Set vios_name in [pvm_imagecache].'
    )


class ClusterNotFound(PowerVMError):
    """There is no cluster, or none of that name, or several to choose of."""

    msg_fmt = '%(reason)s Set cluster_name in [pvm_imagecache].'


class NotEnoughSpace(PowerVMError):
    """A disk does not fit into what is free in the pool.

    :ivar needed_bytes: that the pool must have free.
    :ivar refused: whether the platform has no room for them although it
        says that it has.
    """

    needed_bytes: int = 0
    refused: bool = False

    msg_fmt = (
        '%(pool)s has %(free)s free, but %(needed)s are needed for '
        '%(what)s. Remove disks that nobody needs, purge cached '
        'images, or add storage to it.'
    )


class DiskExists(PowerVMError):
    """The pool has a disk of that name already."""

    name: str

    msg_fmt = (
        'There is a disk "%(name)s" in %(pool)s already. Choose '
        'another name, or delete that disk first.'
    )


class DiskBeingCreated(DiskExists):
    """Somebody is just making a disk of that name."""

    msg_fmt = (
        'Disk "%(name)s" is being made in %(pool)s by somebody else '
        'at this moment. Choose another name.'
    )


class DiskNotFound(PowerVMError):
    """The pool has no such disk."""

    msg_fmt = 'There is no disk "%(name)s" in %(pool)s.'


class DiskInUse(PowerVMError):
    """A partition has the disk that was to be deleted."""

    msg_fmt = (
        'Disk "%(name)s" is mapped to a partition. Remove the mapping '
        'first, if nobody needs it.'
    )


# -- images and Glance


class ImageError(PVMImageCacheError):
    """The family of everything that comes from Glance or an image."""

    msg_fmt = 'Image %(image)s: %(reason)s'


class GlanceUnreachable(ImageError):
    """Glance does not answer, or can't for the moment."""

    msg_fmt = (
        'Glance does not answer: %(reason)s. See the [glance] '
        'section of the configuration and the state of the Image '
        'service.'
    )
    transient = True


class GlanceNotThere(GlanceUnreachable):
    """Nothing answers at that address, which is not a thing of a moment."""

    transient = False


class GlanceFailed(ImageError):
    """Glance, or a library between us and it, failed in another way."""

    msg_fmt = (
        'Image %(image)s can not be read from Glance: %(reason)s. '
        'The logs of the Image service may tell more.'
    )


class GlanceLogonFailed(ImageError):
    """Glance or Keystone does not accept who we say we are."""

    msg_fmt = (
        'Glance refused the credentials: %(reason)s. See the auth_* '
        'options in [glance].'
    )


class ImageNotFound(ImageError):
    """There is no such image, or it may not be seen."""

    msg_fmt = (
        'There is no image "%(image)s" that the credentials in use may see.'
    )


class ImageAmbiguous(ImageError):
    """Several images answer to one name or to one start of an id."""

    msg_fmt = (
        '"%(image)s" stands for several images: %(matches)s. Name '
        'the one that is meant by its whole id.'
    )


class ImageForbidden(ImageError):
    """The image may be seen, but its data may not be read."""

    msg_fmt = (
        'The data of image %(image)s may not be downloaded with the '
        'credentials in use. Glance asks for the role "member" (its '
        'policy download_image), in a project that has access to the '
        'image.'
    )


class ImageNotActive(ImageError):
    """The image is queued, deactivated, deleted ..."""

    status: str

    msg_fmt = (
        'Image %(image)s can not be used: its status is "%(status)s", '
        'not "active".'
    )


class ImageHasNoData(ImageError):
    """Glance knows the image, but has not one byte of it."""

    msg_fmt = (
        'Image %(image)s has no data in Glance. Upload it again, or '
        'have the store checked by the administrator of Glance.'
    )


class ImageTruncated(ImageError):
    """The stream ended too early, or went on too long (bytes)."""

    msg_fmt = (
        'Image %(image)s has %(expected)d bytes, but Glance sent '
        '%(received)d: %(reason)s.'
    )
    transient = True


class ImageCorrupt(ImageError):
    """The bytes that came are not the image that was promised."""

    msg_fmt = (
        'The data of image %(image)s is corrupt: its %(algorithm)s '
        'should be %(expected)s, but is %(actual)s. Nothing of it '
        'was kept. Have the image repaired in Glance.'
    )


class ImageFormatUnsupported(ImageError):
    """A format that PowerVM can not boot from."""

    msg_fmt = (
        'Image %(image)s has the %(kind)s format "%(format)s"; '
        'PowerVM takes %(supported)s. Convert it, for example with '
        '"qemu-img convert -O raw".'
    )


class ImageUnsafe(ImageError):
    """The header of a qcow2 image points outside it, or is no header."""

    msg_fmt = (
        'Image %(image)s is declared as %(format)s, but is not safe '
        'to use as that: %(reason)s.'
    )


class DiskTooSmall(ImageError):
    """The disk that was asked for can not hold the image (bytes)."""

    msg_fmt = (
        'A disk of %(size)s is too small for image %(image)s, which '
        'needs %(needed)s.'
    )


# -- faults of the cache


class CacheFault(PVMImageCacheError):
    """The family of faults of the cache: a deploy bypasses them."""


class CatalogError(CacheFault):
    """The catalogue can't be read or written."""

    msg_fmt = 'The catalogue %(path)s can not be used: %(reason)s'


class CatalogTooNew(CatalogError):
    """A newer release wrote the catalogue."""

    msg_fmt = (
        'The catalogue %(path)s has version %(found)d, but this '
        'release knows versions up to %(known)d. Upgrade '
        'pvm_imagecache on this host, or set the file aside.'
    )


class CatalogConflict(CacheFault):
    """The record was changed or replaced by somebody else meanwhile."""

    msg_fmt = (
        'The record of image %(image)s in the catalogue is not the '
        'one that it was: %(reason)s'
    )


class LockTimeout(CacheFault):
    """Somebody else holds a lock for longer than we may wait (seconds)."""

    msg_fmt = (
        'Waited %(seconds)d s for %(what)s, which %(holder)s still holds.'
    )
    transient = True


class BaseImageGone(CacheFault):
    """The cached disk is not, or no longer, what the catalogue says."""

    msg_fmt = 'Cached disk %(name)s can not be copied: %(reason)s'


class NoRoomForCopy(CacheFault):
    """The base image is there, but no room for a copy beside it."""

    msg_fmt = (
        'Disk %(name)s can not be copied from cached image '
        '%(image)s: %(reason)s'
    )


class BaseImageOccupied(CacheFault):
    """The disk name of a base image is taken by something else."""

    msg_fmt = (
        'The disk name %(name)s, under which image %(image)s would be '
        'cached, is taken: %(reason)s'
    )


class ImageNotCacheable(CacheFault):
    """An image that the cache can't tell from another one."""

    msg_fmt = 'Image %(image)s is not cached: %(reason)s'


class CacheDisabled(CacheFault):
    """The configuration switches the cache off."""

    msg_fmt = (
        'The cache is switched off: enabled is false in [pvm_imagecache].'
    )


# -- moving bytes


class TransferError(PVMImageCacheError):
    """The family of what goes wrong between the stream and the disks."""

    msg_fmt = '%(what)s failed: %(reason)s'
    transient = True


class TransferStalled(TransferError):
    """One of the disks took no data for too long (seconds)."""

    msg_fmt = 'Writing %(what)s made no progress for %(seconds)d s.'


class TransferAborted(TransferError):
    """Raised inside an upload to break it off; the cause is chained."""

    msg_fmt = 'Writing %(what)s was broken off: %(reason)s'
