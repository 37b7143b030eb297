"""Tokens of an expression: bounds and refusals before anything is parsed.

The parser is recursive and knows all of SQL. It is therefore given only tokens of our grammar, few and not nested
deeply. It gets a neutral identifier for each name, so that no word has another meaning there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sqlglot.errors import TokenError
from sqlglot.tokenizer_core import Token, TokenType
from sqlglot.tokens import Tokenizer

from service.core.catalogue.expression.syntax import ExpressionError

MAX_CHARACTERS = 4096
MAX_OPERATORS = 64  # AND, OR and NOT
MAX_NESTING = 16

_NAME = re.compile(r"[^\W\d]\w*")
_NEUTRAL = re.compile(r"n\d+")
_KEYWORDS = {
    "AND": TokenType.AND,
    "OR": TokenType.OR,
    "NOT": TokenType.NOT,
    "IN": TokenType.IN,
    "BETWEEN": TokenType.BETWEEN,
    "LIKE": TokenType.LIKE,
    "ESCAPE": TokenType.ESCAPE,
    "IS": TokenType.IS,
    "NULL": TokenType.NULL,
    "TRUE": TokenType.TRUE,
    "FALSE": TokenType.FALSE,
    "INTERVAL": TokenType.INTERVAL,
}
_SYMBOLS = {
    "<": TokenType.LT,
    "<=": TokenType.LTE,
    ">": TokenType.GT,
    ">=": TokenType.GTE,
    "=": TokenType.EQ,
    "<>": TokenType.NEQ,
    "!=": TokenType.NEQ,
    "(": TokenType.L_PAREN,
    ")": TokenType.R_PAREN,
    ",": TokenType.COMMA,
    ":": TokenType.COLON,
    "-": TokenType.DASH,
    "+": TokenType.PLUS,
}
_ALLOWED = {
    *(*_KEYWORDS.values(), *_SYMBOLS.values()),
    *(TokenType.NUMBER, TokenType.STRING, TokenType.IDENTIFIER, TokenType.VAR),
}
_OPERATORS = (TokenType.AND, TokenType.OR, TokenType.NOT)
_SIGNS = (TokenType.DASH, TokenType.PLUS)
_CONSTANTS = (TokenType.NUMBER, TokenType.STRING, TokenType.NULL, TokenType.TRUE, TokenType.FALSE)
_WORDS = (TokenType.IDENTIFIER, TokenType.VAR)
_BEGINNINGS = {*_CONSTANTS, *_WORDS, *_SIGNS, TokenType.L_PAREN, TokenType.COLON, TokenType.INTERVAL}
_BETWEEN_VALUES = _ALLOWED - _BEGINNINGS | {*_SIGNS}
# The kinds that may stand after a kind. The parser is more generous: it reads `a BETWEEN b 1` as `a BETWEEN b AND 1`.
_FOLLOWING: dict[TokenType | None, set[TokenType]] = {
    **dict.fromkeys((*_CONSTANTS, TokenType.IDENTIFIER, TokenType.R_PAREN), _BETWEEN_VALUES),
    **{opening: _BEGINNINGS | {TokenType.NOT} for opening in (None, TokenType.AND, TokenType.OR)},
    **{sign: {TokenType.NUMBER, TokenType.INTERVAL} for sign in _SIGNS},
    TokenType.L_PAREN: _BEGINNINGS | {TokenType.NOT, TokenType.R_PAREN},
    TokenType.NOT: _BEGINNINGS | {TokenType.NOT, TokenType.IN, TokenType.LIKE, TokenType.BETWEEN},
    TokenType.VAR: _BETWEEN_VALUES | {TokenType.L_PAREN},  # now, or the name of a parameter
    TokenType.COLON: {TokenType.VAR},
    TokenType.IS: {TokenType.NOT, TokenType.NULL},
    TokenType.INTERVAL: {TokenType.NUMBER, TokenType.STRING},
}


class _FilterTokenizer(Tokenizer):
    """sqlglot's tokenizer, reduced to our keywords and symbols."""

    KEYWORDS = {**_KEYWORDS, **{symbol: kind for symbol, kind in _SYMBOLS.items() if len(symbol) > 1}}  # noqa: RUF012
    COMMENTS = []  # noqa: RUF012
    COMMANDS = set()  # noqa: RUF012


