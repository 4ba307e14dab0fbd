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

"""The process that serves one WSGI application on a port of loopback.

``python -m cloud.wsgi PORT MODULE:NAME`` imports the application, listens,
and serves until SIGTERM. The server is the one that the tests of this
project run Glance with; for Glance it also counts the bytes of images that
it sends, see ``pvm_imagecache.tests.servers.glance_wsgi``.
"""

import importlib
import os
import signal
import sys
import threading
from typing import Any

from cloud import processes
from cloud import site as site_module
from pvm_imagecache.tests.servers import glance_wsgi

#: Set for a Glance whose store cannot read ranges.
WITHOUT_RANGES = 'CLOUD_WITHOUT_RANGES'
#: How long requests under way may take to end, seconds.
_GRACE = 5.0


def service(
    site: site_module.Site,
    name: str,
    application: str,
    environment: dict[str, str] | None = None,
) -> processes.Service:
    """An application as a service; its port is the one of that name."""
    port = getattr(site.ports, name)
    return processes.Service(
        f'{name}-api',
        [sys.executable, '-P', '-m', __name__, str(port), application],
        (environment or {})
        | {
            'PYTHONPATH': os.path.dirname(
                os.path.dirname(os.path.abspath(__file__))
            )
        },
        port=port,
    )


def main() -> None:
    """Serve what the command line names."""
    port, (module, _, name) = int(sys.argv[1]), sys.argv[2].partition(':')
    # Services parse the command line of their process.
    sys.argv[1:] = []
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))
    if os.environ.get(WITHOUT_RANGES):
        lose_ranges()
    application = getattr(importlib.import_module(module), name)
    if module.startswith('glance.'):
        application = counted(application)
    server = glance_wsgi.Server(
        (site_module.HOST, port), glance_wsgi.RequestHandler
    )
    server.set_app(application)

    def stop(number: int, frame: Any) -> None:
        threading.Timer(_GRACE, os._exit, [0]).start()
        # Waits for the loop that the signal has interrupted.
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    server.serve_forever(poll_interval=0.1)
    os._exit(0)


def lose_ranges() -> None:
    """Give the store for files the capabilities of that for Ceph RBD."""
    from glance_store import capabilities
    from glance_store._drivers import filesystem

    filesystem.Store._CAPABILITIES = capabilities.BitMasks.RW_ACCESS


def counted(application: Any) -> Any:
    """Glance, with its downloads counted, and an API that tells them."""
    controls = glance_wsgi.Controls(bandwidth=0)
    return glance_wsgi.ControlAPI(
        glance_wsgi.Downloads(application, controls), controls
    )


if __name__ == '__main__':
    main()
