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

"""The tables of the catalog, version by version.

A catalog of an older release is upgraded when it is opened, and keeps its
data. A new one goes through all steps.
"""

from typing import Final

VERSION: Final = 9
#: The first version whose catalogs have an ID.
FIRST_WITH_ID: Final = 8

#: By version: the statements that upgrade the version before to it.
STEPS: Final = {
    1: """
CREATE TABLE base_images (
    pool TEXT NOT NULL,
    disk_name TEXT NOT NULL,
    image_id TEXT NOT NULL,
    image_name TEXT,
    size INTEGER NOT NULL,
    virtual_size INTEGER,
    disk_format TEXT NOT NULL,
    os_hash_algo TEXT,
    os_hash_value TEXT,
    checksum TEXT,
    state TEXT NOT NULL,
    lease TEXT NOT NULL,
    holder TEXT NOT NULL,
    udid TEXT,
    capacity INTEGER,
    bytes_done INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL,
    progress_at REAL NOT NULL,
    ready_at REAL,
    last_used_at REAL,
    hits INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (pool, disk_name)
);
CREATE INDEX base_images_by_image ON base_images (pool, image_id);
CREATE TABLE instance_disks (
    pool TEXT NOT NULL,
    disk_name TEXT NOT NULL,
    size INTEGER NOT NULL,
    lease TEXT NOT NULL,
    holder TEXT NOT NULL,
    udid TEXT,
    started_at REAL NOT NULL,
    PRIMARY KEY (pool, disk_name)
);
CREATE TABLE history (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    pool TEXT NOT NULL,
    action TEXT NOT NULL,
    image_id TEXT,
    disk_name TEXT,
    bytes_fetched INTEGER,
    bytes_saved INTEGER,
    seconds REAL,
    who TEXT NOT NULL,
    detail TEXT
);
CREATE TABLE totals (
    pool TEXT NOT NULL,
    action TEXT NOT NULL,
    times INTEGER NOT NULL,
    bytes_fetched INTEGER NOT NULL,
    bytes_saved INTEGER NOT NULL,
    PRIMARY KEY (pool, action)
);
""",
    # Times by the clock of the catalog, which cannot be set; ages count from
    # the use that was the last one at the time of the upgrade.
    2: """
ALTER TABLE base_images ADD COLUMN reason TEXT;
ALTER TABLE base_images ADD COLUMN started_clock REAL NOT NULL DEFAULT 0;
ALTER TABLE base_images ADD COLUMN ready_clock REAL;
ALTER TABLE base_images ADD COLUMN used_clock REAL;
UPDATE base_images SET ready_clock = 0, used_clock =
    last_used_at - (SELECT MAX(last_used_at) FROM base_images)
    WHERE ready_at IS NOT NULL;
ALTER TABLE instance_disks ADD COLUMN started_clock REAL NOT NULL DEFAULT 0;
CREATE TABLE clock (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    boot TEXT NOT NULL,
    uptime REAL NOT NULL,
    seconds REAL NOT NULL
);
CREATE TABLE pins (
    pool TEXT NOT NULL,
    image_id TEXT NOT NULL,
    note TEXT NOT NULL,
    who TEXT NOT NULL,
    pinned_at REAL NOT NULL,
    until_clock REAL,
    PRIMARY KEY (pool, image_id)
);
CREATE TABLE in_use (
    pool TEXT NOT NULL,
    image_id TEXT NOT NULL,
    seen_at REAL NOT NULL,
    PRIMARY KEY (pool, image_id)
);
CREATE TABLE pools (
    pool TEXT PRIMARY KEY,
    keeps_labels INTEGER NOT NULL
);
""",
    3: """
ALTER TABLE pools ADD COLUMN uploads_are_tidy INTEGER NOT NULL DEFAULT 0;
""",
    # How long operations took in all, estimated from the events that are
    # kept; and which pool was found under which name.
    4: """
ALTER TABLE history ADD COLUMN image_name TEXT;
ALTER TABLE totals ADD COLUMN seconds REAL NOT NULL DEFAULT 0;
UPDATE totals SET seconds = times * COALESCE((
    SELECT AVG(seconds) FROM history
    WHERE history.pool = totals.pool AND history.action = totals.action), 0);
CREATE TABLE pool_names (
    name TEXT PRIMARY KEY,
    pool TEXT NOT NULL
);
""",
    # The code of why a policy chose an image; the last cleanup run, which
    # has no event if it did nothing; and pools where a disk of ours was seen
    # without its label.
    5: """
ALTER TABLE history ADD COLUMN code TEXT;
ALTER TABLE pools ADD COLUMN passed_at REAL;
ALTER TABLE pools ADD COLUMN pass_trouble TEXT NOT NULL DEFAULT '';
ALTER TABLE pools ADD COLUMN drops_labels INTEGER NOT NULL DEFAULT 0;
""",
    # The terms of the manual; and base_images without progress_at, which was
    # never read (SQLite before 3.35 cannot drop a column).
    6: """
CREATE TABLE new_base_images (
    pool TEXT NOT NULL,
    disk_name TEXT NOT NULL,
    image_id TEXT NOT NULL,
    image_name TEXT,
    size INTEGER NOT NULL,
    virtual_size INTEGER,
    disk_format TEXT NOT NULL,
    os_hash_algo TEXT,
    os_hash_value TEXT,
    checksum TEXT,
    state TEXT NOT NULL,
    fill_id TEXT NOT NULL,
    holder TEXT NOT NULL,
    udid TEXT,
    capacity INTEGER,
    bytes_done INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL,
    ready_at REAL,
    last_used_at REAL,
    hits INTEGER NOT NULL DEFAULT 0,
    reason TEXT,
    started_clock REAL NOT NULL DEFAULT 0,
    ready_clock REAL,
    used_clock REAL,
    PRIMARY KEY (pool, disk_name)
);
INSERT INTO new_base_images SELECT
    pool, disk_name, image_id, image_name, size, virtual_size, disk_format,
    os_hash_algo, os_hash_value, checksum, state, lease, holder, udid,
    capacity, bytes_done, created_at, ready_at, last_used_at, hits, reason,
    started_clock, ready_clock, used_clock
    FROM base_images;
DROP TABLE base_images;
ALTER TABLE new_base_images RENAME TO base_images;
CREATE INDEX base_images_by_image ON base_images (pool, image_id);
ALTER TABLE instance_disks RENAME COLUMN lease TO fill_id;
ALTER TABLE pools RENAME COLUMN passed_at TO last_run_at;
ALTER TABLE pools RENAME COLUMN pass_trouble TO last_run_error;
ALTER TABLE pools RENAME COLUMN uploads_are_tidy TO uploads_are_clean;
UPDATE history SET action = 'cleanup' WHERE action = 'pass';
UPDATE history SET action = 'discard' WHERE action = 'tidy';
UPDATE history SET action = 'shared-pool' WHERE action = 'pool';
UPDATE totals SET action = 'cleanup' WHERE action = 'pass';
UPDATE totals SET action = 'discard' WHERE action = 'tidy';
UPDATE totals SET action = 'shared-pool' WHERE action = 'pool';
""",
    # The signature that the data was verified with: of older base images,
    # that is not known. And the last download of an image that failed
    # because of its data.
    7: """
ALTER TABLE base_images ADD COLUMN verified_signature TEXT;
CREATE TABLE failed_downloads (
    pool TEXT NOT NULL,
    disk_name TEXT NOT NULL,
    token TEXT NOT NULL,
    data_id TEXT NOT NULL,
    error TEXT NOT NULL,
    signature TEXT,
    PRIMARY KEY (pool, disk_name)
);
""",
    # What was measured of the platform of each pool; and the ID of this
    # catalog, which the labels of its disks carry; the catalogs that it has
    # taken over; other catalogs that have base images in a pool; and when
    # Glance created an image, which is not known of older base images.
    8: """
CREATE TABLE platform_facts (
    pool TEXT NOT NULL,
    fact TEXT NOT NULL,
    value TEXT,
    reason TEXT NOT NULL,
    measured_at REAL NOT NULL,
    measured_clock REAL NOT NULL,
    platform TEXT NOT NULL,
    PRIMARY KEY (pool, fact)
);
CREATE TABLE identity (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    catalog_id TEXT NOT NULL
);
ALTER TABLE base_images ADD COLUMN image_created_at TEXT;
INSERT INTO identity VALUES (1, lower(hex(randomblob(16))));
CREATE TABLE former_catalogs (
    catalog_id TEXT PRIMARY KEY,
    who TEXT NOT NULL,
    taken_over_at REAL NOT NULL
);
CREATE TABLE other_catalogs (
    pool TEXT NOT NULL,
    catalog_id TEXT NOT NULL,
    base_images INTEGER NOT NULL,
    PRIMARY KEY (pool, catalog_id)
);
""",
    # Image metadata for eviction policies, which is not known of older
    # base images.
    9: """
CREATE TABLE image_metadata (
    pool TEXT NOT NULL,
    image_id TEXT NOT NULL,
    project_id TEXT,
    tags TEXT NOT NULL,
    properties TEXT NOT NULL,
    PRIMARY KEY (pool, image_id)
);
""",
}
