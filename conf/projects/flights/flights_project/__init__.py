"""Raw tables of the flights that left New York in 2013: builders that a feature store calls by name."""

from __future__ import annotations

from flights_project.airlines import airlines
from flights_project.airports import airports
from flights_project.flight_states import flight_states
from flights_project.flights import flights
from flights_project.planes import planes
from flights_project.weather import weather

__all__ = ["airlines", "airports", "flight_states", "flights", "planes", "weather"]
