"""Static files: named by content and compressed once collected, found under their own names before."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.templatetags.static import static


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
        call_command("collectstatic", interactive=False, verbosity=0)
        url = static("css/page.css")
        assert url.startswith("/static/css/page.") and url != "/static/css/page.css"
        packed = settings.STATIC_ROOT / "css" / f"{Path(url).name}.gz"
        assert gzip.decompress(packed.read_bytes()).startswith(b"body { color: red; }")
        assert static("js/not-collected.js") == "/static/js/not-collected.js"
    finally:
        finders.get_finder.cache_clear()


def test_the_storage_is_the_one_that_is_configured() -> None:
    assert settings.STORAGES["staticfiles"]["BACKEND"] == "controlplane.static_storage.StaticFiles"
