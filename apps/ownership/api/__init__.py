"""The API: teams, services, the map, rotations, runbooks and SLAs."""
