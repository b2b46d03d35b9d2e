"""From the file to settings, or to every mistake in it."""

import sys
from pathlib import Path

from pydantic import ValidationError

from appliance.config.mistakes import explain
from appliance.config.settings import Settings
from appliance.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def load(path: Path) -> Settings:
    """Read and check a configuration file.

    Raises
    ------
    ConfigError
        With every mistake of the file, each with its line.
    """
    settings, mistakes = examine(path)
    if settings is None:
        hint = "Mend the file; `echocart check` explains each line."
        raise ConfigError("read the configuration", f"{path}: {'; '.join(mistakes)}", hint)
    return settings


def examine(path: Path) -> tuple[Settings | None, list[str]]:
    """Return the settings, or None and every mistake as "line N: what is wrong. What to do"."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it isn't UTF-8 text"
        return None, [f"the file can't be read ({reason}). Name it with --config FILE"]
    if text.startswith("\ufeff"):
        return None, ["line 1: it begins with a byte order mark (BOM). Save it as plain UTF-8"]
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return None, [f"it isn't valid TOML: {error}"]
    try:
        return Settings.model_validate(values), []
    except ValidationError as error:
        problems = error.errors(include_url=False)
        return None, [explain(text, values, dict(problem)) for problem in problems]
