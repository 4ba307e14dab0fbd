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

"""All errors that this project raises, by family.

A message is written for the operator who reads it in a log or on a terminal:
what happened, to what, why, and what to do about it.

The keyword arguments of an error are kept as its attributes. Of an error
about an image, ``image`` is the ID of the image, or what the user called it.
If the optional keyword argument ``image_name`` is given, the message shows
the name and the short ID: ``debian-13 (e975f0c7)``.

The class attribute ``transient`` tells whether the same call can succeed when
it is repeated a little later. Transient errors are retried. Permanent errors
are not.
"""

from collections.abc import Mapping
from typing import Any
from typing import ClassVar
from typing import Final

_SHORT_ID_LENGTH: Final = 8
#: The hint of errors about an image that was searched by its ID.
USE_NAME: Final = (
    ' An image has this name, but a text of hexadecimal digits and dashes is '
    'taken for an ID: use --name to select an image by its name.'
)


class PVMImageCacheError(Exception):
    """Root of all errors of this project. Never raised itself.

    :ivar reason: what failed.
    :param kwargs: the values of the fields of ``msg_fmt``, and others that
        are kept as attributes only.
    :raises KeyError: if a field of ``msg_fmt`` has no value.
    :cvar msg_fmt: the message, with named fields in percent format.
    :ivar retry_after: seconds after which a server asks for a repetition of
        the request, or None.
    :cvar defaults: values of the fields that may be left out.
    :cvar transient: whether the same call can succeed when it is repeated.
    """

    retry_after: float | None = None
    msg_fmt: ClassVar[str] = 'Error in pvm_imagecache: %(reason)s'
    defaults: ClassVar[Mapping[str, str]] = {}
    transient: ClassVar[bool] = False

    def __init__(self, **kwargs: Any) -> None:
        values = {**self.defaults, **kwargs}
        try:
            message = self.msg_fmt % _displayed(values)
        except KeyError as error:
            raise KeyError(
                f'{type(self).__name__} needs the argument {error.args[0]}'
            ) from None
        super().__init__(message)
        for key, value in values.items():
            setattr(self, key, value)


