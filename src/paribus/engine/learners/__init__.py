"""From a design to learners as values: configurations, their canonical form, their keys. Pure."""
