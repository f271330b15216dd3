"""YAML texts, read safely: a key that stands twice is an error, not the last one of them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import yaml


def load_yaml(text: str) -> Any:
    """What a YAML text says. Raises `yaml.YAMLError`, also for a key that stands twice in a mapping."""
    import yaml

    return yaml.load(text, Loader=_loader())  # noqa: S506 - it is a SafeLoader


@cache
def _loader() -> type[yaml.SafeLoader]:
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen: dict[tuple[str, str], yaml.Mark] = {}
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and not key.tag.endswith(":merge"):
                    first = seen.setdefault((key.tag, key.value), key.start_mark)
                    if first is not key.start_mark:
                        cause = f"{key.value!r} stands twice, also in line {first.line + 1}"
                        raise yaml.constructor.ConstructorError(None, None, cause, key.start_mark)
            return super().construct_mapping(node, deep)

    return Loader
