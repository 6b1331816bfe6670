"""The endpoint that devices sync to: events in, features and heavy models out."""
