//! The simulation: with sample lanes, and with the engine's lanes in the producer's own hands.

mod simulation;
