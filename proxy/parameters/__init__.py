"""Pure. Which value each generation parameter gets, and why.

`catalog` knows every parameter; `layers` states which layer wins; `families`, `profiles` and `experiments`
offer candidates; `bounds` says how far a value may go; `thinking` reads and writes the many spellings of
thinking mode; `resolve` picks the winner and remembers who was passed over; `resolution` is what it returns.
"""
