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

"""What our commands are derived from: cliff's, knowing our application."""

from typing import Any

from cliff import command
from cliff import lister
from cliff import show


class Command(command.Command):
    """A command that prints what it did."""

    #: A :class:`pvm_imagecache.cmd.shell.Shell`.
    app: Any


class Lister(lister.Lister):
    """A command that gives rows."""

    app: Any


class ShowOne(show.ShowOne):
    """A command that gives one thing, field by field."""

    app: Any