class Tokens(NamedTuple):
    """Tokens of an expression.

    Attributes:
        written: As they are in the text.
        neutral: The same, with the name of token 5 replaced by `n5`; those of parameters too.
    """

    written: list[Token]
    neutral: list[Token]

    def name(self, neutral: str) -> Token:
        """Return the written token of a neutral name.

        Raises `ExpressionError` for a keyword, which the parser takes for a name in some positions.
        """
        if _NEUTRAL.fullmatch(neutral):
            return self.written[int(neutral[1:])]
        raise unexpected(next(token for token in self.written if token.text == neutral))


def read_tokens(text: str) -> Tokens:
    """Return the tokens; raises `ExpressionError`."""
    if len(text) > MAX_CHARACTERS:
        raise ExpressionError(f"has {len(text)} characters; at most {MAX_CHARACTERS} are allowed", MAX_CHARACTERS)
    try:
        tokens = _FilterTokenizer().tokenize(text)
    except TokenError:
        raise ExpressionError("a quotation mark is not closed", _open_quote(text)) from None
    if not tokens:
        raise ExpressionError("is empty", 0)
    _check_bounds(tokens)
    return Tokens(tokens, list(_neutral_tokens(tokens)))


def _open_quote(text: str) -> int:
    """Return the offset of the quotation mark that is not closed."""
    quote, begin = "", 0
    for offset, character in enumerate(text):
        if not quote and character in "'\"":
            quote, begin = character, offset
        elif character == quote:
            quote = ""
    return begin


def _check_bounds(tokens: Sequence[Token]) -> None:
    operators = depth = negations = 0
    outer: list[int] = []  # the depth before each open parenthesis
    for token in tokens:
        kind = token.token_type
        operators += kind in _OPERATORS
        if kind is TokenType.L_PAREN:
            outer.append(depth)
            depth += negations + 1
        elif kind is TokenType.R_PAREN:
            if not outer:
                raise ExpressionError("a parenthesis is closed that was not opened", token.start)
            depth = outer.pop()
        negations = negations + 1 if kind is TokenType.NOT else 0
        if operators > MAX_OPERATORS:
            raise ExpressionError(f"has more than {MAX_OPERATORS} of AND, OR and NOT", token.start)
        if depth + negations > MAX_NESTING:
            raise ExpressionError(f"is nested more than {MAX_NESTING} deep", token.start)
    if outer:
        raise ExpressionError("a parenthesis is not closed", tokens[-1].end + 1)


def _neutral_tokens(tokens: Sequence[Token]) -> Iterator[Token]:
    previous = before = None  # kinds of the last two tokens
    for index, token in enumerate(tokens):
        kind, following = token.token_type, tokens[index + 1].token_type if index + 1 < len(tokens) else None
        if kind is TokenType.VAR and _NAME.fullmatch(token.text):
            kind = _word(token, previous, before, following)
        is_unit = kind is TokenType.VAR and before is TokenType.INTERVAL
        if kind not in _ALLOWED or not (is_unit or kind in _FOLLOWING.get(previous, _BEGINNINGS)):
            raise unexpected(token)
        is_name = kind is TokenType.IDENTIFIER or previous is TokenType.COLON
        yield Token(kind, f"n{index}" if is_name else token.text, token.line, token.col, token.start, token.end)
        before, previous = previous, kind


def _word(token: Token, previous: object, before: object, following: object) -> TokenType:
    """Return the kind of a word that is no keyword."""
    if previous is TokenType.COLON or before is TokenType.INTERVAL:  # a parameter's name, an interval's unit
        return TokenType.VAR
    if following is not TokenType.L_PAREN:
        return TokenType.IDENTIFIER
    if token.text.lower() != "now":
        raise ExpressionError("the only function is now()", token.start)
    return TokenType.VAR


def unexpected(token: Token) -> ExpressionError:
    """Build the error for a token that does not belong there."""
    return ExpressionError(f"unexpected {token.text[:20]!r}", token.start)
