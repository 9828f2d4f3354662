"""The checker behind jaxtyping's import hook: beartype, accepting int as float."""

import beartype

typechecker = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))
