"""Records to pictures: graphs, cards, tables."""
