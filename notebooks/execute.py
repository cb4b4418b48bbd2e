"""Execute the notebooks: `python notebooks/execute.py [NAME…] [--quick]`, or `make notebooks` for all of them.

Each NN_name.py (jupytext's percent format) is the source of an NN_name.ipynb beside it, which shows what it computed
and drew. Quick runs are for trying: they leave the .ipynb files alone.
"""

import argparse
import base64
import io
import os
import time
from pathlib import Path
from queue import Empty

import jupytext
import nbformat
from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.channels import AsyncZMQSocketChannel
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from traitlets import Type, default

FOLDER = Path(__file__).parent
SOURCES = sorted(FOLDER.glob("[0-9][0-9]_*.py"))
LIMIT = 500_000
"""Bytes that a notebook may have, so that it is shown when browsed."""


class PatientChannel(AsyncZMQSocketChannel):
    """Looks at its socket once a second: zmq's asyncio sockets can miss the event of a message that has come
    (pyzmq issue 2173), and one long wait would then go on to its end."""

    async def get_msg(self, timeout=None):
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = 1.0 if deadline is None else min(1.0, max(0.0, deadline - time.monotonic()))
            try:
                return await super().get_msg(left)
            except Empty:
                if deadline is not None and time.monotonic() >= deadline:
                    raise


class _Client(AsyncKernelClient):
    shell_channel_class = iopub_channel_class = control_channel_class = Type(PatientChannel)


class _Manager(AsyncKernelManager):
    @default("client_factory")
    def _client_factory_default(self):
        return _Client


_WIDGET = "application/vnd.jupyter.widget-view+json"


def read(source: Path) -> nbformat.NotebookNode:
    """The notebook that a .py file stands for, without outputs."""
    return nbformat.from_dict(jupytext.read(source))


def execute(notebook: nbformat.NotebookNode, quick: bool = False, timeout: int = 600) -> nbformat.NotebookNode:
    """Run all cells in a fresh kernel, in place.

    Args:
        notebook: from `read`.
        quick: a small version that takes seconds: the notebooks read it from EOSMODEL_QUICK.
        timeout: seconds that one cell may take.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails.
    """
    environment = dict(os.environ)
    environment.pop("EOSMODEL_QUICK", None)
    if quick:
        # What is compiled runs for a moment: compiling it well would take longer than the rest.
        environment |= {"EOSMODEL_QUICK": "1", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        kernel_manager_class=_Manager,
        # A kernel of this machine, spoken to by this machine, warns that nobody encrypts.
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(FOLDER)}},
        record_timing=False,
    )
    # Sliders are dead without a kernel: their state, which the client needs on the way, would make the file large.
    client.execute(env=environment).metadata.pop("widgets", None)
    return notebook


def shrink(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Leave out what a reader without a kernel cannot use, and store pictures with few colours."""
    for cell in notebook.cells:
        cell.pop("id", None)
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                data["image/png"] = _few_colours(data["image/png"])
                data["text/plain"] = "a figure"
        if cell.cell_type == "code":
            # The words that stand for a slider where none can be shown say nothing.
            cell.outputs = [output for output in cell.outputs if _WIDGET not in output.get("data", {})]
    notebook.nbformat_minor = 4
    return notebook


def _few_colours(png: str) -> str:
    from PIL import Image

    image = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    small = io.BytesIO()
    image.quantize(128).save(small, "PNG", optimize=True)
    return base64.b64encode(small.getvalue()).decode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="notebooks to execute, by the start of their names; all by default")
    parser.add_argument("--quick", action="store_true", help="a small version of each, written nowhere")
    options = parser.parse_args()
    chosen = [source for source in SOURCES if not options.names or source.name.startswith(tuple(options.names))]
    for source in chosen:
        begin = time.perf_counter()
        notebook = shrink(execute(read(source), options.quick))
        text = nbformat.writes(notebook)
        if len(text.encode()) > LIMIT:
            raise SystemExit(f"{source.name}: its notebook would have {len(text.encode())} bytes, over {LIMIT}")
        if not options.quick:
            source.with_suffix(".ipynb").write_text(text + "\n")
        print(f"{source.stem}: {time.perf_counter() - begin:.0f} s, {len(text.encode()) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
