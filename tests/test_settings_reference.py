"""The settings reference is complete and follows from the field metadata."""

from __future__ import annotations

from service.settings import PREFIX, Settings
from service.settings_reference import all_settings, settings_help, settings_table

NUMBERS_WITHOUT_UNIT = {"RECBLR_PORT"}


def test_every_setting_has_default_meaning_and_valid_values() -> None:
    for setting in all_settings():
        assert setting.default, setting
        assert setting.meaning.endswith("."), setting
        assert setting.values, setting


def test_every_number_has_unit() -> None:
    for (name, field), setting in zip(Settings.model_fields.items(), all_settings(), strict=True):
        number = field.annotation in (int, float, int | None)
        assert bool(setting.unit) == (number and setting.variable not in NUMBERS_WITHOUT_UNIT), name


def test_help_is_ascii_and_names_every_setting() -> None:
    text = settings_help()
    assert text.isascii()
    words = " ".join(text.split())
    for setting in all_settings():
        assert f"  {setting.variable}\n" in text
        assert setting.meaning in words
        assert f"Default: {setting.default}." in words


def test_table_has_one_row_per_setting_with_five_cells() -> None:
    rows = settings_table().splitlines()
    variables = [f"`{PREFIX}{name.upper()}`" for name in Settings.model_fields]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows[2:]] == variables
    assert {row.replace("\\|", "").count("|") for row in rows} == {6}
