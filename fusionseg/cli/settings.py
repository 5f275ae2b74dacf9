"""What can be set."""

from __future__ import annotations

from typing import Annotated

import typer

from fusionseg.cli import names


def settings(
    profile: Annotated[
        str | None,
        typer.Argument(
            metavar="PROFILE",
            help="whose values to show: name of a profile, or path of a TOML file; without, the defaults",
            autocompletion=names.profiles,
        ),
    ] = None,
    section: Annotated[
        str | None,
        typer.Option("--section", metavar="SECTION", help="only this one", autocompletion=names.sections),
    ] = None,
    find: Annotated[
        str, typer.Option("--find", metavar="WORD", help="only settings with it in name or description")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="as JSON, for other programs")] = False,
) -> None:
    """All settings by section: value, what it may be, and why."""
    import json
    import shutil
    from dataclasses import asdict

    from fusionseg.pipeline.errors import UserError
    from fusionseg.pipeline.settings.listing import collect, text
    from fusionseg.pipeline.settings.profile import read_profile

    found = collect(read_profile(profile) if profile else None, section, find)
    if as_json:
        print(json.dumps([asdict(one) for one in found], indent=1))
        return
    if not found:
        raise UserError(f"no setting has {find!r} in its name or description; `fusionseg settings` lists all")
    print("\n".join(text(found, min(shutil.get_terminal_size().columns, 100))))
