"""Filter expressions: SQL's WHERE over the attributes of items.

text -> tokens (limits, refusals) -> parser (sqlglot) -> syntax -> checker (names, types) -> predicates
     -> binding (parameters) -> evaluation (columns)
"""
