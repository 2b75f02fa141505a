"""Programs beside the package: never imported by it, never shipped with it."""
