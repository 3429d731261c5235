"""Commands that change something: submit, retry, cancel, pause, drain, rerun, forget, speakers, voices.

Each change is a function of store; here is what is asked, checked and said around it.
"""
