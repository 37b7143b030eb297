"""Tokens of an expression: bounds and refusals before anything is parsed.

The parser is recursive and knows all of SQL. It is therefore given only tokens of our grammar, few and not nested
deeply. Every name is passed as a quoted identifier, so no word has another meaning there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from sqlglot.errors import TokenError
from sqlglot.tokenizer_core import Token, TokenType
from sqlglot.tokens import Tokenizer

from service.core.catalogue.expression.syntax import ExpressionError

MAX_CHARACTERS = 4096
MAX_OPERATORS = 64  # AND, OR and NOT
MAX_NESTING = 16

_NAME = re.compile(r"[^\W\d]\w*")
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
_ALLOWED = {*_KEYWORDS.values(), *_SYMBOLS.values(), TokenType.NUMBER, TokenType.STRING, TokenType.IDENTIFIER}
_OPERATORS = (TokenType.AND, TokenType.OR, TokenType.NOT)
_VALUE_ENDS = (
    *(TokenType.IDENTIFIER, TokenType.NUMBER, TokenType.STRING, TokenType.R_PAREN),
    *(TokenType.NULL, TokenType.TRUE, TokenType.FALSE),
)


class _FilterTokenizer(Tokenizer):
    """sqlglot's tokenizer, reduced to our keywords and symbols."""

    KEYWORDS = {**_KEYWORDS, **{symbol: kind for symbol, kind in _SYMBOLS.items() if len(symbol) > 1}}  # noqa: RUF012
    COMMENTS = []  # noqa: RUF012
    COMMANDS = set()  # noqa: RUF012


def read_tokens(text: str) -> list[Token]:
    """Return the tokens for the parser; raises `ExpressionError`."""
    if len(text) > MAX_CHARACTERS:
        raise ExpressionError(f"has {len(text)} characters; at most {MAX_CHARACTERS} are allowed", MAX_CHARACTERS)
    try:
        tokens = _FilterTokenizer().tokenize(text)
    except TokenError:
        raise ExpressionError("a quotation mark is not closed", _open_quote(text)) from None
    if not tokens:
        raise ExpressionError("is empty", 0)
    _check_bounds(tokens)
    return list(_parser_tokens(tokens))


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
    operators = nesting = negations = 0
    for token in tokens:
        kind = token.token_type
        operators += kind in _OPERATORS
        negations = negations + 1 if kind is TokenType.NOT else 0
        nesting += (kind is TokenType.L_PAREN) - (kind is TokenType.R_PAREN)
        if nesting < 0:
            raise ExpressionError("a parenthesis is closed that was not opened", token.start)
        if operators > MAX_OPERATORS:
            raise ExpressionError(f"has more than {MAX_OPERATORS} of AND, OR and NOT", token.start)
        if nesting + negations > MAX_NESTING:
            raise ExpressionError(f"is nested more than {MAX_NESTING} deep", token.start)
    if nesting:
        raise ExpressionError("a parenthesis is not closed", tokens[-1].end + 1)


def _parser_tokens(tokens: Sequence[Token]) -> Iterator[Token]:
    previous = before = None  # kinds of the last two tokens
    for index, token in enumerate(tokens):
        kind, following = token.token_type, tokens[index + 1].token_type if index + 1 < len(tokens) else None
        if kind is TokenType.VAR and _NAME.fullmatch(token.text):
            kind = _word(token, previous, before, following)
        elif kind not in _ALLOWED or _is_misplaced(kind, previous, following):
            raise unexpected(token)
        yield Token(kind, token.text, token.line, token.col, token.start, token.end)
        before, previous = previous, kind


def _is_misplaced(kind: TokenType, previous: object, following: object) -> bool:
    """Return whether our grammar has no such token here."""
    if kind is TokenType.L_PAREN:
        return previous in _VALUE_ENDS
    return kind in (TokenType.DASH, TokenType.PLUS) and following not in (TokenType.NUMBER, TokenType.INTERVAL)


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
