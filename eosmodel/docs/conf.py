"""The documentation: `make docs` writes it to runs/docs, which opens offline and needs no network.

Beside Sphinx's options six things are decided here:

- formulas become MathML, which browsers draw themselves, by the converter that comes with docutils: no script;
- docstrings are written to be read as plain text; what is not reStructuredText in them (headings without a colon,
  formulas as indented blocks, bare signs in running text) is translated;
- a name in single backticks is a link if one thing has that name;
- `{computed}` shows Python and what it prints, `{output}` and `{commands}` the output and the help of commands; all of
  it is run when the site is built;
- the executed notebooks of the repository are pages: they are copied here for that, and not executed again;
- a word of the glossary is a link to it where a page first uses it.
"""

import contextlib
import io
import os
import re
import shutil
from collections.abc import Callable
from importlib.metadata import version as _version
from pathlib import Path
from typing import Any, get_args

from docutils import nodes  # type: ignore[import-untyped]
from docutils.utils.math import MathError  # type: ignore[import-untyped]
from docutils.utils.math.latex2mathml import tex2mathml  # type: ignore[import-untyped]
from sphinx import addnodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

project = html_title = "eosmodel"
author = copyright = "The eosmodel developers"
release = version = _version("eosmodel")

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon", "myst_nb"]
default_role = "py:obj"
highlight_language = "none"
add_module_names = False
python_maximum_signature_line_length = 90

