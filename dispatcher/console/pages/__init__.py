"""The pages, a module for each kind of thing. `docs/console.md` says how to add one."""
