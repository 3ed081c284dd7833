"""``scsipub image``: what disks are made of."""

import click


@click.group()
def image() -> None:
    """The images that disks are made of."""
