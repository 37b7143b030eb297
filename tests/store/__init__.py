import pytest

# Their assertions explain themselves only if rewritten, which by default is done for test_*.py alone.
for _module in ("backends", "contract_log", "contract_snapshots", "contract_removal", "random_operations"):
    pytest.register_assert_rewrite(f"tests.store.{_module}")
