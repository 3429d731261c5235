"""Drop a recording into a folder, find its transcript beside it.

    from dropscribe import Client

    with Client() as client:
        job = client.wait(client.submit("talk.wav"))

The sub-packages are links to the folders at the top of the repository; docs/architecture.md says what each is for.
"""
