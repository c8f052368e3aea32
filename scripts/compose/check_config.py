"""Checks what docker-compose.yml promises: reads what `config --format json` says, prints what is broken."""

import ast
import importlib
import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SECRET_WORDS = ("password", "secret", "dsn", "api_key", "token")


def problems(config: dict[str, Any]) -> Iterator[str]:
    """Yield every promise that is not kept."""
    for name, service in config["services"].items():
        for port in service.get("ports", []):
            if port.get("host_ip") != "127.0.0.1":
                yield f"{name}: port {port['target']} is published beyond loopback"
        for variable in service.get("environment", {}):
            lower = variable.lower()
            if any(word in lower for word in SECRET_WORDS) and not lower.endswith("_file"):
                yield f"{name}: {variable} holds a secret; give it as a file"
        for mount in service.get("volumes", []):
            if mount["type"] == "bind" and not Path(mount["source"]).exists():
                yield f"{name}: {mount['source']} is not there"
        needed = ("mem_limit", "restart", "healthcheck")
        yield from (f"{name}: has no {key}" for key in needed if not service.get(key))
        image, build = service["image"], service.get("build")
        if build is None and image.rpartition(":")[2] in {image, "latest"}:
            yield f"{name}: image {image} names no version"
        for of, condition in service.get("depends_on", {}).items():
            if condition["condition"] == "service_started":
                yield f"{name}: does not wait until {of} is healthy"


def borrowed(config: dict[str, Any]) -> Iterator[str]:
    """Yield what the one-shot service calls in the native stack and would not find there any more."""
    call = config["services"]["connector-setup"]["command"][-1]
    imports, _, rest = call.partition("; ")
    arguments = [node.value for node in ast.walk(ast.parse(rest)) if isinstance(node, ast.Constant)]
    module, name = imports.removeprefix("from ").split(" import ")
    try:
        inspect.signature(getattr(importlib.import_module(module), name)).bind(*arguments)
    except (ImportError, AttributeError, TypeError) as error:
        yield f"connector-setup: {call!r} does not fit the native stack: {error}"


if __name__ == "__main__":
    read = json.load(sys.stdin)
    found = [*problems(read), *borrowed(read)]
    sys.stdout.writelines(f"{problem}\n" for problem in found)
    sys.exit(1 if found else 0)
