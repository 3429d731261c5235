"""What the commands of the group `voices` take; the modules that do it are imported when one is called."""

from __future__ import annotations

from typing import Annotated

import typer

from dropscribe.admin.cli.commands import JobName, Json

app = typer.Typer(
    help="Enroll voices, so that later recordings name who speaks. Voices are biometric data: ask the people first.",
    no_args_is_help=True,
)

ENROLL_EXAMPLES = """Examples:

  dropscribe voices enroll k3v9 "Speaker 1" --as Bert

  dropscribe voices enroll ~/Recordings/talk.mp3 0 --as "Ada Lovelace" --json
"""


@app.command(epilog=ENROLL_EXAMPLES)
def enroll(
    ctx: typer.Context,
    job: JobName,
    speaker: Annotated[str, typer.Argument(metavar="SPEAKER", help="The speaker's number or name in that recording.")],
    name: Annotated[str, typer.Option("--as", metavar="NAME", help="The name of this person.")],
    as_json: Json = False,
) -> None:
    """Enroll the voice of a speaker under a name.

    The voice is computed from the recording, which must still be there. It takes at least 5 seconds in which this
    speaker speaks alone; half a minute is better. The database keeps it until you forget it. If the name has a voice
    already, the two are averaged, weighted by their seconds of speech; to replace it, forget it first. Later recordings
    name the speaker if the setting known_voices is on.
    """
    from dropscribe.admin.act import enroll as answer

    answer.enroll(ctx.obj, job, speaker, name, as_json=as_json)


LIST_EXAMPLES = """Examples:

  dropscribe voices list

  dropscribe voices list --json
"""


@app.command("list", epilog=LIST_EXAMPLES)
def list_(ctx: typer.Context, as_json: Json = False) -> None:
    """List the enrolled voices."""
    from dropscribe.admin.act import voices as answer

    answer.listing(ctx.obj, as_json=as_json)


FORGET_EXAMPLES = """Examples:

  dropscribe voices forget Bert

  dropscribe voices forget Bert "Ada Lovelace"
"""


@app.command(epilog=FORGET_EXAMPLES)
def forget(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Names of enrolled voices.")],
) -> None:
    """Remove voices from the database.

    Transcripts keep a name that was recognized before. `dropscribe forget JOB` removes them from the database, and
    `dropscribe speakers JOB --name Bert=` the name from one.
    """
    from dropscribe.admin.act import voices as answer

    answer.forget(ctx.obj, names)
