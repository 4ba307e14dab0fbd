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

"""The image that is meant by an argument of ``pin`` or ``unpin``.

Names belong to Glance: an image may have been renamed since it was cached,
and another one may have its name now. Glance is therefore asked first, except
for the ID of a cached image. A cached image that Glance does not show, and an
ID while Glance does not answer, can be pinned, too.
"""

from typing import Final
from typing import TYPE_CHECKING

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache import text as text_module
from pvm_imagecache.glance import lookup

if TYPE_CHECKING:
    from pvm_imagecache.catalog import models
    from pvm_imagecache.cmd import shell

#: Glance was asked, and answered.
_ANSWERS: Final = (
    exceptions.ImageNotFound,
    exceptions.ImageNotActive,
    exceptions.ImageFormatUnsupported,
    exceptions.ImageHasNoData,
)


def find(
    app: 'shell.Shell',
    text: str,
    *,
    latest: bool = False,
    by_name: bool = False,
) -> tuple[str, str | None]:
    """Return ID and name of the image that a user means.

    :param app: the application.
    :param text: ID of the image, a unique prefix of it, or its name.
    :param latest: whether a name that several active images have means the
        newest one.
    :param by_name: whether the text is a name, whatever it looks like.
    :returns: ID and name.
    :raises ImageAmbiguous: if several images match.
    :raises ImageError: if Glance has no such image, cannot use it, or does
        not answer, and no cached image matches instead.
    :raises ConfigurationError: if there are no credentials for Glance, and
        no cached image matches.
    """
    is_id = not by_name and image_module.looks_like_id(text)
    cached = _cached(app, text, is_id)
    if cached is not None and is_id and cached.image.id == text:
        return text, cached.image.name
    try:
        image = app.source.find(text, latest=latest, by_name=by_name)
    except exceptions.ImageAmbiguous:
        raise
    except (exceptions.ImageError, exceptions.ConfigurationError) as error:
        if cached is None:
            # Not found, or several cached images match.
            _check_unambiguous(app, text, is_id, error)
        found = _without_glance(app, text, is_id, cached, error)
        if found is None:
            raise
        return found
    if is_id and image.id != text:
        _check_same(app, text, image)
    return image.id, image.name


def _cached(
    app: 'shell.Shell', text: str, is_id: bool
) -> 'models.BaseImage | None':
    try:
        return app.manager.find(text, by_name=not is_id)
    except (exceptions.ImageNotCached, exceptions.ImageAmbiguous):
        return None


def _check_same(
    app: 'shell.Shell', text: str, image: image_module.Image
) -> None:
    """Raise ImageAmbiguous if a prefix is that of another cached image.

    Glance may not show that one to the credentials in use.
    """
    try:
        cached = app.manager.find(text).image
    except exceptions.ImageNotCached:
        return
    if cached.id != image.id:
        raise exceptions.ImageAmbiguous(
            image=text,
            matches=text_module.listed(
                {image.id: image.name, cached.id: cached.name}
            ),
        )


def _check_unambiguous(
    app: 'shell.Shell',
    text: str,
    is_id: bool,
    error: exceptions.PVMImageCacheError,
) -> None:
    """Raise ImageAmbiguous if several cached images match."""
    try:
        app.manager.find(text, by_name=not is_id)
    except exceptions.ImageNotCached:
        pass
    except exceptions.ImageAmbiguous as ambiguous:
        raise ambiguous from error


def _without_glance(
    app: 'shell.Shell',
    text: str,
    is_id: bool,
    cached: 'models.BaseImage | None',
    error: exceptions.PVMImageCacheError,
) -> tuple[str, str | None] | None:
    """Return the image that is meant if Glance has none, or does not say.

    :param error: the error of the look-up in Glance.
    :returns: ID and name; None if there is no such image.
    """
    answered = isinstance(error, _ANSWERS)
    if cached is None:
        if answered or not (is_id and lookup.is_uuid(text)):
            return None
        app.LOG.warning('%s Using image %s by its ID.', error, text)
        return text, None
    image = cached.image
    if not is_id and answered and _was_renamed(app, cached):
        return None
    app.LOG.warning(
        '%s Using the cached image %s (%s).', error, image.id, image.name
    )
    return image.id, image.name


def _was_renamed(app: 'shell.Shell', cached: 'models.BaseImage') -> bool:
    """Return whether a cached image has a different name in Glance by now."""
    image = cached.image
    try:
        name = app.source.entry(image.id).name
    except exceptions.ImageNotFound:
        return False
    if not app.manager.record_name(image.id, name):
        return False
    app.LOG.warning(
        'The image that was cached as "%s" is "%s" (%s) in Glance now.',
        image.name,
        name,
        image.id,
    )
    return True
