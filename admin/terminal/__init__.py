"""Text for people: tables, figures, progress, and moments as people type them.

Knows no store and no model; what is shown is handed in.
"""
