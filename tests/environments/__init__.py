"""The other machines that conformance tests run on: "run this Python script, with these arguments, there".

`environments()` has them by name; `Environment.run(script, arguments, output)` runs a script on one. They are made
once by `python -m tests.environments prepare`, which uses the network; after that nothing does.
"""

from tests.environments.cache import PrepareError
from tests.environments.environment import Environment, ScriptError
from tests.environments.machines import environments, prepare

__all__ = ["Environment", "PrepareError", "ScriptError", "environments", "prepare"]
