"""``agentctl completion``: the script that teaches a shell our verbs and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

__all__ = ["completion"]


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    r"""Print the completion script for a shell.

    \b
    bash:  eval "$(agentctl completion bash)"      in ~/.bashrc
    zsh:   eval "$(agentctl completion zsh)"       in ~/.zshrc
    fish:  agentctl completion fish | source       in ~/.config/fish/config.fish
    """
    found = get_completion_class(shell)
    if found is None:  # can't happen: Choice lets only click's own shells pass
        raise click.UsageError(f"no completion for {shell}")
    script = found(ctx.find_root().command, {}, "agentctl", "_AGENTCTL_COMPLETE")
    click.echo(script.source())
