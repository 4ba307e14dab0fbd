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
"""A list of images in memory."""

from pvm_imagecache import exceptions
from pvm_imagecache.glance import entry as entry_module
from pvm_imagecache.glance import pages


def entry(image_id, name='a name', status='active', created_at='', **facts):
    """Return what Glance says about an image."""
    return entry_module.entry(
        {
            'id': image_id,
            'name': name,
            'status': status,
            'created_at': created_at,
            'size': 1,
            **facts,
        },
        'x',
    )


class Server:
    """Images of which some may be deleted between two pages.

    :ivar queries: the parameters of all requests.
    :ivar shown: the IDs of the images that were asked for.
    :ivar delete_after: by number of a request, the images that are deleted
        after it.
    """

    def __init__(self, *found, hidden=(), page=100, refusal=400):
        self.visible, self.hidden = (
            [
                each if isinstance(each, entry_module.Entry) else entry(each)
                for each in images
            ]
            for images in (found, hidden)
        )
        self.delete_after = {}
        self.queries = []
        self.shown = []
        self._page = page
        self._refusal = refusal

    def ask(self, query):
        """Return a page."""
        self.queries.append(query)
        images = self.hidden if 'os_hidden' in query else self.visible
        name = query.get('name', '').removeprefix('eq:').lower()
        ids = [each.id for each in images]
        marker = query.get('marker')
        if marker is not None and marker not in ids:
            return pages.Page(
                (),
                refused=self._refusal,
                answer=f'answered HTTP {self._refusal}',
            )
        start = 0 if marker is None else ids.index(marker) + 1
        found = images[start : start + self._page]
        more = start + self._page < len(images)
        for each in self.delete_after.pop(len(self.queries), ()):
            images[:] = [image for image in images if image.id != each]
        return pages.Page(
            [
                each
                for each in found
                if not name or (each.name or '').lower().strip() == name
            ]
            if name and name != 'x'
            else found,
            more=more,
        )

    def show(self, image_id):
        """Return an image."""
        self.shown.append(image_id)
        for each in (*self.visible, *self.hidden):
            if each.id == image_id:
                return each
        raise exceptions.ImageNotFound(image=image_id)
