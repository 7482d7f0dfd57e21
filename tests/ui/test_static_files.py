"""Static files: named by content and compressed once collected, found under their own names before."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

from django.conf import settings
from django.templatetags.static import static

from controlplane.static_storage import collect_when_changed


def _fresh(monkeypatch: Any) -> None:
    from django.contrib.staticfiles import storage
    from django.core.files.storage import storages

    monkeypatch.setattr(storages, "_storages", {})
    monkeypatch.setattr(storage.staticfiles_storage, "_wrapped", storages["staticfiles"])


def test_without_a_manifest_files_keep_their_names(settings: Any, tmp_path: Path, monkeypatch: Any) -> None:
    settings.STATIC_ROOT = tmp_path
    _fresh(monkeypatch)
    assert static("css/base.css") == "/static/css/base.css"


def test_collected_files_are_named_by_content_and_compressed(settings: Any, tmp_path: Path, monkeypatch: Any) -> None:
    settings.STATIC_ROOT = tmp_path / "out"
    source = tmp_path / "source"
    (source / "css").mkdir(parents=True)
    (source / "css" / "page.css").write_text("body { color: red; }\n" * 200)
    settings.STATICFILES_DIRS = [source]
    settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    from django.contrib.staticfiles import finders

    finders.get_finder.cache_clear()
    _fresh(monkeypatch)
    try:
        assert [collect_when_changed(), collect_when_changed()] == [True, False]
        url = static("css/page.css")
        assert url.startswith("/static/css/page.") and url != "/static/css/page.css"
        packed = settings.STATIC_ROOT / "css" / f"{Path(url).name}.gz"
        assert gzip.decompress(packed.read_bytes()).startswith(b"body { color: red; }")
        (source / "css" / "page.css").write_text("body { color: green; }")
        assert collect_when_changed() and static("css/page.css") != url
        assert static("js/not-collected.js") == "/static/js/not-collected.js"
    finally:
        finders.get_finder.cache_clear()


def test_the_storage_is_the_one_that_is_configured() -> None:
    assert settings.STORAGES["staticfiles"]["BACKEND"] == "controlplane.static_storage.StaticFiles"


def test_a_directory_that_cannot_be_written_stops_nothing(settings: Any, tmp_path: Path, caplog: Any) -> None:
    (tmp_path / "file").write_text("no directory")
    settings.STATIC_ROOT = tmp_path / "file" / "static"
    assert not collect_when_changed()
    assert "served uncompressed" in caplog.text