nb_execution_mode = "off"  # they hold their outputs

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["eosmodel.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = False

myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3

autosummary_generate = False
autodoc_default_options = {"special-members": "__call__", "no-value": True}
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False  # a method is documented once, where it is declared
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Fields", "params_style"), ("Class variables", "params_style")]

_logger = logging.getLogger(__name__)
_HERE = Path(__file__).parent
_NOTEBOOKS = _HERE / "notebooks"
_TERMS = re.findall(r"^(.+)\n: ", (_HERE / "glossary.md").read_text(), re.MULTILINE)
# Text in which no word is a link.
_NO_LINKS = (
    nodes.title,
    nodes.reference,
    nodes.literal,
    nodes.literal_block,
    nodes.math,
    nodes.term,
    addnodes.pending_xref,
)


def _with_notebooks() -> None:
    """Copy the notebooks to where Sphinx looks for pages; their links to pages lead from there."""
    shutil.rmtree(_NOTEBOOKS, ignore_errors=True)
    _NOTEBOOKS.mkdir()
    for path in (_HERE.parents[1] / "notebooks").glob("*.ipynb"):
        (_NOTEBOOKS / path.name).write_text(path.read_text().replace("](../eosmodel/docs/", "](../"))


def _linked(app, docname: str, source: list[str]) -> None:
    """Links to notebooks lead to their place in the repository, where the pages are read too; here to the copies."""
    source[0] = source[0].replace("](../../notebooks/", "](notebooks/")


def _glossed(app, doctree) -> None:
    """The first use of every word of the glossary as a link, on pages that are written and not generated."""
    docname = app.env.docname
    if docname == "glossary":
        for term in doctree.findall(nodes.term):
            term["ids"].append(nodes.make_id(f"term {term.astext()}"))
    if docname == "glossary" or not doctree["source"].endswith((".md", ".ipynb")):
        return
    page = app.builder.get_relative_uri(docname, "glossary")
    for word in _TERMS:
        use = re.compile(rf"(?<![\w-]){re.escape(word)}s?(?![\w-])", re.IGNORECASE)
        for text in list(doctree.findall(nodes.Text)):
            found = use.search(text)
            if found and not any(isinstance(node, _NO_LINKS) for node in _above(text)):
                link = nodes.reference("", found[0], internal=True, classes=["glossed"])
                link["refuri"] = f"{page}#{nodes.make_id(f'term {word}')}"
                text.parent.replace(text, [nodes.Text(text[: found.start()]), link, nodes.Text(text[found.end() :])])
                break


def _above(node: Any):
    while node.parent is not None:
        node = node.parent
        yield node


def _spelt_out(tex: str) -> str:
    r"""TeX without shorthand that docutils does not know: \frac12 is \frac{1}{2}."""
    tex = re.sub(r"\\([td]?frac)\s*(\d|(?<=\s)[a-zA-Z])\s*(\w)", r"\\\1{\2}{\3}", tex)
    tex = re.sub(r"\\([td]?frac)\s*(\d)\s*(\\[a-zA-Z]+)", r"\\\1{\2}{\3}", tex)
    tex = re.sub(r"\\([td]?frac)(\{[^{}]*\})\s*(\w)", r"\\\1\2{\3}", tex)
    return tex.replace(r"\dots", r"\ldots")


def _mathml(translator: Any, node: Any) -> None:
    block = isinstance(node, nodes.math_block)
    try:
        formula = tex2mathml(_spelt_out(node.astext()), as_block=block)
    except MathError as error:
        _logger.warning("formula: %s", error, location=node)
        formula = translator.encode(node.astext())
    # Spaces as TeX has them.
    formula = re.sub(r"<mo[^>]*>([|‖/⟨⟩])</mo>", r'<mo stretchy="false" lspace="0" rspace="0">\1</mo>', formula)
    formula = re.sub(r"<mo>&ApplyFunction;</mo>(?=\s*<mi)", '<mspace width="0.17em"/>', formula)
    translator.body.append(f'<div class="math">{formula}</div>' if block else formula)
    raise nodes.SkipNode


def _translated(app, what, name, thing, options, lines: list[str]) -> None:
    """A docstring as reStructuredText, in place."""
    out: list[str] = []
    running: list[str] = []  # lines of text, as opposed to formulas and examples, not yet in `out`
    block, last, gap = "text", "-", False  # the last line that is not blank, and whether blank ones followed

    def flush() -> None:
        out.extend(_escaped("\n".join(running)).split("\n") if running else [])
        running.clear()

    for line in lines:
        blank, indented = not line.strip(), line.startswith(" ")
        if (block == "example" and blank) or (block == "formula" and not blank and not indented):
            block = "text"
        if block == "text" and line.lstrip().startswith(">>>"):
            flush()
            block = "example"
        elif block == "text" and indented and gap and not last.startswith((" ", "-", "*")):
            flush()
            out += ["::", ""]
            block = "formula"
        (running if block == "text" else out).append(line + ":" * (line in ("Fields", "Class variables")))
        last, gap = (last, True) if blank else (line, False)
    flush()
    lines[:] = out


def _escaped(text: str) -> str:
    """Outside `names` nothing is markup but *emphasis* and the dots of lists."""
    parts = re.split(r"(`[^`]*`|(?<!\w)\*\w[^*]*\w\*(?!\w))", text)
    parts[::2] = [re.sub(r"[|]|_(?!\w)|(?<!^)[*]", r"\\\g<0>", part, flags=re.MULTILINE) for part in parts[::2]]
    return re.sub(r"(?<=`)(?=s\b)", r"\ ", "".join(parts))


def _readable(app, what, name, thing, options, signature: str | None, returned: str | None):
    """Array types as they are written, Float[Array, 'dim']."""

    def short(text: str) -> str:
        return re.sub(r"~?jaxtyping\.|(?<=\[)jaxlib\._jax\.", "", text)

    return signature and short(signature), returned and short(returned)


def _skipped(app, what, name, thing, skip, options) -> bool | None:
    """The fields of a named tuple say nothing that its docstring does not."""
    return True if type(thing).__name__ == "_tuplegetter" else None


def _named(app, doctree) -> None:
    """On pages in Markdown, where `name` is code: a link all the same, if it is a class or a dotted name."""
    if doctree["source"].endswith(".md"):
        for code in list(doctree.findall(nodes.literal)):
            if re.match(r"([A-Z]\w*|\w+\..+)$", code.astext()):
                link = {"refdomain": "py", "reftype": "obj", "reftarget": code.astext(), "refdoc": app.env.docname}
                code.replace_self(addnodes.pending_xref("", code.deepcopy(), **link))


def _found(app, env, node, content):
    """A link to what a name in backticks is the end of: the one of the least depth, attributes left out."""
    target = re.sub(r"\(.*", "", node["reftarget"])
    if node.get("refdomain") != "py" or not re.fullmatch(r"[\w.]+", target):
        return None
    target = target.removeprefix("eosmodel.").removeprefix("eos.")
    objects = env.get_domain("py").objects
    ends = [name for name in objects if f".{name}".endswith(f".{target}")]
    if "." not in target:
        ends = [name for name in ends if objects[name].objtype not in ("attribute", "method", "property")]
    if not ends:
        return None
    entry = objects[min(ends, key=lambda name: (name.count("."), name))]
    page = app.builder.get_relative_uri(node["refdoc"], entry.docname)
    return nodes.reference("", "", content, internal=True, refuri=f"{page}#{entry.node_id}")


def _printed(run: Callable[[], Any]) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        run()
    return printed.getvalue().rstrip()


class Computed(SphinxDirective):
    """Python and what it prints; the blocks of a page share their names."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        code = "\n".join(self.content)
        scope = self.env.temp_data.setdefault("computed", {"__name__": self.env.docname})
        output = _printed(lambda: exec(compile(code, self.get_source_info()[0], "exec", dont_inherit=True), scope))
        shown = [nodes.literal_block(code, code, language="python")]
        return shown + [nodes.literal_block(output, output, classes=["output"])] * bool(output)


def _output(command: str) -> nodes.Node:
    from eosmodel.cli import main

    def run() -> None:
        with contextlib.suppress(SystemExit):
            main(command.split()[1:])

    os.environ["COLUMNS"] = "80"
    output = _printed(run)
    return nodes.literal_block(output, output, classes=["command"])


class Output(SphinxDirective):
    """What an eosmodel command prints."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        return [_output(self.arguments[0])]


class Commands(SphinxDirective):
    """The help of every command of eosmodel, a section each."""

    def run(self) -> list[nodes.Node]:
        from eosmodel.commands.parsing import Command

        sections: list[nodes.Node] = []
        for annotated in get_args(Command):
            name = get_args(annotated)[1].name
            section = nodes.section("", nodes.title("", name), _output(f"eosmodel {name} --help"), names=[name])
            self.state.document.note_implicit_target(section)
            sections.append(section)
        return sections


def setup(app) -> None:
    """What Sphinx calls."""
    _with_notebooks()
    app.add_html_math_renderer("mathml", (_mathml, None), (_mathml, None))
    app.connect("autodoc-process-docstring", _translated, priority=400)  # before napoleon
    app.connect("autodoc-process-signature", _readable)
    app.connect("autodoc-skip-member", _skipped)
    app.connect("source-read", _linked)
    app.connect("doctree-read", _named)
    app.connect("doctree-read", _glossed)
    app.connect("missing-reference", _found)
    app.add_directive("computed", Computed)
    app.add_directive("output", Output)
    app.add_directive("commands", Commands)
