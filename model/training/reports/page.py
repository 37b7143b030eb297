"""HTML pages of reports, rendered with Jinja2.

A report is a template of its own that extends `templates/page.html.jinja`, which holds the layout and the style
sheet. A page is one file that loads nothing from elsewhere, so that it can be opened from disk and sent by e-mail.
"""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_SHARED_TEMPLATES = Path(__file__).with_name("templates")


def render_page(template: Path, **values: object) -> str:
    """Render a template that extends the shared page.

    Args:
        template: path of the template. It may extend `page.html.jinja` and import its macros.
        values: variables of the template. Text is escaped; charts are `Markup` and inserted as they are.
    """
    environment = Environment(
        loader=FileSystemLoader([template.parent, _SHARED_TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,  # a misspelt variable is an error, not an empty page
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template.name).render(values)
