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

"""Base class of the tests that run commands.

The application, the manager and the catalog are real. The pool and Glance
are in memory, and the user is given.
"""

import io
import json
import sys

import jsonschema

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache import manager
from pvm_imagecache import plugins
from pvm_imagecache.catalog import models
from pvm_imagecache.cleanup import ownership
from pvm_imagecache.cmd import shell
from pvm_imagecache.conf import access
from pvm_imagecache.glance import presence
from pvm_imagecache.system import identity
from pvm_imagecache.tests import schemas
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit import fakes

IDS = (
    'aaaaaaaa-0000-4000-8000-000000000001',
    'bbbbbbbb-0000-4000-8000-000000000002',
    'cccccccc-0000-4000-8000-000000000003',
)


#: Of a disk that another catalog created.
LABEL_OF_OTHER = ownership.label(
    models.new_fill_id(catalog_id='5e1f0c2a' + '0' * 24)
)


class _Entry:
    """What Glance says about an image, which may be an error."""

    def __init__(self, found):
        self._found = found
        self.name = getattr(found, 'name', 'a name')
        self.status = getattr(found, 'status', 'active')
        self.created_at = getattr(found, 'created_at', '')

    def image(self):
        """Return the image, or raise the error."""
        if isinstance(self._found, Exception):
            raise self._found
        return self._found


class Images(fakes.FakeSource):
    """A Glance of some images.

    :ivar images: the images by ID; tests change them.
    :ivar missing: what is known of those that are not shown, by ID.
    """

    def __init__(self):
        super().__init__()
        self.images = {}
        self.missing = {}

    def get(self, image_id, context=None):
        """Return an image, or raise the error that was put in its place."""
        found = self.images.get(image_id)
        if found is None:
            raise exceptions.ImageNotFound(image=image_id)
        if isinstance(found, Exception):
            raise found
        return found

    def entry(self, image_id, context=None):
        """Return what Glance says about an image."""
        found = self.images.get(image_id)
        if found is None:
            raise exceptions.ImageNotFound(image=image_id)
        if isinstance(
            found,
            exceptions.GlanceUnreachable | exceptions.ConfigurationError,
        ):
            raise found
        return _Entry(found)

    def find(self, text, context=None, *, latest=False, by_name=False):
        """Return an image by ID or name."""
        is_id = not by_name and image_module.looks_like_id(text)
        for each in self.images.values():
            if text == (each.id if is_id else each.name):
                return each
        raise exceptions.NoImageMatches(image=text, whose='ann/demo', hint='')

    def shows_images(self):
        """Return whether Glance shows any image."""
        return bool(self.images)

    def presence(self, image_id):
        """Return what is known of an image that is not shown."""
        return self.missing.get(image_id, presence.Presence.ABSENT)

    @property
    def whose(self):
        """Return the credentials."""
        return 'ann/demo'


class CommandTestCase(base.TestCase):
    """Runs command lines."""

    #: Options of the configuration.
    options = {}

    def setUp(self):
        super().setUp()
        self.driver = fakes.FakeDriver()
        self.patch(plugins, 'load_driver', lambda conf: self.driver)
        self.source = Images()
        self.conf = self.make_conf(
            state_path=self.path('state'),
            volume_group_name='cachevg',
            **self.options,
        )
        access.register(self.conf)
        self.user = identity.Identity('ann', frozenset({'admin'}))
        self.useFixture(base.environment('OS_CLOUD', None))
        self.useFixture(base.environment('CLIFF_FIT_WIDTH', None))

    def store(self, *names):
        """Put images into Glance; returns them."""
        stored = []
        for name in names:
            content = f'{name:->1024}'.encode()
            image = base.image_of(
                content, IDS[len(self.source.images)], name=name
            )
            self.source.images[image.id] = image
            self.source.put(image, content)
            stored.append(image)
        return stored

    def cache(self, *names):
        """Put images into Glance and into the cache; returns them."""
        stored = self.store(*names)
        for each in stored:
            self.manager().prefetch(each)
        return stored

    def manager(self):
        """Return an image manager, which is closed at the end."""
        made = manager.ImageManager.from_conf(self.conf, self.source, who='x')
        self.addCleanup(made.close)
        return made

    def run_command(self, *arguments, code=0, stdin=None):
        """Run a command line; returns what it prints."""
        self.output, self.errors = io.StringIO(), io.StringIO()
        self.patch(sys, 'stdin', stdin)
        self.patch(sys, 'stdout', self.output)
        self.patch(sys, 'stderr', self.errors)
        application = shell.Shell()
        application._conf = self.conf
        application._source = self.source
        application._user = self.user
        try:
            found = application.run(['-q', *arguments])
        except SystemExit as ended:
            found = ended.code
        self.assertEqual(
            code, found, self.output.getvalue() + self.errors.getvalue()
        )
        return self.output.getvalue()

    def json(self, command, *arguments, code=0, schema=''):
        """Run a command line; returns the JSON, which fits the schema."""
        found = json.loads(
            self.run_command(
                *command.split(), *arguments, '-f', 'json', code=code
            )
        )
        jsonschema.validate(found, schemas.SCHEMAS[schema or command])
        return found

    def results(self, command, *arguments, code=0):
        """Return the column Result by the names of the images."""
        return {
            row['Name']: row['Result']
            for row in self.json(command, *arguments, code=code)
        }

    def refused(self, *arguments, code=1):
        """Run a command that is refused; returns the message."""
        self.assertEqual('', self.run_command(*arguments, code=code))
        return self.errors.getvalue()


class Terminal(io.StringIO):
    """A terminal on which a user types something."""

    def isatty(self):
        """Return True."""
        return True
