"""The server: what the command line can do, over HTTP, for programs and people elsewhere.

It decides nothing that another room decides: it asks and acts through `admin`. Its routes know neither store nor admin,
but only `visible` and `actions`, which narrow everything to the folders of the caller. Only the command line
imports it, and only it imports FastAPI and uvicorn.
"""
