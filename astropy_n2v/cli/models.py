# Licensed under a 3-clause BSD style license - see LICENSE
"""
``astropy-n2v models``.
"""

import click

from .common import Reporter, verbosity_options

__all__ = ['command']


@click.command('models')
@click.argument('name', required=False, metavar='[NAME]')
@click.option('--json', 'as_json', is_flag=True, help='Print JSON, for scripts.')
@verbosity_options
@click.pass_context
def command(ctx, name, as_json):
    """
    Name the model that comes with the package, or print its card.

    NAME, such as 'default', goes with --model. The card says what the model was trained on, what
    it reaches, and where it fails. The file is compared with what was shipped; if it differs, the
    exit status is 1.

    \b
    Examples:
      astropy-n2v models
      astropy-n2v models default
      astropy-n2v models --json
    """
    import json

    from ..weights import describe_model, find_model, model_names
    with Reporter.of(ctx) as report:
        if name is not None and find_model(name) is None:
            raise click.ClickException(f'NAME must be one of default, {", ".join(model_names())}, got {name!r}')
        models, failed = [], False
        for path in map(find_model, model_names() if name is None else [name]):
            try:
                models.append(describe_model(path))
            except (OSError, ValueError) as error:
                report.error(f'{path.stem}: error: {error}')
                failed = True
        if as_json:
            report.result(*json.dumps(models if name is None else models[0] if models else None, indent=2).splitlines())
        else:
            for model in models:
                report.result(*(_describe(model) if name is None else model['card'].rstrip()).splitlines())
    if failed:
        ctx.exit(1)


def _describe(model):
    height, width = model['hole']
    return (f'{model["name"]}\n  {model["summary"]}\n  hole {height}x{width}, {model["parameters"]} parameters in '
            f'{model["dtype"]}, {model["size"] / 1e6:.2f} MB\n  sha256 {model["sha256"]}')
