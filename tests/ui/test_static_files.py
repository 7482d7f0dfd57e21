"""Static files: named by content and compressed once collected, found under their own names before."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

from django.conf import settings
from django.templatetags.static import static

from controlplane.static_storage import STYLES, collect_when_changed


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


def test_collected_stylesheets_are_one_and_the_same_as_those_that_lie_there(settings: Any, tmp_path: Path, monkeypatch: Any) -> None:
    from django.contrib.staticfiles.storage import staticfiles_storage

    settings.STATIC_ROOT = tmp_path
    _fresh(monkeypatch)
    lying = staticfiles_storage.stylesheets()
    assert len(lying) > 1 and set(lying) == {f"/static/{name}" for name in STYLES}
    assert collect_when_changed()
    [bundle] = staticfiles_storage.stylesheets()
    made = (settings.STATIC_ROOT / bundle.removeprefix("/static/")).read_text()
    whole = "".join((Path(settings.BASE_DIR) / "static" / name).read_text() for name in STYLES)
    assert made == whole and made.index("@layer reset, base") < made.index("@layer components {")


def test_every_stylesheet_is_on_every_page_but_the_plots() -> None:
    lying = {f"css/{path.name}" for path in (Path(settings.BASE_DIR) / "static" / "css").glob("*.css")}
    assert set(STYLES) == lying - {"css/plots.css"}


def test_the_storage_is_the_one_that_is_configured() -> None:
    assert settings.STORAGES["staticfiles"]["BACKEND"] == "controlplane.static_storage.StaticFiles"


def test_a_directory_that_cannot_be_written_stops_nothing(settings: Any, tmp_path: Path, caplog: Any) -> None:
    (tmp_path / "file").write_text("no directory")
    settings.STATIC_ROOT = tmp_path / "file" / "static"
    assert not collect_when_changed()
    assert "served uncompressed" in caplog.text
