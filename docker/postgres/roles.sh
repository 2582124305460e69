#!/bin/sh
# Makes the database and its roles, when the server's volume is made.
exec postgres-roles "postgresql:///postgres?host=/var/run/postgresql&user=$POSTGRES_USER"
