"""``storage.assets`` and what goes with it: where pictures are kept, and what opens the place."""

from pathlib import Path

import pytest

from gateway.core.table import ObjectStore, Secret
from tests.config.files import KEYED, good, lines, with_route, with_top

BUCKET = "s3://pictures/a/b?endpoint=https://s3.example.com&region=eu-1"


@pytest.mark.parametrize(
    ("written", "store"),
    [
        ("file:pictures", "{data}/pictures"),
        ("file:a/b", "{data}/a/b"),
        ("file:/srv/pictures", "/srv/pictures"),
        ("file:///srv/pictures", "/srv/pictures"),
        ("file:with%20space", "{data}/with space"),
    ],
)
def test_a_directory_lies_below_the_data_directory_unless_it_is_absolute(
    tmp_path: Path, written: str, store: str
) -> None:
    loaded = good(tmp_path, with_top(f'storage: {{assets: "{written}", asset_ttl: 2h, asset_max: 3MB}}'))
    kept = loaded.settings.assets
    assert (kept.store, kept.ttl_s, kept.most_bytes) == (store.format(data=tmp_path), 7200.0, 3_000_000)


def test_a_bucket_is_opened_with_what_the_environment_says(tmp_path: Path) -> None:
    text = with_top(f'storage: {{assets: "{BUCKET}"}}')
    env = {
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SESSION_TOKEN": "",
        "AWS_REGION": "us-9",
        **KEYED,
    }
    store = good(tmp_path, text, env).settings.assets.store
    assert store == ObjectStore(
        bucket="pictures",
        prefix="a/b",
        endpoint="https://s3.example.com",
        region="eu-1",
        access_key=Secret("id"),
        secret_key=Secret("secret"),
    )
    assert "secret" not in repr(store).replace("secret_key", "")
    bare = good(tmp_path, with_top('storage: {assets: "s3://pictures"}'), env).settings.assets.store
    assert isinstance(bare, ObjectStore)
    assert (bare.prefix, bare.endpoint, bare.region) == ("", None, "us-9")


def test_a_secret_that_cannot_be_read_is_a_mistake(tmp_path: Path) -> None:
    env = {**KEYED, "AWS_ACCESS_KEY_ID_FILE": "/nowhere"}
    [told] = lines(tmp_path, with_top(f'storage: {{assets: "{BUCKET}"}}'), env)
    assert "storage.assets: " in told


@pytest.mark.parametrize(
    "written",
    [
        "pictures", "file:", "file:a?b", "file://host/x", "http://x/y", "s3://", "s3://Big/x", "s3://id:secret@pictures/x",
        "s3://pictures/../x", "s3://pictures/a//b", "s3://pictures/x?acl=public", "s3://pictures/x?region=a b",
        "s3://pictures/x?endpoint=nowhere", "s3://pictures/x#y",
    ],
)  # fmt: skip
def test_a_place_that_is_none_is_a_mistake(tmp_path: Path, written: str) -> None:
    [told] = lines(tmp_path, with_top(f'storage: {{assets: "{written}"}}'))
    assert "storage.assets: " in told
    assert "id:secret" not in told


def test_a_route_may_keep_nothing(tmp_path: Path) -> None:
    assert good(tmp_path, with_route("keep: false")).table.routes["gpt-image-2"].keep is False
    assert good(tmp_path, with_route("max_attempts: 1")).table.routes["gpt-image-2"].keep is True
