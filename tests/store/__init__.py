import pytest

# Detailed assertion messages need a rewrite of the module, which pytest does by itself for test_*.py only.
for _module in (
    *("backends", "random_operations", "contract_log", "contract_snapshots", "contract_merge"),
    *("contract_records", "contract_deletion", "contract_retention"),
):
    pytest.register_assert_rewrite(f"tests.store.{_module}")
