"""The test suite: see conftest.py for its settings, helpers.py for its one Monte-Carlo assertion."""
