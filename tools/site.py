"""MkDocs hook: the executed notebooks in `docs/notebooks` become pages of the site.

A page shows a notebook's cells and the output that is stored in it; nothing is executed here.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter
from traitlets.config import Config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each notebook, and each of its pictures as a file next to it."""
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        path = PurePosixPath(notebook.src_uri)
        settings = Config()
        settings.ExtractOutputPreprocessor.output_filename_template = (
            f"{path.stem}-{{cell_index}}-{{index}}{{extension}}"
        )
        page, resources = MarkdownExporter(config=settings).from_filename(notebook.abs_src_path)
        link = f"*This page is a notebook: [{path.name}]({path.name}).*\n"
        files.append(
            File.generated(config, str(path.with_suffix(".md")), content=f"{page}\n{link}")
        )
        for name, content in resources["outputs"].items():
            files.append(File.generated(config, str(path.with_name(name)), content=content))
    return files