def _displayed(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the values with the image as name and short ID, if known."""
    name = values.get('image_name')
    if not name:
        return values
    short = str(values.get('image', ''))[:_SHORT_ID_LENGTH]
    return {**values, 'image': f'{name} ({short})'}


# -- configuration and plugins


class ConfigurationError(PVMImageCacheError):
    """Raised if an option is invalid, or a required one is not set.

    :ivar reason: the whole message.
    """

    msg_fmt = '%(reason)s'


class ReleaseTooOld(PVMImageCacheError):
    """Raised if nova or pypowervm is older than this release supports.

    :ivar found: name and version of what is installed.
    :ivar supported: what is supported of it.
    :ivar version: version of this package.
    """

    msg_fmt = (
        '%(found)s is too old: pvm_imagecache %(version)s supports '
        '%(supported)s. Upgrade it, or install an older pvm_imagecache.'
    )


class PluginError(PVMImageCacheError):
    """Family of the errors of plugins.

    :ivar reason: what failed.
    """


class PluginNotFound(PluginError):
    """Raised if no installed package provides a plugin of that name.

    :ivar name: name of the plugin, as configured.
    :ivar namespace: entry point group that was searched.
    :ivar known: names of the installed plugins, separated by commas.
    """

    msg_fmt = (
        'There is no plugin "%(name)s" in %(namespace)s. Installed '
        'are: %(known)s. Install the package that provides it into the '
        'same Python environment, or correct the option that names it.'
    )


class PluginInvalid(PluginError):
    """Raised if a plugin is installed, but cannot be loaded or used.

    :ivar name: name of the plugin.
    :ivar namespace: entry point group of the plugin.
    :ivar distribution: package that provides it.
    :ivar reason: why it cannot be used.
    """

    distribution: str
    reason: str

    msg_fmt = (
        'Plugin "%(name)s" of %(namespace)s (from %(distribution)s) '
        'cannot be used: %(reason)s'
    )


class PluginFailed(PluginError):
    """Raised if a plugin raises an error that its contract does not have.

    :ivar name: name of the plugin.
    :ivar namespace: entry point group of the plugin.
    :ivar distribution: package that provides it.
    :ivar reason: the error, without a final stop.
    """

    msg_fmt = (
        'Plugin "%(name)s" of %(namespace)s (from %(distribution)s) failed: '
        '%(reason)s. Report it to the authors of that package; the global '
        'option --debug shows where it happened.'
    )


class MetricsError(PVMImageCacheError):
    """Raised if the metrics cannot be rendered or written.

    :ivar reason: the whole message.
    """

    msg_fmt = '%(reason)s'


# -- access


class ConfigurationRefused(ConfigurationError):
    """Raised if the caller of a command may not choose a configuration.

    :ivar path: the file or directory.
    :ivar user: the user on whose behalf the command runs.
    :ivar reason: why it is refused, without a final stop.
    """

    msg_fmt = (
        'The configuration %(path)s is refused, because this command runs '
        'on behalf of %(user)s: %(reason)s. Use the default files, or a file '
        'that only root can change.'
    )


class PolicyFileRefused(ConfigurationError):
    """Raised if the file of the access policy cannot be relied on.

    :ivar path: the file.
    :ivar reason: why, without a final stop.
    """

    msg_fmt = (
        'Policy file %(path)s cannot be used: %(reason)s. Nothing is allowed '
        'until this is fixed. See policy_file in [pvm_imagecache].'
    )


class LogFileRefused(PVMImageCacheError):
    """Raised if the file of --log-file cannot be used.

    :ivar path: the file.
    :ivar reason: why, without a final stop.
    """

    msg_fmt = (
        'The log file %(path)s cannot be used: %(reason)s. Name a file that '
        'the user of the command may write.'
    )


class AccessError(PVMImageCacheError):
    """Family of the errors of authentication and authorization.

    :ivar reason: why access is denied.
    """

    msg_fmt = '%(reason)s'


class NotAuthorized(AccessError):
    """Raised if the access policy does not allow a command to the user.

    :ivar rule: name of the rule.
    :ivar check: the check of the rule, in the language of policy files.
    :ivar who: the user.
    :ivar roles: the roles of the user, as text.
    :ivar hint: how to get the permission; '' or text that starts with a
        space.
    """

    msg_fmt = (
        'Policy does not allow %(rule)s (%(check)s) to be performed; '
        'user "%(who)s" has %(roles)s.%(hint)s'
    )


class KeystoneFailed(AccessError):
    """Raised if Keystone does not authenticate the user.

    :ivar reason: why, without a final stop.
    """

    msg_fmt = (
        'Authentication required: use --os-cloud or OS_* variables. '
        'Keystone authentication failed: %(reason)s.'
    )


class AuthTypeRefused(KeystoneFailed):
    """Raised if a caller under sudo names a plugin that may do anything.

    :ivar auth_type: name of the authentication plugin.
    :ivar source: where the credentials are.
    :ivar allowed: the names of the plugins that are accepted.
    """

    msg_fmt = (
        'The authentication plugin "%(auth_type)s" of %(source)s is refused, '
        'because this command runs on behalf of another user. Use one of: '
        '%(allowed)s.'
    )


class KeystoneUnavailable(KeystoneFailed):
    """Raised if Keystone is out of service for the moment. Transient.

    :ivar url: the address of Keystone.
    :ivar reason: the cause, without a final stop.
    """

    msg_fmt = (
        'Keystone at %(url)s cannot authenticate the user of the command: '
        '%(reason)s. Check that address, and the state of the Identity '
        'service.'
    )
    transient = True


# -- refused requests


class RequestRefused(PVMImageCacheError):
    """Family of the requests of a user that are refused as they are.

    The cache, PowerVM and Glance work as they should.

    :ivar reason: why the request is refused.
    """

    msg_fmt = '%(reason)s'


class UsageError(RequestRefused):
    """Raised if the arguments of a command contradict each other.

    :ivar reason: the whole message.
    """

    msg_fmt = '%(reason)s'


class PlatformCheckRunning(RequestRefused):
    """Raised if another process measures the platform of the same pool."""

    msg_fmt = (
        'Another platform check of this pool is running: both would measure '
        'wrong rates. Wait until it ends.'
    )


class OperationCancelled(RequestRefused):
    """Raised if the user answers "no", or there is no terminal to ask on.

    :ivar reason: the whole message.
    """

    msg_fmt = '%(reason)s'


class DiskNameInvalid(RequestRefused):
    """Raised if a name is not valid for a virtual disk of PowerVM.

    :ivar name: the name.
    :ivar reason: which rule it breaks.
    """

    msg_fmt = '"%(name)s" cannot be the name of a virtual disk: %(reason)s.'


class DiskOfOtherCatalog(RequestRefused):
    """Raised if a command would change a disk of another catalog.

    :ivar name: name of the disk.
    :ivar catalog: the beginning of the ID of the other catalog.
    """

    msg_fmt = (
        'Disk "%(name)s" belongs to another catalog (%(catalog)s): that of '
        'another host, of another state_path, or of a state directory that '
        'was deleted. Nothing was changed. Compare the catalog_id in '
        '"pvm-imagecache usage" of each host. If no host uses that catalog, '
        'add --take-over.'
    )


class OtherCatalogUnknown(RequestRefused):
    """Raised if no disk of the pool belongs to the other catalog.

    :ivar catalog: what the user called the other catalog.
    :ivar known: the other catalogs that have disks in the pool, as text.
    """

    msg_fmt = (
        'No other catalog "%(catalog)s" has disks in the pool. Other catalogs '
        'in the pool: %(known)s.'
    )


class DiskNotOurs(RequestRefused):
    """Raised if a base image is named where an instance disk is required.

    :ivar name: name of the disk.
    :ivar image_id: ID of the cached image.
    """

    msg_fmt = (
        'Disk "%(name)s" is the cached image %(image_id)s, not an '
        'instance disk. Use "purge" to remove it from the cache.'
    )


class DeletionNotProven(RequestRefused):
    """Raised if nothing proves that images were deleted from Glance.

    :ivar reason: why, with a final stop.
    """

    msg_fmt = '%(reason)s Nothing was purged.'


class PurgeTooLarge(RequestRefused):
    """Raised if most of the cache would be purged as deleted from Glance.

    :ivar count: number of images that would be purged.
    :ivar total: number of images that are cached.
    """

    msg_fmt = (
        '%(count)d of %(total)d cached images were deleted from Glance: that '
        'is most of the cache. Check the images with "verify" and the '
        'configuration of Glance. If it is right, add --force. Nothing was '
        'purged.'
    )


class DiskUnknown(RequestRefused):
    """Raised if a disk is to be deleted that this project does not know.

    :ivar description: name, size and origin of the disk.
    """

    msg_fmt = (
        'The cache does not know this disk, which may belong to another '
        'program. %(description)s. Use --force to delete it.'
    )


class DiskReplaced(RequestRefused):
    """Raised if another disk has got the name of a disk meanwhile.

    :ivar name: name of the disk.
    """

    msg_fmt = (
        'Disk "%(name)s" was replaced by another disk of that name. Nothing '
        'was deleted: check it again.'
    )


class ImageNotCached(RequestRefused):
    """Raised if no cached image has that ID, ID prefix or name.

    :ivar image: what the user called the image.
    :ivar hint: :data:`USE_NAME`, or ''.
    """

    defaults: ClassVar[Mapping[str, str]] = {'hint': ''}

    msg_fmt = (
        'Image "%(image)s" is not cached. "pvm-imagecache list" shows the '
        'cached images. If an image was renamed in Glance, "verify" updates '
        'its name.%(hint)s'
    )


class ImageNotInHistory(RequestRefused):
    """Raised if no event of the history is about such an image.

    :ivar image: what the user called the image.
    :ivar hint: :data:`USE_NAME`, or ''.
    """

    defaults: ClassVar[Mapping[str, str]] = {'hint': ''}
    msg_fmt = (
        'The history has no events of image "%(image)s". "pvm-imagecache '
        'history" shows all events.%(hint)s'
    )


class ImagePinned(RequestRefused):
    """Raised if a pinned image is to be removed.

    :ivar image: ID of the image.
    """

    msg_fmt = 'Image %(image)s is pinned (unpin it first).'


class ImageInUse(RequestRefused):
    """Raised if an image that instances use is to be removed unnamed.

    :ivar image: ID of the image.
    """

    msg_fmt = (
        'Image %(image)s is in use by instances of this host (name the image '
        'to purge it; the instances are not affected).'
    )


class ImageNotAdoptable(RequestRefused):
    """Raised if an untracked disk cannot be registered as a cached image.

    :ivar name: name of the disk.
    :ivar image: ID of the image.
    :ivar reason: why, without a final stop.
    """

    msg_fmt = 'Disk %(name)s cannot be adopted as image %(image)s: %(reason)s.'


# -- unsupported operations


class NotSupported(PVMImageCacheError):
    """Raised if the disk driver or its pool does not provide an operation.

    :ivar reason: the whole message.
    """

    msg_fmt = '%(reason)s'


# -- PowerVM


class DiskNotWipeable(PVMImageCacheError):
    """Raised if zeros cannot be written after an image.

    :ivar name: name of the disk.
    :ivar image: name and ID of the image.
    :ivar disk_format: format of the image.
    """

    msg_fmt = (
        'Disk "%(name)s" cannot be filled with zeros after image %(image)s: '
        'the image has the format %(disk_format)s. Convert it to raw, or '
        'unset wipe_disks in [pvm_imagecache].'
    )


class PowerVMError(PVMImageCacheError):
    """Family of the errors of the PowerVM REST API.

    :ivar reason: what failed.
    """

    msg_fmt = 'PowerVM: %(reason)s'


class PowerVMUnreachable(PowerVMError):
    """Raised if the connection to the REST API fails. Transient.

    :ivar url: URL of the REST API.
    :ivar reason: the cause, without a final stop.
    :ivar hint: what else can be the cause; '' or text that starts with a
        space.
    """

    msg_fmt = (
        'The PowerVM REST API at %(url)s does not answer: %(reason)s. '
        'Check that the pvm-rest service of NovaLink is running there, and '
        'check host, port and protocol in [pvm_imagecache].%(hint)s'
    )
    transient = True


class AnswerUnusable(PowerVMUnreachable):
    """Raised if the answer to a change cannot be used. Transient.

    PowerVM may have made the change, as if the answer were lost.

    :ivar url: URL of the REST API.
    :ivar reason: what the answer is, as it follows "the answer".
    :ivar hint: as for :class:`PowerVMUnreachable`.
    """

    msg_fmt = (
        'The PowerVM REST API at %(url)s may have made a change, but its '
        'answer %(reason)s. Another service or a proxy may listen there: '
        'check host, port and protocol in [pvm_imagecache].%(hint)s'
    )


class PowerVMNotThere(PowerVMUnreachable):
    """Raised if nothing listens at the address of the REST API. Permanent."""

    transient = False


class PowerVMTimedOut(PowerVMUnreachable):
    """Raised if the REST API does not answer within the time-out.

    Permanent: PowerVM may still process the request, so it must not be
    repeated unless it only reads.
    """

    transient = False


class UpdateUnanswered(PowerVMTimedOut):
    """Raised if it remains unknown what an update of the pool did.

    Permanent: PowerVM may still work on the update, so it must not be sent
    again. The disks may appear later.

    :ivar pool: the pool, as the subject of a sentence.
    :ivar what: names of the disks.
    :ivar reason: the error of the update, as a sentence.
    """

    msg_fmt = (
        '%(pool)s: whether PowerVM creates or deletes %(what)s is not known: '
        '%(reason)s The update is not sent again. The next cleanup runs '
        'delete a new disk that appears later. Check the VIOS and its '
        'storage if this occurs again.'
    )


class PowerVMLogonFailed(PowerVMError):
    """Raised if the REST API rejects the credentials.

    :ivar url: URL of the REST API.
    :ivar user: user who tried to log on.
    :ivar reason: the cause, without a final stop.
    """

    msg_fmt = (
        'The PowerVM REST API at %(url)s: authentication failed for '
        '%(user)s: %(reason)s. Check user and password in '
        '[pvm_imagecache]. Without a password, the user that runs this '
        'process must be in the group pvm_admin.'
    )


class PowerVMNotLocal(PowerVMLogonFailed):
    """Raised if a logon without password would reach another user's process.

    :ivar url: URL of the REST API.
    :ivar user: user who tried to log on.
    :ivar reason: who has the other end of the connection, without a final
        stop.
    """

    msg_fmt = (
        'Refusing to log on to the PowerVM REST API at %(url)s without a '
        'password: %(reason)s. Such a logon is for the service of root, or '
        'of the user of this process, on this host. Check that the pvm-rest '
        'service is running, and check host, port and rest_user in '
        '[pvm_imagecache], or set user and password.'
    )


class PowerVMTokenFileRefused(PowerVMLogonFailed):
    """Raised if the REST API names a file that is not one of its tokens.

    :ivar url: URL of the REST API.
    :ivar user: user who tried to log on.
    :ivar path: path of the file, as the REST API named it.
    :ivar reason: why the file is refused, without a final stop.
    """

    msg_fmt = (
        'The PowerVM REST API at %(url)s named the token file "%(path)s", '
        'which is refused: %(reason)s. Check which service listens there. '
        'The user that runs this process must be root or in the group '
        'pvm_admin. If NovaLink keeps its tokens elsewhere, or another user '
        'runs it, set token_directory and rest_user in [pvm_imagecache].'
    )


class PowerVMRequestFailed(PowerVMError):
    """Raised if the REST API rejects a request.

    :ivar action: what was requested, as it follows "refused to".
    :ivar reason: the message of PowerVM.
    """

    reason: str

    msg_fmt = 'PowerVM refused to %(action)s: %(reason)s'


class DiskUnclear(PowerVMRequestFailed):
    """Raised if PowerVM accepts an update, but the disk is not as requested.

    :ivar name: name of the disk.
    :ivar reason: what is wrong with the disk, without a final stop.
    """

    msg_fmt = 'Disk "%(name)s" was not created as requested: %(reason)s.'


class UpdateNotMade(PowerVMRequestFailed):
    """Raised if an update was not answered, and its disks do not exist.

    What PowerVM made of the update was deleted again.

    :ivar pool: the pool, as the subject of a sentence.
    :ivar what: names of the disks.
    :ivar reason: the error of the update, as a sentence.
    """

    msg_fmt = (
        '%(pool)s: PowerVM did not confirm an update in time, and may not '
        'have completed it for %(what)s: %(reason)s What it created was '
        'deleted again. Retry the request. Check the VIOS and the load of its '
        'storage if this occurs again.'
    )


class UploadFailed(PowerVMRequestFailed):
    """Raised if the VIOS wrote nothing of the data of a disk.

    About one upload in a thousand ends with "0 bytes written", and the next
    one succeeds (pypowervm LP 1621730). So operations repeat it once, to a
    new disk.
    """


class FileListFull(PowerVMRequestFailed):
    """Raised if PowerVM has no room for another upload. Transient.

    It keeps a File entry for each upload, and a hundred of them at most.

    :ivar action: what was requested, as it follows "refused to".
    :ivar reason: the message of PowerVM.
    :ivar count: number of File entries.
    """

    msg_fmt = (
        'PowerVM refused to %(action)s: it has no room for another File '
        'entry beside %(count)d, and each upload needs one: %(reason)s. Wait '
        'until other uploads end. If none is in progress, delete entries '
        'that other software left.'
    )
    transient = True


class PowerVMBusy(PowerVMRequestFailed):
    """Raised if the VIOS is busy, or the service unavailable. Transient.

    :ivar action: what was requested, as it follows "could not".
    :ivar reason: the message of PowerVM.
    """

    msg_fmt = 'PowerVM is busy and could not %(action)s: %(reason)s'
    transient = True


class PowerVMSessionExpired(PowerVMRequestFailed):
    """Raised if the session ends during a request that cannot be repeated.

    Transient: the whole operation can be repeated.

    :ivar action: what was requested, as it follows "attempt to".
    """

    msg_fmt = (
        'The session with PowerVM expired in the middle of an attempt '
        'to %(action)s.'
    )
    transient = True


class VolumeGroupChanged(PowerVMError):
    """Raised if every update of a volume group met a concurrent change.

    Transient.

    :ivar name: name of the volume group.
    :ivar attempts: number of attempts.
    """

    msg_fmt = (
        'Volume group %(name)s was changed by others during each of '
        '%(attempts)d attempts to update it. Try again.'
    )
    transient = True


class VolumeGroupNotFound(PowerVMError):
    """Raised if no VIOS has a volume group of that name.

    :ivar name: name of the volume group.
    :ivar where: where it was searched; '' or text that starts with a space.
    :ivar known: the existing volume groups, separated by commas.
    """

    msg_fmt = (
        'There is no volume group "%(name)s"%(where)s. There are: '
        '%(known)s. Set volume_group_name in [pvm_imagecache].'
    )


class VolumeGroupElsewhere(PowerVMError):
    """Raised if a volume group belongs to another VIOS than the cache's.

    :ivar name: name of the volume group.
    :ivar vios: name of that VIOS.
    """

    msg_fmt = (
        'Volume group "%(name)s" belongs to another Virtual I/O Server, '
        '%(vios)s. Set volume_group_name and vios_name in [pvm_imagecache] to '
        'clean it up.'
    )


class VolumeGroupAmbiguous(PowerVMError):
    """Raised if several VIOSes have a volume group of that name.

    :ivar name: name of the volume group.
    :ivar known: names of these VIOSes, separated by commas.
    """

    msg_fmt = (
        'Volume group "%(name)s" exists on several Virtual I/O '
        'Servers: %(known)s. Set vios_name in [pvm_imagecache] to one '
        'of them.'
    )


class VolumeGroupNotVisible(PowerVMError):
    """Raised if the VIOS that has a volume group may not have answered.

    Transient.

    :ivar name: name of the volume group.
    :ivar silent: names of the VIOSes that did not answer, separated by
        commas.
    :ivar known: the volume groups of the others, separated by commas.
    :ivar reason: the error of one of the VIOSes.
    """

    msg_fmt = (
        'Volume group "%(name)s" was not found, and these Virtual I/O Servers '
        'did not answer: %(silent)s. The others have: %(known)s. Start them, '
        'or correct volume_group_name in [pvm_imagecache]. %(reason)s'
    )
    transient = True


class SeveralSystems(PowerVMError):
    """Raised if a volume group is not unique on a REST API of an HMC.

    :ivar name: name of the volume group.
    :ivar known: names of the VIOSes that have it, separated by commas.
    """

    msg_fmt = (
        'Volume group "%(name)s" exists on Virtual I/O Servers of several '
        'managed systems: %(known)s. Only NovaLink is supported, which '
        'manages one system. Set host in [pvm_imagecache] to the NovaLink '
        'partition of this host.'
    )


class VIOSNotFound(PowerVMError):
    """Raised if there is no Virtual I/O Server of that name.

    :ivar name: name of the Virtual I/O Server.
    :ivar known: names of the existing ones, separated by commas.
    """

    msg_fmt = (
        'There is no Virtual I/O Server "%(name)s". There are: '
        '%(known)s. Set vios_name in [pvm_imagecache].'
    )


class ClusterNotFound(PowerVMError):
    """Raised if the cluster of the Shared Storage Pool is not determined.

    There is none, none of the configured name, or more than one.

    :ivar reason: which of these, with a final stop.
    """

    msg_fmt = '%(reason)s Set cluster_name in [pvm_imagecache].'


class NotEnoughSpace(PowerVMError):
    """Raised if a disk does not fit into the free space of the pool.

    :ivar pool: name of the pool.
    :ivar free: free space, as text.
    :ivar needed: required space, as text.
    :ivar what: what the space is required for.
    :ivar needed_bytes: space that must be free in the pool, in bytes.
    :ivar needed_disks: number of disks that the pool must have room for, if
        that is what it lacks, see :class:`TooManyDisks`.
    :ivar refused: whether PowerVM refused the disk although it reports
        enough free space, see :class:`SpaceRefused`.
    :ivar plenty: whether far more is free than required, so that more free
        space will probably not help.
    """

    needed_bytes: int = 0
    needed_disks: int = 0
    refused: bool = False
    plenty: bool = False

    msg_fmt = (
        '%(pool)s has %(free)s free, but %(needed)s are needed for '
        '%(what)s. Remove disks that are no longer needed, purge cached '
        'images, or add storage to it.'
    )


class SpaceRefused(NotEnoughSpace):
    """Raised if PowerVM refuses a disk though enough space is free.

    The free space may be on other physical volumes, the pool may keep
    several copies of each disk, or another limit was reached.

    :ivar reason: the message of PowerVM.
    """

    refused = True

    msg_fmt = (
        '%(pool)s has %(free)s free, but PowerVM refused %(needed)s for '
        '%(what)s: %(reason)s. Look for a limit of the pool other than free '
        'space, such as the number of its disks or the strictness of their '
        'allocation.'
    )


class TooManyDisks(NotEnoughSpace):
    """Raised if the pool cannot have another disk, whatever its size is.

    A standard volume group has at most 255 logical volumes.

    :ivar disks: number of disks that it has, as text.
    :ivar limit: number of disks that it can have, as text.
    :ivar reason: the message of PowerVM.
    """

    msg_fmt = (
        '%(pool)s has %(disks)s virtual disks and can have %(limit)s logical '
        'volumes of all kinds, so PowerVM refused to create %(what)s: '
        '%(reason)s. Remove disks that are no longer needed, purge cached '
        'images, or convert the volume group to one with a higher limit.'
    )


class FactNotMeasured(PVMImageCacheError):
    """Raised if a platform check cannot find out a fact.

    :ivar reason: why, without a final stop.
    """

    reason: str

    msg_fmt = 'Not measured: %(reason)s.'


class DiskExists(PowerVMError):
    """Raised if the pool already has a disk of that name.

    :ivar name: name of the disk.
    :ivar pool: name of the pool.
    """

    name: str
    pool: str

    msg_fmt = (
        'There is already a disk "%(name)s" in %(pool)s. Choose '
        'another name, or delete that disk first.'
    )


class DiskBeingCreated(DiskExists):
    """Raised if another process is creating a disk of that name."""

    msg_fmt = (
        'Disk "%(name)s" is being created in %(pool)s by another process. '
        'Choose another name.'
    )


class DiskExistsElsewhere(DiskExists):
    """Raised if another volume group has a disk of that name.

    Names of logical volumes are unique on a Virtual I/O Server.

    :ivar pool: the volume group, as it follows "in".
    """

    msg_fmt = (
        'There is already a disk "%(name)s" in %(pool)s of the same Virtual '
        'I/O Server, whose disks all have different names. Choose another '
        'name, or rename or delete that disk.'
    )


class DiskNotFound(PowerVMError):
    """Raised if the pool has no disk of that name.

    :ivar name: name of the disk.
    :ivar pool: name of the pool.
    """

    msg_fmt = 'There is no disk "%(name)s" in %(pool)s.'


class DiskInUse(PowerVMError):
    """Raised if a disk that is to be deleted is mapped to a partition.

    :ivar name: name of the disk.
    """

    msg_fmt = (
        'Disk "%(name)s" is mapped to a partition. Remove the mapping '
        'first, if it is no longer needed.'
    )


# -- images and Glance


class ImageError(PVMImageCacheError):
    """Family of the errors of Glance and of images.

    :ivar image: ID of the image, or what the user called it.
    """

    image: str

    msg_fmt = 'Image %(image)s: %(reason)s'


class GlanceUnreachable(ImageError):
    """Raised if the connection to Glance fails. Transient.

    :ivar reason: the cause, without a final stop.
    """

    msg_fmt = (
        'Glance does not answer: %(reason)s. Check the section [glance] '
        'of the configuration, and the state of the Image service.'
    )
    transient = True


class GlanceNotThere(GlanceUnreachable):
    """Raised if Glance cannot be reached at its address. Permanent."""

    transient = False


class GlanceBusy(GlanceUnreachable):
    """Raised if Glance cannot answer a request for the moment. Transient.

    The HTTP status is 408, 429, 500, 502, 503 or 504.

    :ivar reason: the address and the status, without a final stop.
    """

    msg_fmt = (
        'Glance cannot serve a request for the moment: %(reason)s. Check the '
        'logs of the Image service, and of proxies in front of it.'
    )


class GlanceFailed(ImageError):
    """Raised if a request to Glance fails in an unexpected way.

    For example, the answer is not from Glance but from a proxy.

    :ivar reason: the cause, without a final stop; the address and the HTTP
        status if there was an answer.
    """

    msg_fmt = (
        'Image %(image)s cannot be read from Glance: %(reason)s. '
        'Check the address of the Image service, its logs, and the proxies '
        'in front of it.'
    )


class GlanceListFailed(GlanceFailed):
    """Raised if Glance does not list images.

    :ivar reason: the cause, without a final stop.
    """

    msg_fmt = (
        'Glance does not list images: %(reason)s. Check the address of the '
        'Image service and the credentials in [glance].'
    )


class GlanceLogonFailed(ImageError):
    """Raised if Glance or Keystone rejects the credentials.

    :ivar reason: the cause, without a final stop.
    """

    msg_fmt = (
        'Glance refused the credentials: %(reason)s. Check the auth_* '
        'options in [glance].'
    )


class TokenRefused(GlanceLogonFailed):
    """Raised if Keystone or Glance refuses a password or a token.

    :ivar service: ``Keystone`` or ``Glance``.
    :ivar url: its address.
    :ivar whose: what was refused, such as ``the credentials in [glance]``.
    :ivar reason: the cause, without a final stop.
    :ivar advice: what to do, as a sentence.
    """

    msg_fmt = (
        '%(service)s at %(url)s refused %(whose)s: %(reason)s. %(advice)s'
    )


class KeystoneUnreachable(ImageError):
    """Raised if Keystone cannot issue a token for the moment. Transient.

    :ivar url: the address of Keystone.
    :ivar whose: what the token was requested with.
    :ivar reason: the cause, without a final stop.
    """

    msg_fmt = (
        'Keystone at %(url)s issued no token for %(whose)s: %(reason)s. '
        'Check that address, and the state of the Identity service.'
    )
    transient = True


class KeystoneNotThere(KeystoneUnreachable):
    """Raised if repeating a request to Keystone is pointless. Permanent."""

    transient = False


class ImageServiceNotFound(ImageError):
    """Raised if the service catalog has no usable address of Glance.

    :ivar reason: what was searched for, and what the catalog has; without a
        final stop.
    :ivar options: where it can be corrected.
    """

    msg_fmt = (
        'The service catalog of Keystone has %(reason)s. Correct %(options)s.'
    )


class ImageNotFound(ImageError):
    """Raised if Glance has no such image, or does not show it.

    :ivar answer: the answer of Glance, after a space and in parentheses; ''
        if it showed other images.
    """

    msg_fmt = (
        'No image "%(image)s" in Glance, or not visible to the credentials '
        'in use%(answer)s.'
    )

    defaults = {'answer': ''}


class NoImageMatches(ImageNotFound):
    """Raised if no image has that name, ID or ID prefix.

    :ivar whose: the user and project that Glance answered.
    :ivar hint: a further sentence that begins with a space, or ''.
    """

    msg_fmt = (
        'No image "%(image)s" in Glance, or not visible to %(whose)s.%(hint)s'
    )


class ImageAmbiguous(ImageError):
    """Raised if several images have that name or ID prefix.

    :ivar matches: the images, as text.
    """

    msg_fmt = (
        '"%(image)s" matches several images; give the full ID of one: '
        '%(matches)s.'
    )


class ImageNameAmbiguous(ImageAmbiguous):
    """Raised if several active images have that name.

    :ivar matches: the images, as text.
    """

    msg_fmt = (
        '"%(image)s" matches several images; give the full ID of one, or use '
        '--latest for the newest active one: %(matches)s.'
    )


class ImageForbidden(ImageError):
    """Raised if the image is visible, but its data may not be downloaded.

    :ivar answer: the answer of Glance, after a space and in parentheses; ''
        if it is not known.
    """

    msg_fmt = (
        'The data of image %(image)s may not be downloaded with the '
        'credentials in use%(answer)s. Glance requires the role "member" '
        '(its policy download_image), in a project that has access to the '
        'image.'
    )

    defaults = {'answer': ''}


class ImageNotActive(ImageError):
    """Raised if the image is, for example, queued, deactivated or deleted.

    :ivar status: the status of the image in Glance.
    """

    status: str

    msg_fmt = (
        'Image %(image)s cannot be used: its status is "%(status)s", '
        'not "active".'
    )


class NoActiveImage(ImageNotActive):
    """Raised if images have that name or ID prefix, but none is active.

    :ivar matches: the images, as text.
    """

    msg_fmt = (
        'Image "%(image)s" cannot be used: no image of that name or ID is '
        '"active": %(matches)s. Wait for its data, upload it, or reactivate '
        'it.'
    )


class ImageHasNoData(ImageError):
    """Raised if Glance has no data of the image."""

    msg_fmt = (
        'Image %(image)s has no data in Glance. Upload it again, or '
        'ask the administrator of Glance to check the store.'
    )


class ImageTruncated(ImageError):
    """Raised if Glance sends fewer or more bytes than the image has.

    Transient.

    :ivar expected: size of the image in bytes.
    :ivar received: number of bytes that Glance sent.
    :ivar reason: why the download ended, without a final stop.
    """

    expected: int
    received: int
    reason: str

    msg_fmt = (
        'Image %(image)s has %(expected)d bytes, but Glance sent '
        '%(received)d: %(reason)s.'
    )
    transient = True


class ImageInterrupted(ImageTruncated):
    """Raised if a download broke, and Glance did not answer any more.

    Nothing shows that the data in Glance is wrong.

    :ivar reason: why it broke, and why it was not resumed, without a final
        stop.
    """


class ImageTooSlow(ImageError):
    """Raised if the data of an image arrives too slowly.

    Transient.

    :ivar rate: bytes per second, as text.
    :ivar minimum: bytes per second, as text.
    """

    msg_fmt = (
        'The data of image %(image)s arrives with %(rate)s per second. The '
        'minimum is %(minimum)s (min_transfer_rate in [pvm_imagecache]). '
        'Check the network and the store of the image.'
    )
    transient = True


class ImageIncomplete(ImageTruncated):
    """Raised if Glance sent the same part of an image twice, and no more.

    Permanent.

    :ivar reason: why the download ended, without a final stop.
    """

    transient = False


class ImageCorrupt(ImageError):
    """Raised if the hash of the received data is not that of the image.

    :ivar algorithm: name of the hash algorithm.
    :ivar expected: hash of the image according to Glance.
    :ivar actual: hash of the received data.
    """

    msg_fmt = (
        'The data of image %(image)s is corrupt: its %(algorithm)s '
        'should be %(expected)s, but is %(actual)s. No data was kept. '
        'Upload the image again.'
    )


class ImageSignatureInvalid(ImageError):
    """Raised if a required signature is missing, or not accepted.

    :ivar reason: what is wrong, without a final stop.
    """

    # nova shows its users 255 characters, half of which are its own.
    msg_fmt = 'Signature of image %(image)s refused: %(reason)s.'


class ImageSignatureWrong(ImageSignatureInvalid):
    """Raised if the signature of an image is not that of its data.

    Every download of the image would fail. Other faults of a signature may
    be those of one requester, or of the key manager.

    :ivar reason: what is wrong, without a final stop.
    """


class ImageNotVerifiable(ImageError):
    """Raised if a signature is required that this program cannot verify."""

    msg_fmt = (
        'Image %(image)s cannot be fetched here: nova is configured to '
        'verify the signatures of images, which only nova-compute can do. '
        'Cache it with "openstack aggregate cache image", or boot a server '
        'from it.'
    )


class KeyManagerFailed(ImageError):
    """Raised if the certificate of a signature cannot be read.

    :ivar certificate: ID of the certificate.
    :ivar reason: the cause, without a final stop.
    """

    msg_fmt = (
        'The signature of image %(image)s cannot be verified: the key '
        'manager did not give certificate %(certificate)s: %(reason)s. '
        'Check the section [key_manager] of the configuration of nova, and '
        'the state of the key manager.'
    )


class ImageFetchFailed(ImageError):
    """Raised if a fetch that this one waited for showed that the data is bad.

    :ivar reason: the error of that fetch.
    """

    msg_fmt = (
        'Image %(image)s is not fetched: another process has just fetched it '
        'twice, with wrong data each time. %(reason)s'
    )


class ImageFormatUnsupported(ImageError):
    """Raised if PowerVM cannot boot from a format.

    :ivar kind: what the format is about, for example "disk".
    :ivar format: the format.
    :ivar supported: the supported formats, as text.
    """

    msg_fmt = (
        'Image %(image)s has the %(kind)s format "%(format)s"; '
        'PowerVM supports %(supported)s. Convert it, for example with '
        '"qemu-img convert -O raw".'
    )


class ImageNotBootable(ImageFormatUnsupported):
    """Raised if an image cannot boot on PowerVM as it is.

    :ivar reason: why, and what to do, without a final stop.
    """

    msg_fmt = 'Image %(image)s cannot boot on PowerVM: %(reason)s.'


class ImageUnsafe(ImageError):
    """Raised if the header of an image is invalid, or refers to other files.

    :ivar format: the disk format of the image according to Glance.
    :ivar reason: what is wrong, without a final stop.
    """

    msg_fmt = (
        'Image %(image)s is declared as %(format)s, but is not safe '
        'to use as that: %(reason)s.'
    )


class ImageFormatWrong(ImageUnsafe):
    """Raised if the data of an image is not of the declared format.

    :ivar actual: what the data is, as text.
    :ivar reason: what to do, without a final stop.
    """

    msg_fmt = (
        'Image %(image)s is declared as %(format)s, but its data is '
        '%(actual)s: a server could not boot from it. %(reason)s.'
    )


class DiskTooSmall(ImageError):
    """Raised if the requested disk is smaller than the image.

    :ivar size: size of the disk, as text.
    :ivar needed: size that the image requires, as text.
    """

    msg_fmt = (
        'A disk of %(size)s is too small for image %(image)s, which '
        'needs %(needed)s.'
    )


# -- faults of the cache


class CacheFault(PVMImageCacheError):
    """Family of the faults of the cache. A deploy bypasses the cache then.

    :ivar reason: what failed.
    """


class DiskLargerThanBaseImage(CacheFault):
    """Raised if a copy would have a rest that cannot be wiped.

    :ivar name: name of the base image's disk.
    """

    msg_fmt = (
        'The disk is larger than base image "%(name)s", and wipe_disks is '
        'set: the rest of a copy could not be filled with zeros.'
    )


class LargerCopyRefused(CacheFault):
    """Raised if the platform does not copy into larger disks.

    :ivar name: name of the base image's disk.
    """

    msg_fmt = (
        'The disk is larger than base image "%(name)s", and "pvm-imagecache '
        'platform check" found that this platform does not copy into larger '
        'disks.'
    )


class CatalogError(CacheFault):
    """Raised if the catalog, or a lock beside it, cannot be used.

    :ivar path: path of the file.
    :ivar reason: the cause.
    """

    msg_fmt = 'The catalog %(path)s cannot be used: %(reason)s'


class CatalogTooNew(CatalogError):
    """Raised if a newer release wrote the catalog.

    :ivar path: path of the catalog.
    :ivar found: schema version of the catalog.
    :ivar known: newest schema version that this release supports.
    """

    msg_fmt = (
        'The catalog %(path)s has version %(found)d, but this '
        'release knows versions up to %(known)d. Upgrade '
        'pvm_imagecache on this host, or move the file away.'
    )


class CatalogRefused(CatalogError):
    """Raised if the catalog file is not one that this project wrote.

    :ivar path: path of the catalog.
    :ivar reason: what is wrong with it.
    """

    msg_fmt = (
        'The catalog %(path)s is refused: %(reason)s. Find out who changed '
        'it, then move the file away; a new catalog is created.'
    )


class StateRefused(CatalogError):
    """Raised if a file or directory of the cache cannot be trusted.

    :ivar path: its path.
    :ivar reason: why it cannot be trusted.
    """

    msg_fmt = (
        '%(path)s is refused: %(reason)s. Find out who made it so, then '
        'correct it or remove it (see state_path in [pvm_imagecache]).'
    )


class IdentityFailed(CacheFault):
    """Raised if root cannot act as the owner of the state directory.

    :ivar reason: the cause.
    """

    msg_fmt = (
        'Cannot act as the owner of the state directory: %(reason)s. Run the '
        'command as that user instead, for example with "sudo -u nova".'
    )


class CatalogConflict(CacheFault):
    """Raised if another process changed or replaced a record.

    :ivar image: ID of the image.
    :ivar reason: what was changed.
    """

    msg_fmt = (
        'The record of image %(image)s in the catalog was changed by '
        'another process: %(reason)s'
    )


class LockTimeout(CacheFault):
    """Raised if another process holds a lock for too long. Transient.

    :ivar seconds: how long this process waited.
    :ivar what: the lock.
    :ivar holder: the process that holds it, as text.
    """

    msg_fmt = 'Waited %(seconds)d s for %(what)s, held by %(holder)s.'
    transient = True


class BaseImageGone(CacheFault):
    """Raised if the disk of a base image is missing or was replaced.

    :ivar name: name of the disk.
    :ivar reason: the cause.
    """

    msg_fmt = 'Cached disk %(name)s cannot be copied: %(reason)s'


class NoRoomForCopy(CacheFault):
    """Raised if the pool has no space for a copy of a base image.

    :ivar name: name of the instance disk.
    :ivar image: ID of the image.
    :ivar reason: the cause.
    """

    msg_fmt = (
        'Disk %(name)s cannot be copied from cached image %(image)s: '
        '%(reason)s'
    )


class CopyFailed(CacheFault):
    """Raised if a disk was not copied, and must not be copied again.

    :ivar name: name of the disk that should be created.
    :ivar image: ID of the image.
    :ivar reason: the error of the copy, as a sentence.
    """

    msg_fmt = (
        'Disk %(name)s could not be copied from the base image of image '
        '%(image)s: %(reason)s'
    )


class BaseImageOccupied(CacheFault):
    """Raised if the disk name of a base image is used by another disk.

    :ivar name: name of the disk.
    :ivar image: ID of the image.
    :ivar reason: which disk has the name.
    """

    msg_fmt = (
        'The disk name %(name)s, under which image %(image)s would be '
        'cached, is taken: %(reason)s'
    )


class BaseImageOfOtherCatalog(BaseImageOccupied):
    """Raised if another catalog has a base image of that disk name.

    :ivar name: name of the disk.
    :ivar image: ID of the image.
    :ivar catalog: the beginning of the ID of the other catalog.
    """

    msg_fmt = (
        'Image %(image)s is not cached: disk %(name)s is the base image of '
        'another catalog (%(catalog)s). Another host caches images in this '
        'pool, state_path was changed, or the state directory was deleted: '
        'compare the catalog_id in "pvm-imagecache usage" of each host. If '
        'no host uses that catalog, run "pvm-imagecache verify --take-over '
        '%(catalog)s".'
    )


class CacheLimitReached(CacheFault):
    """Raised if an image would exceed the size that the cache may have.

    :ivar image: ID of the image.
    :ivar needed: size of its disk, as text.
    :ivar limit: that the cache may have, as text.
    :ivar reason: why no other images are evicted for it.
    """

    msg_fmt = (
        'Image %(image)s needs %(needed)s in the cache, which is limited to '
        '%(limit)s (max_gib in [pvm_imagecache]): %(reason)s.'
    )


class ImageNotCacheable(CacheFault):
    """Raised if the cache cannot identify the data of an image.

    :ivar image: ID of the image.
    :ivar reason: the cause.
    """

    msg_fmt = 'Image %(image)s is not cached: %(reason)s'


class CacheDisabled(CacheFault):
    """Raised if the configuration disables the cache."""

    msg_fmt = (
        'The cache is switched off: enabled is false in [pvm_imagecache].'
    )


# -- transfers


class TransferError(PVMImageCacheError):
    """Raised if writing a stream to a disk fails. Transient.

    :ivar what: the transfer.
    :ivar reason: the cause, without a final stop.
    """

    msg_fmt = '%(what)s failed: %(reason)s'
    transient = True


class TransferStalled(TransferError):
    """Raised if a disk accepts no data for too long. Transient.

    :ivar what: the disk.
    :ivar seconds: the limit.
    """

    msg_fmt = 'Writing %(what)s made no progress for %(seconds)d s.'


class TransferAborted(TransferError):
    """Raised inside an upload to abort it. The cause is chained.

    :ivar what: the disk.
    :ivar reason: the cause.
    """

    msg_fmt = 'Writing %(what)s was aborted: %(reason)s'
