"""A music collection: index, similarity, map, playlists, tags."""
