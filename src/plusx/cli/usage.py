"""What a command line that cannot be understood is answered: one sentence, with the nearest name that exists."""

from cyclopts import (
    App,
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from plusx.errors import near_misses

SPOKEN: dict[object, str] = {int: "a whole number", float: "a number", bool: "true or false"}


def sentence(error: CycloptsError, app: App) -> str:
    """Say what was found, what was expected, and the fix."""
    here = " ".join(["plusx", *(error.command_chain or ())])
    match error:
        case UnknownOptionError():
            word = error.token.keyword or error.token.value
            names = dict.fromkeys(name for argument in error.argument_collection for name in argument.names)
            return f"no option is called {word!r}; {_hint(word, names, f'see {here} --help')}"
        case UnknownCommandError() if error.unused_tokens:
            word, known = error.unused_tokens[0], error.app or app
            if word.startswith("-"):
                names = dict.fromkeys(name for name in known if name.startswith("-"))
                return f"no option is called {word!r}; {_hint(word, names, f'see {here} --help')}"
            names = dict.fromkeys(name for name in known if not name.startswith("-"))
            return f"no command is called {word!r}; {_hint(word, names, 'there are: ' + ', '.join(names))}"
        case UnusedCliTokensError() if error.unused_tokens:
            return f"{error.unused_tokens[0]!r} is more than {here!r} takes; see {here} --help"
        case CoercionError() if error.token is not None:
            found = f"{error.token.keyword or 'the argument'} is {error.token.value!r}"
            return f"{found}, but must be {_spoken(error)}; see {here} --help"
        case MissingArgumentError() if error.argument is not None:
            name = error.keyword or error.argument.name
            what = f"{name} needs a value" if name.startswith("-") else f"{name} is missing"
            return f"{what}; see {here} --help"
        case _:
            return " ".join(str(error).split())


def _spoken(error: CoercionError) -> str:
    return SPOKEN.get(error.target_type, "numbers with commas between them, such as 0.5,0.75")


def _hint(word: str, names: dict[str, None], otherwise: str) -> str:
    close = near_misses(word, names)
    return f"did you mean {close[0]!r}?" if close else otherwise
