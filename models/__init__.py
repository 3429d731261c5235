"""Speech models behind one protocol, and the only torch in the project.

Knows nothing of Celery, Redis or SQL.
"""
