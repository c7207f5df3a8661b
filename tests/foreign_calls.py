"""Finds calls of the program's code that are not made through fiber::call_user() and its like.

Whatever the program hands to the library (functions, transports, signers) may leave entries in
OpenSSL's error queue, and may be harmed by those that it finds there. So each call of it has to be
made by one of GUARDS, or in a block that begins with a scope of SCOPES. What counts as the
program's code is read from the public headers: virtual functions, and members that are a
std::function.
"""

import pathlib
import re

# Link::attempt() holds a UserCodeScope.
GUARDS = ('call_user', 'ask', 'tell', 'attempt')
SCOPES = ('UserCodeScope', 'CallbackScope')

# Names that our own classes have as well. They count if the receiver has the name that such things
# have throughout.
TRANSPORT = r'(transport|below)_?(\(\))?$'
COMMON = {
    'wait': TRANSPORT,
    'failure': TRANSPORT,
    'shutdown_write': TRANSPORT,
    'read': r'functions_$',
    'write': r'functions_$',
    'run': r'(task|work)$',
    'get': r'store$',
    'put': r'store$',
    'remove': r'store$',
    'certificate': r'state$',
    'server_name': r'state$',
}

FUNCTION_TYPE = r'(?:std::function<[^;]*?>|\w+Callback|Handler)'


def names(headers: dict) -> set:
    """Names of the functions that programs write, from {path: text} of headers."""
    found = set()
    for text in headers.values():
        text = re.sub(r'//.*', '', text)
        found |= set(re.findall(r'\bvirtual [^;{()]*?(?<!~)\b(\w+)\(', text))
        found |= set(re.findall(FUNCTION_TYPE + r'\s+(\w+)\s*(?:\{\})?;', text, re.DOTALL))
    return found


def blank(text: str) -> str:
    """The text without comments and literals, which keep their lines and columns."""
    pattern = re.compile(r'//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])\'')
    return pattern.sub(lambda match: ' ' * len(match[0]), text)


def guarded(text: str):
    """Yields (offset, end) of each stretch of text that a guard or a scope covers."""
    opener = re.compile(r'\b(?:' + '|'.join(GUARDS) + r')\b(?:<[^;()]*>)?\(')
    for match in opener.finditer(text):
        yield match.start(), closing(text, match.end(), '(', ')')
    for match in re.finditer(r'\b(?:' + '|'.join(SCOPES) + r') \w+(?:\([^;]*\))?;', text):
        yield match.start(), closing(text, match.end(), '{', '}')


def closing(text: str, at: int, opening: str, ending: str) -> int:
    """Where the bracket closes inside which `at` is."""
    depth = 1
    while at < len(text) and depth > 0:
        depth += (text[at] == opening) - (text[at] == ending)
        at += 1
    return at


def unguarded(text: str, program_names: set):
    """Yields (line number, name) of each call of the program's code that nothing covers."""
    text = blank(text)
    covered = list(guarded(text))
    # Functions that are kept in variables of their own.
    variables = re.findall(FUNCTION_TYPE + r'[&\s]+(\w+)\s*[,;)=]', text)
    bare = re.compile(r'(?<![\w.>])(' + '|'.join(variables) + r')\(')
    calls = list(bare.finditer(text)) if variables else []
    for match in re.finditer(r'(?:\.|->)\s*(\w+)\(', text):
        receiver = text[:match.start()].rstrip()[-60:]
        name = match[1]
        if name in program_names and re.search(COMMON.get(name, ''), receiver):
            calls.append(match)
    for match in calls:
        if not any(begin <= match.start(1) < end for begin, end in covered):
            yield text.count('\n', 0, match.start(1)) + 1, match[1]


def self_check() -> None:
    """The rule finds what it has to find."""
    header = {'a.h': 'virtual int try_read(int x) = 0;\nstd::function<void(int)> put;  // virtual\n'
                     'using A = int;\nAlpnCallback alpn;\nvirtual Wake wait(Deadline d) = 0;'}
    program_names = names(header)
    assert program_names == {'try_read', 'put', 'alpn', 'wait'}, program_names

    def finds(code: str) -> list:
        return [name for _, name in unguarded(code, program_names)]

    assert finds('x = transport_.try_read(y);') == ['try_read']
    assert finds('x = transport->wait(y);  // call_user(') == ['wait']
    assert finds('store.put(1); a(b(call_user(2)));') == ['put']
    assert finds('if (a) { const UserCodeScope scope; } state.alpn(c);') == ['alpn']
    assert finds('return link_.transport().wait(y);') == ['wait']
    assert finds('void f(std::function<void(int)> work) { work(1); }') == ['work']
    assert finds('waiters_.wait(y);') == []
    assert finds('call_user([&] { return state.store.put(f(1)); });') == []
    assert finds('ask<std::optional<int>>("name", [&] { return state.alpn(c); });') == []
    assert finds('{ const CallbackScope scope(name); state.alpn(c); }') == []


def offences(root: pathlib.Path, layers: tuple):
    """Yields (path, line number, what is wrong)."""
    self_check()
    headers = [path for path in (root / 'include/heddle').rglob('*.h') if path.name != 'stale.h']
    headers.append(root / 'src/tls/state/callback_state.h')
    program_names = names({path: path.read_text() for path in headers})
    for layer in layers:
        for path in sorted((root / layer).rglob('*.*')):
            for number, name in unguarded(path.read_text(), program_names):
                yield path, number, f'{name}() is the program\'s code: use fiber::call_user()'
