"""The fault programme: what scripts/faults runs, part by part."""
