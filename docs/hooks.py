"""What the site has beside the pages of this folder, and what it must not fetch from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

_OUTSIDE = "https://unpkg.com/iframe-worker/shim"  # the plugin "offline" would have every page fetch it
_OWN = "worker.js"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page on contributing, which lies where forges look for it, with its links as they are here."""
    text = (Path(config.docs_dir).parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "contributing.md", content=text.replace("](docs/", "](")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Leave the name of a file outside this folder, and no link to it, since the site does not have it."""
    if "/" in page.url:  # from a page in a folder of its own, "../" leads to a guide
        return markdown
    return re.sub(r"\[`?([^\]`]+)`?\]\(\.\./[^)]+\)", r"`\1`", markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Let the search of a page that was opened from a folder be run by a script of the site itself."""
    return output.replace(_OUTSIDE, get_relative_url(_OWN, page.url))


def on_post_template(output_content: str, template_name: str, config: MkDocsConfig) -> str:
    """Do so on pages that are made from a template alone."""
    return output_content.replace(_OUTSIDE, f"/{_OWN}")
