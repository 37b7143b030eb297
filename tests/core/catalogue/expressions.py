"""Made-up expressions and items."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from service.core.catalogue.attributes import AttributeType
from service.core.catalogue.expression import syntax
from service.core.catalogue.items import Item

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
TYPES = {
    "price": AttributeType.NUMBER,
    "old price": AttributeType.NUMBER,
    "brand": AttributeType.STRING,
    "order": AttributeType.STRING,
    "sale": AttributeType.BOOL,
    "now": AttributeType.BOOL,
    "tags": AttributeType.STRINGS,
    "until": AttributeType.TIME,
    "since": AttributeType.TIME,
}
NAMES = {
    AttributeType.NUMBER: ["price", "old price"],
    AttributeType.STRING: ["brand", "order", "title", "item_id"],
    AttributeType.BOOL: ["sale", "now", "available"],
    AttributeType.STRINGS: ["tags", "categories"],
    AttributeType.TIME: ["until", "since"],
}
# Few distinct values, so that comparisons meet them: é composed and not, a prefix of another, wildcards.
texts = st.sampled_from(
    [
        "",
        "a",
        "ab",
        "abc",
        "b",
        "é",
        "e\u0301",
        "é%",
        "%",
        "_",
        "a_b",
        "ﬀ",
        "😀",
        "\0",
        "abcdefgh",
        "abcdefghi",
        "it's",
    ]
)
numbers = st.sampled_from([-1.5, 0.0, 1.0, 2.0, 1e300])
times = st.sampled_from([NOW + timedelta(microseconds=delta) for delta in (-86_400_000_000, -1, 0, 1, 3_600_000_000)])
ids = st.sampled_from(["a", "ab", "b", "é", "e\u0301", "i-1", "i-2", "i-3", "%", "abcdefgh", "abcdefghi"])
sets = st.frozensets(texts, max_size=3).map(lambda found: tuple(sorted(found)))

_values = {
    AttributeType.NUMBER: numbers,
    AttributeType.STRING: texts,
    AttributeType.BOOL: st.booleans(),
    AttributeType.STRINGS: sets,
    AttributeType.TIME: times,
}
attributes = st.fixed_dictionaries({}, optional={name: _values[kind] for name, kind in TYPES.items()})
items = st.builds(
    Item,
    ids,
    title=st.none() | texts,
    categories=sets,
    available=st.booleans(),
    attributes=attributes,
    deleted=st.sampled_from([False, False, False, True]),
)
PARAMETERS = {
    "number": (AttributeType.NUMBER, numbers),
    "string": (AttributeType.STRING, texts),
    "bool": (AttributeType.BOOL, st.booleans()),
    "time": (AttributeType.TIME, times.map(datetime.isoformat)),
}
parameters = st.fixed_dictionaries({name: st.none() | values for name, (_, values) in PARAMETERS.items()})


def names(kind: AttributeType) -> st.SearchStrategy[syntax.Name]:
    return st.sampled_from(NAMES[kind]).map(lambda name: syntax.Name(0, name))


def constants(kind: AttributeType) -> st.SearchStrategy[syntax.Operand]:
    values = times.map(datetime.isoformat) if kind is AttributeType.TIME else _values[kind]
    literals = (st.none() | values).map(lambda value: syntax.Literal(0, value))
    named = next(name for name, (of, _) in PARAMETERS.items() if of is kind)
    return literals | st.just(syntax.ParameterName(0, named))


def instants() -> st.SearchStrategy[syntax.Operand]:
    return st.sampled_from([0, -86_400_000_000, 3_600_000_000]).map(lambda delta: syntax.Now(0, delta))


@st.composite
def comparisons(draw: st.DrawFn) -> syntax.Condition:
    kind = draw(st.sampled_from([kind for kind in AttributeType if kind is not AttributeType.STRINGS]))
    operators = ["=", "<>"] if kind is AttributeType.BOOL else ["=", "<>", "<", "<=", ">", ">="]
    other = names(kind) | constants(kind)
    sides = [draw(names(kind)), draw(other | instants() if kind is AttributeType.TIME else other)]
    if draw(st.booleans()):
        sides.reverse()
    return syntax.Comparison(0, draw(st.sampled_from(operators)), *sides)


@st.composite
def lists(draw: st.DrawFn) -> syntax.Condition:
    kind = draw(st.sampled_from([kind for kind in AttributeType if kind is not AttributeType.STRINGS]))
    values = draw(st.lists(constants(kind), min_size=1, max_size=10))
    return syntax.InList(0, draw(names(kind)), tuple(values))


@st.composite
def patterns(draw: st.DrawFn) -> syntax.Condition:
    parts = draw(
        st.lists(st.sampled_from(["%", "_", "a", "b", "bc", "é", "😀", "abcdefgh", "!%", "!_", "!!"]), max_size=5)
    )
    literal = syntax.Literal(0, "".join(parts))
    return syntax.LikePattern(0, draw(names(AttributeType.STRING)), literal, syntax.Literal(0, "!"))


simple = st.one_of(
    comparisons(),
    lists(),
    patterns(),
    st.builds(syntax.InName, st.just(0), constants(AttributeType.STRING), names(AttributeType.STRINGS)),
    st.builds(syntax.NullCheck, st.just(0), st.one_of(*map(names, AttributeType))),
    st.builds(syntax.Truth, st.just(0), names(AttributeType.BOOL)),
    st.builds(
        syntax.Truth, st.just(0), st.sampled_from([True, False, None]).map(lambda value: syntax.Literal(0, value))
    ),
)
conditions = st.recursive(
    simple,
    lambda parts: st.one_of(
        parts.map(lambda part: syntax.Not(0, part)),
        st.lists(parts, min_size=2, max_size=3).map(lambda found: syntax.And(0, tuple(found))),
        st.lists(parts, min_size=2, max_size=3).map(lambda found: syntax.Or(0, tuple(found))),
    ),
    max_leaves=6,
)


def render(node: syntax.Condition | syntax.Operand) -> str:
    """Write a tree as text."""
    match node:
        case syntax.And():
            return " AND ".join(f"({render(part)})" for part in node.parts)
        case syntax.Or():
            return " or ".join(
                f"({render(part)})" if isinstance(part, syntax.Or) else render(part) for part in node.parts
            )
        case syntax.Not(part=syntax.InList() as part):
            return f"{render(part.operand)} NOT IN ({', '.join(map(render, part.values))})"
        case syntax.Not(part=syntax.NullCheck() as part):
            return f"{render(part.operand)} is not null"
        case syntax.Not(part=syntax.And() | syntax.Or() as part):
            return f"NOT ({render(part)})"
        case syntax.Not():
            return f"not {render(node.part)}"
        case syntax.Comparison():
            return f"{render(node.left)} {node.operator} {render(node.right)}"
        case syntax.InList():
            return f"{render(node.operand)} IN ({', '.join(map(render, node.values))})"
        case syntax.InName():
            return f"{render(node.operand)} in {render(node.container)}"
        case syntax.LikePattern():
            escape = f" ESCAPE {render(node.escape)}" if node.escape else ""
            return f"{render(node.operand)} like {render(node.pattern)}{escape}"
        case syntax.NullCheck():
            return f"{render(node.operand)} IS NULL"
        case syntax.Truth():
            return render(node.operand)
        case syntax.Name():
            return node.name if node.name.isidentifier() else f'"{node.name}"'
        case syntax.ParameterName():
            return f":{node.name}"
        case syntax.Now():
            sign, hours = "-" if node.delta < 0 else "+", abs(node.delta) // 3_600_000_000
            return f"now() {sign} INTERVAL '{hours}' HOUR" if node.delta else "now()"
        case syntax.Literal(value=None | True | False):
            return {None: "NULL", True: "TRUE", False: "false"}[node.value]
        case syntax.Literal(value=str(value)):
            return "'" + value.replace("'", "''") + "'"
    return repr(node.value)
