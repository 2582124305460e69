//! The simulation: with sample lanes, and with the producer's own lanes.

mod simulation;
