"""Pure. Rule files: what they may say, which rules match a request, and what the matched ones do.

For each request: `match` decides which rules apply, `actions` folds the applied ones into effects.
For each file: `document` reads YAML with the line of everything, `rule` holds the models (`fields` their
types), `messages` says in words what they refuse, and `parse` is all of that in one call.
For all files together: `check` cross-checks names and collects warnings. `reach` finds rules that no request
meets, `contradictions` those that say opposite things; both ask `order` (the walk) and `overlap` (matches).
For people and editors: `schema`, made from the models by way of `models`.
"""
