"""A model as a table ``[[models]]`` of the configuration file."""

from __future__ import annotations

import json

from oncopixel_pacs.settings import ModelSettings, TrustedSettings


def model_table(model: ModelSettings) -> str:
    """Write the table of a model, to be appended to a configuration file."""
    # A JSON string of this text is a TOML string, too.
    if model.shipped:
        return f"[[models]]\nname = {json.dumps(model.name)}\nshipped = true\n"
    return (
        f'[[models]]\nname = {json.dumps(model.name)}\ntask = "{model.task}"\n'
        f'bundle = {json.dumps(str(model.bundle))}\nsha256 = "{model.sha256}"\n'
        f"threshold = {model.threshold!r}\n" + ("shadow = true\n" if model.shadow else "")
    ) + ("" if model.trusted is None else _trusted_table(model.trusted))


def _trusted_table(trusted: TrustedSettings) -> str:
    classes = ["    " + _class(item.name, item.code) + ",\n" for item in trusted.classes]
    files = [f"    {json.dumps(line)},\n" for line in trusted.files]
    return (
        "[models.trusted]\n"
        f"modalities = {json.dumps(trusted.modalities)}\n"
        f"site = {json.dumps(trusted.site)}\n"
        f'activation = "{trusted.activation}"\n'
        f"classes = [\n{''.join(classes)}]\n"
        f"files = [\n{''.join(files)}]\n"
    )


def _class(name: str, code: tuple[str, str, str] | None) -> str:
    coded = "" if code is None else f", code = {json.dumps(code)}"
    return f"{{ name = {json.dumps(name)}{coded} }}"
