"""Attribution: what recommendations earned, counted from the ids that events carry."""
