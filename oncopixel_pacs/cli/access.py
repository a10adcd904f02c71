"""``oncopixel users`` and ``oncopixel tokens``: who may come in over HTTP."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from oncopixel_pacs.cli.answers import print_json
from oncopixel_pacs.cli.options import ConfigOption, JsonOption
from oncopixel_pacs.cli.tables import Table
from oncopixel_pacs.domain.access import AccessRole, ApiToken, Area, User
from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.opening import open_store, utc_now
from oncopixel_pacs.passwords import hash_password
from oncopixel_pacs.settings import load_settings
from oncopixel_pacs.store.accounts import Accounts
from oncopixel_pacs.store.api_tokens import ApiTokens
from oncopixel_pacs.store.database import Database

users = typer.Typer(help="Add, change and remove users.", no_args_is_help=True)
tokens = typer.Typer(help="Make and revoke tokens of programs.", no_args_is_help=True)

_MOST_DAYS = 3650

Name = Annotated[str, typer.Argument(help="Name to sign in with.")]
RoleOption = Annotated[AccessRole, typer.Option("--role", help="What it may do.")]
FromInput = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input.")
]


@users.command("list")
def list_users(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the users and their roles."""
    with _database(config) as database:
        found = Accounts(database).users()
    if as_json:
        rows = [{name: value for name, value in asdict(user).items()} for user in found]
        for row in rows:
            del row["password_hash"]
        print_json(list[dict[str, object]], rows)
        return
    table = Table("Name", "Role", "Since")
    for user in found:
        table.add_row(user.name, user.role, f"{user.created_at:%Y-%m-%d %H:%M}")
    Console().print(table)


@users.command("add")
def add_user(
    name: Name,
    role: RoleOption = AccessRole.VIEWER,
    from_input: FromInput = False,
    config: ConfigOption = None,
) -> None:
    """Add a user; the password is asked for."""
    name = name.strip()
    if not name.isprintable() or not 0 < len(name) <= 64:
        raise typer.BadParameter("a name has 1 to 64 printable characters")
    hashed = hash_password(_password(from_input))
    with _database(config) as database:
        Accounts(database).add(User(name, role, utc_now(), hashed))
    typer.echo(f"{name} may sign in as {role}.")


@users.command("role")
def change_role(
    name: Name,
    role: Annotated[AccessRole, typer.Argument(help="What it may do from now on.")],
    config: ConfigOption = None,
) -> None:
    """Give a user another role; it holds at once."""
    with _database(config) as database:
        Accounts(database).change(name, role=role)
    typer.echo(f"{name} is {role} now.")


@users.command("password")
def change_password(name: Name, from_input: FromInput = False, config: ConfigOption = None) -> None:
    """Give a user another password; whoever is signed in under that name is signed out."""
    hashed = hash_password(_password(from_input))
    with _database(config) as database:
        Accounts(database).change(name, password_hash=hashed)
    typer.echo(f"{name} has a new password.")


@users.command("remove")
def remove_user(name: Name, config: ConfigOption = None) -> None:
    """Remove a user, who is signed out at once."""
    with _database(config) as database:
        Accounts(database).remove(name)
    typer.echo(f"{name} is removed.")


@tokens.command("list")
def list_tokens(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the tokens; the tokens themselves are not kept."""
    with _database(config) as database:
        found = list(ApiTokens(database).all())
    if as_json:
        print_json(list[ApiToken], found)
        return
    table = Table("Id", "Name", "Role", "Areas", "Expires", "Last used")
    for item in found:
        expires = f"{item.expires_at:%Y-%m-%d}" if item.expires_at else "never"
        used = f"{item.last_used_at:%Y-%m-%d %H:%M}" if item.last_used_at else "never"
        areas = ", ".join(item.areas) or "all"
        table.add_row(item.id, item.name, item.role, areas, expires, used)
    Console().print(table)


@tokens.command("create")
def create_token(
    name: Annotated[str, typer.Argument(help="What it is for, such as the program's name.")],
    role: RoleOption = AccessRole.VIEWER,
    area: Annotated[
        list[Area] | None,
        typer.Option(help="Where it may go; everywhere when absent. May be repeated."),
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=_MOST_DAYS, help="Days until it expires.")] = 365,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token and print it, this once, on standard output."""
    now = utc_now()
    with _database(config) as database:
        made, secret = ApiTokens(database).create(
            name, role, tuple(area or ()), now, now + timedelta(days=days)
        )
    if as_json:
        print_json(dict[str, object], {**asdict(made), "token": secret})
        return
    typer.echo(f"Token {made.id} of {name}, {role}, for {days} days:", err=True)
    typer.echo(secret)


@tokens.command("revoke")
def revoke_token(
    token_id: Annotated[str, typer.Argument(help="Id, as in the list.")],
    config: ConfigOption = None,
) -> None:
    """Make a token worthless at once."""
    with _database(config) as database:
        revoked = ApiTokens(database).revoke(token_id)
    typer.echo(f"Token {revoked.id} of {revoked.name} is revoked.")


@contextlib.contextmanager
def _database(config: Path | None) -> Iterator[Database]:
    store = open_store(load_settings(config), upgrades=False)
    try:
        yield store.database
    finally:
        store.database.close()


def _password(from_input: bool) -> str:
    if from_input:
        return sys.stdin.readline().rstrip("\n")
    if not sys.stdin.isatty():
        raise ConfigurationError("There is no terminal to type it; use --password-stdin.")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
