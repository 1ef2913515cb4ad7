"""The functional core: `decide` and `evolve`, pure and total."""
