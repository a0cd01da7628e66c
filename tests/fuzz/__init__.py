"""Fuzzing of the protocol layer.

A target is a plain function ``(bytes) -> None`` that raises on a finding (``targets`` lists them);
``reference`` is the reading of the octets they are held against. ``run`` drives one target with
atheris, ``campaign`` all of them with one process per core (``test_soak_fuzz``, by scripts/soak).
``test_targets`` runs each target a little in every test run, and sees it fail on planted bugs.
"""
